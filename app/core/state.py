"""What is remembered: of a portfolio and of an order.

The changes that most events make have a method each, which unpacks all fields and packs them anew: `_replace` takes
three times as long, and to fetch a tuple's field by its name is slower than to unpack it.
"""

from decimal import Decimal
from typing import NamedTuple

from app.core.exact import ZERO
from app.core.messages import Side


class Evidence(NamedTuple):
    """The track record in the current phase: the trades that were sized in it and have closed."""

    trades: int = 0
    wins: int = 0
    losses: int = 0
    gross_profit: Decimal = ZERO
    gross_loss: Decimal = ZERO


class Portfolio(NamedTuple):
    """One account, sized as a unit."""

    portfolio_id: str
    policy_id: str
    phase: int = 1
    evidence: Evidence = Evidence()
    consecutive_wins: int = 0
    consecutive_losses: int = 0
    drawdown_active: bool = False
    exposure: Decimal = ZERO
    """The sum of the exposures of its orders."""
    breached: bool = False
    value: Decimal | None = None
    value_time: int | None = None
    """Event time of the value held."""
    order_sequence: int = 0
    event_sequence: int = 0
    time: int = 0
    """Portfolio time: the last `decided_at`."""

    def with_amounts(
        self, *, exposure: Decimal, value: Decimal | None, value_time: int | None, order_sequence: int, time: int
    ) -> "Portfolio":
        """Return the portfolio after a decision or a fill."""
        portfolio_id, policy_id, phase, evidence, wins, losses, drawdown, _, breached, _, _, _, events, _ = self
        return Portfolio(
            portfolio_id,
            policy_id,
            phase,
            evidence,
            wins,
            losses,
            drawdown,
            exposure,
            breached,
            value,
            value_time,
            order_sequence,
            events,
            time,
        )

    def with_record(self, *, evidence: Evidence, consecutive_wins: int, consecutive_losses: int) -> "Portfolio":
        """Return the portfolio after a closed trade."""
        portfolio_id, policy_id, phase, _, _, _, drawdown, exposure, breached, value, at, orders, events, time = self
        return Portfolio(
            portfolio_id,
            policy_id,
            phase,
            evidence,
            consecutive_wins,
            consecutive_losses,
            drawdown,
            exposure,
            breached,
            value,
            at,
            orders,
            events,
            time,
        )


class Order(NamedTuple):
    """A sized order. It is `working` until it has ended; finished when ended and flat."""

    order_id: str
    portfolio_id: str
    side: Side
    phase: int
    """The phase it was sized in: its trades are evidence for that phase only."""
    sequence: int
    notional: Decimal
    quantity: Decimal | None
    expires_at: int
    working: bool = True
    filled_quantity: Decimal = ZERO
    """Of all opening trades."""
    filled_cost: Decimal = ZERO
    """Of the opening trades of the current trade (round trip)."""
    open_quantity: Decimal = ZERO
    open_cost: Decimal = ZERO
    realized: Decimal = ZERO
    commissions: Decimal = ZERO
    in_trade: bool = False
    """The open quantity has been positive since the current trade began."""
    finished_at: int | None = None
    """Portfolio time at finishing."""

    def traded(
        self,
        *,
        working: bool,
        filled_quantity: Decimal,
        filled_cost: Decimal,
        open_quantity: Decimal,
        open_cost: Decimal,
        realized: Decimal,
        commissions: Decimal,
        in_trade: bool,
    ) -> "Order":
        """Return the order after an execution."""
        order_id, portfolio_id, side, phase, sequence, notional, quantity, expires_at, *_, finished_at = self
        return Order(
            order_id,
            portfolio_id,
            side,
            phase,
            sequence,
            notional,
            quantity,
            expires_at,
            working,
            filled_quantity,
            filled_cost,
            open_quantity,
            open_cost,
            realized,
            commissions,
            in_trade,
            finished_at,
        )

    def finished(self, finished_at: int) -> "Order":
        """Return the order as it is remembered after its end."""
        in_trade = False
        return Order._make((*self[:-2], in_trade, finished_at))
