"""The processor alone, in memory: microseconds an event, and where they go.

python -m bench.processor [--profile]
"""

import argparse
import cProfile
import pstats
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from app.processor import MemoryStore, Processor, Record
from app.processor.partitioners import partitioner
from bench.workload import POLICY, Event, Workload

_NOW = 1_767_225_600_000_000  # 2026-01-01: signals are judged by this clock
_PARTITION_COUNT = 4
_BATCH = 500
_EVENTS = 10_000
_PROFILE_LINES = 40


class Cost(NamedTuple):
    """Microseconds an event."""

    kind: str
    events: int
    process: float
    """Bytes in, bytes out."""
    rows: float
    """The changed rows as bytes, `_BATCH` events at a time, as for a transaction."""

    @property
    def total(self) -> float:
        """Both together."""
        return self.process + self.rows


class _Partition:
    """The processor of one partition over memory."""

    def __init__(self, number: int) -> None:
        self._store = MemoryStore()
        self._processor = Processor(
            number,
            self._store,
            POLICY,
            partition_count=_PARTITION_COUNT,
            partition_of=partitioner("murmur2", _PARTITION_COUNT),
        )
        self.counters = self._processor.counters

    def run(self, records: Sequence[Record]) -> tuple[float, float]:
        """Process records in batches; return seconds spent in processing and in making rows."""
        in_process = in_rows = 0.0
        for start in range(0, len(records), _BATCH):
            begin = time.process_time()
            for record in records[start : start + _BATCH]:
                self._processor.process(record, _NOW)
            processed = time.process_time()
            changes = self._processor.changes()
            in_process += processed - begin
            in_rows += time.process_time() - processed
            self._store.write(changes)
            self._processor.committed()
        return in_process, in_rows


def measure(seed: int) -> list[Cost]:
    """Return the cost of a signal that is sized, of one that is skipped and of a fill; the best of three runs each."""
    runs = [_measure_once(seed) for _ in range(3)]
    return [min(kind, key=lambda cost: cost.total) for kind in zip(*runs, strict=True)]


def profile(seed: int) -> list[tuple[str, str]]:
    """Return for each kind of event a profile of its functions, those that take longest by themselves first."""
    profiles = []
    for kind, run in _kinds(seed):
        profiler = cProfile.Profile()
        profiler.runcall(run)
        profiles.append((kind, _table(profiler)))
    return profiles


def _measure_once(seed: int) -> list[Cost]:
    costs = []
    for kind, run in _kinds(seed):
        events, in_process, in_rows = run()
        costs.append(Cost(kind, events, in_process / events * 1e6, in_rows / events * 1e6))
    return costs


def _kinds(seed: int) -> list[tuple[str, Callable[[], tuple[int, float, float]]]]:
    """Return what is measured, to be run in this order: fills need the orders of the sized signals."""
    workload = Workload(seed, _PARTITION_COUNT, _NOW)
    sized, orders = workload.opening(_EVENTS)
    skipped = [workload.event("signals", workload.signal(confidence=0.5)) for _ in range(_EVENTS)]
    fills = list(workload.fills(orders))
    partitions = [_Partition(number) for number in range(_PARTITION_COUNT)]
    offsets = iter(range(len(sized) + len(skipped) + len(fills)))

    def runner(events: list[Event], counter: str) -> Callable[[], tuple[int, float, float]]:
        def run() -> tuple[int, float, float]:
            parts: list[list[Record]] = [[] for _ in partitions]
            for topic, number, key, value in events:
                parts[number].append(Record(topic, number, next(offsets), key, value))
            spent = [partition.run(records) for partition, records in zip(partitions, parts, strict=True)]
            counted = sum(partition.counters[counter] for partition in partitions)
            assert counted == len(events), f"{counted} of {len(events)} counted as {counter}"
            assert not any(name.startswith("DLQ") for partition in partitions for name in partition.counters)
            return len(events), sum(processing for processing, _ in spent), sum(rows for _, rows in spent)

        return run

    return [
        ("signal, sized", runner(sized, "SIZED")),
        ("signal, skipped", runner(skipped, "SKIPPED.LOW_CONFIDENCE")),
        ("fill", runner(fills, "fills")),
    ]


def _table(profiler: cProfile.Profile) -> str:
    stats = pstats.Stats(profiler)
    # pstats prints to its stream only; this is what it would print, by own time.
    rows = sorted(stats.stats.items(), key=lambda row: -row[1][2])[:_PROFILE_LINES]  # type: ignore[attr-defined]  # not in its stubs
    lines = [f"{'calls':>9} {'own ms':>8} {'all ms':>8}  function"]
    for (file, line, name), (_, calls, own, cumulative, _) in rows:
        place = name if file == "~" else f"{file.rpartition('/app/')[2]}:{line} {name}"
        lines.append(f"{calls:9} {own * 1e3:8.1f} {cumulative * 1e3:8.1f}  {place}")
    return "\n".join(lines)


def lines(costs: Sequence[Cost]) -> list[str]:
    """Return the costs as lines of text."""
    return [
        f"{cost.kind:<16} {cost.total:6.1f} µs  ({cost.process:.1f} bytes to bytes + {cost.rows:.1f} rows),"
        f" {1e6 / cost.total:,.0f} events/s"
        for cost in costs
    ]


def main() -> None:
    """Print the costs, or with `--profile` the functions that they consist of."""
    parser = argparse.ArgumentParser(prog="python -m bench.processor", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}")
    if arguments.profile:
        for kind, table in profile(arguments.seed):
            print(f"\n{kind}\n{table}")
    else:
        print("\n".join(lines(measure(arguments.seed))))


if __name__ == "__main__":
    main()
