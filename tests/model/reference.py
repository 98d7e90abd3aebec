"""`sizer simulate` as a slow, simple reference model: JSON lines in, JSON lines out (rules: simulate).

Usage: `list(simulate(lines))`. Reading is in `reading`, the rules are in `rules`; here are the topics around them.
The free text of `__streams.errors.message` is always "?", which a comparison has to ignore.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import orjson

from tests.model.policies import decimal_text, make_policy
from tests.model.reading import DAY, LAST_TIME, InvalidError, read_message, read_time_text, require
from tests.model.rules import apply, decide, new_portfolio

MESSAGE_HEADER = "__streams.errors.message"
VALUE_NAMES = ("value", "value_text", "value_base64")


class LineError(Exception):
    """A line that is no such object: `sizer simulate` ends with status 2, naming the line."""

    def __init__(self, number: int) -> None:
        """Keep the line's number, from 1."""
        super().__init__(f"line {number}")
        self.number = number


def time_text(micros: int) -> str:
    """Write a canonical time, clamped at the end of 9999."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=min(micros, LAST_TIME))
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond:06d}Z"


def canonical(message: dict[str, Any]) -> str:
    """Write a message in canonical JSON."""

    def text(field: Any) -> str:
        if isinstance(field, Fraction):
            return f'"{decimal_text(field)}"'
        if isinstance(field, dict):
            return f'"{time_text(field["time"])}"'
        if isinstance(field, float):
            return format(Decimal(repr(field)), "f")
        return orjson.dumps(field).decode()

    return "{" + ",".join(f'"{name}":{text(field)}' for name, field in message.items()) + "}"


def murmur2(data: bytes) -> int:
    """Hash as Kafka's Java client does (32 bits, seed 0x9747b28c)."""
    mask, factor = 0xFFFFFFFF, 0x5BD1E995
    result = 0x9747B28C ^ len(data)
    whole = len(data) // 4 * 4
    for start in range(0, whole, 4):
        word = int.from_bytes(data[start : start + 4], "little") * factor & mask
        word = (word ^ (word >> 24)) * factor & mask
        result = (result * factor & mask) ^ word
    if data[whole:]:
        result = (result ^ int.from_bytes(data[whole:], "little")) * factor & mask
    result = (result ^ (result >> 13)) * factor & mask
    return result ^ (result >> 15)


def partition_of(key: str, count: int) -> int:
    """Give the partition that Java's default partitioner gives this key."""
    return (murmur2(key.encode()) & 0x7FFFFFFF) % count


