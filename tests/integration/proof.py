"""The proof that what workers have published is right, whatever was done to them (rules: guarantees 1, 3 and 4)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import orjson
from confluent_kafka import Message

from app.replay import recompute_topics
from app.settings import Settings
from app.topics import PHASE_EVENTS, SIZED_ORDERS

Log = Mapping[str, Sequence[Message]]
"""All committed records of one partition by logical topic."""


def prove(settings: Settings, logs: Sequence[Log]) -> int:
    """Assert that the output of each partition is what its input and the recorded clock make; return the answers.

    Each signal has exactly one answer, sequences have no gap, and everything published is what one processor publishes
    that reads the same records once, in the recorded order: bit for bit, in the same order, nothing missing or more.
    """
    for log in logs:
        _prove_sequences(log)
    report = recompute_topics(settings)
    assert report.is_proved, report
    return report.orders


def _prove_sequences(log: Log) -> None:
    for topic, kind in ((SIZED_ORDERS, "order_id"), (PHASE_EVENTS, "event_id")):
        documents = [orjson.loads(message.value() or b"") for message in log[topic]]
        sequences = defaultdict(list)
        for document in documents:
            sequences[document["portfolio_id"]].append(document["sequence"])
        for portfolio, found in sequences.items():
            assert found == list(range(1, len(found) + 1)), f"{topic}: sequence of {portfolio}"
        ids = [document[kind] for document in documents]
        assert len(ids) == len(set(ids)), f"{topic}: repeated {kind}"
