"""A step of a partition's history: one input record, what the rules make of it, and what was published for it.

Steps come in the order in which the worker took the records, which is not that of the topics: each answer records which
fills had been taken before it (`walk`).
"""

from enum import StrEnum

from app.core.messages import Fill, Refused, Signal, SizedOrder
from app.core.policy import Policy
from app.core.state import Order
from app.processor import Outcome, Record
from app.replay.matching import Match
from app.replay.published import Answer
from app.replay.recompute import Cause, Effect, FillCause, Recomputer, SignalCause, exposes
from app.replay.trades import Trade

_NOTHING = Outcome(())


class Status(StrEnum):
    """What could be done with an input record."""

    RECOMPUTED = "RECOMPUTED"
    LOST = "LOST"
    """A signal that was never decided, though later ones were. When it should have been nobody knows."""
    UNPROVED = "UNPROVED"
    """It cannot be recomputed: the beginning of its portfolio's history is not there."""


class Step:
    """One input record in the order of processing."""

    __slots__ = (
        "_cause",
        "_number",
        "_recomputer",
        "answer",
        "matches",
        "message",
        "now",
        "outcome",
        "record",
        "status",
        "trades",
    )

    record: Record
    """As it is in its topic, with offset and the topic's timestamp."""
    message: Signal | Fill | Refused
    """What it says, or why it is bad whatever was before."""
    status: Status
    now: int | None
    """The time that a signal was judged by, in microseconds since the epoch: `decided_at` of its answer, `sizer.now`
    of its dead letter. None where no clock was asked: of fills, repeats and bad records."""
    outcome: Outcome
    """As recomputed: what is to be published, or why the record is ignored. Empty unless it was recomputed."""
    matches: tuple[Match, ...]
    """What is to be published beside what was: phase events, then the sized order; or one dead letter."""
    answer: Answer | None
    """The published answer to a signal, read, whether or not it is as recomputed; None if there is none."""
    trades: tuple[Trade, ...]
    """The trades that closed with it, if the walk keeps trades."""

    def __init__(
        self,
        record: Record,
        message: Signal | Fill | Refused,
        status: Status,
        recomputer: Recomputer,
        outcome: Outcome = _NOTHING,
        matches: tuple[Match, ...] = (),
        cause: Cause = None,
    ) -> None:
        self.record = record
        self.message = message
        self.status = status
        self.outcome = outcome
        self.matches = matches
        self.now = cause.decided.portfolio.time if isinstance(cause, SignalCause) else None
        self.answer = None
        self.trades = ()
        self._cause = cause
        self._recomputer = recomputer
        self._number = recomputer.number

    @property
    def policy(self) -> Policy | None:
        """That decided the signal; of a fill that of its portfolio's last decision. None: nothing changed."""
        if self._cause is None:
            return None
        portfolio = self._cause.held.portfolio if isinstance(self._cause, FillCause) else self._cause.decided.portfolio
        return self._recomputer.known_policy(portfolio.policy_id)

    @property
    def sized_order(self) -> SizedOrder | None:
        """The recomputed answer to a signal, None if it gets none."""
        return self._cause.decided.sized_order if isinstance(self._cause, SignalCause) else None

    @property
    def effect(self) -> Effect | None:
        """The portfolio and the orders, before and after, events and sized order; None: nothing changed."""
        return None if self._cause is None else self._cause.effect()

    @property
    def is_recomputed(self) -> bool:
        """It was recomputed."""
        return self.status is Status.RECOMPUTED

    @property
    def is_identical(self) -> bool:
        """It was recomputed, and all that it causes was published so, to the byte (true also if it causes nothing)."""
        return self.status is Status.RECOMPUTED and all(match.is_identical for match in self.matches)

    def open_orders(self) -> list[Order]:
        """Return the orders that the portfolio was exposed by just before this record, by sequence.

        It reads all orders that the portfolio remembers. Ask before the next step is asked for: the walk has moved on
        then, and this raises RuntimeError. Empty for bad records.
        """
        if self._number != self._recomputer.number:
            raise RuntimeError("open_orders() of a step must be asked for before the next step is")
        if isinstance(self.message, Refused):
            return []
        orders = {order.order_id: order for order in self._recomputer.open_orders(self.message.portfolio_id)}
        effect = self.effect
        for before, after in () if effect is None else effect.orders:
            orders.pop(after.order_id, None)
            if before is not None and exposes(before):
                orders[before.order_id] = before
        return sorted(orders.values(), key=lambda order: order.sequence)
