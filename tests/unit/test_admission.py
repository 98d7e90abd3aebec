"""Which signals are new: duplicates, stale and future ones."""

import pytest

from tests.desk import Desk


def test_a_repeated_signal_is_ignored_whatever_it_says() -> None:
    desk = Desk()
    first = desk.signal(signal_id="A")
    assert first.order is not None
    assert desk.signal(signal_id="A").ignored == "DUPLICATE_SIGNAL"
    assert desk.signal(signal_id="A", side="SELL", portfolio_value="1").ignored == "DUPLICATE_SIGNAL"
    after = desk.sized(portfolio_value=None)
    assert (after["sequence"], after["portfolio_value"]) == (2, "100000")


@pytest.mark.parametrize(("hours", "microseconds", "ignored"), [(48, 0, "DUPLICATE_SIGNAL"), (48, 1, None)])
def test_a_signal_id_is_remembered_for_48_hours(hours: int, microseconds: int, ignored: str | None) -> None:
    desk = Desk()
    desk.signal(signal_id="A")
    desk.later(hours=hours, microseconds=microseconds)
    assert desk.signal(signal_id="A").ignored == ignored


@pytest.mark.parametrize(
    ("generated_at", "code"),
    [
        ("2026-01-04T12:00:00Z", None),
        ("2026-01-04T11:59:59.999999Z", "STALE_SIGNAL"),
        ("2026-01-06T12:00:00Z", None),
        ("2026-01-06T12:00:00.000001Z", "FUTURE_SIGNAL"),
    ],
)
def test_signals_out_of_their_time_are_dead_letters(generated_at: str, code: str | None) -> None:
    answer = Desk().signal(generated_at=generated_at)
    assert answer.code == code
    if answer.dead_letter is not None:
        assert answer.dead_letter["headers"]["sizer.now"] == "2026-01-05T12:00:00.000000Z"


def test_the_clock_never_goes_behind_portfolio_time() -> None:
    desk = Desk()
    desk.later(hours=1)
    desk.sized()
    desk.later(minutes=-30)
    assert desk.sized()["decided_at"] == "2026-01-05T13:00:00.000000Z"


def test_dead_letters_do_not_move_portfolio_time() -> None:
    desk = Desk()
    desk.sized()
    desk.later(days=3)
    assert desk.signal(generated_at="2026-01-05T12:00:00Z").code == "STALE_SIGNAL"
    desk.later(days=-3)
    assert desk.sized()["decided_at"] == "2026-01-05T12:00:00.000000Z"
