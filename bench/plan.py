"""What a benchmark runs, and the run: one broker, contestants in turn, each run a line of results."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from app.broker import Broker
from app.demo.children import ChildDied
from bench import failover, latency, remembering, scaling, throughput
from bench.contestants import PEERS, WORKER, WORKERS, Contestant, ContestantError
from bench.results import Results, shown
from bench.workload import PARTITIONS, PORTFOLIOS, Workload

_HEADROOM = 1.5
"""A peer whose throughput is less than so many times a rate is not measured at it: it would only fall behind."""


class Field(NamedTuple):
    """Who takes part in a measurement of throughput."""

    portfolios: int
    rounds: int
    contestants: Sequence[Contestant]


class Load(NamedTuple):
    """A measurement of latency: events a second, and for how long."""

    rate: int
    seconds: float
    rounds: int
    contestants: Sequence[Contestant]


class Plan(NamedTuple):
    """What is run."""

    events: int
    """A round's, the same for each contestant, or a share of so many."""
    fields: Sequence[Field]
    loads: Sequence[Load]
    ids: int = 0
    """How many a worker remembers whose events are compared with one's that remembers few; 0: none is."""
    has_operations: bool = False
    """Whether failover and many partitions are measured."""


FULL = Plan(
    40_000,
    (Field(PORTFOLIOS, 5, (*WORKERS, *PEERS)), Field(1_000_000, 3, (WORKER, *PEERS))),
    (
        Load(100, 60.0, 2, (WORKER, *PEERS)),
        Load(1_000, 20.0, 2, (WORKER, *PEERS)),
        Load(5_000, 10.0, 2, (WORKER, *PEERS)),
    ),
    ids=remembering.MANY,
    has_operations=True,
)
QUICK = Plan(10_000, (Field(PORTFOLIOS, 3, (WORKER, *PEERS)),), (Load(100, 20.0, 1, (WORKER,)),))


class Bench:
    """Runs a plan on one broker."""

    def __init__(self, broker: Broker, folder: Path, seed: int, results: Results) -> None:
        self._broker = broker
        self._folder = folder
        self._seed = seed
        self._results = results
        self._runs = 0

    def run(self, plan: Plan) -> None:
        """Run everything; contestants take turns, each second round in reverse."""
        for portfolios, rounds, contestants in plan.fields:
            for number in range(rounds):
                for contestant in contestants[:: -1 if number % 2 else 1]:
                    self._throughput(number, contestant, int(plan.events * contestant.share), portfolios)
        if plan.ids:
            self._remembering(plan.ids, plan.events)
        if plan.has_operations:
            failover.run(self._broker, self._folder, self._results)
            scaling.run(self._broker, self._folder, self._results)
        for rate, seconds, rounds, contestants in plan.loads:
            chosen = [contestant for contestant in contestants if self._keeps_up(contestant, rate)]
            for number in range(rounds):
                for contestant in chosen[:: -1 if number % 2 else 1]:
                    self._latency(number, contestant, rate, seconds)

    def _throughput(self, number: int, contestant: Contestant, events: int, portfolios: int) -> None:
        workload = Workload(self._seed + number, PARTITIONS, time.time_ns() // 1000, portfolios)
        work = throughput.backlog(workload, events)
        run = throughput.measure(contestant, self._broker, self._folder, self._next(), work)
        self._results.add_throughput(number, portfolios, run)
        _tell(
            f"{run.contestant}, {portfolios:,} portfolios: {run.events:,} events in {run.seconds:.2f} s,"
            f" {run.rate:,.0f}/s, {run.cpu_us:.0f} µs of CPU each, {run.resident_mib:.0f} MiB"
        )

    def _remembering(self, ids: int, events: int) -> None:
        _tell(f"writing what {ids:,} decided signals leave to be remembered, and restoring it")
        for side in remembering.measure(
            self._broker, self._folder, self._next(2), ids=ids, seed=self._seed, events=events
        ):
            for number, run in enumerate(side.runs):
                self._results.add("remembering", run.contestant, ids=side.ids, round=number, cpu_us=run.cpu_us)
            lost, kept = side.disk_lost, side.disk_kept
            self._results.add(
                "restore",
                WORKER.name,
                ids=side.ids,
                rows=side.ids * remembering.ROWS_PER_ID,
                lost_seconds=lost.seconds,
                lost_opening_seconds=lost.opening_seconds,
                kept_seconds=kept.seconds,
                kept_opening_seconds=kept.opening_seconds,
            )
            costs = ", ".join(shown(run.cpu_us) for run in side.runs)
            _tell(
                f"{WORKER.name}, {side.ids:,} ids remembered: {costs} µs of CPU an event;"
                f" ready in {lost.seconds:.1f} s from the changelogs, in {kept.seconds:.1f} s from its disk"
            )

    def _keeps_up(self, contestant: Contestant, rate: int) -> bool:
        measured = self._results.figure("rate", "throughput", contestant=contestant.name, portfolios=PORTFOLIOS)
        if contestant in WORKERS or measured is None or measured.median >= _HEADROOM * rate:
            return True
        _tell(f"{contestant.name} is not asked for {rate:,} events/s: it takes {measured.median:,.0f}/s at most")
        return False

    def _latency(self, number: int, contestant: Contestant, rate: int, seconds: float) -> None:
        try:
            run = latency.measure(
                contestant,
                self._broker,
                self._folder,
                self._next(),
                seed=self._seed + number,
                rate=rate,
                seconds=seconds,
            )
        except (ContestantError, ChildDied) as error:
            if contestant in WORKERS:
                raise
            print(f"no figure at {rate:,} events/s: {error}", file=sys.stderr, flush=True)
            return
        self._results.add_latency(number, rate, run)
        _tell(
            f"{run.contestant}: {rate:,} events/s, half were answered in {run.percentile(50):.1f} ms,"
            f" 99 % in {run.percentile(99):.1f} ms, 99.9 % in {run.percentile(99.9):.1f} ms;"
            f" {run.cpu_us:.0f} µs of CPU each; sent {run.sent_late_ms:.1f} ms late at most, but for 1 %"
        )

    def _next(self, count: int = 1) -> int:
        """Return a run number that was not used yet, the first of `count` of them."""
        self._runs += count
        return self._runs - count + 1


def _tell(line: str) -> None:
    print(line, flush=True)
