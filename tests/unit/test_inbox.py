"""The inbox of a partition: no record twice, none left out, fills first."""

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from app.stream.inbox import CHUNKS_LIMIT, RECORDS_LIMIT, Chunk, Inbox
from app.topics import FILLS, SIGNALS


class Fetched(NamedTuple):
    offset: int


def chunk(
    topic: str, position: int, next_position: int, end: int | None = None, *, without: frozenset[int] = frozenset()
) -> Chunk:
    """Return a chunk of all offsets from `position` on but those in `without`, which hold no record."""
    records = [Fetched(offset) for offset in range(position, next_position) if offset not in without]
    return Chunk(topic, 0, position, next_position, next_position if end is None else end, records)


def inbox(signals: int = 0, fills: int = 0, fills_end: int | None = None) -> Inbox:
    ends = {SIGNALS: signals, FILLS: fills if fills_end is None else fills_end}
    return Inbox({SIGNALS: signals, FILLS: fills}, ends)


def taken(box: Inbox, limit: int = 1_000_000) -> list[tuple[str, int]]:
    found = []
    while (piece := box.take(limit)) is not None:
        assert len(piece.records) <= limit
        found += [(piece.topic, record.offset) for record in piece.records]
    return found


def test_an_overlap_is_skipped_and_the_position_never_moves_back() -> None:
    box = inbox()
    assert box.offer(SIGNALS, chunk(SIGNALS, 0, 10))
    assert box.offer(SIGNALS, chunk(SIGNALS, 5, 12))
    assert box.offer(SIGNALS, chunk(SIGNALS, 0, 7))
    assert box.expected[SIGNALS] == 12
    assert taken(box) == [(SIGNALS, offset) for offset in range(12)]
    assert box.offer(SIGNALS, chunk(SIGNALS, 0, 12))
    assert taken(box) == []


def test_a_gap_is_not_taken() -> None:
    box = inbox()
    assert not box.offer(SIGNALS, chunk(SIGNALS, 1, 10))
    assert box.expected[SIGNALS] == 0
    assert not box.is_ready


def test_offsets_without_records_move_the_position_too() -> None:
    box = inbox()
    assert box.offer(SIGNALS, chunk(SIGNALS, 0, 3, without=frozenset({0, 1, 2})))
    piece = box.take(10)
    assert piece is not None
    assert (list(piece.records), piece.next_position) == ([], 3)
    assert box.offer(SIGNALS, chunk(SIGNALS, 3, 6, without=frozenset({5})))
    piece = box.take(1)
    assert piece is not None
    assert piece.next_position == 4
    piece = box.take(1)
    assert piece is not None
    assert piece.next_position == 6


def test_fills_come_first_also_those_still_on_their_way() -> None:
    box = inbox(fills_end=3)
    box.offer(SIGNALS, chunk(SIGNALS, 0, 2))
    assert not box.is_ready
    box.offer(FILLS, chunk(FILLS, 0, 2, end=5))
    assert taken(box) == [(FILLS, 0), (FILLS, 1)]
    box.offer(FILLS, chunk(FILLS, 2, 5))
    assert taken(box) == [(FILLS, 2), (FILLS, 3), (FILLS, 4), (SIGNALS, 0), (SIGNALS, 1)]


def test_it_asks_for_no_more_than_it_should_hold() -> None:
    box = inbox()
    for number in range(CHUNKS_LIMIT):
        assert box.has_room(SIGNALS)
        box.offer(SIGNALS, chunk(SIGNALS, number, number + 1))
    assert not box.has_room(SIGNALS)
    box.take(1)
    assert box.has_room(SIGNALS)
    box.offer(FILLS, chunk(FILLS, 0, RECORDS_LIMIT))
    assert not box.has_room(FILLS)


def test_signals_that_wait_for_fills_leave_room_for_them() -> None:
    box = Inbox({SIGNALS: 0, FILLS: 0}, {SIGNALS: 0, FILLS: 1})
    for number in range(CHUNKS_LIMIT):
        box.offer(SIGNALS, chunk(SIGNALS, number, number + 1))
    assert not box.is_ready
    assert box.has_room(FILLS)
    box.offer(FILLS, chunk(FILLS, 0, 1))
    assert box.is_ready


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 20), st.integers(0, 15))))
def test_whatever_is_fetched_each_record_comes_out_once_and_in_order(fetches: list[tuple[int, int, int]]) -> None:
    """A fetch: from where, how much, and how many records are taken before the next one."""
    holes = frozenset(range(0, 100, 7))
    box, found = inbox(), []
    for position, length, taking in fetches:
        is_taken = box.offer(SIGNALS, chunk(SIGNALS, position, position + length, without=holes))
        assert is_taken or position > box.expected[SIGNALS]
        if taking and (piece := box.take(taking)) is not None:
            found += [record.offset for record in piece.records]
    found += [offset for _, offset in taken(box)]
    assert found == [offset for offset in range(box.expected[SIGNALS]) if offset not in holes]
