"""Two textbook strategies on real prices: momentum follows a move, mean reversion bets against it.

Both measure the same thing: the price's change over the look-back, in standard deviations of such a change. The
side is its sign, the confidence the normal probability that belongs to its size. Pure: prices in, intents out.
"""

import heapq
import math
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import accumulate
from statistics import NormalDist
from typing import Literal, NamedTuple

from app.demo.accounts import Account
from app.demo.market import SECOND, WINDOW_END, WINDOW_START, Prices

BAR = 10  # seconds: what changes are measured in
VOLATILITY_BARS = 180  # half an hour of them


class Bars:
    """The last price at the end of every bar, in quarter points, and sums of squared changes between bars."""

    def __init__(self, prices: Prices) -> None:
        self.start = prices.times[0]
        count = (prices.times[-1] - self.start) // (BAR * SECOND) + 1
        self._closes = [prices.ticks[prices.last(self.start + n * BAR * SECOND)] for n in range(count)]
        changes = (after - before for before, after in zip(self._closes, self._closes[1:], strict=False))
        self._squares = list(accumulate((change * change for change in changes), initial=0))

    def strength(self, time: int, look_back: int) -> float:
        """Return the change over `look_back` seconds before `time`, in its standard deviations (signed).

        The deviation is that of the last half hour's bars, scaled by the root of time.
        """
        last = min((time - self.start) // (BAR * SECOND), len(self._closes) - 1)
        bars = look_back // BAR
        if last < max(bars, VOLATILITY_BARS):
            raise ValueError(f"the prices begin too late for a look-back of {look_back} s at {time}")
        squares = self._squares[last] - self._squares[last - VOLATILITY_BARS]
        deviation = math.sqrt(squares / VOLATILITY_BARS * bars)
        change = self._closes[last] - self._closes[last - bars]
        return change / deviation if deviation else 0.0


class Intent(NamedTuple):
    """What a strategy wants at a moment of market time, before it is told to anyone."""

    time: int  # exchange time, microseconds
    account: Account
    number: int  # of the account's signals, from 1
    side: Literal["BUY", "SELL"]
    confidence: float
    price: Decimal  # the last trade's


def intents(account: Account, bars: Bars, prices: Prices, *, offset: int = 0) -> Iterator[Intent]:
    """Yield an account's intents over the demo's window, in order of time; a function of the prices alone.

    `offset`: microseconds from the window's start to the first.
    """
    rises = 1 if account.style == "momentum" else -1
    times = range(WINDOW_START + offset, WINDOW_END, account.every * SECOND)
    for number, time in enumerate(times, 1):
        strength = bars.strength(time, account.look_back)
        side: Literal["BUY", "SELL"] = "BUY" if strength * rises >= 0 else "SELL"
        confidence = round(NormalDist().cdf(abs(strength)), 4)
        yield Intent(time, account, number, side, confidence, prices.price(prices.last(time)))


def all_intents(accounts: Sequence[Account], prices: Prices) -> Iterator[Intent]:
    """Yield the intents of all accounts in order of time; they take turns, so that the signals do not come in gusts."""
    bars = Bars(prices)
    streams = (
        intents(account, bars, prices, offset=number * account.every * SECOND // len(accounts))
        for number, account in enumerate(accounts)
    )
    return heapq.merge(*streams, key=lambda intent: intent.time)
