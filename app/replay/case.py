"""A decision that can be taken again with something changed, by the rules themselves: nothing is guessed."""

import math
from collections.abc import Iterator, Sequence
from decimal import ROUND_CEILING, ROUND_DOWN, Decimal
from typing import Any, NamedTuple

from app.codecs import canonical_time
from app.core import sizing
from app.core.decision import decide
from app.core.exact import AMOUNT_LIMIT, CONTEXT, ZERO, exact, plain
from app.core.exposure import order_exposure
from app.core.messages import Signal, SizedOrder, SkipReason
from app.core.policy import Policy
from app.core.state import Order, Portfolio
from app.core.track_record import LAST_PHASE
from app.replay.recompute import Effect

_GRAIN = Decimal(1).scaleb(-12)
_CENTS = Decimal(100)
_LEAST_QUANTITY = Decimal(1).scaleb(-8)


class Alternative(NamedTuple):
    """Another answer that the signal would have had, and the smallest change that brings it."""

    change: str
    """What would differ: `confidence`, `portfolio_value`, `exposure`, `without_order`, `without_orders`, `expires_at`,
    `decided_at`, `price`, `phase`, `drawdown`, `later`."""
    to: str
    """To what: a number, a time, ids with commas between."""
    relation: str
    """How the changed thing stands to `to`: `at`, `at_least`, `at_most`, `above`, `below`, `without`, `from`."""
    decision: str
    skip_reason: str | None
    notional: Decimal
    quantity: Decimal | None
    seconds: Decimal | None = None
    """Of `later`: after the decision."""
    because: str | None = None
    """Of `later`: what happened then."""


