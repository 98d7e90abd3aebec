"""What one partition has been sent and not yet processed: in order, without overlap or gap, fills first."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from app.errors import Doubt
from app.processor import Record
from app.topics import FILLS, INPUTS, SIGNALS


class Chunk(NamedTuple):
    """What was read at once of one partition of a topic."""

    topic: str
    partition: int
    position: int
    """Where it was read from: no record between this offset and the first of `records` was left out."""
    next_position: int
    """Where to read on: behind the last record and whatever markers and aborted records follow it."""
    is_last: bool
    """Whether the readable log ended there."""
    records: Sequence[Record]


class Piece(NamedTuple):
    """Records of one topic to be processed next, and the position behind them."""

    topic: str
    """Logical name."""
    records: Sequence[Record]
    next_position: int


class Inbox:
    """The records of one partition that wait, by topic (logical name)."""

    def __init__(self, positions: Mapping[str, int], ends: Mapping[str, int]) -> None:
        """`positions`: where each input topic goes on, by logical name; `ends`: where its readable log ends."""
        self._expected = dict(positions)
        self._waiting: dict[str, deque[Piece]] = {topic: deque() for topic in INPUTS}
        self._counts = dict.fromkeys(INPUTS, 0)
        self._may_be_more_fills = positions[FILLS] < ends[FILLS]

    @property
    def expected(self) -> Mapping[str, int]:
        """The position from which each topic has to be read, by logical name."""
        return self._expected

    @property
    def ready(self) -> int:
        """How many records may be processed now."""
        return self._counts[FILLS] + (0 if self._may_be_more_fills else self._counts[SIGNALS])

    @property
    def held_up(self) -> int:
        """How many signals wait for fills that are still on their way."""
        return self._counts[SIGNALS] if self._may_be_more_fills else 0

    @property
    def is_ready(self) -> bool:
        """Whether there is something to take; a position may have to be moved where no record is."""
        return self._next_topic() is not None

    def offer(self, chunk: Chunk) -> None:
        """Take a chunk. Raises Doubt if it is not what follows: no record may be left out or come twice."""
        topic, expected = chunk.topic, self._expected[chunk.topic]
        first = chunk.records[0].offset if chunk.records else expected
        if chunk.position != expected or first < expected:
            start = min(chunk.position, first)
            raise Doubt(f"partition {chunk.partition}: {topic} was read from offset {start} instead of {expected}")
        if chunk.next_position > expected:
            self._waiting[topic].append(Piece(topic, chunk.records, chunk.next_position))
            self._counts[topic] += len(chunk.records)
            self._expected[topic] = chunk.next_position
        if topic == FILLS:
            self._may_be_more_fills = not chunk.is_last

    def take(self, limit: int) -> Piece | None:
        """Take up to `limit` records of one topic, None if nothing may be processed now."""
        topic = self._next_topic()
        if topic is None:
            return None
        piece = self._waiting[topic].popleft()
        if len(piece.records) > limit:
            rest = piece._replace(records=piece.records[limit:])
            self._waiting[topic].appendleft(rest)
            piece = Piece(topic, piece.records[:limit], piece.records[limit - 1].offset + 1)
        self._counts[topic] -= len(piece.records)
        return piece

    def put_back(self, piece: Piece) -> None:
        """Put back what was taken last and not processed; it comes first again."""
        self._waiting[piece.topic].appendleft(piece)
        self._counts[piece.topic] += len(piece.records)

    def _next_topic(self) -> str | None:
        """Return the topic to take from.

        Fills that wait come before signals: also those that are known to be in the topic and are still on their way.
        """
        if self._waiting[FILLS]:
            return FILLS
        if self._waiting[SIGNALS] and not self._may_be_more_fills:
            return SIGNALS
        return None
