"""The figures of many runs: a JSON line for each, medians and spreads, ratios within a round."""

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import orjson

from bench.latency import Latency
from bench.throughput import Throughput


class Figure(NamedTuple):
    """A median and the lowest and highest of its runs."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:,.0f} ({self.low:,.0f} to {self.high:,.0f})"


class Results:
    """Takes the runs as they end."""

    def __init__(self, file: Path, **common: Any) -> None:
        """Begin `file` anew. `common`: what every line tells beside its run."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
        self._file = file
        self._common = common
        self.throughput: list[Throughput] = []
        self.latency: list[Latency] = []

    def add_throughput(self, round_number: int, run: Throughput) -> None:
        """Take a run. All contestants have one in each round, on the same events."""
        self.throughput.append(run)
        self._write(
            "throughput",
            run.contestant,
            round=round_number,
            events=run.events,
            seconds=run.seconds,
            events_per_second=run.rate,
            cpu_us_per_event=run.cpu_us,
            resident_mib=run.resident_mib,
        )

    def add_latency(self, round_number: int, rate: int, run: Latency) -> None:
        """Take a run."""
        self.latency.append(run)
        percentiles = {f"p{percent}_ms": run.percentile(percent) for percent in (50, 95, 99, 100)}
        self._write(
            "latency", run.contestant, round=round_number, rate=rate, signals=len(run.milliseconds), **percentiles
        )

    def figure(self, contestant: str, value: Callable[[Throughput], float]) -> Figure:
        """Return a figure of a contestant."""
        values = [value(run) for run in self._of(contestant)]
        return Figure(median(values), min(values), max(values))

    def cpu_ratio(self, contestant: str, other: str) -> float:
        """Return how many times the other's processor time an event costs a contestant: the median of the rounds."""
        pairs = zip(self._of(contestant), self._of(other), strict=True)
        return median(mine.cpu_us / theirs.cpu_us for mine, theirs in pairs)

    def pooled_latency(self, contestant: str) -> Latency:
        """Return all latencies of a contestant as of one run."""
        runs = [run for run in self.latency if run.contestant == contestant]
        return Latency(contestant, sorted(value for run in runs for value in run.milliseconds))

    def _of(self, contestant: str) -> Sequence[Throughput]:
        return [run for run in self.throughput if run.contestant == contestant]

    def _write(self, measure: str, contestant: str, **values: Any) -> None:
        line = {"measure": measure, "contestant": contestant, **self._common, **values}
        with self._file.open("ab") as file:
            file.write(orjson.dumps(line) + b"\n")
