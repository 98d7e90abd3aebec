"""`python -m tests.simulation`: run schedules of the simulation, or replay one."""

import argparse
import os
import sys
import time

from tests.simulation.nemesis import KINDS
from tests.simulation.planted import BUGS
from tests.simulation.runner import Summary, endless, run_many
from tests.simulation.world import run

_PROGRESS_SECONDS = 5.0
_SHOWN = 3


def main() -> int:
    """Run what was asked for; 1 if anything is violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay one schedule")
    parser.add_argument("--trace", action="store_true", help="with --seed: print every step")
    parser.add_argument("--seeds", metavar="A-B", help="run the schedules of these seeds")
    parser.add_argument("--from", dest="start", type=int, default=0, help="the first seed of --minutes and --steps")
    parser.add_argument("--minutes", type=float, help="run schedules for so long")
    parser.add_argument("--steps", type=int, help="run schedules until they have made so many steps")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at the same time")
    parser.add_argument("--bug", choices=sorted(BUGS), help="plant a bug, to see whether it is found")
    parser.add_argument("--faults", metavar="KIND,…", help=f"only these: {', '.join(KINDS)}")
    options = parser.parse_args()
    kinds = None if options.faults is None else options.faults.split(",")
    if options.seed is not None:
        return _replay(options.seed, kinds, options.bug, is_traced=options.trace)
    seeds = endless(options.start)
    if options.seeds:
        first, _, last = options.seeds.partition("-")
        seeds = range(int(first), int(last or first) + 1)
    elif options.minutes is None and options.steps is None:
        parser.error("one of --seed, --seeds, --minutes, --steps is needed")
    seconds = None if options.minutes is None else options.minutes * 60
    summary = run_many(
        seeds,
        jobs=options.jobs,
        kinds=kinds,
        bug=options.bug,
        seconds=seconds,
        steps=options.steps,
        progress=_Progress(),
    )
    print(summary)
    for seed, violations in sorted(summary.failures.items()):
        for text in violations[:_SHOWN]:
            print(f"seed {seed}: {text}")
    return 1 if summary.failures else 0


class _Progress:
    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, summary: Summary) -> None:
        if (now := time.monotonic()) >= self._next:
            self._next = now + _PROGRESS_SECONDS
            print(
                f"{summary.schedules:,} schedules, {summary.steps:,} steps, {summary.orders:,} orders,"
                f" {len(summary.failures)} failed",
                file=sys.stderr,
            )


def _replay(seed: int, kinds: list[str] | None, bug: str | None, *, is_traced: bool) -> int:
    result = run(seed, kinds=kinds, bug=bug, keep_trace=is_traced)
    for line in result.lines:
        print(line)
    print(
        f"seed {seed}: {result.steps} steps, trace {result.trace_hash}, {result.events} events, {result.orders} orders,"
        f" faults {dict(result.faults)}, endings {dict(result.endings)}"
    )
    for violation in result.violations:
        print(f"violated: {violation}")
    return 1 if result.violations else 0


if __name__ == "__main__":
    sys.exit(main())
