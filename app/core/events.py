"""The journal of one decision or fill: the portfolio as it changes, and a phase event for each change worth telling."""

from decimal import Decimal

from app.core.exact import to_statistic
from app.core.exposure import is_breached
from app.core.messages import PhaseEvent, PhaseEventType, event_id_of
from app.core.policy import Policy
from app.core.state import Evidence, Portfolio


class Journal:
    """Collects what one record causes. `at`: event time of its cause; `order_id`: the order that caused it."""

    __slots__ = ("at", "events", "order_id", "portfolio")

    def __init__(self, portfolio: Portfolio, at: int, order_id: str | None = None) -> None:
        self.portfolio = portfolio
        self.at = at
        self.order_id = order_id
        self.events: list[PhaseEvent] = []

    def add(
        self, event_type: PhaseEventType, *, previous_phase: int | None = None, policy: Policy | None = None
    ) -> None:
        """Add an event that shows the portfolio as it now is. `policy`: only where the event announces one."""
        sequence = self.portfolio.event_sequence + 1
        self.portfolio = self.portfolio._replace(event_sequence=sequence)
        portfolio, evidence = self.portfolio, self.portfolio.evidence
        self.events.append(
            PhaseEvent(
                event_id=event_id_of(portfolio.portfolio_id, sequence),
                portfolio_id=portfolio.portfolio_id,
                type=event_type,
                sequence=sequence,
                phase=portfolio.phase,
                previous_phase=previous_phase,
                trades=evidence.trades,
                wins=evidence.wins,
                losses=evidence.losses,
                win_rate=win_rate(evidence),
                profit_factor=profit_factor(evidence),
                consecutive_wins=portfolio.consecutive_wins,
                consecutive_losses=portfolio.consecutive_losses,
                drawdown_active=portfolio.drawdown_active,
                exposure=portfolio.exposure,
                order_id=self.order_id,
                at=self.at,
                policy_id=portfolio.policy_id,
                policy=None if policy is None else policy.canonical,
            )
        )

    def judge_limit(self, policy: Policy) -> None:
        """Judge the exposure limit: becoming breached is told, becoming sound again is silent."""
        breached = is_breached(self.portfolio, policy)
        if breached != self.portfolio.breached:
            self.portfolio = self.portfolio._replace(breached=breached)
            if breached:
                self.add(PhaseEventType.EXPOSURE_BREACHED)


def win_rate(evidence: Evidence) -> Decimal | None:
    """Return wins / trades to 6 decimals, half-even; None without a trade."""
    return to_statistic(Decimal(evidence.wins) / evidence.trades) if evidence.trades else None


def profit_factor(evidence: Evidence) -> Decimal | None:
    """Return gross profit / gross loss to 6 decimals, half-even; None without a gross loss."""
    return to_statistic(evidence.gross_profit / evidence.gross_loss) if evidence.gross_loss else None
