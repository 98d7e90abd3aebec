"""Exposure by the published log alone (I3): another way to the same figures, sharing no arithmetic with `app.core`.

Whole numbers of 10^-12 throughout. An order exposes what it has open and, while it works, what it still has reserved.
Walked in the order in which the decisions and the fills were taken; a published figure is compared, never believed.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from app.codecs import BadRecord, fields
from app.core.messages import Fill, Signal
from app.replay.published import Answer, Event

_DIGITS = 12
_UNIT = 10**_DIGITS
_MICRO = 10**6
_SECOND = 10**6
_GRACE = 60 * _SECOND
_MEMORY = 24 * 60 * 60 * _SECOND


@dataclass(slots=True)
class _Order:
    notional: int
    quantity: int | None
    expires_at: int
    works: bool = True
    filled_quantity: int = 0
    filled_cost: int = 0
    open_quantity: int = 0
    open_cost: int = 0
    finished_at: int | None = None
    exec_ids: set[str] = field(default_factory=set)

    @property
    def exposure(self) -> int:
        reserved = max(0, self.notional - self.filled_cost) if self.works else 0
        return self.open_cost + reserved


@dataclass(slots=True)
class _Account:
    orders: dict[str, _Order] = field(default_factory=dict)
    finished: deque[tuple[int, str]] = field(default_factory=deque)
    exposure: int = 0
    value: int | None = None
    value_time: int = -1
    fraction: int = 0
    """Of the value, as a limit: in millionths."""
    time: int = 0
    breached: bool = False
    difference: int = 0
    """Between the published exposure and this one, when it was last told: a lasting one is told once."""

    @property
    def limit(self) -> int | None:
        """In units of 10^-18."""
        return None if self.value is None else max(0, self.value * self.fraction)

    def take_value(self, value: Decimal | None, at: int) -> None:
        if value is not None and at >= self.value_time:
            self.value, self.value_time = units(value), at

    def settle(self, order_id: str, before: int) -> None:
        """Book what changed of an order, and its end if it is over and flat."""
        order = self.orders[order_id]
        self.exposure += order.exposure - before
        if not order.works and not order.open_quantity and order.finished_at is None:
            order.finished_at = self.time
            self.finished.append((self.time, order_id))

    def forget(self) -> None:
        while self.finished and self.finished[0][0] + _MEMORY < self.time:
            finished_at, order_id = self.finished.popleft()
            order = self.orders.get(order_id)
            if order is not None and order.finished_at == finished_at:
                del self.orders[order_id]


class ExposureLog:
    """The exposure of a partition's portfolios, walked record by record. Problems are told as text."""

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}

    def decided(self, answer: Answer, signal: Signal, events: Sequence[Event], fraction: Decimal) -> list[str]:
        """Walk over a decision. `events`: those published with it; `fraction`: the exposure limit of its policy."""
        account = self._accounts.setdefault(answer.portfolio_id, _Account())
        account.time = answer.decided_at
        account.fraction = int(fraction * _MICRO)
        account.take_value(signal.portfolio_value, min(signal.generated_at, answer.decided_at))
        account.forget()
        problems = [*_lapsed(account, events), *_breach(account, events, None)]
        try:
            return [*problems, *_sized(account, answer.order_id, answer.document)]
        except (ValueError, TypeError, KeyError, BadRecord) as error:
            return [*problems, f"its amounts cannot be read: {error}"]

    def filled(self, fill: Fill, events: Sequence[Event]) -> list[str]:
        """Walk over a fill that was not refused as out of range. `events`: those published with it."""
        account = self._accounts.get(fill.portfolio_id)
        order = None if account is None else account.orders.get(fill.order_id)
        if account is None or order is None or fill.exec_id in order.exec_ids:
            return []
        opens, trades = fill.position_effect == "OPEN", fill.exec_type == "TRADE"
        quantity = units(fill.last_qty)
        if trades and not opens and quantity > order.open_quantity:
            return []
        if order.finished_at is not None and not (trades and opens):
            return []
        before = order.exposure
        if trades and opens:
            _open(order, fill, quantity)
        elif trades:
            order.open_cost -= _half_even(order.open_cost * quantity, order.open_quantity)
            order.open_quantity -= quantity
        elif opens:
            order.works = False
        order.exec_ids.add(fill.exec_id)
        account.settle(fill.order_id, before)
        account.take_value(fill.portfolio_value, min(fill.transact_time, account.time))
        return list(_breach(account, events, fill.order_id))


