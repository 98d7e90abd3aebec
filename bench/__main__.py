"""`make bench`: the worker beside a plain Faust program, on a real broker, in one run of about three minutes."""

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from app.broker import Broker
from app.demo.children import ChildDied
from app.errors import UserError
from bench import latency, processor, throughput
from bench.contestants import PLAIN_FAUST, WORKER, ContestantError

_ROUNDS = 2
_WORKER_EVENTS = 40_000
_PLAIN_FAUST_EVENTS = 8_000
_RATE = 100
_SECONDS = 10.0


def main() -> None:
    """Run everything; the end is a table, in plain lines where nobody looks at a terminal."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    seed = parser.parse_args().seed
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    print(f"seed {seed}; only what was measured in one run can be compared", flush=True)
    costs = processor.measure(seed)
    print("\n".join(["the processor alone, in memory:", *processor.lines(costs)]), flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="sizer-bench-") as folder,
        Broker(Path(folder, "kafka"), full_speed=True) as broker,
    ):
        runs = _throughput(broker.bootstrap_servers, Path(folder), seed)
        answers = _latency(broker.bootstrap_servers, Path(folder), seed, len(runs))
    _show(runs, answers)


def _throughput(bootstrap_servers: str, folder: Path, seed: int) -> list[throughput.Throughput]:
    runs: list[throughput.Throughput] = []
    for _ in range(_ROUNDS):
        for contestant, events in ((WORKER, _WORKER_EVENTS), (PLAIN_FAUST, _PLAIN_FAUST_EVENTS)):
            number = len(runs) + 1
            run = throughput.measure(contestant, bootstrap_servers, folder, number, seed=seed + number, events=events)
            print(f"{run.contestant}: {run.events:,} events in {run.seconds:.2f} s, {run.rate:,.0f}/s", flush=True)
            runs.append(run)
    return runs


def _latency(bootstrap_servers: str, folder: Path, seed: int, before: int) -> list[latency.Latency]:
    runs: list[latency.Latency] = []
    for _ in range(_ROUNDS):
        for contestant in (WORKER, PLAIN_FAUST):
            number = before + len(runs) + 1
            run = latency.measure(
                contestant, bootstrap_servers, folder, number, seed=seed + number, rate=_RATE, seconds=_SECONDS
            )
            print(f"{run.contestant}: {_RATE} events/s, half were answered in {run.percentile(50):.1f} ms", flush=True)
            runs.append(run)
    return [latency.pooled(run for run in runs if run.contestant == name) for name in (WORKER.name, PLAIN_FAUST.name)]


def _show(runs: Sequence[throughput.Throughput], answers: Sequence[latency.Latency]) -> None:
    rows = [("", WORKER.name, PLAIN_FAUST.name, "ratio")]
    ours, plain = (
        median(run.rate for run in runs if run.contestant == contestant.name) for contestant in (WORKER, PLAIN_FAUST)
    )
    rows.append(("throughput, events/s", f"{ours:,.0f}", f"{plain:,.0f}", f"{ours / plain:.1f} times as many"))
    for percent in (50, 95, 99):
        quick, slow = (run.percentile(percent) for run in answers)
        rows.append(
            (f"answer at {_RATE} events/s, p{percent}", f"{quick:.1f} ms", f"{slow:.1f} ms", f"{quick / slow:.2f}")
        )
    console = Console()
    if not console.is_terminal:
        print("\n".join(" | ".join(row).removeprefix(" | ") for row in rows))
        return
    table = Table(*rows[0])
    for row in rows[1:]:
        table.add_row(*row)
    console.print(table)


if __name__ == "__main__":
    try:
        main()
    except (ContestantError, ChildDied, UserError) as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
