"""`explain`: each skip reason, each phase and a drawdown by hand; what would have had to differ is tried."""

import json
import random
from decimal import Decimal
from typing import Any

import pytest

from app.core.messages import Signal
from app.core.policy import Policy
from app.replay.case import Alternative, Case
from app.replay.explaining import explain
from app.replay.explanation import Explanation, Outcome
from app.replay.ledger import Ledger
from app.replay.library import steps
from app.topics import SIGNALS
from tests.account import Account, Sent
from tests.history import MINUTE, NOON, Day, MemorySource


def one(account: Account, wanted: str, **options: Any) -> Explanation:
    (found,) = explain(account.source, wanted, **options).explanations
    assert found.is_identical
    return found


def point(found: Explanation, step: str) -> dict[str, Any]:
    (numbers,) = [point.numbers for point in found.points if point.step == step]
    return numbers


def alternative(found: Explanation, change: str) -> Alternative:
    return next(one for one in found.alternatives if one.change == change)


def tried(alternative: Alternative, answer: Sent) -> bool:
    """Tell whether the history with the change had the answer that was told."""
    told = (alternative.decision, alternative.skip_reason, alternative.notional)
    return told == (answer["decision"], answer["skip_reason"], Decimal(answer["notional"]))


def sent_later(account: Account, signal_id: str, at: int) -> Sent:
    """Return the answer to a signal that comes only when all else until then has come."""
    copy, signal = Account(), {}
    for now, topic, value in account.sent:
        if value.get("signal_id") == signal_id:
            signal = value
        elif now <= at:
            copy.now = now
            copy.send(topic, value)
    copy.now = at
    return copy.send(SIGNALS, signal)


def test_a_size_by_hand() -> None:
    account = Account()
    account.order()
    account.later(30)
    account.order(0.7, portfolio_value=None, price="3")
    found = one(account, "S-2")
    assert (found.outcome, found.order_id) == (Outcome.SIZED, account.orders["S-2"]["order_id"])
    assert [point.step for point in found.points] == [
        *("policy", "value", "limit", "halted", "expired", "confidence"),
        *("value_known", "notional", "quantity", "exposure", "sized"),
    ]
    assert (point(found, "value")["topic"], point(found, "value")["offset"]) == ("desk.signals", 0)
    assert point(found, "value")["event_time"] == NOON
    # 100,000 x 0.1 % x 0.75; 75 / 3; 100 reserved by the order before
    assert point(found, "notional")["notional"] == 75
    assert point(found, "quantity")["quantity"] == 25
    assert (point(found, "exposure")["total"], point(found, "exposure")["limit"]) == (175, 1000)
    assert found.text == "sized: notional 75, quantity 25"
    (order,) = found.orders
    assert (order.signal_id, order.decided_at, order.is_working) == ("S-1", NOON, True)
    assert (order.filled_cost, order.open_cost, order.reserved, order.exposure) == (0, 0, 100, 100)
    assert found.recomputed == found.published
    assert json.loads(found.published or "")["notional"] == "75"


def test_an_order_is_found_by_its_id_and_the_same_is_told() -> None:
    account = Account()
    account.order()
    order = account.order(0.7)
    assert one(account, order["order_id"]) == one(account, "S-2") == one(account, "S-2", portfolio="PF")


def test_exposure_limit_and_until_when() -> None:
    account = Account()
    orders = [account.order() for _ in range(10)]
    account.later(60)
    account.order()
    account.later(20)
    account.open(orders[3])
    account.later(18)
    account.close(orders[3], last_px="51")
    found = one(account, "S-11")
    assert found.text.startswith("skipped, EXPOSURE_LIMIT: 1,000 + 100 = 1,100 is beyond the limit of 1,000, by 100")
    assert sum(order.exposure for order in found.orders) == 1000
    exposure = alternative(found, "exposure")
    assert (exposure.to, exposure.relation, exposure.notional) == ("900", "at_most", 100)
    later = alternative(found, "later")
    assert later.seconds == 38
    assert later.because == f"order {orders[3]['order_id']} closed"
    # Sent 38 s later it is sized, a second earlier it is not.
    for seconds, decision in ((38, "SIZED"), (37, "SKIPPED")):
        assert sent_later(account, "S-11", NOON + MINUTE + seconds * 1_000_000)["decision"] == decision
    # Without any one order it is sized.
    alone = [one for one in found.alternatives if one.change == "without_order"]
    assert len(alone) == 10
    for without in alone:
        signal_id = next(order["signal_id"] for order in orders if order["order_id"] == without.to)

        def leave_out(now: int, topic: str, value: Sent, gone: str = signal_id) -> Any:
            return None if value.get("signal_id") == gone else (now, value)

        assert tried(without, account.again(leave_out).orders["S-11"])


