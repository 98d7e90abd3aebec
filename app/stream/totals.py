"""What this process has done since it began, in plain numbers that only grow; whoever wants them reads them.

They outlive the tasks: a partition that moves away takes its processor with it, and what that has counted stays.
All is written and read in the event loop.
"""

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence

from app.processor import Processor

_TRANSACTION_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_TRANSACTION_RECORDS = (0, 1, 10, 50, 100, 200, 500, 1_000, 2_000)
_AGE_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 600.0, 3_600.0)
_DELAY_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class Distribution:
    """How many values fell into which range."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds`: the upper ends of the ranges, which belong to them, in ascending order."""
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """By range; the last one is for what lies above all bounds."""
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Totals:
    """Of all partitions that this process ever owned."""

    def __init__(self) -> None:
        """Everything begins at 0."""
        self.transaction_seconds = Distribution(_TRANSACTION_SECONDS)
        self.transaction_records = Distribution(_TRANSACTION_RECORDS)
        self.age_seconds = Distribution(_AGE_SECONDS)
        """Of each transaction's oldest record, when it was committed."""
        self.loop_delay_seconds = Distribution(_DELAY_SECONDS)
        self.rebalances = 0
        self.rebalance_seconds = 0.0
        self.begun: dict[int, float] = {}
        """When the transactions under way began, by partition, on the monotonic clock."""
        self._counters: Counter[str] = Counter()
        self._exposure_percents = [0] * 101

    def begin_transaction(self, partition: int) -> None:
        """Take note that one has begun."""
        self.begun[partition] = time.monotonic()

    def end_transaction(self, partition: int, records: int, oldest: int | None) -> None:
        """Count one that was committed. `oldest`: time stamp of its oldest record, in milliseconds since the epoch."""
        self.transaction_seconds.add(time.monotonic() - self.begun.pop(partition))
        self.transaction_records.add(records)
        if oldest is not None:
            self.age_seconds.add(max(0.0, time.time() - oldest / 1000))

    def keep(self, processor: Processor) -> None:
        """Keep what a processor has counted; it is about to go."""
        self._counters.update(processor.counters)
        self._exposure_percents = _sums([self._exposure_percents, processor.exposure_percents])

    def counters(self, processors: Iterable[Processor]) -> Counter[str]:
        """Return what was counted, by those that are still there too (`Processor.counters`)."""
        found = Counter(self._counters)
        for processor in processors:
            found.update(processor.counters)
        return found

    def exposure_percents(self, processors: Iterable[Processor]) -> list[int]:
        """Return how many orders were sized by how much of the limit was in use then, in percent."""
        return _sums([self._exposure_percents, *(processor.exposure_percents for processor in processors)])


def _sums(rows: Iterable[Sequence[int]]) -> list[int]:
    return [sum(column) for column in zip(*rows, strict=True)]
