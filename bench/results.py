"""The figures of many runs: a JSON line for each, medians and spreads, ratios within a round.

The first line names the machine. Each other one has a `measure` (what was measured), a `contestant` and its values.
They are kept in a file, so that a page can be made of them later.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, Self

import orjson

from app.errors import UserError
from bench.latency import Latency
from bench.machine import Machine, describe
from bench.throughput import Throughput

FILE = Path("build", "bench.jsonl")

Line = Mapping[str, Any]


class Figure(NamedTuple):
    """A median and the lowest and highest of its runs."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        if self.low == self.high:
            return shown(self.median)
        return f"{shown(self.median)} ({shown(self.low)} to {shown(self.high)})"


class Results:
    """Lines, and what they come to."""

    def __init__(self, machine: Machine, seed: int, lines: list[Line], file: Path | None = None) -> None:
        """`file`: where each further line goes too."""
        self.machine = machine
        self.seed = seed
        self._lines = lines
        self._file = file

    @classmethod
    def begin(cls, file: Path, seed: int) -> Self:
        """Begin a file anew, on this machine and now."""
        machine = describe()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(_json({"measure": "machine", "seed": seed, **machine._asdict()}))
        return cls(machine, seed, [], file)

    @classmethod
    def read(cls, file: Path) -> Self:
        """Return what a file holds; raises UserError."""
        try:
            lines = [orjson.loads(line) for line in file.read_bytes().splitlines()]
            head = lines[0]
            machine = Machine(**{name: head[name] for name in Machine._fields})
        except FileNotFoundError:
            raise UserError(f"there is no {file}: `make bench` makes it") from None
        except (orjson.JSONDecodeError, LookupError, TypeError):
            raise UserError(f"{file} is not what `make bench` writes: run it again") from None
        return cls(machine, head["seed"], lines[1:])

    def add(self, measure: str, contestant: str, **values: Any) -> None:
        """Take a run."""
        line = {"measure": measure, "contestant": contestant, **values}
        self._lines.append(line)
        if self._file is not None:
            with self._file.open("ab") as file:
                file.write(_json(line))

    def add_throughput(self, round_number: int, portfolios: int, run: Throughput) -> None:
        """Take a run. All contestants have one in each round, on the same events."""
        self.add(
            "throughput",
            run.contestant,
            round=round_number,
            portfolios=portfolios,
            events=run.events,
            seconds=run.seconds,
            rate=run.rate,
            cpu_us=run.cpu_us,
            broker_cpu_us=run.broker_cpu_us,
            log_bytes=run.log_bytes,
            memory_mib=run.resident_mib,
        )

    def add_latency(self, round_number: int, rate: int, run: Latency) -> None:
        """Take a run."""
        self.add(
            "latency",
            run.contestant,
            round=round_number,
            rate=rate,
            signals=len(run.milliseconds),
            **{name: run.percentile(percent) for name, percent in PERCENTILES.items()},
            sent_late_ms=run.sent_late_ms,
            cpu_us=run.cpu_us,
            broker_cpu_us=run.broker_cpu_us,
        )

    def lines(self, measure: str, **wanted: Any) -> Sequence[Line]:
        """Return the lines of a measure with these values."""
        wanted["measure"] = measure
        return [line for line in self._lines if wanted.items() <= line.items()]

    def figure(self, name: str, measure: str, **wanted: Any) -> Figure | None:
        """Return a figure of the lines of a measure with these values; None if there are none."""
        values = [line[name] for line in self.lines(measure, **wanted)]
        return Figure(median(values), min(values), max(values)) if values else None

    def cpu_ratio(self, contestant: str, other: str, portfolios: int) -> float:
        """Return how many times the other's processor time an event costs a contestant: the median of the rounds."""
        mine, theirs = (
            {line["round"]: line["cpu_us"] for line in self.lines("throughput", contestant=name, portfolios=portfolios)}
            for name in (contestant, other)
        )
        return median(float(mine[number] / theirs[number]) for number in mine.keys() & theirs.keys())


PERCENTILES = {"p50_ms": 50.0, "p99_ms": 99.0, "p99_9_ms": 99.9}


def shown(value: float) -> str:
    """Return a number with as many digits as it is worth."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _json(line: Line) -> bytes:
    return orjson.dumps(line) + b"\n"