def test_the_least_portfolio_value_is_exact() -> None:
    account = Account()
    for _ in range(10):
        account.order()
    account.order()
    value = alternative(one(account, "S-11"), "portfolio_value")
    # 1,000 + 0.001 V <= 0.01 V, the notional rounded down: 1,111.11 <= 0.01 V
    assert (value.to, value.notional) == ("111111", Decimal("111.11"))
    assert tried(value, account.with_signal("S-11", portfolio_value=value.to))
    assert account.with_signal("S-11", portfolio_value="111110.999999999999")["skip_reason"] == "EXPOSURE_LIMIT"


@pytest.mark.parametrize("seed", range(3))
def test_all_that_is_told_of_a_day_is_another_answer(seed: int) -> None:
    """Of much that a day skipped or sized: each change that is told brings another answer."""
    day = Day(seed, signals=160)
    source = MemorySource({topic: list(log) for topic, log in day.records.items()})
    asked = 0
    for record in day.records[SIGNALS]:
        signal_id = json.loads(record.value or b"{}").get("signal_id") if record.value != b"{" else None
        if signal_id is None or record.offset % 9:
            continue
        for found in explain(source, signal_id, portfolio=(record.key or b"").decode()).explanations:
            asked += found.outcome in (Outcome.SIZED, Outcome.SKIPPED)
            assert found.is_identical is not False
            for told in found.alternatives:
                answer = json.loads(found.published or "")
                assert (told.decision, told.skip_reason, told.notional) != (
                    answer["decision"],
                    answer["skip_reason"],
                    Decimal(answer["notional"]),
                ) or told.quantity != (answer["quantity"] and Decimal(answer["quantity"]))
    assert asked > 5


def test_no_smaller_value_would_have_done() -> None:
    """Tried at random below the least value that is told, and between the value held and the next one that does."""
    seed = 100
    print(f"seed {seed}")
    dice, ledgers, tried_values = random.Random(seed), dict[str, Ledger](), 0
    day = Day(seed)
    for step in steps(MemorySource({topic: list(log) for topic, log in day.records.items()}), trades=True):
        effect = step.effect
        if effect is None:
            continue
        ledger = ledgers.setdefault(effect.after.portfolio_id, Ledger())
        if isinstance(step.message, Signal) and step.policy is not None:
            lapsed = {after.order_id: after for before, after in effect.orders if before is not None}
            case = Case.of(effect, step.message, step.policy, tuple((ledger.orders | lapsed).values()))
            held = Decimal(dice.randrange(200_000))
            for start in (Decimal(0), held):
                least = case.least_value(start)
                for _ in range(10):
                    value = round(start + ((least or Decimal(10**6)) - start) * Decimal(dice.random()), 12)
                    if least is None or start <= value < least:
                        assert case.with_value(value).skip_reason is not None
                        tried_values += 1
                if least is not None:
                    assert case.with_value(least).skip_reason is None
        ledger.take(step)
    assert tried_values > 1_000


def test_with_a_limit_below_one_order_no_value_is_enough() -> None:
    account = Account(Policy({"exposure_limit": "0.0005"}))
    account.order()
    found = one(account, "S-1")
    assert found.text.startswith("skipped, EXPOSURE_LIMIT: 0 + 100 = 100 is beyond the limit of 50, by 50")
    assert {one.change for one in found.alternatives} == {"confidence", "drawdown"}


