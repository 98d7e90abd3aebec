"""What closed trades do: win, loss and scratch, the streaks, drawdown protection, evidence and phase upgrades."""

from decimal import Decimal

from app.core.events import Journal
from app.core.exact import ZERO, at_least_zero
from app.core.messages import PhaseEventType
from app.core.policy import Policy
from app.core.state import Evidence, Portfolio

LAST_PHASE = 3


def count_trade(portfolio: Portfolio, traded_phase: int, result: Decimal) -> Portfolio:
    """Count a closed trade: streaks always, evidence only if it was sized in the current phase.

    A result above 0 is a win, below 0 a loss, 0 a scratch, which changes no streak.
    """
    is_win, is_loss = result > ZERO, result < ZERO
    wins, losses = portfolio.consecutive_wins, portfolio.consecutive_losses
    if is_win:
        wins, losses = wins + 1, 0
    elif is_loss:
        wins, losses = 0, losses + 1
    evidence = portfolio.evidence
    if traded_phase == portfolio.phase:
        evidence = Evidence(
            evidence.trades + 1,
            evidence.wins + is_win,
            evidence.losses + is_loss,
            evidence.gross_profit + at_least_zero(result),
            evidence.gross_loss + at_least_zero(-result),
        )
    return portfolio.with_record(evidence=evidence, consecutive_wins=wins, consecutive_losses=losses)


def judge_trade(journal: Journal, traded_phase: int, policy: Policy) -> None:
    """Judge drawdown protection and then the phase after a trade was counted; each change is an event."""
    portfolio = journal.portfolio
    if not portfolio.drawdown_active and portfolio.consecutive_losses >= policy.drawdown_on_losses:
        journal.portfolio = portfolio._replace(drawdown_active=True)
        journal.add(PhaseEventType.DRAWDOWN_ENTERED)
    elif portfolio.drawdown_active and portfolio.consecutive_wins >= policy.drawdown_off_wins:
        journal.portfolio = portfolio._replace(drawdown_active=False)
        journal.add(PhaseEventType.DRAWDOWN_EXITED)
    if traded_phase == portfolio.phase and earns_next_phase(portfolio, policy):
        # The event shows the evidence that earned the phase; whatever follows shows the new phase's, from zero.
        journal.portfolio = journal.portfolio._replace(phase=portfolio.phase + 1)
        journal.add(PhaseEventType.PHASE_UPGRADED, previous_phase=portfolio.phase)
        journal.portfolio = journal.portfolio._replace(evidence=Evidence())


def earns_next_phase(portfolio: Portfolio, policy: Policy) -> bool:
    """Tell whether the evidence earns the next phase: enough trades, win rate and profit factor above the threshold.

    Without a loss the profit factor has no value; then any profit is enough.
    """
    if portfolio.phase == LAST_PHASE:
        return False
    proof = policy.proofs[portfolio.phase + 1]
    evidence = portfolio.evidence
    return (
        evidence.trades >= proof.trades
        and evidence.wins > proof.win_rate * evidence.trades
        and evidence.gross_profit > proof.profit_factor * evidence.gross_loss
    )
