"""Published records, read by one who believes nothing: what is no answer, event or dead letter is told, not guessed."""

from typing import Any, NamedTuple
from uuid import UUID, uuid5

import orjson

from app.codecs import BadRecord, WriterSchemas, fields
from app.codecs.output import read_output
from app.codecs.records import PHASE_EVENT, SIZED_ORDER
from app.codecs.records import Record as RecordType
from app.core.messages import ErrorCode
from app.core.policy import Policy, PolicyError
from app.processor import Record
from app.processor.dead_letter import CODE_HEADER, MESSAGE_HEADER, NOW_HEADER, OFFSET_HEADER

_NAMESPACE = UUID("6f1e9d0a-6c1b-5c0e-9a53-0f6a2b6f4d11")
"""As the contract says it, not as app.core does: an audit that shares a mistake does not see it."""
_TIMED = (ErrorCode.STALE_SIGNAL.encode(), ErrorCode.FUTURE_SIGNAL.encode())
"""Refusals that record the time that they were judged by."""
_SHOWN = 200


class MalformedError(ValueError):
    """A record that none of the sizer's could be; the message says why."""


class Answer(NamedTuple):
    """A record of `sized_orders`."""

    record: Record
    document: dict[str, Any]
    order_id: str
    signal_id: str
    portfolio_id: str
    policy_id: str
    sequence: int
    signal_offset: int
    fills_offset: int
    decided_at: int
    """Microseconds since the epoch."""

    def __str__(self) -> str:
        return f"order {self.order_id} (portfolio {self.portfolio_id}, signal {self.signal_id})"


class Event(NamedTuple):
    """A record of `phase_events`."""

    record: Record
    document: dict[str, Any]
    event_id: str
    portfolio_id: str
    kind: str
    sequence: int

    def __str__(self) -> str:
        return f"{self.kind} of portfolio {self.portfolio_id}, sequence {self.sequence}"


class DeadLetter(NamedTuple):
    """A record of a dead letter queue."""

    record: Record
    offset: int
    """Of the input record."""
    now: int | None
    """The time that a signal was judged by, in microseconds since the epoch."""
    unknown_schema: str | None = None
    """What was told of a schema that was not known."""

    def __str__(self) -> str:
        return f"dead letter of offset {self.offset}"


Item = Answer | Event | DeadLetter
"""A published record that was read."""


def read_answer(record: Record, schemas: WriterSchemas | None) -> Answer:
    """Read a record of `sized_orders`, in any format. Raises MalformedError."""
    document = _document(record, SIZED_ORDER, schemas)
    return Answer(
        record,
        document,
        order_id=_text(document, "order_id"),
        signal_id=_text(document, "signal_id"),
        portfolio_id=_text(document, "portfolio_id"),
        policy_id=_text(document, "policy_id"),
        sequence=_whole(document, "sequence"),
        signal_offset=_whole(document, "signal_offset"),
        fills_offset=_whole(document, "fills_offset"),
        decided_at=_time("decided_at", document.get("decided_at")),
    )


def read_event(record: Record, schemas: WriterSchemas | None) -> Event:
    """Read a record of `phase_events`, in any format. Raises MalformedError."""
    document = _document(record, PHASE_EVENT, schemas)
    return Event(
        record,
        document,
        event_id=_text(document, "event_id"),
        portfolio_id=_text(document, "portfolio_id"),
        kind=_text(document, "type"),
        sequence=_whole(document, "sequence"),
    )


def read_dead_letter(record: Record) -> DeadLetter:
    """Read a record of a dead letter queue by its headers: the last of a name counts. Raises MalformedError."""
    headers = dict(record.headers)
    try:
        offset = int(headers[OFFSET_HEADER] or b"")
    except (KeyError, ValueError):
        raise MalformedError(f"its header {OFFSET_HEADER} names no offset") from None
    if headers.get(CODE_HEADER) == ErrorCode.UNKNOWN_SCHEMA.encode():
        message = (headers.get(MESSAGE_HEADER) or b"").decode("ascii", "replace")
        return DeadLetter(record, offset, None, message)
    if headers.get(CODE_HEADER) not in _TIMED:
        return DeadLetter(record, offset, None)  # a header of that name is the producer's own
    now = headers.get(NOW_HEADER) or b""
    return DeadLetter(record, offset, _time(NOW_HEADER, now.decode("ascii", "replace")))


def read_policy(event: Event) -> Policy | None:
    """Return the policy that an event announces, None if it announces none. Raises MalformedError."""
    text = event.document.get("policy")
    if text is None:
        return None
    try:
        return Policy(orjson.loads(text))
    except (orjson.JSONDecodeError, PolicyError, TypeError, AttributeError, ArithmeticError) as error:
        raise MalformedError(f"its policy cannot be taken: {error}") from None


def order_id_of(portfolio_id: str, signal_id: str, generated_at: int) -> str:
    """Return the order id that the contract asks for; `generated_at` in microseconds."""
    return str(uuid5(_NAMESPACE, f"{portfolio_id}\x1f{signal_id}\x1f{generated_at}"))


def event_id_of(portfolio_id: str, sequence: int) -> str:
    """Return the event id that the contract asks for."""
    return str(uuid5(_NAMESPACE, f"{portfolio_id}\x1fphase\x1f{sequence}"))


def shown(value: object) -> str:
    """Return a value as a finding shows it: on one line, not too long."""
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _document(record: Record, kind: RecordType, schemas: WriterSchemas | None) -> dict[str, Any]:
    try:
        return read_output(record.value, kind, schemas)
    except BadRecord as bad:
        raise MalformedError(bad.message) from None


def _text(document: dict[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise MalformedError(f"its {name} is {shown(value)}, no string")
    return value


def _whole(document: dict[str, Any], name: str) -> int:
    value = document.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise MalformedError(f"its {name} is {shown(value)}, no whole number")
    return value


def _time(name: str, value: object) -> int:
    try:
        return fields.time(name, value)
    except BadRecord as error:
        raise MalformedError(f"its {error.message}") from None