def test_low_confidence_and_the_bands() -> None:
    account = Account()
    account.order(0.59)
    found = one(account, "S-1")
    assert found.text == "skipped, LOW_CONFIDENCE: confidence 0.59 is below 0.6"
    assert found.points[-1].step == "confidence"
    bands = [one for one in found.alternatives if one.change == "confidence"]
    assert [(one.relation, one.to, one.notional) for one in bands] == [("at_least", "0.6", 75), ("above", "0.85", 100)]
    assert tried(bands[0], account.with_signal("S-1", confidence=0.6))
    assert account.with_signal("S-1", confidence=0.5999999999999999)["decision"] == "SKIPPED"
    assert tried(bands[1], account.with_signal("S-1", confidence=0.86))
    assert tried(bands[1], account.with_signal("S-1", confidence=0.8500000000000001))
    assert account.with_signal("S-1", confidence=0.85)["notional"] == "75"


def test_with_a_lower_confidence_less_or_nothing() -> None:
    account = Account()
    account.order(0.9)
    bands = [one for one in one(account, "S-1").alternatives if one.change == "confidence"]
    assert [(one.relation, one.to, one.notional) for one in bands] == [("below", "0.6", 0), ("at_most", "0.85", 75)]


def test_a_signal_that_had_expired() -> None:
    account = Account()
    account.order(expires_at=NOON - 2_500_000)
    found = one(account, "S-1")
    assert found.text == (
        "skipped, SIGNAL_EXPIRED: the signal ends at 2026-01-05 11:59:57.5, 2.5 s before it was decided"
    )
    expiry = alternative(found, "expires_at")
    assert (expiry.to, expiry.notional) == ("2026-01-05T12:00:00.000000Z", 100)
    assert tried(expiry, account.with_signal("S-1", expires_at=expiry.to))
    assert account.with_signal("S-1", expires_at=NOON - 1)["skip_reason"] == "SIGNAL_EXPIRED"


def test_no_portfolio_value_and_when_one_came() -> None:
    account = Account(value=None)
    account.order()
    account.later(12)
    account.order(portfolio_value="50000")
    found = one(account, "S-1")
    assert found.text == "skipped, NO_PORTFOLIO_VALUE: no portfolio value is known: nothing can be sized"
    value = alternative(found, "portfolio_value")
    # 0.1 % of 10 is a cent; a cent at a price of 50 is a quantity of 0.0002; the limit of 10 is 0.10.
    assert (value.to, value.notional) == ("10", Decimal("0.01"))
    assert tried(value, account.with_signal("S-1", portfolio_value=value.to))
    assert account.with_signal("S-1", portfolio_value="9.999999999999")["decision"] == "SKIPPED"
    later = alternative(found, "later")
    assert (later.seconds, later.notional) == (12, 50)
    assert later.because == "the portfolio value became 50000"


def test_below_the_minimum_by_money_and_by_quantity() -> None:
    account = Account()
    account.order(portfolio_value="9")
    account.order(portfolio_value="100000", price="20000000000")
    by_money, by_quantity = one(account, "S-1"), one(account, "S-2")
    assert by_money.points[-1].step == "notional"
    assert "9 x 0.1 % (phase 1) x 1 (confidence) x 1 (drawdown) = 0, rounded down to 0.01" in by_money.text
    assert tried(alternative(by_money, "portfolio_value"), account.with_signal("S-1", portfolio_value="10"))
    assert by_quantity.points[-1].step == "quantity"
    price = alternative(by_quantity, "price")
    assert (price.to, price.quantity) == ("10000000000", Decimal("0.00000001"))
    assert tried(price, account.with_signal("S-2", price=price.to))
    assert account.with_signal("S-2", price="10000000000.000000000001")["decision"] == "SKIPPED"
    value = alternative(by_quantity, "portfolio_value")
    assert (value.to, value.notional) == ("200000", 200)
    assert tried(value, account.with_signal("S-2", portfolio_value="200000"))
    assert account.with_signal("S-2", portfolio_value="199999.999999999999")["decision"] == "SKIPPED"


