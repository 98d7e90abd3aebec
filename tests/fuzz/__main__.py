"""`python -m tests.fuzz`: a long run over one target or all in turn. Status 1 when an input failed."""

import argparse
import logging
import random
import sys

from tests.fuzz.runner import Run
from tests.fuzz.targets import TARGETS


def main() -> int:
    """Run, and close with one line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="for each target (1)")
    parser.add_argument("--target", choices=sorted(TARGETS), help="only this one")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    chosen = parser.parse_args()
    logging.disable()  # python-dotenv tells of every line that it cannot read
    print(f"seed {chosen.seed}", flush=True)
    runs = []
    for name in [chosen.target] if chosen.target else TARGETS:
        run = Run(name, random.Random(f"{chosen.seed} {name}"))
        run.go(chosen.minutes * 60)
        runs.append(run)
    failures = sum(len(run.failures) for run in runs)
    inputs, kept = sum(run.inputs for run in runs), sum(run.kept for run in runs)
    print(f"seed {chosen.seed}: {inputs:,} inputs, {kept} kept, {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
