"""Many schedules, in several processes."""

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

from tests.simulation.world import Result, run

_CHUNK = 10
_NAMED = 20


@dataclass
class Summary:
    """What was run, and what broke."""

    schedules: int = 0
    steps: int = 0
    events: int = 0
    orders: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    endings: Counter[int] = field(default_factory=Counter)
    failures: dict[int, list[str]] = field(default_factory=dict)
    seconds: float = 0

    def add(self, result: Result) -> None:
        """Count a schedule."""
        self.schedules += 1
        self.steps += result.steps
        self.events += result.events
        self.orders += result.orders
        self.faults += result.faults
        self.endings += result.endings
        if result.violations:
            self.failures[result.seed] = result.violations

    def __str__(self) -> str:
        faults = ", ".join(f"{kind} {number:,}" for kind, number in sorted(self.faults.items()))
        failures = " ".join(map(str, sorted(self.failures)[:_NAMED])) or "none"
        return (
            f"{self.schedules:,} schedules, {self.steps:,} steps, {self.events:,} events, {self.orders:,} orders in"
            f" {self.seconds:.0f} s; processes that ended in doubt: {self.endings[70]:,}; faults: {faults};"
            f" violations: {sum(map(len, self.failures.values()))}, seeds of failures: {failures}"
        )


def run_many(
    seeds: range,
    *,
    jobs: int,
    kinds: Sequence[str] | None = None,
    bug: str | None = None,
    seconds: float | None = None,
    steps: int | None = None,
    is_first_enough: bool = False,
    progress: Callable[[Summary], None] = lambda _: None,
) -> Summary:
    """Run schedules until the seeds, the time or the number of steps is used up, or until the first failure."""
    summary = Summary()
    started = time.monotonic()

    def is_enough() -> bool:
        if is_first_enough and summary.failures:
            return True
        summary.seconds = time.monotonic() - started
        is_late = seconds is not None and summary.seconds >= seconds
        return is_late or (steps is not None and summary.steps >= steps)

    for results in _batches(seeds, jobs, partial(_run_chunk, kinds, bug), is_enough):
        for result in results:
            summary.add(result)
        progress(summary)
    is_enough()
    return summary


def _batches(
    seeds: range, jobs: int, run_chunk: Callable[[range], list[Result]], is_enough: Callable[[], bool]
) -> Iterator[list[Result]]:
    chunks = (seeds[start : start + _CHUNK] for start in range(0, len(seeds), _CHUNK))
    if jobs == 1:
        for chunk in chunks:
            if is_enough():
                return
            yield run_chunk(chunk)
        return
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = {pool.submit(run_chunk, chunk) for chunk in islice(chunks, jobs * 2)}
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
                if not is_enough():
                    waiting |= {pool.submit(run_chunk, chunk) for chunk in islice(chunks, 1)}


def _run_chunk(kinds: Sequence[str] | None, bug: str | None, seeds: range) -> list[Result]:
    return [run(seed, kinds=kinds, bug=bug) for seed in seeds]


def endless(start: int = 0) -> range:
    """Return more seeds than can ever be run."""
    return range(start, start + 10**9)
