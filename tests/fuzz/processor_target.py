r"""The processor: histories of arbitrary records, each answered by an `Outcome` that keeps the contract's promises.

An input is a history: records separated by U+001E. A record's first line is `flags|key|clock|header|…`; the rest
is its value, where `$3` stands for the id of the history's sized order number 3. Any bytes are some history.

flags: `f` a fill, else a signal; `n` no value; `k` no key; `b` the last offset again; `c` a commit follows; `r` a
restart follows; `t` it takes a tighter policy; `p` (in the first record) keys are checked against 4 partitions.
clock: `@…` microseconds, `+…` later than before, else none. header: `name=value`, or a name alone for a null.
"""

import re
from decimal import Decimal
from typing import Any

import orjson

from app.core.messages import LAST_TIME, ErrorCode, PhaseEvent, SizedOrder
from app.core.policy import TABLE_POLICY, Policy
from app.processor import Change, MemoryStore, Outcome, Processor, Produced, Record, rows
from app.processor.partitioners import partitioner
from tests.fuzz.row_target import check_round_trip

SEPARATOR = b"\x1e"
NOON = 1_767_614_400_000_000
TIGHTER = Policy(
    {"base_fraction_1": "0.0005", "drawdown_on_losses": 1, "exposure_limit": "0.002", "reservation_ttl": 60}
)
ERRORS = "__streams.errors."
DECIMAL = re.compile(r"(?!-0$)-?(0|[1-9][0-9]*)(\.[0-9]*[1-9])?")
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")
DECIMALS = {
    name
    for message in (SizedOrder, PhaseEvent)
    for name, kind in message.__annotations__.items()
    if kind in (Decimal, Decimal | None)
}
TIMES = {"decided_at", "send_before", "expires_at", "at"}


def processor(data: bytes) -> str:
    """Live through a history. The outcomes' kinds, in order of their first appearance, are told."""
    told: dict[str, None] = {}
    history = History(partitions=4 if b"p" in data.partition(b"|")[0] else None)
    for text in data.split(SEPARATOR):
        told[history.live(text)] = None
    assert len(history.processor.counters) <= 60  # kinds of outcomes, never a key that an input made up
    return " ".join(told)


class History:
    """A partition's life, checked after each record."""

    def __init__(self, partitions: int | None) -> None:
        self.partitions = partitions
        self.store = MemoryStore()
        self.policy = TABLE_POLICY
        self.clock = NOON
        self.offsets = {"signals": -1, "fills": -1}
        self.order_ids: list[bytes] = []
        self.pending: list[Change] = []
        self.start()

    def start(self) -> None:
        self.processor = Processor(
            0,
            self.store,
            self.policy,
            partition_count=self.partitions or 1,
            partition_of=None if self.partitions is None else partitioner("murmur2", self.partitions),
        )

    def live(self, text: bytes) -> str:
        """Process one record and return the outcome's kind."""
        flags, record, clock = self.read(text)
        outcome = self.processor.process(record, clock)
        changes = self.processor.changes()
        kind = self.check(record, outcome, changes)
        self.pending = without_position(changes)
        if b"c" in flags or b"r" in flags:
            self.store.write(changes)
            self.processor.committed()
            self.pending = []
        if b"r" in flags:
            self.policy = TIGHTER if b"t" in flags else self.policy
            self.start()
        return kind

    def read(self, text: bytes) -> tuple[bytes, Record, int | None]:
        head, _, value = text.partition(b"\n")
        flags, key, clock_text, *headers = head.split(b"|") + [b""] * (2 - head.count(b"|"))
        topic = "fills" if b"f" in flags else "signals"
        if b"b" not in flags or self.offsets[topic] < 0:
            self.offsets[topic] += 1
        clock = None
        if match := re.fullmatch(rb"([@+])([0-9]{1,18})", clock_text):
            clock = self.clock = min(int(match[2]) + (self.clock if match[1] == b"+" else 0), LAST_TIME)
        if self.order_ids:
            value = re.sub(rb"\$([0-9])", lambda found: self.order_ids[int(found[1]) % len(self.order_ids)], value)
        pairs = [header.partition(b"=") for header in headers]
        record = Record(
            topic,
            0,
            self.offsets[topic],
            None if b"k" in flags else key,
            None if b"n" in flags else value,
            tuple((name.decode("utf-8", "replace"), held if equals else None) for name, equals, held in pairs),
        )
        return flags, record, clock

    def check(self, record: Record, outcome: Outcome, changes: list[Change]) -> str:
        for change in set(changes).difference(self.pending):
            check_round_trip(change)
        assert self.processor.positions[record.topic] == record.offset + 1
        if outcome.ignored is not None:
            assert not outcome.produced
            assert without_position(changes) == self.pending
            return outcome.ignored
        if outcome.produced and outcome.produced[0].topic.endswith(".dlq"):
            assert without_position(changes) == self.pending, "a dead letter changed the state"
            (letter,) = outcome.produced
            return check_dead_letter(record, letter)
        topics = [produced.topic for produced in outcome.produced]
        assert topics == sorted(topics)  # phase_events before sized_orders
        assert topics.count("sized_orders") == (record.topic == "signals")
        for produced in outcome.produced:
            assert produced.key == record.key
            assert not produced.headers
            document = check_canonical(produced)
            if document.get("decision") == "SIZED":
                self.order_ids.append(document["order_id"].encode())
        return "applied" if record.topic == "fills" else str(document["skip_reason"] or "SIZED")


def without_position(changes: list[Change]) -> list[Change]:
    return [change for change in changes if change.key != rows.PARTITION_KEY]


def check_dead_letter(record: Record, letter: Produced) -> str:
    """Check that the original is untouched and what is appended to its headers."""
    assert (letter.topic, letter.key, letter.value) == (f"{record.topic}.dlq", record.key, record.value)
    kept = len(record.headers)
    assert tuple(letter.headers[:kept]) == tuple(record.headers)
    ours = {name: (value or b"").decode("ascii") for name, value in letter.headers[kept:]}
    code = ErrorCode(ours.pop(ERRORS + "exception"))
    assert 0 < len(ours.pop(ERRORS + "message")) < 1_000, "it was cut, and what to do stands at the end"
    assert ours.pop(ERRORS + "topic") == record.topic
    assert (ours.pop(ERRORS + "partition"), ours.pop(ERRORS + "offset")) == ("0", str(record.offset))
    if code in {ErrorCode.STALE_SIGNAL, ErrorCode.FUTURE_SIGNAL}:
        assert TIME.fullmatch(ours.pop("sizer.now"))
    assert not ours
    return code


def check_canonical(produced: Produced) -> dict[str, Any]:
    """Check the canonical form of an answer: fields and their order, decimals, times, no exponent."""
    raw = produced.value or b""
    document: dict[str, Any] = orjson.loads(raw)
    message = SizedOrder if produced.topic == "sized_orders" else PhaseEvent
    assert tuple(document) == message._fields
    for name, value in document.items():
        if isinstance(value, str) and name in DECIMALS:
            assert DECIMAL.fullmatch(value), f"{name} is {value}"
        elif isinstance(value, str) and name in TIMES:
            assert TIME.fullmatch(value), f"{name} is {value}"
    if confidence := re.search(rb'"confidence":([^,]+),', raw):
        assert re.fullmatch(rb"-?[0-9]+\.[0-9]+", confidence[1]), confidence[1]
    return document
