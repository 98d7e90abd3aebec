"""The steps of a history: what each record changed, what exposed the portfolio, the trades that closed."""

from collections import Counter
from decimal import Decimal
from typing import Any

import pytest

from app.core.exact import CONTEXT
from app.core.exposure import order_exposure
from app.core.messages import Fill, Signal
from app.replay import Status, Step, Trade, steps
from app.replay.trades import TradeBook
from app.topics import FILLS, SIGNALS
from tests.history import HOUR, MINUTE, NOON, Day, MemorySource, Recorder


def day(seed: int = 5) -> MemorySource:
    print(f"seed {seed}")
    return MemorySource({topic: list(log) for topic, log in Day(seed).records.items()})


def test_steps_are_all_inputs_in_the_order_of_the_worker() -> None:
    source = day()
    seen: list[tuple[str, int]] = []
    fills = -1
    for step in steps(source):
        assert step.status is Status.RECOMPUTED
        assert step.is_identical
        seen.append((step.record.topic, step.record.offset))
        if step.record.topic == FILLS:
            fills = step.record.offset
        elif step.answer is not None:
            assert step.answer.fills_offset == fills
            assert step.now == step.answer.decided_at
            assert step.policy is not None
            assert step.policy.policy_id == step.answer.policy_id
            assert step.sized_order is not None
            assert step.sized_order.order_id == step.answer.order_id
    (logs,) = source.logs
    assert sorted(seen) == sorted((topic, record.offset) for topic in (SIGNALS, FILLS) for record in logs[topic])


def test_what_exposed_the_portfolio_adds_up_to_its_exposure() -> None:
    asked = Counter[bool]()
    for step in steps(day()):
        effect = step.effect
        if effect is None or effect.before is None:
            continue
        orders = step.open_orders()
        assert sum(map(order_exposure, orders)) == effect.before.exposure
        assert [order.sequence for order in orders] == sorted(order.sequence for order in orders)
        asked[bool(orders)] += 1
        changed = sum(
            order_exposure(after) - (order_exposure(before) if before else 0) for before, after in effect.orders
        )
        assert CONTEXT.add(effect.before.exposure, Decimal(changed)) == effect.after.exposure
    assert asked[True] > 100


def test_open_orders_are_of_the_last_step_only() -> None:
    walk = steps(day())
    first = next(walk)
    next(walk)
    with pytest.raises(RuntimeError, match="before the next step"):
        first.open_orders()


def test_steps_of_one_portfolio_are_those_of_the_whole() -> None:
    def told(step: Step) -> tuple[Any, ...]:
        return step.record, step.now, step.outcome, step.effect

    whole = [told(step) for step in steps(day()) if step.record.key == b"PF-1"]
    assert [told(step) for step in steps(day(), portfolio="PF-1")] == whole


class Desk(Recorder):
    """One portfolio, at a known time, worth 100,000."""

    def __init__(self) -> None:
        super().__init__()
        self.now: int = NOON
        self._count = 0

    def order(self, side: str = "BUY", **fields: Any) -> dict[str, Any]:
        self._count += 1
        signal = {
            "signal_id": f"S-{self._count}",
            "portfolio_id": "PF",
            "symbol": "ES",
            "side": side,
            "confidence": 0.9,
            "price": "50",
            "portfolio_value": "100000",
            "generated_at": self.now,
        }
        return self.take(SIGNALS, b"PF", signal | fields)[0]

    def fill(self, order: dict[str, Any], **fields: Any) -> None:
        self._count += 1
        report = {"exec_id": f"E-{self._count}", "order_id": order["order_id"], "portfolio_id": "PF"}
        self.take(FILLS, b"PF", report | {"exec_type": "TRADE", "transact_time": self.now} | fields)

    def trades(self) -> list[Trade]:
        source = MemorySource({topic: list(log) for topic, log in self.records.items()})
        return [trade for step in steps(source, trades=True) for trade in step.trades]


