"""A day's desk, from a seed: signals and fills of many portfolios, as JSON records keyed by portfolio.

Fills must name orders that were already decided when they arrive, and a worker takes a partition's waiting fills before
its signals. So records come in two lots: the `opening` signals, one order each, and the `mixed` lot with the fills
of those orders and further signals. How busy a portfolio is follows Zipf's law: the second has half of the first's
signals, the third a third. Orders are small against the limit (`POLICY`), so that what is decided does not depend on
how a program interleaves the two topics.
"""

import itertools
import random
from collections.abc import Iterator, Sequence
from decimal import ROUND_DOWN, Decimal
from functools import cache
from typing import Any, NamedTuple

import orjson

from app.codecs import decode_signal
from app.core.messages import order_id_of
from app.core.policy import Policy
from app.processor.partitioners import partitioner
from app.topics import FILLS, SIGNALS

PARTITIONS = 4
PORTFOLIOS = 1_000
SIGNAL_SHARE = 0.6
"""Of all events; the others are fills."""
FRACTION = "0.000001"
POLICY_PARAMETERS = {f"base_fraction_{phase}": FRACTION for phase in (1, 2, 3)}
POLICY = Policy(POLICY_PARAMETERS)
"""10,000 orders of a portfolio fit its limit at once: tighter than the locked table, and a backlog of 100,000 events
can be sized."""

_SYMBOLS = {"ESZ6": 5_000, "NQZ6": 18_000, "AAPL": 230, "MSFT": 420, "EURUSD": 1.1, "XAUUSD": 2_600}
_STRATEGIES = ("trend-1", "carry-2", "mean-reversion", None)
FILLS_PER_ORDER = 2.25
"""On average: a close, and an opening in one part or, for a quarter of them, in two."""

_SECOND = 1_000_000
_OPENING_CONFIDENCE = 0.9
_SKIPPED_SHARE = 0.2
_PARTIAL_SHARE = 0.25
_OPEN_AT_ONCE = 50
_CENT = Decimal("0.01")
_QUANTITY_GRAIN = Decimal("0.00000001")


class Event(NamedTuple):
    """A record to be sent: the partition is what murmur2 gives for the key."""

    topic: str
    partition: int
    key: bytes
    value: bytes


class Order(NamedTuple):
    """A sized order as its fills need it."""

    order_id: str
    portfolio_id: str
    price: Decimal
    quantity: Decimal


