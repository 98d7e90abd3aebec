"""What must hold for every history: hypothesis makes up signals, fills, time and tighter policies."""

from decimal import Decimal
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.policy import TABLE, Tighter
from tests.desk import Desk

CONFIDENCES = st.sampled_from([0.3, 0.6, 0.75, 0.85, 0.9, 1])
VALUES = st.sampled_from([None, "0", "90", "50000", "100000", "100000", "1234567.89"])
AMOUNTS = st.decimals("0.000001", "5", places=6).map(str)

signals = st.fixed_dictionaries({"do": st.just("signal"), "confidence": CONFIDENCES, "value": VALUES})
fills = st.fixed_dictionaries(
    {
        "do": st.sampled_from(["open", "open", "close", "close", "cancel"]),
        "order": st.integers(0, 30),
        "quantity": AMOUNTS,
        "price": st.sampled_from(["1", "20", "33.3", "100"]),
        "leaves": st.sampled_from([None, "0", "1"]),
        "repeat": st.integers(0, 9),
    }
)
waits = st.fixed_dictionaries({"do": st.just("wait"), "minutes": st.sampled_from([0.01, 1, 8, 20, 60 * 25])})
steps = st.lists(st.one_of(signals, signals, fills, fills, waits), min_size=5, max_size=60)


@st.composite
def tighter_policies(draw: st.DrawFn) -> dict[str, Any]:
    """Any policy that the lock lets pass."""
    policy: dict[str, Any] = {}
    for name in draw(st.sets(st.sampled_from(sorted(TABLE)))):
        row = TABLE[name]
        if row.tighter is Tighter.FREE:
            policy[name] = draw(st.integers(60, 86_400))
        elif isinstance(row.table, int):
            low, high = (1, row.table) if row.tighter is Tighter.SMALLER else (row.table, row.table + 50)
            policy[name] = draw(st.integers(low, high))
        else:
            low_, high_ = (Decimal(0), row.table) if row.tighter is Tighter.SMALLER else (row.table, row.table + 1)
            policy[name] = str(draw(st.decimals(low_, high_, places=6)))
    return policy


def live(desk: Desk, history: list[dict[str, Any]], *, restart: bool = False) -> None:
    """Let a desk live through a history. With `restart`, the worker is restarted after every step."""
    orders: list[dict[str, Any]] = []
    for number, step in enumerate(history):
        if step["do"] == "wait":
            desk.later(minutes=step["minutes"])
        elif step["do"] == "signal":
            answer = desk.signal(step["confidence"], portfolio_value=step["value"], price=None)
            if answer.order is not None and answer.order["decision"] == "SIZED":
                orders.append(answer.order)
        elif orders:
            order = orders[step["order"] % len(orders)]
            exec_id = f"E-{number - 1 if step['repeat'] == 0 else number}"
            if step["do"] == "cancel":
                desk.fill(order, exec_type="CANCELED", exec_id=exec_id)
            else:
                desk.fill(
                    order,
                    exec_id=exec_id,
                    position_effect=step["do"].upper(),
                    last_qty=step["quantity"],
                    last_px=step["price"],
                    leaves_qty=step["leaves"],
                )
        if restart:
            desk.simulation.restart()


def published(desk: Desk, topic: str) -> list[dict[str, Any]]:
    lines = (orjson.loads(line) for line in desk.lines)
    return [orjson.loads(line["value"]) for line in lines if line.get("topic") == topic]


@given(steps)
def test_no_order_is_sized_beyond_the_limit(history: list[dict[str, Any]]) -> None:
    desk = Desk()
    live(desk, history)
    for order in published(desk, "sized_orders"):
        before, after = Decimal(order["exposure_before"]), Decimal(order["exposure_after"])
        notional = Decimal(order["notional"])
        assert after == before + notional
        assert before >= 0
        if order["decision"] == "SIZED":
            assert notional > 0
            assert after <= Decimal(order["exposure_limit"])


@given(steps)
def test_every_signal_has_one_answer_and_sequences_have_no_gap(history: list[dict[str, Any]]) -> None:
    desk = Desk()
    live(desk, history)
    orders, events = published(desk, "sized_orders"), published(desk, "phase_events")
    assert len(orders) == sum(1 for step in history if step["do"] == "signal")
    assert len({order["order_id"] for order in orders}) == len(orders)
    assert [order["sequence"] for order in orders] == list(range(1, len(orders) + 1))
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))


@given(steps)
def test_a_breach_is_always_told(history: list[dict[str, Any]]) -> None:
    desk = Desk()
    live(desk, history)
    told = sum(1 for event in published(desk, "phase_events") if event["type"] == "EXPOSURE_BREACHED")
    above = [
        Decimal(order["exposure_before"]) > Decimal(order["exposure_limit"])
        for order in published(desk, "sized_orders")
        if order["exposure_limit"] is not None
    ]
    starts = sum(1 for before, now in zip([False, *above], above, strict=False) if now and not before)
    assert told >= starts


@given(steps)
def test_restarts_and_replays_give_the_same_bytes(history: list[dict[str, Any]]) -> None:
    straight, restarted = Desk(), Desk()
    live(straight, history)
    live(restarted, history, restart=True)
    assert restarted.lines == straight.lines


@given(steps, tighter_policies(), CONFIDENCES)
@settings(max_examples=200)
def test_a_tighter_policy_is_never_looser(
    history: list[dict[str, Any]], policy: dict[str, Any], confidence: float
) -> None:
    answers = []
    for taken in ({}, policy):
        desk = Desk()
        live(desk, history)
        desk.feed({"policy": taken})
        order = desk.signal(confidence).order
        assert order is not None
        answers.append(order)
    table, tighter = answers
    # An order that the table refuses for the limit may fit when it is smaller: the factors and the limit are compared.
    for name in ("base_fraction", "confidence_multiplier", "drawdown_multiplier", "exposure_limit"):
        assert Decimal(tighter[name]) <= Decimal(table[name])
    if table["decision"] == "SIZED" or table["skip_reason"] != "EXPOSURE_LIMIT":
        assert Decimal(tighter["notional"]) <= Decimal(table["notional"])
