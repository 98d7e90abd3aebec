"""Why a signal got this size or none: the rules step by step, with their numbers, as a person would tell it."""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from app.core import sizing
from app.core.exact import at_least_zero, exact
from app.core.exposure import exposure_limit
from app.core.messages import PhaseEventType, Signal, SizedOrder, SkipReason
from app.core.policy import Policy
from app.core.state import Evidence, Portfolio
from app.core.track_record import LAST_PHASE
from app.replay.case import Alternative
from app.replay.ledger import Held, Ledger, OpenOrder
from app.replay.recompute import Effect
from app.replay.trades import Trade
from app.replay.words import how_long, number, percent, when

_REASONS = tuple(SkipReason)


class Outcome(StrEnum):
    """What became of a signal."""

    SIZED = "SIZED"
    SKIPPED = "SKIPPED"
    DUPLICATE = "DUPLICATE"
    """Its portfolio had decided the same signal id within the last 48 hours: nothing changed."""
    DEAD_LETTER = "DEAD_LETTER"
    """It could not be taken; `code` says why."""
    LOST = "LOST"
    """It was never decided, though later ones were."""
    UNPROVED = "UNPROVED"
    """The beginning of its portfolio's history is not there: only what was published can be told."""
    WAITING = "WAITING"
    """No worker had taken it up."""


class Point(NamedTuple):
    """One step of the rules, and what it came to."""

    step: str
    """`policy`, `value`, `lapse`, `limit`, then the tests in their order: `halted`, `expired`, `confidence`,
    `value_known`, `notional`, `quantity`, `exposure`, and `sized`."""
    result: str
    """`taken`, `passed`, or `failed`: what follows was not asked."""
    text: str
    """For people."""
    numbers: dict[str, Any]
    """What it rests on: amounts as Decimal, times in microseconds since the epoch."""


class Proof(NamedTuple):
    """The evidence for the next phase beside what it takes."""

    phase: int
    trades: int
    wins: int
    losses: int
    gross_profit: Any
    gross_loss: Any
    next_phase: int | None
    """None in the last one."""
    missing: tuple[str, ...]
    """For people: what the evidence lacks."""
    since: int | None
    """When the phase was earned; None in phase 1."""


class Explanation(NamedTuple):
    """Why one record of `signals` had the outcome that it had."""

    outcome: Outcome
    portfolio_id: str | None
    signal_id: str
    topic: str
    """Real name."""
    partition: int
    offset: int
    text: str
    """The whole of it in one sentence."""
    order_id: str | None = None
    code: str | None = None
    """Of a dead letter."""
    now: int | None = None
    """The time that it was judged by."""
    points: tuple[Point, ...] = ()
    orders: tuple[OpenOrder, ...] = ()
    """What the portfolio was exposed by after lapses, before this order."""
    streak: tuple[Trade, ...] = ()
    """The trades won or lost in a row, the last ones of many."""
    drawdown: bool = False
    drawdown_since: int | None = None
    drawdown_trades: tuple[Trade, ...] = ()
    """Those that protection went on for."""
    proof: Proof | None = None
    evidence: tuple[Trade, ...] = ()
    """The trades that count for the phase, the last ones of many."""
    alternatives: tuple[Alternative, ...] = ()
    """What would have had to differ for another answer."""
    recomputed: str | None = None
    """The record as recomputed, its exact text."""
    published: str | None = None
    """The record as published; None: there is none."""
    published_offset: int | None = None
    is_identical: bool | None = None
    """None: nothing was published or recomputed that could be compared."""
    differences: tuple[str, ...] = ()


@exact
def points(
    before: Portfolio | None,
    signal: Signal,
    effect: Effect,
    policy: Policy,
    ledger: Ledger,
) -> tuple[Point, ...]:
    """Return the steps of a decision. `ledger`: as it was before it."""
    answer = effect.sized_order
    assert answer is not None, "only a signal is decided"
    return (
        _policy(before, policy, ledger, answer),
        _value(before, signal, answer, ledger.held),
        *_lapses(effect),
        _limit(effect, answer, policy),
        *_until_it_fails(signal, answer, policy),
    )


def _policy(before: Portfolio | None, policy: Policy, ledger: Ledger, answer: SizedOrder) -> Point:
    numbers: dict[str, Any] = {"policy_id": policy.policy_id, "previous": None if before is None else before.policy_id}
    if before is None:
        text = f"the portfolio is new: it opens in phase 1, under policy {policy.policy_id}"
    elif before.policy_id != policy.policy_id:
        text = f"policy {policy.policy_id} is taken instead of {before.policy_id}"
    else:
        since = answer.decided_at if ledger.policy_since is None else ledger.policy_since
        numbers["since"] = since
        text = f"policy {policy.policy_id}, since {when(since)}"
    return Point("policy", "taken", text, numbers)


