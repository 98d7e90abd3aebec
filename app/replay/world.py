"""The same history under another policy: what came in comes again, in the order and at the times that it came.

Signals are decided by the rules, with the clock that they were decided by. Fills are another matter: nobody knows how
a venue would have filled another order. So the fills of an order are scaled by the ratio of its notionals; those of an
order that is skipped here are dropped; an order that was skipped in reality has none here either.
"""

from collections import deque
from decimal import Decimal
from typing import NamedTuple

from app.codecs import Decoder
from app.core.exact import ZERO, exact, to_amount
from app.core.messages import OPEN, TRADE, Fill, Refused, Signal
from app.core.order import is_past_memory
from app.core.policy import Policy
from app.core.state import Order
from app.processor import MemoryStore, Outcome
from app.replay.recompute import Effect, Recomputer
from app.replay.step import Step
from app.replay.trades import Trade, TradeBook
from app.replay.walk import Desk
from app.topics import FILLS

_COMMIT_EVERY = 10_000
_LEAST = Decimal(1).scaleb(-12)
_NOTHING = Outcome(())
_Key = tuple[str, str]


class Told(NamedTuple):
    """What a step of the history came to in this world."""

    outcome: Outcome
    """What would have been published."""
    effect: Effect | None
    trades: tuple[Trade, ...]
    """That closed with it."""
    is_only_here: bool = False
    """An order that was skipped in reality."""
    is_scaled: bool = False
    """A fill, scaled."""
    is_dropped: bool = False
    """A fill of an order that is skipped here."""
    is_too_small: bool = False
    """A fill of which scaling leaves nothing."""


class _Pair:
    """An order here and in reality: what it may cost, and how much was opened and closed."""

    __slots__ = ("closed", "closed_here", "here", "is_alive", "opened", "opened_here", "really")

    def __init__(self) -> None:
        self.really = self.here = ZERO
        """Notionals; 0: it was skipped."""
        self.opened = self.opened_here = self.closed = self.closed_here = ZERO
        self.is_alive = {True: False, False: False}
        """In reality and here: it is not finished."""