class Workload:
    """Makes records; equal seeds and equal calls make equal records, but for the times."""

    def __init__(
        self, seed: int, partitions: int, now: int, portfolios: int = PORTFOLIOS, first_serial: int = 0
    ) -> None:
        """`now`: microseconds since the epoch; every signal is generated within the hour before it.

        `first_serial`: ids have numbers behind it.
        """
        self._random = random.Random(seed)
        self._now = now
        self._serial = first_serial
        self._portfolios = range(portfolios)
        self._activity = _zipf(portfolios)
        partition_of = partitioner("murmur2", partitions)
        assert partition_of is not None
        self._partition_of = cache(partition_of)

    def lots(self, events: int) -> tuple[list[Event], list[Event]]:
        """Return the opening signals, and a mixed lot of about so many events, of which `SIGNAL_SHARE` are signals."""
        opening, orders = self.opening(round(events * (1 - SIGNAL_SHARE) / FILLS_PER_ORDER))
        return opening, self.mixed(orders, round(events * SIGNAL_SHARE))

    def opening(self, count: int) -> tuple[list[Event], list[Order]]:
        """Return signals that are all sized, and their orders."""
        events, orders = [], []
        for _ in range(count):
            document = self.signal(_OPENING_CONFIDENCE)
            events.append(self.event(SIGNALS, document))
            orders.append(self._order(document))
        return events, orders

    def mixed(self, orders: list[Order], count: int) -> list[Event]:
        """Return `count` further signals and all fills of `orders`, well mixed."""
        fills = list(self.fills(orders))
        kinds = [SIGNALS] * count + [FILLS] * len(fills)
        self._random.shuffle(kinds)
        waiting = iter(fills)
        return [next(waiting) if kind == FILLS else self.event(SIGNALS, self.signal()) for kind in kinds]

    def fills(self, orders: list[Order]) -> Iterator[Event]:
        """Yield the round trips of orders, many open at once: an opening in one or two parts, then a close."""
        waiting = iter(orders)
        trips = [self.round_trip(order) for order in itertools.islice(waiting, _OPEN_AT_ONCE)]
        while trips:
            place = self._random.randrange(len(trips))
            yield self.event(FILLS, trips[place].pop(0))
            if trips[place]:
                continue
            following = next(waiting, None)
            if following is None:
                del trips[place]
            else:
                trips[place] = self.round_trip(following)

    def signal(self, confidence: float | None = None) -> dict[str, Any]:
        """Return a signal; without a `confidence` a fifth of them are skipped for it."""
        self._serial += 1
        rng = self._random
        if confidence is None:
            skipped = rng.random() < _SKIPPED_SHARE
            confidence = round(rng.uniform(0.2, 0.59) if skipped else rng.uniform(0.6, 1.0), 3)
        number = rng.choices(self._portfolios, cum_weights=self._activity)[0]
        symbol, price = rng.choice(list(_SYMBOLS.items()))
        generated_at = self._now - rng.randrange(3_600 * _SECOND)
        return {
            "signal_id": f"S-{self._serial:08}",
            "portfolio_id": portfolio_name(number),
            "symbol": symbol,
            "side": rng.choice(("BUY", "SELL")),
            "confidence": confidence,
            "price": str(round(price * rng.uniform(0.95, 1.05), 4)),
            "portfolio_value": str(_value(number)),
            "strategy_id": rng.choice(_STRATEGIES),
            "generated_at": generated_at,
            "expires_at": self._now + 24 * 3_600 * _SECOND if rng.random() < 0.5 else None,
        }

    def round_trip(self, order: Order) -> list[dict[str, Any]]:
        """Return the reports of an order that is filled and closed: 55 % of them win."""
        rng = self._random
        wins = rng.random() < 0.55
        away = Decimal(rng.randrange(1, 100)) / 10_000
        parts = [order.quantity]
        if rng.random() < _PARTIAL_SHARE:
            half = (order.quantity / 2).quantize(_QUANTITY_GRAIN)
            parts = [half, order.quantity - half]
        left = order.quantity
        reports = []
        for part in parts:
            left -= part
            reports.append(self._report(order, "OPEN", part, order.price, left))
        reports.append(
            self._report(order, "CLOSE", order.quantity, order.price * (1 + (away if wins else -away)), None)
        )
        return reports

    def unknown_order(self, partition: int) -> Event:
        """Return a fill whose dead letter shows that a partition's fills were all taken."""
        portfolio_id = next(
            name for name in map(portfolio_name, itertools.count()) if self._partition_of(name.encode()) == partition
        )
        order = Order("no-such-order", portfolio_id, Decimal(1), Decimal(1))
        return self.event(FILLS, self._report(order, "OPEN", order.quantity, order.price, Decimal(0)))

    def event(self, topic: str, document: dict[str, Any]) -> Event:
        """Return a document as a record."""
        key = document["portfolio_id"].encode()
        return Event(topic, self._partition_of(key), key, orjson.dumps(document))

    def _order(self, document: dict[str, Any]) -> Order:
        signal = decode_signal(orjson.dumps(document))
        assert signal.price is not None
        assert signal.portfolio_value is not None
        notional = (signal.portfolio_value * Decimal(FRACTION)).quantize(_CENT, ROUND_DOWN)
        quantity = (notional / signal.price).quantize(_QUANTITY_GRAIN, ROUND_DOWN)
        return Order(order_id_of(signal), signal.portfolio_id, signal.price, quantity)

    def _report(
        self, order: Order, position_effect: str, quantity: Decimal, price: Decimal, leaves: Decimal | None
    ) -> dict[str, Any]:
        self._serial += 1
        return {
            "exec_id": f"E-{self._serial:08}",
            "order_id": order.order_id,
            "portfolio_id": order.portfolio_id,
            "exec_type": "TRADE",
            "position_effect": position_effect,
            "last_qty": format(quantity, "f"),
            "last_px": format(price.quantize(Decimal("0.000001")), "f"),
            "leaves_qty": None if leaves is None else format(leaves, "f"),
            "commission": "0.01",
            "transact_time": self._now,
        }


@cache
def _zipf(portfolios: int) -> Sequence[float]:
    """Return the cumulative weights of so many portfolios by Zipf's law."""
    return list(itertools.accumulate(1 / rank for rank in range(1, portfolios + 1)))


def portfolio_name(number: int) -> str:
    """Return the id of a portfolio."""
    return f"PF-{number:07}"


def _value(number: int) -> Decimal:
    """Return a portfolio's value: 500,000 to 5,000,000, here and there."""
    return Decimal((50 + number * 7_919 % 451) * 10_000)
