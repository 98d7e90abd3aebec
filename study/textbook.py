"""Textbook strategies with textbook parameters, in bars; none was searched for, none is fitted to a market.

A strategy calls a side at the end of each bar, from what is known then: 1 long, -1 short, 0 none.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from study.past import VOLATILITY_BARS, Past


class Call(NamedTuple):
    """What a strategy wants to hold, and how strong the reason is (0 or more, comparable within the strategy)."""

    side: int
    strength: float


NONE = Call(0, 0.0)
Calling = Callable[[Past, int], Call]


class Strategy(NamedTuple):
    """A name, its calls, and when a position ends."""

    name: str
    family: str
    calls: Callable[[Past], Iterator[Call]]
    hold: int | None
    """So many bars; None: until the side is called no more."""


def sign(value: float) -> int:
    """Return 1, 0 or -1."""
    return (value > 0) - (value < 0)


def _each(warm: int, call: Calling) -> Callable[[Past], Iterator[Call]]:
    """Return calls that each rest on the bar alone, from the first bar that has enough before it."""

    def calls(past: Past) -> Iterator[Call]:
        first = max(warm, VOLATILITY_BARS)
        for bar in range(len(past)):
            yield NONE if bar < first else call(past, bar)

    return calls


def _held(warm: int, enter: Calling, leaves: Callable[[Past, int, int], bool]) -> Callable[[Past], Iterator[Call]]:
    """Return calls that go on from an entry until the way out is met. `leaves`: past, bar, side."""

    def calls(past: Past) -> Iterator[Call]:
        held = NONE
        first = max(warm, VOLATILITY_BARS)
        for bar in range(len(past)):
            if bar >= first:
                if held.side and leaves(past, bar, held.side):
                    held = NONE
                if not held.side:
                    held = enter(past, bar)
            yield held

    return calls


def _momentum(count: int, direction: int = 1) -> Callable[[Past], Iterator[Call]]:
    def call(past: Past, bar: int) -> Call:
        change = past.change(bar, count)
        return Call(direction * sign(change), past.strength(bar, change, count))

    return _each(count, call)


def _crossing(fast: int, slow: int) -> Callable[[Past], Iterator[Call]]:
    def call(past: Past, bar: int) -> Call:
        gap = past.total(bar, fast) * slow - past.total(bar, slow) * fast  # of the means, times both counts
        return Call(sign(gap), past.strength(bar, gap / (fast * slow)))

    return _each(slow, call)


def _exponential(closes: Sequence[float], count: int) -> Iterator[float]:
    share = 2 / (count + 1)
    mean: float = closes[0]
    for close in closes:
        mean += share * (close - mean)
        yield mean


def _macd(*, histogram: bool) -> Callable[[Past], Iterator[Call]]:
    def calls(past: Past) -> Iterator[Call]:
        gaps = [
            fast - slow for fast, slow in zip(_exponential(past.closes, 12), _exponential(past.closes, 26), strict=True)
        ]
        signals = _exponential(gaps, 9)
        for bar, (gap, signal) in enumerate(zip(gaps, signals, strict=True)):
            size = gap - signal if histogram else gap
            yield NONE if bar < VOLATILITY_BARS else Call(sign(size), past.strength(bar, size))

    return calls


def _breakout(entry: int, way_out: int) -> Callable[[Past], Iterator[Call]]:
    """Return Donchian's channel: in beyond the extremes of `entry` bars, out beyond those of `way_out` bars."""

    def enter(past: Past, bar: int) -> Call:
        close, high, low = past.closes[bar], past.highest(bar - 1, entry), past.lowest(bar - 1, entry)
        if close > high:
            return Call(1, past.strength(bar, close - high))
        return Call(-1, past.strength(bar, low - close)) if close < low else NONE

    def leaves(past: Past, bar: int, side: int) -> bool:
        close = past.closes[bar]
        return close < past.lowest(bar - 1, way_out) if side > 0 else close > past.highest(bar - 1, way_out)

    return _held(entry + 1, enter, leaves)


def _band(count: int, width: float, direction: int) -> Callable[[Past], Iterator[Call]]:
    """Return Bollinger's band: in beyond so many deviations, with the move (1) or against it (-1), out at the mean."""

    def enter(past: Past, bar: int) -> Call:
        deviation = past.deviation(bar, count)
        score = (past.closes[bar] - past.mean(bar, count)) / deviation if deviation else 0.0
        return Call(direction * sign(score), abs(score)) if abs(score) > width else NONE

    def leaves(past: Past, bar: int, side: int) -> bool:
        return (past.closes[bar] - past.mean(bar, count)) * side * direction <= 0

    return _held(count, enter, leaves)


def _above_mean(count: int) -> Callable[[Past], Iterator[Call]]:
    def call(past: Past, bar: int) -> Call:
        gap = past.closes[bar] - past.mean(bar, count)
        return Call(1, past.strength(bar, gap)) if gap > 0 else NONE

    return _each(count, call)