class Simulator:
    """The state of a simulation: `feed` it line by line."""

    def __init__(self, partitions: int | None = None, policy: dict[str, Any] | None = None) -> None:
        """Begin with no state; `partitions` switches the partition check on."""
        self.partition_count = partitions
        self.policy = make_policy(policy or {})
        self.now: int | None = None
        self.last_offset = {"signals": -1, "fills": -1}
        self.fills_offset: dict[int, int] = {}
        self.portfolios: dict[tuple[int, str], dict[str, Any]] = {}
        self.line_number = 0

    def feed(self, line: bytes) -> list[bytes]:
        """Take one line; give the lines it causes. Raises LineError, or PolicyError for a refused policy."""
        self.line_number += 1
        if not line.strip():
            return []
        try:
            record = self.read_line(line)
        except (InvalidError, orjson.JSONDecodeError, orjson.JSONEncodeError, binascii.Error):
            raise LineError(self.line_number) from None
        if "policy" in record:
            self.policy = make_policy(record["policy"])
            return []
        self.last_offset[record["topic"]] = record["offset"]
        outputs = self.process(record)
        if record["topic"] == "fills":
            self.fills_offset[record["partition"]] = record["offset"]
        return outputs

    def read_line(self, line: bytes) -> dict[str, Any]:
        """Read a line to a record whose value is bytes or None; the worker's clock is set on the way."""
        raw = orjson.loads(line)
        require(type(raw) is dict)
        if "policy" in raw:
            require(type(raw["policy"]) is dict)
            return {"policy": raw["policy"]}
        require(raw.get("topic") in {"signals", "fills"} and type(raw.get("key")) in {str, type(None)})
        record = {"topic": raw["topic"], "key": raw.get("key")}
        given = [name for name in VALUE_NAMES if name in raw]
        require(len(given) == 1)
        record["value"] = self.read_value(given[0], raw[given[0]])
        record["offset"] = raw.get("offset", self.last_offset[raw["topic"]] + 1)
        record["partition"] = raw.get("partition", 0)
        require(type(record["offset"]) is int and record["offset"] >= 0)
        require(type(record["partition"]) is int and record["partition"] >= 0)
        record["headers"] = raw.get("headers", {})
        require(type(record["headers"]) is dict)
        require(all(type(value) in {str, type(None)} for value in record["headers"].values()))
        if "now" in raw:
            require(type(raw["now"]) is str)
            now = read_time_text(raw["now"])
            require(0 <= now <= LAST_TIME)
            self.now = now
        return record

    @staticmethod
    def read_value(name: str, raw: Any) -> bytes | None:
        """Give the bytes of a record's value."""
        if name == "value":
            require(raw is None or type(raw) is dict)
            return None if raw is None else orjson.dumps(raw)
        require(type(raw) is str)
        return str(raw).encode() if name == "value_text" else base64.b64decode(raw, validate=True)

    def process(self, record: dict[str, Any]) -> list[bytes]:
        """Take a record; give the output lines."""
        message = read_message(record["topic"], record["value"])
        if isinstance(message, str):
            return [self.dead_letter(record, message)]
        if record["key"] != message["portfolio_id"]:
            return [self.dead_letter(record, "KEY_MISMATCH")]
        if self.partition_count is not None:
            right = partition_of(record["key"], self.partition_count)
            if record["partition"] != right:
                return [self.dead_letter(record, "WRONG_PARTITION")]
        return self.take_signal(record, message) if record["topic"] == "signals" else self.take_fill(record, message)

    def take_signal(self, record: dict[str, Any], signal: dict[str, Any]) -> list[bytes]:
        """Do step 0 of a decision, and the rest if it is one."""
        place = (record["partition"], signal["portfolio_id"])
        portfolio = self.portfolios.get(place) or new_portfolio(signal["portfolio_id"], self.policy)
        clock = signal["generated_at"] if self.now is None else self.now
        now = clock if portfolio["time"] is None else max(clock, portfolio["time"])
        decided = portfolio["decided"].get(signal["signal_id"])
        if decided is not None and now <= decided + 2 * DAY:
            return [orjson.dumps({"ignored": "DUPLICATE_SIGNAL"})]
        if signal["generated_at"] < now - DAY:
            return [self.dead_letter(record, "STALE_SIGNAL", now)]
        if signal["generated_at"] > now + DAY:
            return [self.dead_letter(record, "FUTURE_SIGNAL", now)]
        offsets = (record["offset"], self.fills_offset.get(record["partition"], -1))
        events, sized_order = decide(portfolio, signal, self.policy, now, offsets)
        self.portfolios[place] = portfolio
        lines = [self.output("phase_events", record["key"], canonical(event)) for event in events]
        return [*lines, self.output("sized_orders", record["key"], canonical(sized_order))]

    def take_fill(self, record: dict[str, Any], fill: dict[str, Any]) -> list[bytes]:
        """Apply a fill, or say why not."""
        place = (record["partition"], fill["portfolio_id"])
        outcome, portfolio, events = apply(self.portfolios.get(place), fill)
        if outcome in {"REPEATED_EXEC_ID", "ORDER_FINISHED"}:
            return [orjson.dumps({"ignored": outcome})]
        if portfolio is None:
            return [self.dead_letter(record, outcome)]
        self.portfolios[place] = portfolio
        lines = [self.output("phase_events", record["key"], canonical(event)) for event in events]
        return lines or [orjson.dumps({"applied": True})]

    @staticmethod
    def output(topic: str, key: str | None, value: str | bytes | None, headers: dict[str, Any] | None = None) -> bytes:
        """Give the line of a record out; bytes that are no UTF-8 go as base64."""
        named: dict[str, Any] = {"value": value}
        if isinstance(value, bytes):
            try:
                named = {"value": value.decode()}
            except UnicodeDecodeError:
                named = {"value_base64": base64.b64encode(value).decode()}
        return orjson.dumps({"topic": topic, "key": key, **named, "headers": headers or {}})

    def dead_letter(self, record: dict[str, Any], code: str, now: int | None = None) -> bytes:
        """Give the line of a DLQ record."""
        headers = record["headers"] | {
            "__streams.errors.exception": code,
            MESSAGE_HEADER: "?",
            "__streams.errors.topic": record["topic"],
            "__streams.errors.partition": str(record["partition"]),
            "__streams.errors.offset": str(record["offset"]),
        }
        if now is not None:
            headers["sizer.now"] = time_text(now)
        return self.output(record["topic"] + ".dlq", record["key"], record["value"], headers)


def simulate(
    lines: Iterable[bytes], partitions: int | None = None, policy: dict[str, Any] | None = None
) -> Iterator[bytes]:
    """Give the output lines, without line ends, that `sizer simulate` writes for these input lines."""
    simulator = Simulator(partitions, policy)
    for line in lines:
        yield from simulator.feed(line)
