"""The proof that what workers have published is right, whatever was done to them (rules: guarantees 1, 3 and 4)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from confluent_kafka import Message

from app.codecs.fields import time as time_of
from app.core.policy import TABLE_POLICY
from app.processor import MemoryStore, Processor, Produced, Record
from app.processor.partitioners import partitioner
from app.settings import Settings
from app.topics import FILLS, INPUTS, OUTPUTS, PHASE_EVENTS, SIGNALS, SIGNALS_DLQ, SIZED_ORDERS

Log = Mapping[str, Sequence[Message]]
"""All committed records of one partition by logical topic."""


def prove(settings: Settings, partition_count: int, logs: Sequence[Log]) -> int:
    """Assert that the output of each partition is what its input and the recorded clock make; return the answers.

    Each signal has exactly one answer, sequences have no gap, and everything published is what one processor publishes
    that reads the same records once, in the recorded order: bit for bit, in the same order, nothing missing or more.
    """
    answers = 0
    for partition, log in enumerate(logs):
        _prove_sequences(log)
        expected = _recompute(settings, partition, partition_count, log)
        for topic in OUTPUTS:
            actual = [(m.key(), m.value(), _headers(m)) for m in log[topic]]
            wanted = [(p.key, p.value, list(p.headers)) for p in expected[topic]]
            for number, (found, right) in enumerate(zip(actual, wanted, strict=False)):
                assert found == right, f"{topic}, partition {partition}, record {number}"
            assert len(actual) == len(wanted), f"{topic}, partition {partition}"
        answers += len(log[SIZED_ORDERS])
    return answers


def _prove_sequences(log: Log) -> None:
    for topic, kind in ((SIZED_ORDERS, "order_id"), (PHASE_EVENTS, "event_id")):
        documents = [orjson.loads(_value(message)) for message in log[topic]]
        sequences = defaultdict(list)
        for document in documents:
            sequences[document["portfolio_id"]].append(document["sequence"])
        for portfolio, found in sequences.items():
            assert found == list(range(1, len(found) + 1)), f"{topic}: sequence of {portfolio}"
        ids = [document[kind] for document in documents]
        assert len(ids) == len(set(ids)), f"{topic}: repeated {kind}"


def _recompute(settings: Settings, partition: int, partition_count: int, log: Log) -> dict[str, list[Produced]]:
    names = {topic: settings.topic(topic) for topic in INPUTS}
    partition_of = partitioner(settings.partitioner, partition_count)
    processor = Processor(
        partition,
        MemoryStore(),
        TABLE_POLICY,
        partition_count=partition_count,
        partition_of=partition_of,
        topic_names=names,
    )
    produced: dict[str, list[Produced]] = {topic: [] for topic in OUTPUTS}
    fills = iter(log[FILLS])
    waiting = next(fills, None)
    clocks, fills_before = _recorded(log)
    clock = 0

    def process(topic: str, message: Message) -> None:
        offset = message.offset()
        assert offset is not None
        record = Record(topic, partition, offset, message.key(), message.value(), message.headers() or ())
        for out in processor.process(record, clock).produced:
            produced[out.topic].append(out)

    for message in log[SIGNALS]:
        offset = message.offset()
        clock = clocks.get(offset, clock)
        while waiting is not None and waiting.offset() <= fills_before.get(offset, -1):
            process(FILLS, waiting)
            waiting = next(fills, None)
        process(SIGNALS, message)
    while waiting is not None:
        process(FILLS, waiting)
        waiting = next(fills, None)
    return produced


def _recorded(log: Log) -> tuple[dict[Any, int], dict[Any, int]]:
    """Return by signal offset the clock that was recorded, and the last fill that was taken before it."""
    clocks: dict[Any, int] = {}
    fills_before: dict[Any, int] = {}
    for message in log[SIZED_ORDERS]:
        answer = orjson.loads(_value(message))
        clocks[answer["signal_offset"]] = time_of("decided_at", answer["decided_at"])
        fills_before[answer["signal_offset"]] = answer["fills_offset"]
    for message in log[SIGNALS_DLQ]:
        headers = dict(_headers(message))
        if "sizer.now" in headers:
            clocks[int(headers["__streams.errors.offset"])] = time_of("now", headers["sizer.now"].decode())
    return clocks, fills_before


def _headers(message: Message) -> list[tuple[str, Any]]:
    return list(message.headers() or ())


def _value(message: Message) -> bytes:
    value = message.value()
    assert isinstance(value, bytes)
    return value
