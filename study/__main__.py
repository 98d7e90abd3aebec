"""`make study`: the rules against fixed sizing on real prices; writes docs/impact.md and its pictures.

`--check` writes nothing, and fails on any difference from what is there.
"""

import argparse
import sys
import time

from study.page import DOCS, pages
from study.run import run


def main() -> int:
    """Run everything; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m study", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with docs/ instead of writing")
    is_check = parser.parse_args().check
    began = time.monotonic()
    made = pages(run(lambda line: print(f"{time.monotonic() - began:5.0f} s  {line}", flush=True)))
    if not is_check:
        for name, text in made.items():
            (DOCS / name).write_text(text)
        print(f"written: {', '.join(f'docs/{name}' for name in made)}")
        return 0
    different = [name for name, text in made.items() if not _is(name, text)]
    for name in different:
        print(f"docs/{name} is not what the study makes: run make study, and look at git diff", file=sys.stderr)
    if not different:
        print(f"the same to the digit: {', '.join(f'docs/{name}' for name in made)}")
    return 1 if different else 0


def _is(name: str, text: str) -> bool:
    path = DOCS / name
    return path.exists() and path.read_text() == text


if __name__ == "__main__":
    sys.exit(main())
