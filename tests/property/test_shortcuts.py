"""What is written for speed says the same as the plain way."""

import math
from decimal import Decimal
from typing import Any
from uuid import uuid5

import orjson
from hypothesis import given
from hypothesis import strategies as st

from app.codecs import canonical_time, encode_phase_event, encode_sized_order
from app.core.exact import plain
from app.core.messages import NAMESPACE, Decision, PhaseEvent, PhaseEventType, Side, SizedOrder, SkipReason, event_id_of
from app.core.policy import Policy
from app.core.sizing import factors
from app.core.state import Evidence, Order, Portfolio
from app.processor import MemoryStore
from app.processor.rows import PortfolioRow, encode_portfolio, time_of
from app.processor.working import WorkingOrders

texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)
decimals = st.decimals("-1e20", "1e20", places=12)
times = st.integers(0, 253_402_300_799_999_999)
counts = st.integers(0, 2**53 - 1)
TIMES = {"decided_at", "send_before", "expires_at", "at"}


def messages(message: type[Any], **given: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Make messages of a type: its fields by name, or by their types."""
    kinds = {str: texts, Decimal: decimals, int: counts, float: st.floats(0, 1), bool: st.booleans()}
    kinds |= {kind | None: st.none() | strategy for kind, strategy in kinds.items()}  # type: ignore[misc]  # unions
    fields = {name: given.get(name, kinds.get(kind)) for name, kind in message.__annotations__.items()}
    return st.builds(message, **{name: strategy for name, strategy in fields.items() if strategy is not None})


sized_orders = messages(
    SizedOrder,
    side=st.sampled_from(Side),
    decision=st.sampled_from(Decision),
    skip_reason=st.none() | st.sampled_from(SkipReason),
    decided_at=times,
    send_before=st.none() | times,
    expires_at=st.none() | times,
)
phase_events = messages(PhaseEvent, type=st.sampled_from(PhaseEventType), at=times)


def by_name(message: SizedOrder | PhaseEvent) -> dict[str, Any]:
    """Return what is to be published of a message, its fields in their order."""
    document: dict[str, Any] = {}
    for name, value in message._asdict().items():
        document[name] = plain(value) if isinstance(value, Decimal) else value
        if name in TIMES and value is not None:
            document[name] = canonical_time(value)
        if isinstance(value, float):
            document[name] = value if value == 0 or value >= 1e-4 else orjson.Fragment(f"{Decimal(repr(value)):f}")
    return document


@given(sized_orders)
def test_a_sized_order_is_published_field_by_field(message: SizedOrder) -> None:
    assert encode_sized_order(message) == orjson.dumps(by_name(message))


@given(phase_events)
def test_a_phase_event_is_published_field_by_field(message: PhaseEvent) -> None:
    assert encode_phase_event(message) == orjson.dumps(by_name(message))


@given(texts, counts)
def test_ids_are_uuids_of_version_5(portfolio_id: str, sequence: int) -> None:
    assert event_id_of(portfolio_id, sequence) == str(uuid5(NAMESPACE, f"{portfolio_id}\x1fphase\x1f{sequence}"))


@given(st.decimals("0.85", "1.1", places=6), st.decimals("0.6", "1.1", places=6), st.integers(-2, 2))
def test_a_confidence_is_compared_as_its_shortest_decimal(full: Decimal, minimum: Decimal, steps: int) -> None:
    policy = Policy({"confidence_full": full, "confidence_minimum": minimum, "multiplier_full": "0.9"})
    for threshold in (full, minimum):
        confidence = float(threshold)
        for _ in range(abs(steps)):
            confidence = math.nextafter(confidence, math.copysign(math.inf, steps))
        confidence = min(confidence, 1.0)
        exact = Decimal(repr(confidence))
        by = factors(Portfolio("PF", policy.policy_id), confidence, policy)
        assert by.confident == (exact >= minimum)
        if by.confident:
            assert by.confidence_multiplier == (Decimal("0.9") if exact > full else Decimal("0.75"))


@given(messages(Portfolio, evidence=messages(Evidence)), messages(Portfolio, evidence=messages(Evidence)))
def test_a_portfolio_changes_only_in_what_is_named(held: Portfolio, other: Portfolio) -> None:
    amounts = {name: getattr(other, name) for name in ("exposure", "value", "value_time", "order_sequence", "time")}
    assert held.with_amounts(**amounts) == held._replace(**amounts)
    record = {name: getattr(other, name) for name in ("evidence", "consecutive_wins", "consecutive_losses")}
    assert held.with_record(**record) == held._replace(**record)


@given(messages(Order, side=st.sampled_from(Side)), messages(Order, side=st.sampled_from(Side)))
def test_an_order_changes_only_in_what_is_named(held: Order, other: Order) -> None:
    names = ("working", "filled_quantity", "filled_cost", "open_quantity", "open_cost", "realized", "commissions")
    traded = {name: getattr(other, name) for name in (*names, "in_trade")}
    assert held.traded(**traded) == held._replace(**traded)
    assert held.finished(other.expires_at) == held._replace(in_trade=False, finished_at=other.expires_at)


@given(messages(Portfolio, evidence=messages(Evidence)))
def test_a_portfolios_time_is_told_without_reading_its_row(portfolio: Portfolio) -> None:
    assert time_of(encode_portfolio(PortfolioRow(portfolio, None))) == portfolio.time


@given(
    st.lists(st.tuples(st.integers(0, 300), st.booleans(), st.none() | st.integers(0, 400), st.booleans())),
    st.sampled_from((0, 1)),
)
def test_working_orders_lapse_in_order_whatever_ended_before(
    steps: list[tuple[int, bool, int | None, bool]], capacity: int
) -> None:
    store = MemoryStore()
    working, left = WorkingOrders(store, capacity), {}
    minute = 60_000_000
    for sequence, (expires_at, ends, now, commits) in enumerate(steps):
        order = Order(f"O-{sequence}", "PF", Side.BUY, 1, sequence, Decimal(1), None, expires_at)
        working.follow(order, was_working=False)
        left[expires_at, sequence] = order
        if ends:
            working.follow(left.pop(min(left))._replace(working=False), was_working=True)
        if now is not None:
            due = [order.order_id for (expires_at, _), order in sorted(left.items()) if expires_at < now]
            assert working.lapsing("PF", now + minute) == due
            assert working.first_expiry("PF") == min((expires_at for expires_at, _ in left), default=None)
        if commits:
            store.write(working.changes())
            working.committed()