def _value(before: Portfolio | None, signal: Signal, answer: SizedOrder, held: Held | None) -> Point:
    given, value = signal.portfolio_value, answer.portfolio_value
    numbers: dict[str, Any] = {"given": given, "value": value}
    if value is None:
        return Point("value", "taken", "no portfolio value is known", numbers)
    event_time = min(signal.generated_at, answer.decided_at)
    taken = given is not None and (before is None or before.value_time is None or event_time >= before.value_time)
    if taken:
        numbers["event_time"] = event_time
        return Point("value", "taken", f"portfolio value {number(value)}, given with this signal", numbers)
    assert held is not None, "a value that is held was taken from somewhere"
    numbers |= {"event_time": held.value_time, "topic": held.topic, "offset": held.offset}
    text = (
        f"portfolio value {number(value)}, held since {when(held.value_time)} "
        f"({held.topic}, offset {held.offset}; {how_long(answer.decided_at - held.value_time)} before)"
    )
    if given is not None:
        text += f"; the {number(given)} given with this signal is older and was not taken"
    return Point("value", "taken", text, numbers)


def _lapses(effect: Effect) -> Iterator[Point]:
    for before, after in effect.orders:
        if before is None:
            continue
        freed = at_least_zero(before.notional - before.filled_cost)
        numbers: dict[str, Any] = {"order_id": after.order_id, "expires_at": after.expires_at, "freed": freed}
        text = (
            f"the reservation of order {after.order_id} had expired at {when(after.expires_at)}, more than 60 s "
            f"before: it lapsed, {number(freed)} were free again"
        )
        if after.finished_at is not None and before.in_trade:
            result = after.realized - after.commissions
            numbers["result"] = result
            text += f"; that closed its trade with {number(result)}"
        yield Point("lapse", "taken", text, numbers)


def _limit(effect: Effect, answer: SizedOrder, policy: Policy) -> Point:
    limit, exposure = exposure_limit(effect.after, policy), answer.exposure_before
    numbers: dict[str, Any] = {"limit": limit, "fraction": policy.exposure_limit, "exposure": exposure}
    if limit is None:
        return Point("limit", "taken", "without a value there is no limit to judge", numbers)
    numbers["breached"] = exposure > limit
    text = (
        f"limit {number(limit)} = {number(answer.portfolio_value)} x {percent(policy.exposure_limit)}; "
        f"{number(exposure)} open or reserved before this order"
    )
    if exposure > limit:
        is_told = any(event.type is PhaseEventType.EXPOSURE_BREACHED for event in effect.events)
        text += ", which is a breach" + (", told with this decision" if is_told else ", told before")
    return Point("limit", "taken", text, numbers)


def _until_it_fails(signal: Signal, answer: SizedOrder, policy: Policy) -> Iterator[Point]:
    for point in _tests(signal, answer, policy):
        yield point
        if point.result == "failed":
            return


def _tests(signal: Signal, answer: SizedOrder, policy: Policy) -> Iterator[Point]:
    """Yield the tests in their order; a later one is only asked for if the one before passed."""

    def result(*reasons: SkipReason) -> str:
        return "failed" if answer.skip_reason in reasons else "passed"

    yield Point("halted", "passed", "trading is not halted", {})
    yield _expiry(signal, answer, result(SkipReason.SIGNAL_EXPIRED))
    yield _confidence(signal, answer, policy, result(SkipReason.LOW_CONFIDENCE))
    known = result(SkipReason.NO_PORTFOLIO_VALUE)
    value = answer.portfolio_value
    what = "no portfolio value is known" if value is None else f"the portfolio value is {number(value)}"
    yield Point("value_known", known, what + ("" if known == "passed" else ": nothing can be sized"), {"value": value})
    assert value is not None, "tested just now"
    fraction, by_confidence, by_drawdown = (
        answer.base_fraction,
        answer.confidence_multiplier,
        answer.drawdown_multiplier,
    )
    notional = sizing.notional(value, sizing.Factors(fraction, by_confidence, by_drawdown, confident=True))
    numbers: dict[str, Any] = {
        "value": value,
        "base_fraction": fraction,
        "confidence_multiplier": by_confidence,
        "drawdown_multiplier": by_drawdown,
        "notional": notional,
    }
    text = (
        f"{number(value)} x {percent(fraction)} (phase {answer.phase}) x {number(by_confidence)} (confidence) x "
        f"{number(by_drawdown)} (drawdown) = {number(notional)}, rounded down to 0.01"
    )
    if not notional:
        yield Point("notional", "failed", text + ": there is nothing left to order", numbers)
        return
    yield Point("notional", "passed", text, numbers)
    yield from _quantity(signal, answer, notional)
    total, limit = answer.exposure_before + notional, value * policy.exposure_limit
    fits = result(SkipReason.EXPOSURE_LIMIT)
    sign = "within" if fits == "passed" else "beyond"
    yield Point(
        "exposure",
        fits,
        f"{number(answer.exposure_before)} + {number(notional)} = {number(total)} is {sign} the limit of "
        f"{number(limit)}" + ("" if fits == "passed" else f", by {number(total - limit)}; nothing is shrunk to fit"),
        {"exposure_before": answer.exposure_before, "notional": notional, "total": total, "limit": limit},
    )
    assert answer.expires_at is not None, "it was sized"
    text = f"{number(notional)} are reserved until {when(answer.expires_at)}"
    yield Point("sized", "passed", text, {"expires_at": answer.expires_at, "send_before": answer.send_before})


