"""The life of an order, its exposure and its trades' results, as fills and time make them."""

from typing import Any

import pytest

from tests.desk import Desk


def exposure(desk: Desk) -> str:
    """Read the exposure as the next answer shows it."""
    order = desk.signal(0.1).order
    assert order is not None
    return str(order["exposure_before"])


def streak(desk: Desk) -> tuple[int, int]:
    order = desk.signal(0.1).order
    assert order is not None
    return order["consecutive_wins"], order["consecutive_losses"]


def test_a_working_order_holds_its_notional_whatever_is_filled() -> None:
    desk = Desk()
    order = desk.sized()
    desk.open(order, "0.5", "100", leaves_qty="0.5")
    assert exposure(desk) == "100"  # 50 open, 50 reserved
    desk.open(order, "1", "100", leaves_qty="0.1")
    assert exposure(desk) == "150"  # overfilled: counted in full, nothing reserved


def test_completion_ends_the_reservation() -> None:
    desk = Desk()
    order = desk.sized()
    desk.open(order, "0.5", "100")
    assert exposure(desk) == "50"


def test_without_leaves_qty_the_quantity_completes() -> None:
    desk = Desk()
    order = desk.sized(price="100")
    assert order["quantity"] == "1"
    desk.open(order, "0.5", "90", leaves_qty=None)
    assert exposure(desk) == "100"
    desk.open(order, "0.5", "90", leaves_qty=None)
    assert exposure(desk) == "90"


@pytest.mark.parametrize("exec_type", ["CANCELED", "REJECTED", "EXPIRED"])
def test_a_report_ends_the_order_and_frees_the_rest(exec_type: str) -> None:
    desk = Desk()
    order = desk.sized()
    desk.open(order, "0.3", "100", leaves_qty="0.7")
    desk.fill(order, exec_type=exec_type)
    assert exposure(desk) == "30"


def test_an_exit_orders_end_counts_only_its_commission() -> None:
    desk = Desk()
    order = desk.sized()
    desk.open(order)
    desk.fill(order, exec_type="CANCELED", position_effect="CLOSE", commission="2")
    desk.close(order, price="11")  # +1 - 2
    assert streak(desk) == (0, 1)


def test_a_close_takes_its_share_of_the_open_cost() -> None:
    desk = Desk()
    order = desk.sized()
    desk.open(order, "3", "10")
    desk.close(order, "1", "1")
    assert exposure(desk) == "20"
    desk.close(order, "2", "100")
    assert exposure(desk) == "0"


@pytest.mark.parametrize(("side", "price", "expected"), [("BUY", "11", (1, 0)), ("SELL", "11", (0, 1))])
def test_the_result_is_computed_by_side(side: str, price: str, expected: tuple[int, int]) -> None:
    desk = Desk()
    order = desk.sized(side=side)
    desk.open(order)
    desk.close(order, price=price)
    assert streak(desk) == expected


@pytest.mark.parametrize(("commission", "expected"), [("0.4", (1, 0)), ("0.5", (0, 0)), ("0.6", (0, 1))])
def test_all_commissions_count_against_the_trade(commission: str, expected: tuple[int, int]) -> None:
    desk = Desk()
    order = desk.sized()
    desk.open(order, commission=commission)
    desk.close(order, price="11", commission="0.5")
    assert streak(desk) == expected


def test_an_order_without_a_fill_is_no_trade() -> None:
    desk = Desk()
    desk.fill(desk.sized(), exec_type="REJECTED", commission="5")
    assert streak(desk) == (0, 0)


def test_flat_while_working_is_no_end_of_the_trade() -> None:
    desk = Desk()
    order = desk.sized()
    desk.open(order, leaves_qty="1")
    desk.close(order, price="9")
    assert streak(desk) == (0, 0)
    desk.fill(order, exec_type="CANCELED")
    assert streak(desk) == (0, 1)


def test_a_reservation_lapses_a_minute_after_its_end() -> None:
    desk = Desk()
    order = desk.sized()
    desk.open(order, "0.3", "100", leaves_qty="0.7")
    desk.later(minutes=16)
    assert desk.signal(0.1).event_types == []
    desk.later(microseconds=1)
    answer = desk.signal(0.1)
    assert answer.event_types == ["RESERVATION_EXPIRED"]
    assert answer.events[0]["order_id"] == order["order_id"]
    assert answer.events[0]["exposure"] == "30"
    assert answer.order is not None
    assert answer.order["exposure_before"] == "30"


