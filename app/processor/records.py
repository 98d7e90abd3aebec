"""A record in, a record out, and what one record caused. Topics have their logical names (`app.topics`)."""

from collections.abc import Sequence
from typing import NamedTuple

from app.core.messages import Ignored

Headers = Sequence[tuple[str, bytes | None]]


class Record(NamedTuple):
    """A record of a topic."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp: int = -1
    """The topic's, in milliseconds since the epoch; -1: not known. Event time is in the value; no rule asks this."""


class Produced(NamedTuple):
    """A record to be written, to the partition number that its cause came from."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class Outcome(NamedTuple):
    """What one record caused: phase events and then the sized order, or one dead letter, or nothing to publish."""

    produced: tuple[Produced, ...]
    ignored: Ignored | None = None