class Case(NamedTuple):
    """A decision after step 1 of the rules: policy and value are taken, reservations have lapsed."""

    portfolio: Portfolio
    signal: Signal
    now: int
    policy: Policy
    answer: SizedOrder
    orders: tuple[Order, ...]
    """Those that the portfolio was exposed by."""

    @classmethod
    def of(cls, effect: Effect, signal: Signal, policy: Policy, orders: Sequence[Order]) -> "Case":
        """Return the case of a decision. `orders`: those that were not finished then, lapsed ones as they are since."""
        answer = effect.sized_order
        assert answer is not None, "only a signal is decided"
        held = effect.after._replace(exposure=answer.exposure_before, order_sequence=answer.sequence - 1)
        case = cls(held, signal, answer.decided_at, policy, answer, tuple(orders))
        assert case.again() == answer, "step 1 can be taken before the others"
        return case

    def again(
        self,
        *,
        signal: Signal | None = None,
        portfolio: Portfolio | None = None,
        now: int | None = None,
        lapsing: Sequence[Order] = (),
    ) -> SizedOrder:
        """Decide once more, with what is given instead of what was."""
        return decide(
            self.portfolio if portfolio is None else portfolio,
            self.signal if signal is None else signal,
            self.now if now is None else now,
            self.policy,
            lapsing,
            self.answer.signal_offset,
            self.answer.fills_offset,
        ).sized_order

    def with_value(self, value: Decimal) -> SizedOrder:
        """Decide with another portfolio value held after step 1."""
        portfolio = self.portfolio._replace(value=value, value_time=self.portfolio.value_time or self.now)
        return self.again(signal=self.signal._replace(portfolio_value=None), portfolio=portfolio)

    def differs(self, other: SizedOrder) -> bool:
        """Tell whether an answer is another one."""
        return _told(other) != _told(self.answer)

    @exact
    def alternatives(self) -> tuple[Alternative, ...]:
        """Return what would have had to differ for another answer, each with the smallest change that does it."""
        found = [
            *self._by_confidence(),
            *self._by_time(),
            *self._by_value(),
            *self._by_price(),
            *self._by_exposure(),
            *self._by_record(),
        ]
        return tuple(alternative for alternative, answer in found if self.differs(answer))

    def _by_confidence(self) -> Iterator[tuple[Alternative, SizedOrder]]:
        """Try the nearest confidence in each other band: below the minimum, reduced, full."""
        mine, policy = self.signal.confidence, self.policy
        minimum, full = policy.confidence_minimum_double, policy.confidence_full_double
        bands = [(0.0, math.nextafter(minimum, -1.0)), (minimum, full), (math.nextafter(full, 2.0), 1.0)]
        nearest: dict[Any, tuple[Alternative, SizedOrder]] = {}
        for first, last in bands:
            if not 0 <= first <= last <= 1 or first <= mine <= last:
                continue
            value = first if mine < first else last
            answer = self.again(signal=self.signal._replace(confidence=value))
            relation, to = "at_least" if mine < first else "at_most", repr(value)
            if value == math.nextafter(minimum, -1.0):
                relation, to = "below", repr(minimum)
            elif value == math.nextafter(full, 2.0):
                relation, to = "above", repr(full)
            known = nearest.get(_told(answer))
            if known is None or abs(value - mine) < abs(known[1].confidence - mine):
                nearest[_told(answer)] = _alternative("confidence", to, relation, answer), answer
        yield from nearest.values()

    def _by_time(self) -> Iterator[tuple[Alternative, SizedOrder]]:
        """Where the signal had expired: with a later expiry, or a decision in time."""
        expires_at = self.signal.expires_at
        if expires_at is None or expires_at >= self.now:
            return
        answer = self.again(signal=self.signal._replace(expires_at=self.now))
        yield _alternative("expires_at", canonical_time(self.now), "at_least", answer), answer

    def _by_value(self) -> Iterator[tuple[Alternative, SizedOrder]]:
        value = self.answer.portfolio_value
        if self.answer.skip_reason is None:
            least = self.least_value(ZERO)
            if least is not None:
                below = least - _GRAIN
                answer = self.with_value(below)
                yield _alternative("portfolio_value", plain(least), "below", answer), answer
            return
        least = self.least_value(ZERO if value is None else value)
        if least is not None:
            answer = self.with_value(least)
            yield _alternative("portfolio_value", plain(least), "at_least", answer), answer

    @exact
    def least_value(self, from_value: Decimal) -> Decimal | None:
        """Return the smallest portfolio value, from one on, with which the signal is sized; None if there is none.

        With a notional of k cents a value V must have k <= 100 f V < k + 1, f being the product of the factors, and
        L V >= exposure + k / 100, L being the policy's share: so each k has a smallest V, which grows with k.
        """
        by = sizing.factors(self.portfolio, self.signal.confidence, self.policy)
        fraction = by.base_fraction * by.confidence_multiplier * by.drawdown_multiplier
        share, exposure = self.policy.exposure_limit, self.portfolio.exposure
        if not by.confident or not fraction or not share or self._is_expired():
            return None
        cents = (
            Decimal(1) if self.signal.price is None else _up(self.signal.price * _LEAST_QUANTITY * _CENTS, Decimal(1))
        )
        cents = max(Decimal(1), cents, (from_value * fraction * _CENTS).to_integral_value(ROUND_DOWN))
        needed = _CENTS * fraction * exposure - share
        if share > fraction:
            cents = max(cents, (needed / (share - fraction)).to_integral_value(ROUND_DOWN))
        for count in (cents, cents + 1, cents + 2):
            value = max(from_value, _up(count / (_CENTS * fraction)), _up((exposure + count / _CENTS) / share))
            if ZERO < value < AMOUNT_LIMIT and self.with_value(value).skip_reason is None:
                return value
        return None

    def _is_expired(self) -> bool:
        return self.signal.expires_at is not None and self.signal.expires_at < self.now

    def _by_price(self) -> Iterator[tuple[Alternative, SizedOrder]]:
        """Where the price is too high for the least quantity: the highest one that is not."""
        if self.answer.skip_reason is not SkipReason.BELOW_MINIMUM_SIZE or self.signal.price is None:
            return
        notional = self._notional()
        if notional:
            price = (notional / _LEAST_QUANTITY).quantize(_GRAIN, ROUND_DOWN, CONTEXT)
            answer = self.again(signal=self.signal._replace(price=price))
            yield _alternative("price", plain(price), "at_most", answer), answer

    def _notional(self) -> Decimal:
        by = sizing.factors(self.portfolio, self.signal.confidence, self.policy)
        return ZERO if self.portfolio.value is None else sizing.notional(self.portfolio.value, by)

    def _by_exposure(self) -> Iterator[tuple[Alternative, SizedOrder]]:
        """Where the limit was in the way: with how much exposure it is not, and without which orders."""
        if self.answer.skip_reason is not SkipReason.EXPOSURE_LIMIT or self.portfolio.value is None:
            return
        room = self.portfolio.value * self.policy.exposure_limit - self._notional()
        if room >= ZERO:
            answer = self._exposed(room)
            yield _alternative("exposure", plain(room), "at_most", answer), answer
        sizes = sorted(((order_exposure(order), order) for order in self.orders), key=lambda pair: -pair[0])
        alone = [order for size, order in sizes if self.portfolio.exposure - size <= room]
        for order in sorted(alone, key=lambda order: order.sequence):
            answer = self._exposed(self.portfolio.exposure - order_exposure(order))
            yield _alternative("without_order", order.order_id, "without", answer), answer
        if alone:
            return
        exposure = self.portfolio.exposure
        gone: list[str] = []
        for size, order in sizes:
            exposure, gone = exposure - size, [*gone, order.order_id]
            if exposure <= room:
                answer = self._exposed(exposure)
                yield _alternative("without_orders", ",".join(gone), "without", answer), answer
                return

    def _exposed(self, exposure: Decimal) -> SizedOrder:
        return self.again(portfolio=self.portfolio._replace(exposure=exposure))

    def _by_record(self) -> Iterator[tuple[Alternative, SizedOrder]]:
        """Under the other state of drawdown protection, and in the other phases."""
        active = self.portfolio.drawdown_active
        answer = self.again(portfolio=self.portfolio._replace(drawdown_active=not active))
        yield _alternative("drawdown", "off" if active else "on", "at", answer), answer
        for phase in range(1, LAST_PHASE + 1):
            if phase != self.portfolio.phase:
                answer = self.again(portfolio=self.portfolio._replace(phase=phase))
                yield _alternative("phase", str(phase), "at", answer), answer


def _told(answer: SizedOrder) -> tuple[Any, ...]:
    return answer.decision, answer.skip_reason, answer.notional, answer.quantity


def _alternative(change: str, to: str, relation: str, answer: SizedOrder) -> Alternative:
    reason = None if answer.skip_reason is None else str(answer.skip_reason)
    return Alternative(change, to, relation, str(answer.decision), reason, answer.notional, answer.quantity)


def _up(value: Decimal, grain: Decimal = _GRAIN) -> Decimal:
    return value.quantize(grain, ROUND_CEILING, CONTEXT)