def units(amount: Decimal | str) -> int:
    """Return a decimal with up to 12 places as a whole number of 10^-12. Raises ValueError."""
    text = amount if isinstance(amount, str) else format(amount, "f")
    whole, _, fraction = text.partition(".")
    if len(fraction) > _DIGITS:
        raise ValueError(f"{text} has more than {_DIGITS} decimals")
    return int(whole + fraction.ljust(_DIGITS, "0"))


def plain(amount: int) -> str:
    """Return an amount in units of 10^-12 as people write it."""
    whole, fraction = divmod(abs(amount), _UNIT)
    text = f"{whole}.{fraction:0{_DIGITS}}".rstrip("0").rstrip(".")
    return f"-{text}" if amount < 0 else text


def _half_even(dividend: int, divisor: int) -> int:
    quotient, rest = divmod(dividend, divisor)
    return quotient + (2 * rest > divisor or (2 * rest == divisor and quotient % 2))


def _open(order: _Order, fill: Fill, quantity: int) -> None:
    cost = _half_even(quantity * units(fill.last_px), _UNIT)
    order.finished_at = None
    order.filled_quantity += quantity
    order.filled_cost += cost
    order.open_quantity += quantity
    order.open_cost += cost
    if fill.leaves_qty is not None:
        order.works = order.works and fill.leaves_qty != 0
    elif order.quantity is not None:
        order.works = order.works and order.filled_quantity < order.quantity


def _lapsed(account: _Account, events: Sequence[Event]) -> Iterator[str]:
    """End the reservations that were told to have expired, if it was time."""
    for event in events:
        if event.kind != "RESERVATION_EXPIRED":
            continue
        order_id = str(event.document.get("order_id"))
        order = account.orders.get(order_id)
        if order is None or not order.works:
            yield f"with it the reservation of order {order_id} expired, which had none"
            continue
        if order.expires_at + _GRACE >= account.time:
            yield f"with it the reservation of order {order_id} expired within a minute of its expires_at, or before"
        before, order.works = order.exposure, False
        account.settle(order_id, before)


def _breach(account: _Account, events: Sequence[Event], order_id: str | None) -> Iterator[str]:
    """Compare the breaches of the limit with those that were reported."""
    reported = [event for event in events if event.kind == "EXPOSURE_BREACHED"]
    limit = account.limit
    was, account.breached = account.breached, account.breached if limit is None else account.exposure * _MICRO > limit
    expected = int(account.breached and not was)
    if len(reported) != expected:
        amounts = f"an exposure of {plain(account.exposure)} and a limit of {plain((limit or 0) // _MICRO)}"
        found = (
            f"{len(reported)} EXPOSURE_BREACHED were published" if reported else "no EXPOSURE_BREACHED was published"
        )
        yield f"{found}, expected {expected}: there are {amounts} by the log"
    for event in reported:
        if event.document.get("order_id") != order_id or event.document.get("exposure") != plain(account.exposure):
            yield (
                f"{event} should tell of order {order_id} and an exposure of {plain(account.exposure)}, but tells of "
                f"{event.document.get('order_id')} and {event.document.get('exposure')}"
            )


def _sized(account: _Account, order_id: str, document: dict[str, Any]) -> Iterator[str]:
    sized = document["decision"] == "SIZED"
    before, after, notional = (units(document[name]) for name in ("exposure_before", "exposure_after", "notional"))
    difference = before - account.exposure
    if difference != account.difference:
        account.difference = difference
        yield f"exposure_before is {plain(before)}, by orders, fills and lapses it is {plain(account.exposure)}"
    if after != before + notional:
        yield f"exposure_after is {plain(after)}, not {plain(before)} + {plain(notional)}"
    value = document["portfolio_value"]
    if (None if value is None else units(value)) != account.value:
        held = "none" if account.value is None else plain(account.value)
        yield f"portfolio_value is {value}, by signals and fills it is {held}"
    limit = account.limit
    told, expected = document["exposure_limit"], None if limit is None else plain(limit // _MICRO)
    if told != expected:
        yield f"exposure_limit is {told}, by value and policy it is {expected}"
    if not sized:
        if notional:
            yield f"it is skipped but has a notional of {plain(notional)}"
        return
    if limit is None or (account.exposure + notional) * _MICRO > limit:
        yield (
            f"it was sized beyond the limit: {plain(account.exposure)} were exposed by the log, with its "
            f"{plain(notional)} that is more than {expected}"
        )
    quantity = document["quantity"]
    expires_at = fields.time("expires_at", document["expires_at"])
    order = _Order(notional, None if quantity is None else units(quantity), expires_at)
    account.orders[order_id] = order
    account.exposure += order.exposure