def _expiry(signal: Signal, answer: SizedOrder, result: str) -> Point:
    numbers = {"expires_at": signal.expires_at, "now": answer.decided_at}
    if signal.expires_at is None:
        return Point("expired", result, "the signal has no end of its own", numbers)
    left = signal.expires_at - answer.decided_at
    text = f"the signal ends at {when(signal.expires_at)}, " + (
        f"{how_long(left)} after now" if left >= 0 else f"{how_long(-left)} before it was decided"
    )
    return Point("expired", result, text, numbers)


def _confidence(signal: Signal, answer: SizedOrder, policy: Policy, result: str) -> Point:
    minimum, full = policy.confidence_minimum, policy.confidence_full
    if result == "failed":
        text = f"confidence {signal.confidence!r} is below {number(minimum)}"
    elif signal.confidence > policy.confidence_full_double:
        text = f"confidence {signal.confidence!r} is above {number(full)}: x {number(answer.confidence_multiplier)}"
    else:
        text = (
            f"confidence {signal.confidence!r} is from {number(minimum)} to {number(full)}: "
            f"x {number(answer.confidence_multiplier)}"
        )
    return Point(
        "confidence",
        result,
        text,
        {
            "confidence": signal.confidence,
            "minimum": minimum,
            "full": full,
            "multiplier": answer.confidence_multiplier,
        },
    )


def _quantity(signal: Signal, answer: SizedOrder, notional: Any) -> Iterator[Point]:
    quantity = sizing.quantity(notional, signal.price)
    numbers = {"notional": notional, "price": signal.price, "quantity": quantity}
    if quantity is None:
        yield Point("quantity", "passed", "no reference price, so no quantity is told", numbers)
        return
    text = f"{number(notional)} / {number(signal.price)} = {number(quantity)}, rounded down to 8 decimals"
    result = "failed" if answer.skip_reason is SkipReason.BELOW_MINIMUM_SIZE else "passed"
    yield Point("quantity", result, text if quantity else text + ": no quantity is left", numbers)


@exact
def proof(portfolio: Portfolio, policy: Policy, since: int | None) -> Proof:
    """Return the evidence of a portfolio's phase, and what it lacks for the next one."""
    evidence, phase = portfolio.evidence, portfolio.phase
    following = phase + 1 if phase < LAST_PHASE else None
    missing = () if following is None else tuple(_missing(evidence, policy, following))
    return Proof(phase, *evidence, following, missing, since)


def _missing(evidence: Evidence, policy: Policy, phase: int) -> Iterator[str]:
    needs, trades = policy.proofs[phase], evidence.trades
    if trades < needs.trades:
        count = needs.trades - trades
        yield f"{count} more {'trade' if count == 1 else 'trades'} ({trades} of {needs.trades})"
    if not evidence.wins > needs.win_rate * trades:
        rate = "no trade yet" if not trades else f"{evidence.wins} of {trades} won"
        yield f"a win rate above {percent(needs.win_rate)} ({rate})"
    if not evidence.gross_profit > needs.profit_factor * evidence.gross_loss:
        yield (
            f"a gross profit above {number(needs.profit_factor)} x the gross loss "
            f"({number(evidence.gross_profit)} against {number(evidence.gross_loss)})"
        )


def in_a_sentence(answer: SizedOrder, shown: Sequence[Point]) -> str:
    """Return the whole of a decision in one sentence."""
    if answer.skip_reason is not None:
        return f"skipped, {answer.skip_reason}: {shown[-1].text}"
    quantity = "" if answer.quantity is None else f", quantity {number(answer.quantity)}"
    return f"sized: notional {number(answer.notional)}{quantity}"
