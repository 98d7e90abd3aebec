"""The inbox of a partition: no record twice, none left out, fills first."""

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import Doubt
from app.stream.inbox import Chunk, Inbox
from app.topics import FILLS, INPUTS, SIGNALS


class Read(NamedTuple):
    offset: int


def chunk(
    topic: str, position: int, next_position: int, *, is_last: bool = True, without: frozenset[int] = frozenset()
) -> Chunk:
    """Return a chunk of all offsets from `position` on but those in `without`, which hold no record."""
    records = [Read(offset) for offset in range(position, next_position) if offset not in without]
    return Chunk(topic, 0, position, next_position, is_last, records)


def inbox(signals: int = 0, fills: int = 0, fills_end: int | None = None) -> Inbox:
    ends = {SIGNALS: signals, FILLS: fills if fills_end is None else fills_end}
    return Inbox({SIGNALS: signals, FILLS: fills}, ends)


def taken(box: Inbox, limit: int = 1_000_000) -> list[tuple[str, int]]:
    found = []
    while (piece := box.take(limit)) is not None:
        assert len(piece.records) <= limit
        found += [(piece.topic, record.offset) for record in piece.records]
    return found


@pytest.mark.parametrize(("position", "next_position"), [(5, 12), (0, 7), (11, 12)])
def test_what_does_not_follow_is_refused_not_skipped(position: int, next_position: int) -> None:
    box = inbox()
    box.offer(chunk(SIGNALS, 0, 10))
    with pytest.raises(Doubt, match=f"from offset {position} instead of 10"):
        box.offer(chunk(SIGNALS, position, next_position))
    assert box.expected[SIGNALS] == 10
    assert taken(box) == [(SIGNALS, offset) for offset in range(10)]


def test_offsets_without_records_move_the_position_too() -> None:
    box = inbox()
    box.offer(chunk(SIGNALS, 0, 3, without=frozenset({0, 1, 2})))
    piece = box.take(10)
    assert piece is not None
    assert (list(piece.records), piece.next_position) == ([], 3)
    box.offer(chunk(SIGNALS, 3, 6, without=frozenset({5})))
    piece = box.take(1)
    assert piece is not None
    assert piece.next_position == 4
    piece = box.take(1)
    assert piece is not None
    assert piece.next_position == 6


def test_fills_come_first_also_those_still_on_their_way() -> None:
    box = inbox(fills_end=3)
    box.offer(chunk(SIGNALS, 0, 2))
    assert (box.is_ready, box.ready, box.held_up) == (False, 0, 2)
    box.offer(chunk(FILLS, 0, 2, is_last=False))
    assert (box.ready, box.held_up) == (2, 2)
    assert taken(box) == [(FILLS, 0), (FILLS, 1)]
    box.offer(chunk(FILLS, 2, 5))
    assert (box.ready, box.held_up) == (5, 0)
    assert taken(box) == [(FILLS, 2), (FILLS, 3), (FILLS, 4), (SIGNALS, 0), (SIGNALS, 1)]


def test_signals_go_on_when_no_fill_follows_after_all() -> None:
    box = inbox()
    box.offer(chunk(FILLS, 0, 1, is_last=False))
    box.offer(chunk(SIGNALS, 0, 1))
    assert taken(box) == [(FILLS, 0)]
    box.offer(chunk(FILLS, 1, 1))
    assert taken(box) == [(SIGNALS, 0)]


@given(st.lists(st.tuples(st.sampled_from(INPUTS), st.integers(0, 20), st.booleans(), st.integers(0, 15)), max_size=30))
def test_whatever_is_read_each_record_comes_out_once_and_in_order(reads: list[tuple[str, int, bool, int]]) -> None:
    """A read: of which topic, how much, whether that is all, and how many records are taken before the next one."""
    holes = frozenset(range(0, 700, 7))
    box, found = inbox(), []
    for topic, length, is_last, taking in reads:
        expected = box.expected[topic]
        box.offer(chunk(topic, expected, expected + length, is_last=is_last, without=holes))
        if taking and (piece := box.take(taking)) is not None:
            found += [(piece.topic, record.offset) for record in piece.records]
    box.offer(chunk(FILLS, box.expected[FILLS], box.expected[FILLS]))
    found += taken(box)
    assert (box.ready, box.held_up, box.is_ready) == (0, 0, False)
    for topic in INPUTS:
        offsets = [offset for name, offset in found if name == topic]
        assert offsets == [offset for offset in range(box.expected[topic]) if offset not in holes]


def test_how_old_the_oldest_record_is_that_waits() -> None:
    box = inbox()
    assert box.oldest(SIGNALS) is None
    box.offer(chunk(SIGNALS, 0, 4)._replace(timestamp=1_000))
    box.offer(chunk(SIGNALS, 4, 5)._replace(timestamp=2_000))
    assert box.oldest(SIGNALS) == 1_000
    assert [piece.timestamp for piece in (box.take(3), box.take(3)) if piece is not None] == [1_000, 1_000]
    assert box.oldest(SIGNALS) == 2_000
    assert box.oldest(FILLS) is None