def test_reservations_lapse_in_order_and_close_their_trades() -> None:
    desk = Desk()
    first, second = desk.sized(), desk.sized()
    for order in (second, first):
        desk.open(order, leaves_qty="1")
        desk.close(order, price="9")
    desk.later(hours=1)
    answer = desk.signal()
    assert answer.event_types == ["RESERVATION_EXPIRED", "RESERVATION_EXPIRED", "DRAWDOWN_ENTERED"]
    assert [event["order_id"] for event in answer.events] == [
        first["order_id"],
        second["order_id"],
        second["order_id"],
    ]
    assert [event["consecutive_losses"] for event in answer.events] == [1, 2, 2]
    assert [event["drawdown_active"] for event in answer.events] == [False, False, True]
    assert answer.order is not None
    assert answer.order["notional"] == "50"


def test_a_late_fill_is_real_and_its_order_never_works_again() -> None:
    desk = Desk()
    order = desk.sized()
    desk.fill(order, exec_type="CANCELED")
    assert exposure(desk) == "0"
    desk.open(order, "0.2", "100", leaves_qty="5")
    assert exposure(desk) == "20"
    desk.close(order, "0.2", "101")
    assert streak(desk) == (1, 0)


def test_a_further_trade_starts_from_zero() -> None:
    desk = Desk()
    order = desk.sized()
    desk.open(order, commission="7")
    desk.close(order, price="11")  # a loss by its commissions
    desk.open(order)
    desk.close(order, price="11")  # a win: the commissions of the first trade are gone
    assert streak(desk) == (1, 0)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"exec_type": "CANCELED"}, "ORDER_FINISHED"),
        ({"exec_type": "EXPIRED", "position_effect": "CLOSE", "commission": "1"}, "ORDER_FINISHED"),
    ],
)
def test_reports_on_a_finished_order_are_ignored(fields: dict[str, Any], expected: str) -> None:
    desk = Desk()
    order = desk.sized()
    desk.fill(order, exec_type="CANCELED")
    assert desk.fill(order, **fields).ignored == expected


def test_closing_more_than_is_open_is_a_dead_letter() -> None:
    desk = Desk()
    order = desk.sized()
    desk.open(order, "1")
    assert desk.close(order, "1.000000000001").code == "CLOSE_EXCEEDS_OPEN"
    desk.close(order, "1")
    assert desk.close(order, "1").code == "CLOSE_EXCEEDS_OPEN"


def test_an_exec_id_counts_once_per_order() -> None:
    desk = Desk()
    first, second = desk.sized(), desk.sized()
    assert desk.open(first, exec_id="X").applied
    assert desk.open(first, exec_id="X").ignored == "REPEATED_EXEC_ID"
    assert desk.open(second, exec_id="X").applied


def test_only_sized_orders_of_the_portfolio_are_known() -> None:
    desk = Desk()
    skipped = desk.signal(0.1).order
    assert skipped is not None
    assert desk.open(skipped).code == "UNKNOWN_ORDER"
    assert desk.open({"order_id": "nothing"}).code == "UNKNOWN_ORDER"
    assert Desk().open(skipped).code == "UNKNOWN_ORDER"


@pytest.mark.parametrize(("extra", "code"), [({}, None), ({"microseconds": 1}, "UNKNOWN_ORDER")])
def test_a_finished_order_is_forgotten_after_24_hours(extra: dict[str, int], code: str | None) -> None:
    desk = Desk()
    order = desk.sized()
    desk.fill(order, exec_type="CANCELED")
    desk.later(hours=24, **extra)
    desk.signal(0.1)
    assert desk.open(order).code == code


def test_an_open_order_is_never_forgotten() -> None:
    desk = Desk()
    order = desk.sized()
    desk.open(order)
    desk.later(days=400)
    desk.signal(0.1)
    assert desk.close(order).applied


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"last_qty": "100000000000000", "last_px": "1000000000000"}, "filled cost"),
        ({"last_qty": "99999999999999", "last_px": "999999999999"}, None),
    ],
)
def test_totals_stay_in_range(fields: dict[str, str], named: str | None) -> None:
    desk = Desk()
    answer = desk.fill(desk.sized(), **fields)
    assert (answer.dead_letter is None) == (named is None)
    if answer.dead_letter is not None and named is not None:
        assert answer.code == "OUT_OF_RANGE"
        assert named in answer.dead_letter["headers"]["__streams.errors.message"]
        assert exposure(desk) == "100"
