"""`python -m tests.faults`: the fault suite for as long as wanted, on three real brokers."""

import secrets
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from tests.faults.faults import FAULTS
from tests.faults.suite import endure


def faults(
    minutes: Annotated[float, typer.Option(help="How long; the last deployment is proved after that.")] = 60,
    seed: Annotated[int | None, typer.Option(help="Of the faults and the flow; a new one if left out.")] = None,
    rate: Annotated[int, typer.Option(help="Events a second.")] = 400,
    fault: Annotated[list[str] | None, typer.Option(help=f"Only these: {', '.join(FAULTS)}.")] = None,
    folder: Annotated[Path | None, typer.Option(help="For the brokers' and workers' data and logs.")] = None,
) -> None:
    """Do faults to workers and brokers under load, and prove that nothing was lost, doubled or wrong.

    Example:  python -m tests.faults --minutes 60 --fault kill --fault pause
    """
    for name in fault or ():
        if name not in FAULTS:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(FAULTS)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that nothing is left running
    began = time.monotonic()

    def tell(text: str) -> None:
        print(f"{time.monotonic() - began:7.1f} {text}", flush=True)

    with tempfile.TemporaryDirectory(prefix="sizer-faults-") as temporary:
        result = endure(
            folder or Path(temporary),
            seed=secrets.randbelow(10**6) if seed is None else seed,
            seconds=minutes * 60,
            per_second=rate,
            names=fault or tuple(FAULTS),
            tell=tell,
        )
    print(result.table())
    print(result.line())
    sys.exit(1 if result.violations else 0)


if __name__ == "__main__":
    typer.run(faults)
