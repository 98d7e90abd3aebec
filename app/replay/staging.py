"""Rows on their way into tables: a line of JSON for each, with the columns of `tables`; DuckDB gives them their types.

Decimals and times are texts, bytes are in base64. Of a published record the line is its own JSON with the place put
before it.
"""

import base64
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import orjson

from app.codecs import canonical_time
from app.core.messages import Fill, Signal
from app.processor import Record
from app.processor.dead_letter import CODE_HEADER, MESSAGE_HEADER
from app.replay.published import Answer, DeadLetter, Event, Item
from app.replay.step import Status, Step
from app.replay.tables import SCHEMAS
from app.replay.trades import Trade
from app.topics import FILLS, PHASE_EVENTS, SIGNALS, SIZED_ORDERS

_PLAIN_JSON = ord("{")


class Staging:
    """The staged rows of one partition."""

    def __init__(self, folder: Path, partition: int) -> None:
        """`folder`: of files that are thrown away."""
        self.paths = {table: folder / f"{table}-{partition}.ndjson" for table in SCHEMAS}
        self.counts = dict.fromkeys(SCHEMAS, 0)
        self._files: dict[str, BinaryIO] = {table: path.open("wb") for table, path in self.paths.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()

    def take_step(self, step: Step) -> None:
        """Stage an input and the trades that it closed."""
        message = step.message
        if isinstance(message, Signal):
            self._put(SIGNALS, _signal(step, message))
        elif isinstance(message, Fill):
            self._put(FILLS, _fill(step, message))
        for trade in step.trades:
            self._put("trades", _trade(step.record, trade))

    def take_output(self, item: Item) -> None:
        """Stage a published record."""
        if isinstance(item, DeadLetter):
            self._put("dlq", _dead_letter(item))
        else:
            self._put(SIZED_ORDERS if isinstance(item, Answer) else PHASE_EVENTS, _published(item))

    def _put(self, table: str, line: bytes) -> None:
        self._files[table].write(line)
        self.counts[table] += 1


def _line(row: dict[str, Any]) -> bytes:
    return orjson.dumps(row, default=str, option=orjson.OPT_APPEND_NEWLINE)  # decimals are all that it does not know


def _place(record: Record) -> dict[str, Any]:
    return {
        "kafka_partition": record.partition,
        "kafka_offset": record.offset,
        "kafka_timestamp": record.timestamp,
    }


def _time(microseconds: int | None) -> str | None:
    return None if microseconds is None else canonical_time(microseconds)


def _outcome(step: Step, applied: str | None) -> str | None:
    """Return what became of an input. `applied`: what to say of one that changed something and has no answer."""
    if step.status is not Status.RECOMPUTED:
        return None
    outcome, sized_order = step.outcome, step.sized_order
    if sized_order is not None:
        return sized_order.skip_reason or sized_order.decision
    if outcome.ignored is not None:
        return outcome.ignored
    for produced in outcome.produced:
        for name, content in produced.headers:
            if name == CODE_HEADER and content is not None:
                return content.decode()
    return applied


def _signal(step: Step, signal: Signal) -> bytes:
    row = {**_place(step.record), **signal._asdict()}
    row["generated_at"] = canonical_time(signal.generated_at)
    row["expires_at"] = _time(signal.expires_at)
    row["outcome"] = _outcome(step, None)
    return _line(row)


def _fill(step: Step, fill: Fill) -> bytes:
    row = {**_place(step.record), **fill._asdict()}
    row["transact_time"] = canonical_time(fill.transact_time)
    row["outcome"] = _outcome(step, "APPLIED")
    return _line(row)


def _published(item: Answer | Event) -> bytes:
    record = item.record
    value = record.value or b""
    if value[0] != _PLAIN_JSON or b"\n" in value:
        return _line({**_place(record), **item.document})
    return b'{"kafka_partition":%d,"kafka_offset":%d,"kafka_timestamp":%d,%b\n' % (
        record.partition,
        record.offset,
        record.timestamp,
        value[1:],
    )


def _dead_letter(letter: DeadLetter) -> bytes:
    record, headers = letter.record, dict(letter.record.headers)
    return _line(
        {
            **_place(record),
            "topic": record.topic,
            "source_offset": letter.offset,
            "code": _text(headers.get(CODE_HEADER)),
            "message": _text(headers.get(MESSAGE_HEADER)),
            "judged_at": _time(letter.now),
            "key": _base64(record.key),
            "value": _base64(record.value),
        }
    )


def _trade(record: Record, trade: Trade) -> bytes:
    row = {**_place(record), **trade._asdict()}
    for name in ("decided_at", "opened_at", "closed_at"):
        row[name] = canonical_time(row[name])
    row["holding_seconds"] = seconds(trade.holding_time)
    return _line(row)


def seconds(microseconds: int) -> str:
    """Return a time span in seconds, exact."""
    whole, rest = divmod(abs(microseconds), 1_000_000)
    return f"{'-' if microseconds < 0 else ''}{whole}.{rest:06}"


def _text(content: bytes | None) -> str | None:
    return None if content is None else content.decode("utf-8", "replace")


def _base64(content: bytes | None) -> str | None:
    return None if content is None else base64.b64encode(content).decode()