def test_a_trade_by_hand() -> None:
    desk = Desk()
    order = desk.order(strategy_id="trend")
    desk.now += 10_000_000
    desk.fill(order, last_qty="0.5", last_px="50", leaves_qty="1.5", commission="0.1")
    desk.now += 5_000_000
    desk.fill(order, last_qty="1.5", last_px="52", leaves_qty="0", commission="0.1")
    desk.now += MINUTE
    desk.fill(order, position_effect="CLOSE", last_qty="1", last_px="55")
    desk.now += MINUTE
    desk.fill(order, position_effect="CLOSE", last_qty="1", last_px="49", commission="0.05")
    (trade,) = desk.trades()
    assert (trade.order_id, trade.number, trade.symbol, trade.strategy_id) == (order["order_id"], 1, "ES", "trend")
    assert (trade.phase, trade.confidence, trade.notional) == (1, 0.9, Decimal(100))
    assert (trade.base_fraction, trade.confidence_multiplier, trade.drawdown_multiplier) == (Decimal("0.001"), 1, 1)
    assert (trade.entry_quantity, trade.entry_cost, trade.entry_price) == (2, 103, Decimal("51.5"))
    assert (trade.exit_quantity, trade.exit_value, trade.exit_price) == (2, 104, 52)
    assert (trade.realized, trade.commissions, trade.result) == (1, Decimal("0.25"), Decimal("0.75"))
    assert (trade.decided_at, trade.opened_at) == (NOON, NOON + 10_000_000)
    assert trade.holding_time == trade.closed_at - trade.opened_at == 5_000_000 + 2 * MINUTE
    assert trade.is_evidence
    assert (trade.closed_by, trade.closed_by_offset) == (FILLS, desk.records[FILLS][-1].offset)
    assert trade.portfolio_value == 100_000


def test_a_short_trade_that_a_lapse_closes_and_what_never_filled_is_none() -> None:
    desk = Desk()
    order, unfilled = desk.order("SELL"), desk.order()
    desk.fill(order, last_qty="1", last_px="50", leaves_qty="1")
    desk.now += MINUTE
    desk.fill(order, position_effect="CLOSE", last_qty="1", last_px="49")
    assert desk.trades() == []
    desk.fill(unfilled, exec_type="CANCELED")
    desk.now += HOUR
    desk.order()
    (trade,) = desk.trades()
    assert (trade.side, trade.result, trade.closed_by) == ("SELL", 1, SIGNALS)
    assert trade.closed_at == desk.now
    assert trade.opened_at == NOON


def test_a_late_fill_begins_another_trade_of_the_order() -> None:
    desk = Desk()
    order = desk.order()
    for price in ("51", "49"):
        desk.fill(order, last_qty="2", last_px="50", leaves_qty="0")
        desk.now += MINUTE
        desk.fill(order, position_effect="CLOSE", last_qty="2", last_px=price)
    assert [(trade.number, trade.result, trade.entry_cost) for trade in desk.trades()] == [(1, 2, 100), (2, -2, 100)]


def test_results_are_those_that_the_phase_was_earned_by() -> None:
    counts = Counter[tuple[str, str]]()
    for step in steps(day(), trades=True):
        effect = step.effect
        if effect is None:
            assert step.trades == ()
            continue
        for trade in step.trades:
            counts[trade.portfolio_id, "win" if trade.result > 0 else "loss" if trade.result < 0 else "scratch"] += 1
        before = effect.before
        if before is not None and effect.after.phase == before.phase == 1:
            portfolio = effect.after
            assert counts[portfolio.portfolio_id, "win"] == portfolio.evidence.wins
            assert counts[portfolio.portfolio_id, "loss"] == portfolio.evidence.losses
    assert sum(counts.values()) > 40


def test_a_book_of_trades_goes_on_from_its_rows() -> None:
    whole = [trade for step in steps(day(), trades=True) for trade in step.trades]
    book, found = TradeBook(), list[Trade]()
    for number, step in enumerate(steps(day())):
        if number % 50 == 0:
            book = TradeBook(list(book.rows()))
        effect = step.effect
        if effect is not None:
            assert isinstance(step.message, Signal | Fill)
            found += book.take(step.record, step.message, effect)
    assert found == whole
    assert len(whole) > 40
    assert {trade.closed_by for trade in whole} == {SIGNALS, FILLS}
