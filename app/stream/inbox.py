"""What one partition has been sent and not yet processed: in order, without overlap or gap, fills first."""

from bisect import bisect_left
from collections import deque
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from app.topics import FILLS, INPUTS, SIGNALS

RECORDS_LIMIT = 4_000
CHUNKS_LIMIT = 32
_offset_of = attrgetter("offset")


class Chunk(NamedTuple):
    """What one fetch brought of one partition of a topic. `records` are the consumer's own, raw."""

    topic: str
    """Real name."""
    partition: int
    position: int
    """Where it was read from: no record between this offset and the first of `records` was left out."""
    next_position: int
    """Where to read on: behind the last record and whatever markers and aborted records follow it."""
    end: int
    """Where the readable log ended when it was fetched."""
    records: Sequence[Any]


class Piece(NamedTuple):
    """Records of one topic to be processed next, and the position behind them."""

    topic: str
    """Logical name."""
    records: Sequence[Any]
    next_position: int


class Inbox:
    """The chunks of one partition that wait, by topic.

    A chunk from before the expected position overlaps: what is known of it is skipped, the position never moves
    back. One from beyond leaves a gap: it is not taken, and has to be read again from the expected position. Both
    happen when a fetch and a seek cross each other.
    """

    def __init__(self, positions: Mapping[str, int], ends: Mapping[str, int]) -> None:
        """`positions`: where each input topic goes on, by logical name; `ends`: where its readable log ends."""
        self._expected = dict(positions)
        self._taken = dict(positions)
        self._ends = dict(ends)
        self._waiting: dict[str, deque[Piece]] = {topic: deque() for topic in INPUTS}

    @property
    def expected(self) -> Mapping[str, int]:
        """The position from which each topic has to be read, by logical name."""
        return self._expected

    def has_room(self, topic: str) -> bool:
        """Tell whether more should be fetched of a topic (logical name).

        Each has room of its own: signals that wait for fills on their way must not keep these out.
        """
        waiting = self._waiting[topic]
        return len(waiting) < CHUNKS_LIMIT and sum(len(piece.records) for piece in waiting) < RECORDS_LIMIT

    @property
    def is_ready(self) -> bool:
        """Whether there is something to take."""
        return self._next_topic() is not None

    def offer(self, topic: str, chunk: Chunk) -> bool:
        """Take a chunk of a topic (logical name); False if there is a gap before it."""
        expected = self._expected[topic]
        if chunk.position > expected:
            return False
        self._ends[topic] = max(self._ends[topic], chunk.end)
        if chunk.next_position > expected:
            records = chunk.records
            if chunk.position < expected:
                records = records[bisect_left(records, expected, key=_offset_of) :]
            self._waiting[topic].append(Piece(topic, records, chunk.next_position))
            self._expected[topic] = chunk.next_position
        return True

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
        self._taken[topic] = piece.next_position
        return piece

    def _next_topic(self) -> str | None:
        """Return the topic to take from.

        Fills that wait come before signals: also those that are known to be in the topic and are still on their way.
        """
        if self._waiting[FILLS]:
            return FILLS
        if self._waiting[SIGNALS] and self._taken[FILLS] >= self._ends[FILLS]:
            return SIGNALS
        return None
