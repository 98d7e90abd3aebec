"""`make bench`: the worker beside its peers, on one real broker, with the same rules and events, in one run.

`--quick` takes some minutes, one worker, and ends with one line for scripts.
"""

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from app.broker import Broker
from app.demo.children import ChildDied
from app.errors import UserError
from bench import latency, processor, throughput
from bench.contestants import (
    PEERS,
    PLAIN_FAUST,
    PLAIN_LOOP,
    QUIX,
    WORKER,
    WORKERS,
    Contestant,
    ContestantError,
    check_installed,
)
from bench.results import Results
from bench.workload import PORTFOLIOS

_RATE = 100
_RESULTS = Path("build", "bench.jsonl")


class Plan(NamedTuple):
    """What is run."""

    rounds: int
    events: int
    """A round's, the same for each contestant, or a share of so many."""
    contestants: Sequence[Contestant]
    latency_contestants: Sequence[Contestant]
    latency_rounds: int
    latency_seconds: float


_FULL = Plan(5, 40_000, (*WORKERS, *PEERS), (*WORKERS, *PEERS), 2, 20.0)
_QUICK = Plan(3, 10_000, (WORKER, *PEERS), (WORKER,), 1, 20.0)


class Bench:
    """Runs a plan on one broker."""

    def __init__(self, bootstrap_servers: str, folder: Path, seed: int, portfolios: int, results: Results) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._folder = folder
        self._seed = seed
        self._portfolios = portfolios
        self._results = results
        self._runs = 0

    def run(self, plan: Plan) -> None:
        """Run everything; contestants take turns, each second round in reverse."""
        for number in range(plan.rounds):
            for contestant in plan.contestants[:: -1 if number % 2 else 1]:
                self._throughput(number, contestant, int(plan.events * contestant.share))
        for number in range(plan.latency_rounds):
            for contestant in plan.latency_contestants[:: -1 if number % 2 else 1]:
                self._latency(number, contestant, plan.latency_seconds)

    def _throughput(self, number: int, contestant: Contestant, events: int) -> None:
        work = throughput.backlog(self._seed + number, events, self._portfolios)
        run = throughput.measure(contestant, self._bootstrap_servers, self._folder, self._next(), work)
        self._results.add_throughput(number, run)
        print(
            f"{run.contestant}: {run.events:,} events in {run.seconds:.2f} s, {run.rate:,.0f}/s,"
            f" {run.cpu_us:.0f} µs of CPU each, {run.resident_mib:.0f} MiB",
            flush=True,
        )

    def _latency(self, number: int, contestant: Contestant, seconds: float) -> None:
        run = latency.measure(
            contestant,
            self._bootstrap_servers,
            self._folder,
            self._next(),
            seed=self._seed + number,
            rate=_RATE,
            seconds=seconds,
            portfolios=self._portfolios,
        )
        self._results.add_latency(number, _RATE, run)
        print(
            f"{run.contestant}: {_RATE} events/s, half were answered in {run.percentile(50):.1f} ms,"
            f" 99 % in {run.percentile(99):.1f} ms",
            flush=True,
        )

    def _next(self) -> int:
        self._runs += 1
        return self._runs


def main() -> None:
    """Run everything; the end is a table, or one line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--portfolios", type=int, default=PORTFOLIOS, help="1,000,000 shows what many small ones cost")
    parser.add_argument("--quick", action="store_true", help="in some minutes; the end is one line")
    parser.add_argument("--events", type=int, help="of each run")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--json", type=Path, default=_RESULTS, help="where each run's line goes")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    check_installed()
    plan = _QUICK if arguments.quick else _FULL
    plan = plan._replace(rounds=arguments.rounds or plan.rounds, events=arguments.events or plan.events)
    print(f"seed {arguments.seed}; only what was measured in one run can be compared", flush=True)
    if not arguments.quick:
        costs = processor.measure(arguments.seed)
        print("\n".join(["the processor alone, in memory:", *processor.lines(costs)]), flush=True)
    results = Results(arguments.json, seed=arguments.seed, portfolios=arguments.portfolios)
    with (
        tempfile.TemporaryDirectory(prefix="sizer-bench-") as folder,
        Broker(Path(folder, "kafka"), full_speed=True) as broker,
    ):
        bench = Bench(broker.bootstrap_servers, Path(folder), arguments.seed, arguments.portfolios, results)
        bench.run(plan)
    if not arguments.quick:
        _show(plan, results)
    print(_line(results))


def _show(plan: Plan, results: Results) -> None:
    rows = [("", "events/s", "CPU, µs/event", "CPU, of ours", "MiB", f"ms at {_RATE}/s: p50", "p95", "p99")]
    for contestant in plan.contestants:
        name = contestant.name
        answers = results.pooled_latency(name)
        rows.append(
            (
                name,
                str(results.figure(name, lambda run: run.rate)),
                str(results.figure(name, lambda run: run.cpu_us)),
                f"{results.cpu_ratio(name, WORKER.name):.2f}",
                f"{results.figure(name, lambda run: run.resident_mib).median:.0f}",
                *(f"{answers.percentile(percent):.1f}" for percent in (50, 95, 99)),
            )
        )
    console = Console()
    if not console.is_terminal:
        print("\n".join(" | ".join(row).removeprefix(" | ") for row in rows))
        return
    table = Table(*rows[0])
    for row in rows[1:]:
        table.add_row(*row)
    console.print(table)


def _line(results: Results) -> str:
    """Return the figures of one worker for scripts: ratios of processor time (below 1: it takes less), and its own."""
    ours, answers = WORKER.name, results.pooled_latency(WORKER.name)
    ratios = {"plain": PLAIN_LOOP, "quix": QUIX, "faust": PLAIN_FAUST}
    return " ".join(
        [
            *(f"cpu_vs_{name}={results.cpu_ratio(ours, peer.name):.2f}" for name, peer in ratios.items()),
            f"cpu_us={results.figure(ours, lambda run: run.cpu_us).median:.1f}",
            f"p50_ms={answers.percentile(50):.1f}",
            f"p99_ms={answers.percentile(99):.1f}",
        ]
    )


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(2)
    except (ContestantError, ChildDied) as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
