"""What is remembered: of a portfolio and of an order."""

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
