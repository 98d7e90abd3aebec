"""What is remembered: of a portfolio and of an order.

The changes that most events make have a method each, which names every field: `_replace` takes three times as long.
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
        return Portfolio(
            self.portfolio_id,
            self.policy_id,
            self.phase,
            self.evidence,
            self.consecutive_wins,
            self.consecutive_losses,
            self.drawdown_active,
            exposure,
            self.breached,
            value,
            value_time,
            order_sequence,
            self.event_sequence,
            time,
        )

    def with_record(self, *, evidence: Evidence, consecutive_wins: int, consecutive_losses: int) -> "Portfolio":
        """Return the portfolio after a closed trade."""
        return Portfolio(
            self.portfolio_id,
            self.policy_id,
            self.phase,
            evidence,
            consecutive_wins,
            consecutive_losses,
            self.drawdown_active,
            self.exposure,
            self.breached,
            self.value,
            self.value_time,
            self.order_sequence,
            self.event_sequence,
            self.time,
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
        return Order(
            self.order_id,
            self.portfolio_id,
            self.side,
            self.phase,
            self.sequence,
            self.notional,
            self.quantity,
            self.expires_at,
            working,
            filled_quantity,
            filled_cost,
            open_quantity,
            open_cost,
            realized,
            commissions,
            in_trade,
            self.finished_at,
        )

    def finished(self, finished_at: int) -> "Order":
        """Return the order as it is remembered after its end."""
        return Order(
            self.order_id,
            self.portfolio_id,
            self.side,
            self.phase,
            self.sequence,
            self.notional,
            self.quantity,
            self.expires_at,
            self.working,
            self.filled_quantity,
            self.filled_cost,
            self.open_quantity,
            self.open_cost,
            self.realized,
            self.commissions,
            False,  # noqa: FBT003 - `in_trade`: all stand in the order of the fields
            finished_at,
        )
