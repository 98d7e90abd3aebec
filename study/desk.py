"""An account that trades ideas: signals and fills through the product's own rules, `app.core`'s `decide` and `apply`.

At each bar the signals are decided a second before its price is known, by the account's value at the price before;
then come the fills at that price, closing ones first. An order is filled whole or not at all.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import ROUND_DOWN, Decimal
from typing import Final, NamedTuple

from app.core.decision import decide
from app.core.execution import Applied, apply
from app.core.messages import ExecType, Fill, PositionEffect, Side, Signal, SizedOrder
from app.core.policy import Policy
from app.core.state import Order, Portfolio
from app.demo.market import SECOND
from study.ideas import Idea
from study.markets import Market

START_VALUE: Final = Decimal(1_000_000)
PORTFOLIO: Final = "study"
_CENT: Final = Decimal("0.01")
_QUANTITY_STEP: Final = Decimal("0.00000001")
_PRICE_STEP: Final = Decimal("0.00000001")
_COMMISSION_STEP: Final = Decimal("0.000001")


class Trade(NamedTuple):
    """A closed round trip."""

    idea: Idea
    order: SizedOrder
    quantity: Decimal
    entry: Fill
    exit: Fill
    result: Decimal
    """Realised minus commissions."""


class Account(NamedTuple):
    """What became of an account."""

    trades: Sequence[Trade]
    skipped: Mapping[str, int]
    """Ideas that got no order, by skip reason."""
    portfolio: Portfolio | None
    """At the end; None if nothing was asked for."""
    protected: int
    """Ideas that were decided under drawdown protection."""
    phases: Mapping[int, int]
    """Ideas decided in each phase."""


class _Position(NamedTuple):
    idea: Idea
    sized: SizedOrder
    order: Order
    entry: Fill


class Desk:
    """Runs one account over ideas. Its messages can be seen by `on_signal` and `on_fill` of a subclass."""

    def __init__(self, markets: Sequence[Market], policy: Policy) -> None:
        self._markets = markets
        self._policy = policy
        self._portfolio: Portfolio | None = None
        self._cash = START_VALUE  # the value but for what is open
        self._open: dict[str, _Position] = {}
        self._exits: defaultdict[int, list[str]] = defaultdict(list)
        self._fills = 0
        self._trades: list[Trade] = []
        self._skipped: Counter[str] = Counter()
        self._phases: Counter[int] = Counter()
        self._protected = 0

    def run(self, ideas: Iterable[Idea]) -> Account:
        """Trade the ideas, which are in order of their entries."""
        asked: defaultdict[int, list[Idea]] = defaultdict(list)
        for idea in ideas:
            asked[idea.entry].append(idea)
        for bar in sorted({*asked, *(idea.exit for at in asked.values() for idea in at)}):
            sized = list(self._decide(bar, asked.get(bar, ())))
            for order_id in self._exits.pop(bar, ()):
                self._close(order_id, bar)
            for idea, order, answer in sized:
                self._fill_opening(idea, order, answer)
        assert not self._open, "every idea ends"
        return Account(self._trades, self._skipped, self._portfolio, self._protected, self._phases)

    def _decide(self, bar: int, ideas: Sequence[Idea]) -> Iterator[tuple[Idea, Order, SizedOrder]]:
        if not ideas:
            return
        value = self._value(bar - 1)
        for idea in ideas:
            market = self._markets[idea.market]
            now = market.times[bar] - SECOND
            signal = Signal(
                f"{market.name}-{bar}",
                PORTFOLIO,
                market.name,
                Side.BUY if idea.side > 0 else Side.SELL,
                idea.confidence,
                market.price(bar - 1),
                value,
                None,
                now,
                None,
            )
            decided = decide(self._portfolio, signal, now, self._policy, (), self._signals, self._fills - 1)
            self._portfolio = decided.portfolio
            answer = decided.sized_order
            self.on_signal(signal, answer)
            self._phases[answer.phase] += 1
            self._protected += decided.portfolio.drawdown_active
            if answer.skip_reason is not None:
                self._skipped[answer.skip_reason] += 1
            else:
                yield idea, decided.orders[-1], answer

    @property
    def _signals(self) -> int:
        return 0 if self._portfolio is None else self._portfolio.order_sequence

    def _fill_opening(self, idea: Idea, order: Order, sized: SizedOrder) -> None:
        market = self._markets[idea.market]
        price = self._price(market, idea.entry, idea.side)
        # The reference price is a bar old: what the cost has to stay within is the notional.
        affordable = (order.notional / price).quantize(_QUANTITY_STEP, ROUND_DOWN)
        quantity = min(order.quantity or affordable, affordable)
        if not quantity:
            self._apply(order, self._report(idea, order, idea.entry, "CANCELED", "OPEN", Decimal(0), Decimal(0)))
            return
        fill = self._report(idea, order, idea.entry, "TRADE", "OPEN", quantity, price)
        self._open[order.order_id] = _Position(idea, sized, self._apply(order, fill), fill)
        self._exits[idea.exit].append(order.order_id)

    def _close(self, order_id: str, bar: int) -> None:
        idea, sized, order, entry = self._open.pop(order_id)
        price = self._price(self._markets[idea.market], bar, -idea.side)
        fill = self._report(idea, order, bar, "TRADE", "CLOSE", order.open_quantity, price)
        closed = self._apply(order, fill)
        result = closed.realized - closed.commissions
        self._cash += result
        self._trades.append(Trade(idea, sized, order.open_quantity, entry, fill, result))

    def _apply(self, order: Order, fill: Fill) -> Order:
        assert self._portfolio is not None, "an order has its portfolio"
        applied = apply(self._portfolio, order, fill, self._policy)
        assert isinstance(applied, Applied), applied
        self._portfolio = applied.portfolio
        self._fills += 1
        self.on_fill(fill)
        return applied.order

    def _value(self, bar: int) -> Decimal:
        """Return what the account is worth at the end of a bar, in whole cents; exit costs come with the exits."""
        value = self._cash
        for idea, _, order, _ in self._open.values():
            worth = order.open_quantity * self._markets[idea.market].price(bar)
            value += (worth - order.open_cost) * idea.side - order.commissions
        return value.quantize(_CENT, ROUND_DOWN)

    @staticmethod
    def _price(market: Market, bar: int, side: int) -> Decimal:
        """Return the price with half of the spread against us. `side`: 1 buys."""
        return (market.price(bar) * (1 + side * market.costs.half_spread)).quantize(_PRICE_STEP)

    def _report(
        self, idea: Idea, order: Order, bar: int, exec_type: str, effect: str, quantity: Decimal, price: Decimal
    ) -> Fill:
        market = self._markets[idea.market]
        return Fill(
            f"{order.order_id}/{effect}",
            order.order_id,
            PORTFOLIO,
            ExecType(exec_type),
            PositionEffect(effect),
            quantity,
            price,
            Decimal(0) if effect == "OPEN" else None,
            (quantity * price * market.costs.commission).quantize(_COMMISSION_STEP),
            None,
            None,
            market.times[bar],
        )

    def on_signal(self, signal: Signal, answer: SizedOrder) -> None:
        """See a signal and its answer."""

    def on_fill(self, fill: Fill) -> None:
        """See a fill."""