def _rsi(past: Past, bar: int, count: int) -> float:
    closes = past.closes[bar - count : bar + 1]
    moves = [after - before for before, after in pairwise(closes)]
    gains, total = sum(move for move in moves if move > 0), sum(map(abs, moves))
    return 100 * gains / total if total else 50.0


def _oscillator(
    measure: Callable[[Past, int], float], warm: int, low: float, high: float, *, trend: int | None = None
) -> Callable[[Past], Iterator[Call]]:
    """Return a bet against an extreme of 0 to 100, out at 50. `trend`: long only, above the mean of so many bars."""

    def enter(past: Past, bar: int) -> Call:
        value = measure(past, bar)
        side = 1 if value < low else -1 if value > high else 0
        if trend is not None and (side < 0 or past.closes[bar] <= past.mean(bar, trend)):
            side = 0
        return Call(side, abs(value - 50)) if side else NONE

    def leaves(past: Past, bar: int, side: int) -> bool:
        return (measure(past, bar) - 50) * side >= 0

    return _held(max(warm, trend or 0), enter, leaves)


def _rsi_fade(count: int, low: float, high: float, *, trend: int | None = None) -> Callable[[Past], Iterator[Call]]:
    return _oscillator(lambda past, bar: _rsi(past, bar, count), count, low, high, trend=trend)


def _stochastic(past: Past, bar: int) -> float:
    low, high = past.lowest(bar, 14), past.highest(bar, 14)
    return 100 * (past.closes[bar] - low) / (high - low) if high > low else 50.0


def _channel_fade(count: int) -> Callable[[Past], Iterator[Call]]:
    def enter(past: Past, bar: int) -> Call:
        close, high, low = past.closes[bar], past.highest(bar, count), past.lowest(bar, count)
        side = (close == low) - (close == high)
        return Call(side, past.strength(bar, high - low, count)) if side else NONE

    def leaves(past: Past, bar: int, side: int) -> bool:
        return (2 * past.closes[bar] - past.highest(bar, count) - past.lowest(bar, count)) * side >= 0

    return _held(count, enter, leaves)


def _streak(count: int, direction: int) -> Callable[[Past], Iterator[Call]]:
    def call(past: Past, bar: int) -> Call:
        sides = {sign(past.closes[at] - past.closes[at - 1]) for at in range(bar + 1 - count, bar + 1)}
        if len(sides) > 1 or 0 in sides:
            return NONE
        return Call(direction * sides.pop(), past.strength(bar, past.change(bar, count), count))

    return _each(count, call)


def _always_long(past: Past, bar: int) -> Call:
    return Call(1, past.strength(bar, past.change(bar, 20), 20))


STRATEGIES: Sequence[Strategy] = (
    *(Strategy(f"momentum {n}", "trend", _momentum(n), None) for n in (10, 20, 60, 120, 250)),
    *(
        Strategy(f"momentum {n}, held {hold}", "trend", _momentum(n), hold)
        for n, hold in ((1, 1), (5, 5), (20, 20), (60, 20))
    ),
    *(
        Strategy(f"means {fast}/{slow} crossing", "trend", _crossing(fast, slow), None)
        for fast, slow in ((5, 20), (10, 50), (20, 100), (50, 200))
    ),
    Strategy("exponential means 12/26 crossing", "trend", _macd(histogram=False), None),
    Strategy("MACD 12/26/9", "trend", _macd(histogram=True), None),
    *(
        Strategy(f"breakout {entry}/{way_out}", "breakout", _breakout(entry, way_out), None)
        for entry, way_out in ((10, 5), (20, 10), (55, 20), (100, 50))
    ),
    Strategy("band 20/2 breakout", "breakout", _band(20, 2, 1), None),
    *(Strategy(f"long above mean {n}", "trend", _above_mean(n), None) for n in (50, 200)),
    *(
        Strategy(f"band {n}/{width} reversion", "reversion", _band(n, width, -1), None)
        for n, width in ((20, 2), (20, 1), (50, 2))
    ),
    Strategy("RSI 14, 30/70", "reversion", _rsi_fade(14, 30, 70), None),
    Strategy("RSI 2, 10/90", "reversion", _rsi_fade(2, 10, 90), None),
    Strategy("RSI 2, long above mean 200", "reversion", _rsi_fade(2, 10, 90, trend=200), None),
    *(Strategy(f"reversal {n}, held {n}", "reversion", _momentum(n, -1), n) for n in (1, 5, 20)),
    Strategy("three in a row, followed", "breakout", _streak(3, 1), 3),
    Strategy("three in a row, faded", "reversion", _streak(3, -1), 3),
    Strategy("stochastic 14, 20/80", "reversion", _oscillator(_stochastic, 14, 20, 80), None),
    Strategy("channel 20 faded", "reversion", _channel_fade(20), None),
    *(Strategy(f"always long, held {n}", "long", _each(20, _always_long), n) for n in (5, 20)),
)
