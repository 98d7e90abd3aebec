"""Run a module of ours by the interpreter of another virtual environment: `python -m bench.venv FOLDER MODULE`.

It takes this process's place, so whoever watches this one watches that one.
"""

import os
import sys
from pathlib import Path


def main() -> None:
    """Become the other interpreter. `FOLDER` is beside the package `bench`."""
    folder, module = sys.argv[1:]
    python = str(Path(__file__).parent.parent / folder / "bin" / "python")
    os.execv(python, [python, "-m", module])


if __name__ == "__main__":
    main()