class World:
    """Takes the steps of a partition's history."""

    def __init__(self, desk: Desk, policy: Policy | None) -> None:
        """`policy`: for all decisions; None: that of each one, as it was."""
        self._recomputer = Recomputer(
            desk.partition,
            MemoryStore(),
            desk.partition_count,
            desk.partitioner_name,
            desk.topic_names,
            Decoder(),  # for nothing: the steps were read
        )
        self._policy = policy
        self._book = TradeBook()
        self._pairs: dict[_Key, _Pair] = {}
        self._finished: dict[str, deque[tuple[int, str]]] = {}
        self._uncommitted = 0

    def take(self, step: Step) -> Told:
        """Take a step as it would have been here."""
        record, message, recomputer = step.record, step.message, self._recomputer
        if not step.is_recomputed:
            recomputer.pass_over(record.topic, record.offset)
            return Told(_NOTHING, None, ())
        self._uncommitted += 1
        if self._uncommitted >= _COMMIT_EVERY:
            recomputer.commit()
            self._uncommitted = 0
        if isinstance(message, Fill):
            return self._fill(step, message)
        if isinstance(message, Signal):
            return self._signal(step, message)
        return Told(recomputer.recompute(record, message, 0)[0], None, ())

    def _signal(self, step: Step, signal: Signal) -> Told:
        recomputer, really = self._recomputer, step.sized_order
        policy = self._policy or step.policy
        if policy is not None:
            recomputer.policy = policy
        # Fills of other portfolios count too, also where only one is walked over.
        if really is not None and really.fills_offset > recomputer.last_fills_offset:
            recomputer.pass_over(FILLS, really.fills_offset)
        told = self._recompute(step, signal, 0 if step.now is None else step.now)
        if told.effect is None or really is None:
            assert (told.effect is None) == (really is None), "whether a signal is decided no policy tells"
            return told
        here = told.effect.sized_order
        assert here is not None, "it was decided"
        if here.notional or really.notional:
            pair = self._pairs[really.portfolio_id, really.order_id] = _Pair()
            pair.really, pair.here = really.notional, here.notional
        self._follow(step.effect, really=True)
        self._follow(told.effect, really=False)
        self._forget(really.portfolio_id, told.effect.after.time)
        return told._replace(is_only_here=bool(here.notional) and not really.notional)

    def _fill(self, step: Step, fill: Fill) -> Told:
        pair = self._pairs.get((fill.portfolio_id, fill.order_id))
        if pair is None or pair.here == pair.really:
            told = self._recompute(step, fill, 0)
        else:
            scaled = None if not pair.here else _scaled(step, fill, pair)
            if scaled is None or not pair.really:
                self._recomputer.pass_over(FILLS, step.record.offset)
                was_applied = step.effect is not None
                is_too_small = was_applied and bool(pair.here)
                told = Told(_NOTHING, None, (), is_dropped=was_applied and not pair.here, is_too_small=is_too_small)
            else:
                told = self._recompute(step, scaled, 0)._replace(is_scaled=True)
        self._follow(step.effect, really=True)
        self._follow(told.effect, really=False)
        return told

    def _recompute(self, step: Step, message: Signal | Fill | Refused, clock: int) -> Told:
        outcome, cause = self._recomputer.recompute(step.record, message, clock)
        if cause is None:
            return Told(outcome, None, ())
        effect = cause.effect()
        return Told(outcome, effect, self._book.take(step.record, message, effect))

    def _follow(self, effect: Effect | None, *, really: bool) -> None:
        """Take note which orders are finished, here or in reality."""
        for _, order in () if effect is None else effect.orders:
            pair = self._pairs.get((order.portfolio_id, order.order_id))
            if pair is None:
                continue
            pair.is_alive[really] = order.finished_at is None
            if order.finished_at is not None:
                finished = self._finished.setdefault(order.portfolio_id, deque())
                finished.append((order.finished_at, order.order_id))

    def _forget(self, portfolio_id: str, time: int) -> None:
        finished = self._finished.get(portfolio_id)
        while finished and is_past_memory(finished[0][0], time):
            key = portfolio_id, finished.popleft()[1]
            pair = self._pairs.get(key)
            if pair is not None and not any(pair.is_alive.values()):
                del self._pairs[key]


@exact
def _scaled(step: Step, fill: Fill, pair: _Pair) -> Fill | None:
    """Return a fill as it would have been of the order here; None if there would have been none.

    Quantities are scaled as totals, so that what was flat is flat here too.
    """
    if not pair.really:
        return None
    ratio, effect = pair.here / pair.really, step.effect
    quantity = ZERO
    if fill.exec_type is TRADE:
        if effect is None:
            return None
        if fill.position_effect is OPEN:
            pair.opened += fill.last_qty
            opened = to_amount(pair.opened * ratio)
            quantity, pair.opened_here = opened - pair.opened_here, opened
        else:
            pair.closed += fill.last_qty
            closed = to_amount(pair.closed * ratio)
            quantity, pair.closed_here = closed - pair.closed_here, closed
        if not quantity:
            return None
    return fill._replace(
        last_qty=quantity,
        leaves_qty=_leaves(fill, None if effect is None else effect.orders[0], ratio),
        commission=to_amount(fill.commission * ratio),
        realized_pnl=None if fill.realized_pnl is None else to_amount(fill.realized_pnl * ratio),
    )


def _leaves(fill: Fill, change: tuple[Order | None, Order] | None, ratio: Decimal) -> Decimal | None:
    """Return what is left of the order: nothing if the fill completed it in reality, else something."""
    if fill.exec_type is not TRADE or fill.position_effect is not OPEN or change is None:
        return fill.leaves_qty
    before, after = change
    was_working = before is not None and before.working
    if was_working and not after.working:
        return ZERO
    if fill.leaves_qty is None:
        return _LEAST if was_working else None
    return max(_LEAST, to_amount(fill.leaves_qty * ratio)) if fill.leaves_qty else ZERO
