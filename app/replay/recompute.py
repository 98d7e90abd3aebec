"""Recompute every decision from the topics and compare it with what was published, byte for byte.

The clock is the only input of a decision that is not in the topics, and it is recorded with it: `signal_offset`,
`fills_offset` and `decided_at` of an answer say which fills had been applied and when it was decided; the policies
are in the phase events. Signals without an answer and without a dead letter must be duplicates.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import orjson

from app.codecs import fields
from app.core.policy import TABLE_POLICY, Policy
from app.processor import MemoryStore, Processor, Produced, Record
from app.processor.dead_letter import NOW_HEADER, OFFSET_HEADER
from app.processor.partitioners import partitioner
from app.replay.history import History, read_history
from app.settings import Settings
from app.topics import FILLS, INPUTS, OUTPUTS, PHASE_EVENTS, SIGNALS, SIGNALS_DLQ, SIZED_ORDERS

_COMMIT_EVERY = 1_000
_MAXIMUM_DIFFERENCES = 20
_SHOWN = 600


class Report(NamedTuple):
    """What a recomputation found. All is well when `lost`, `doubled`, `contradicted` are 0 and nothing differs."""

    signals: int
    """Distinct valid signals: each must have one answer."""
    orders: int
    """Records in `sized_orders`."""
    lost: int
    """Answers, events and dead letters that should be there and are not."""
    doubled: int
    """Order ids published more than once."""
    contradicted: int
    """Order ids published with two contents."""
    recomputed: int
    """Answers that were recomputed identically."""
    differences: tuple[str, ...]
    """The first differences of each partition, for people."""

    @property
    def is_proved(self) -> bool:
        """Every answer is there once and was recomputed identically, events and dead letters too."""
        return not (self.lost or self.doubled or self.contradicted or self.differences) and (
            self.signals == self.orders == self.recomputed
        )


class _Recorded(NamedTuple):
    """What an answer records of its decision."""

    fills_offset: int
    decided_at: int
    policy_id: str


def recompute_topics(settings: Settings) -> Report:
    """Read the topics and recompute all partitions. Raises UserError if they cannot be read."""
    histories = read_history(settings)
    names = {topic: settings.topic(topic) for topic in INPUTS}
    reports = [recompute(history, len(histories), settings.partitioner, names) for history in histories]
    return Report(
        signals=sum(report.signals for report in reports),
        orders=sum(report.orders for report in reports),
        lost=sum(report.lost for report in reports),
        doubled=sum(report.doubled for report in reports),
        contradicted=sum(report.contradicted for report in reports),
        recomputed=sum(report.recomputed for report in reports),
        differences=tuple(text for report in reports for text in report.differences),
    )


def recompute(history: History, partition_count: int, partitioner_name: str, topic_names: Mapping[str, str]) -> Report:
    """Recompute one partition from its first records."""
    expected: dict[str, list[Produced]] = {topic: [] for topic in OUTPUTS}
    for produced in _replay(history, partition_count, partitioner_name, topic_names):
        expected[produced.topic].append(produced)
    differences: list[str] = []
    lost = 0
    for topic in OUTPUTS:
        actual = history.records[topic]
        lost += max(0, len(expected[topic]) - len(actual))
        differences += _differences(topic, history.partition, expected[topic], actual)
    published = [(_order_id(record), record.value) for record in history.records[SIZED_ORDERS]]
    copies = Counter(order_id for order_id, _ in published)
    contents = Counter(order_id for order_id, _ in set(published))
    wanted = {(produced.key, produced.value) for produced in expected[SIZED_ORDERS]}
    return Report(
        signals=len(expected[SIZED_ORDERS]),
        orders=len(published),
        lost=lost,
        doubled=sum(1 for count in copies.values() if count > 1),
        contradicted=sum(1 for count in contents.values() if count > 1),
        recomputed=sum(1 for record in history.records[SIZED_ORDERS] if (record.key, record.value) in wanted),
        differences=tuple(differences[:_MAXIMUM_DIFFERENCES]),
    )


def _replay(
    history: History, partition_count: int, partitioner_name: str, topic_names: Mapping[str, str]
) -> Iterator[Produced]:
    """Process the inputs in the order in which they were taken, each at the time at which it was."""
    store = MemoryStore()
    processor = Processor(
        history.partition,
        store,
        TABLE_POLICY,
        partition_count=partition_count,
        partition_of=partitioner(partitioner_name, partition_count),
        partitioner_name=partitioner_name,
        topic_names=topic_names,
    )
    policies = _policies(history)
    recorded = dict(map(_recorded, history.records[SIZED_ORDERS]))
    judged_at = dict(_judged_at(history.records[SIGNALS_DLQ]))
    fills = iter(history.records[FILLS])
    fill = next(fills, None)
    for count, signal in enumerate(history.records[SIGNALS]):
        answer = recorded.get(signal.offset)
        if answer is not None:
            while fill is not None and fill.offset <= answer.fills_offset:
                yield from processor.process(fill, 0).produced
                fill = next(fills, None)
            processor.policy = policies.get(answer.policy_id, TABLE_POLICY)
        # Without an answer it is a duplicate or bad: only the time that a dead letter records can matter.
        clock = judged_at.get(signal.offset, 0) if answer is None else answer.decided_at
        yield from processor.process(signal, clock).produced
        if count % _COMMIT_EVERY == 0:
            store.write(processor.changes())
            processor.committed()
    while fill is not None:
        yield from processor.process(fill, 0).produced
        fill = next(fills, None)


def _policies(history: History) -> dict[str, Policy]:
    announced = (orjson.loads(record.value or b"{}").get("policy") for record in history.records[PHASE_EVENTS])
    policies = (Policy(orjson.loads(text)) for text in set(announced) if text is not None)
    return {policy.policy_id: policy for policy in policies}


def _recorded(record: Record) -> tuple[int, _Recorded]:
    answer: dict[str, Any] = orjson.loads(record.value or b"{}")
    decided_at = fields.time("decided_at", answer["decided_at"])
    return answer["signal_offset"], _Recorded(answer["fills_offset"], decided_at, answer["policy_id"])


def _judged_at(dead_letters: list[Record]) -> Iterator[tuple[int, int]]:
    for record in dead_letters:
        headers = {name: value for name, value in record.headers if value is not None}
        if NOW_HEADER in headers:
            yield int(headers[OFFSET_HEADER]), fields.time(NOW_HEADER, headers[NOW_HEADER].decode())


def _order_id(record: Record) -> str:
    order_id: str = orjson.loads(record.value or b"{}")["order_id"]
    return order_id


def _differences(topic: str, partition: int, expected: list[Produced], actual: list[Record]) -> Iterator[str]:
    for index in range(max(len(expected), len(actual))):
        want = expected[index] if index < len(expected) else None
        have = actual[index] if index < len(actual) else None
        if want is None or have is None or (want.key, want.value, _pairs(want)) != (have.key, have.value, _pairs(have)):
            where = f"{topic}, partition {partition}, record {index}"
            yield f"{where}: expected {_shown(want)}, found {_shown(have)}"


def _pairs(record: Produced | Record) -> list[tuple[str, bytes | None]]:
    return list(record.headers)


def _shown(record: Produced | Record | None) -> str:
    return "nothing" if record is None else f"{record.value!r} {_pairs(record)!r}"[:_SHOWN]
