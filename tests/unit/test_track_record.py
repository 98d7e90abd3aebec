"""Phases are earned by closed trades, and by nothing else."""

import pytest

from tests.desk import Answer, Desk


def history(desk: Desk, results: str, win: str = "30", loss: str = "-10") -> Answer:
    answer = Answer()
    for result in results:
        answer = desk.trade({"W": win, "L": loss, "S": "0"}[result])
    return answer


def test_phase_2_is_earned_by_20_trades() -> None:
    desk = Desk()
    answer = history(desk, "WL" * 8 + "WWWW")
    assert answer.event_types == ["PHASE_UPGRADED"]
    event = answer.events[0]
    assert (event["phase"], event["previous_phase"]) == (2, 1)
    assert (event["trades"], event["wins"], event["losses"]) == (20, 12, 8)
    assert (event["win_rate"], event["profit_factor"]) == ("0.6", "4.5")
    order = desk.sized()
    assert (order["notional"], order["phase"], order["base_fraction"]) == ("250", 2, "0.0025")


def test_the_win_rate_must_be_above_the_threshold() -> None:
    desk = Desk()
    history(desk, "WL" * 9 + "WW")  # 11 of 20: 0.55
    assert desk.sized()["phase"] == 1


def test_the_profit_factor_must_be_above_the_threshold() -> None:
    desk = Desk()
    history(desk, "WL" * 8 + "WWWW", win="8", loss="-10")  # 96 / 80 = 1.2
    assert desk.sized()["phase"] == 1


def test_without_a_loss_any_profit_is_enough() -> None:
    desk = Desk()
    event = history(desk, "W" * 20, win="0.000001").events[0]
    assert (event["type"], event["profit_factor"], event["win_rate"]) == ("PHASE_UPGRADED", None, "1")


def test_scratches_count_as_trades_that_were_not_won() -> None:
    desk = Desk()
    history(desk, "W" * 11 + "S" * 9)
    assert desk.sized()["phase"] == 1


def test_phase_3_is_the_last() -> None:
    desk = Desk()
    history(desk, "W" * 20)
    assert history(desk, "W" * 50).events[0]["phase"] == 3
    assert desk.sized()["notional"] == "500"
    assert history(desk, "W" * 60).event_types == []


def test_a_trade_counts_for_the_phase_it_was_sized_in() -> None:
    desk = Desk()
    late = desk.sized()
    desk.open(late)
    history(desk, "W" * 20)
    desk.close(late, realized_pnl="-5")
    history(desk, "W" * 49)
    assert desk.sized()["phase"] == 2
    assert history(desk, "W").event_types == ["PHASE_UPGRADED"]


def test_drawdown_is_told_before_the_upgrade_with_the_old_phase() -> None:
    desk = Desk()
    history(desk, "W" * 17 + "LL")
    answer = history(desk, "W")
    assert answer.event_types == ["PHASE_UPGRADED"]
    assert answer.events[0]["drawdown_active"] is True
    answer = history(desk, "W")
    assert answer.event_types == ["DRAWDOWN_EXITED"]
    assert (answer.events[0]["phase"], answer.events[0]["trades"]) == (2, 1)


def test_exit_and_upgrade_at_one_trade() -> None:
    desk = Desk()
    answer = history(desk, "W" * 16 + "LLWW")
    assert answer.event_types == ["DRAWDOWN_EXITED", "PHASE_UPGRADED"]
    exited, upgraded = answer.events
    assert (exited["phase"], exited["trades"], exited["drawdown_active"]) == (1, 20, False)
    assert (upgraded["phase"], upgraded["trades"], upgraded["previous_phase"]) == (2, 20, 1)


@pytest.mark.parametrize(("value", "breached"), [("5000", True), ("10000", False)])
def test_a_fall_in_value_can_break_the_limit_and_is_told_once(value: str, *, breached: bool) -> None:
    desk = Desk()
    desk.open(desk.sized(), "1", "100")
    answer = desk.signal(0.1, portfolio_value=value)
    assert ("EXPOSURE_BREACHED" in answer.event_types) == breached
    assert desk.signal(0.1, portfolio_value=value).event_types == []


def test_a_fill_beyond_the_limit_is_told_with_its_order() -> None:
    desk = Desk()
    order = desk.sized()
    answer = desk.open(order, "2", "1000")
    assert answer.event_types == ["EXPOSURE_BREACHED"]
    assert answer.events[0]["order_id"] == order["order_id"]
    assert answer.events[0]["at"] == "2026-01-05T12:00:00.000000Z"


def test_a_new_portfolio_announces_its_policy() -> None:
    answer = Desk().signal()
    assert answer.event_types == ["PORTFOLIO_OPENED"]
    assert answer.events[0]["policy_id"] == "d66c3bc987b08424"
    assert '"base_fraction_1":"0.001"' in answer.events[0]["policy"]


def test_a_changed_policy_is_taken_at_the_next_decision() -> None:
    desk = Desk()
    desk.open(desk.sized(), "1", "600")
    desk.feed({"policy": {"exposure_limit": "0.005", "drawdown_on_losses": 1}})
    answer = desk.signal()
    assert answer.event_types == ["POLICY_CHANGED", "EXPOSURE_BREACHED"]
    assert answer.events[0]["order_id"] is None
    assert answer.order is not None
    assert (answer.order["skip_reason"], answer.order["exposure_limit"]) == ("EXPOSURE_LIMIT", "500")


def test_fills_are_judged_by_the_policy_of_the_last_decision() -> None:
    desk = Desk()
    order = desk.sized()
    desk.open(order)
    desk.feed({"policy": {"drawdown_on_losses": 1}})
    assert desk.close(order, realized_pnl="-1").event_types == []