def test_drawdown_by_hand() -> None:
    account = Account()
    lost = [account.trade("-1"), account.trade("-2")]
    account.later(5)
    account.order(signal_id="X")
    found = one(account, "X")
    assert found.text == "sized: notional 50, quantity 1"
    assert found.drawdown
    assert found.drawdown_since == NOON
    assert [trade.result for trade in found.drawdown_trades] == [-1, -2]
    assert [trade.order_id for trade in found.streak] == [order["order_id"] for order in lost]
    without = alternative(found, "drawdown")
    assert (without.to, without.notional) == ("off", 100)
    # Had the second one been won, protection would be off.
    assert tried(
        without,
        account.again(
            lambda now, topic, value: (
                now,
                value | ({"realized_pnl": "2"} if value.get("realized_pnl") == "-2" else {}),
            )
        ).orders["X"],
    )


def test_the_streak_that_is_told_is_the_one_that_counts() -> None:
    account = Account()
    for result in ("-1", "-1", "1", "0", "-1", "1", "1"):
        account.trade(result)
    account.order(signal_id="X")
    found = one(account, "X")
    assert [trade.result for trade in found.streak] == [1, 1]
    assert not found.drawdown
    assert found.drawdown_trades == ()


def test_what_a_phase_lacks_by_hand() -> None:
    account = Account()
    account.order(signal_id="NEW")
    for result in ["30"] * 11 + ["-10"] * 9:
        account.trade(result)
    account.order(signal_id="X")
    first = one(account, "NEW").proof
    assert first is not None
    assert first.missing == (
        "20 more trades (0 of 20)",
        "a win rate above 55 % (no trade yet)",
        "a gross profit above 1.2 x the gross loss (0 against 0)",
    )
    proof = one(account, "X").proof
    assert proof is not None
    assert (proof.phase, proof.trades, proof.wins, proof.losses) == (1, 20, 11, 9)
    assert (proof.gross_profit, proof.gross_loss) == (330, 90)
    assert proof.missing == ("a win rate above 55 % (11 of 20 won)",)


def test_phases_2_and_3_by_hand() -> None:
    account = Account()
    for result in ["-10"] * 8 + ["30"] * 12:
        account.trade(result)
    account.later(60)
    account.order(signal_id="TWO")
    for result in ["-10"] * 20 + ["30"] * 30:
        account.trade(result)
    account.later(60)
    account.order(signal_id="THREE")
    two, three = one(account, "TWO"), one(account, "THREE")
    assert (two.text, three.text) == ("sized: notional 250, quantity 5", "sized: notional 500, quantity 10")
    assert two.proof is not None
    assert (two.proof.phase, two.proof.since, two.proof.trades, two.proof.next_phase) == (2, NOON, 0, 3)
    assert three.proof is not None
    assert (three.proof.phase, three.proof.next_phase, three.proof.missing) == (3, None, ())
    lower = {one.to: one.notional for one in three.alternatives if one.change == "phase"}
    assert lower == {"1": 100, "2": 250}


def test_a_reservation_that_lapses_then_and_one_that_would_later() -> None:
    account = Account()
    account.order(signal_id="OLD")
    account.later(16 * 60 + 1)
    orders = [account.order() for _ in range(10)]
    account.order(signal_id="X")
    lapse = one(account, orders[0]["order_id"])
    assert point(lapse, "lapse")["freed"] == 100
    assert point(lapse, "exposure")["exposure_before"] == 0
    assert lapse.orders == ()
    later = alternative(one(account, "X"), "later")
    # 15 minutes, the minute of grace, and a microsecond
    assert later.seconds == Decimal("960.000001")
    assert later.because == f"the reservation of order {orders[0]['order_id']} has lapsed"


def test_a_changed_policy_and_an_older_value() -> None:
    account = Account()
    account.order()
    account.later(10)
    account.restart(tighter := Policy({"base_fraction_1": "0.0005"}))
    account.order(portfolio_value="90000", generated_at=NOON - 1)
    found = one(account, "S-2")
    assert point(found, "policy") == {
        "policy_id": tighter.policy_id,
        "previous": account.orders["S-1"]["policy_id"],
    }
    assert found.points[1].text.endswith("the 90,000 given with this signal is older and was not taken")
    assert found.text == "sized: notional 50, quantity 1"
