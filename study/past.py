"""What is known of a market at the end of a bar: means, deviations and extremes of the bars so far.

Running sums over whole numbers are exact; one division or root at the end is rounded alike on every machine.
"""

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise

VOLATILITY_BARS = 60


class Past:
    """Closes in steps; each answer about bar `i` rests on bars up to `i` alone."""

    def __init__(self, closes: Sequence[int]) -> None:
        self.closes = closes
        self._sums = list(accumulate(closes, initial=0))
        self._squares = list(accumulate((close * close for close in closes), initial=0))
        moves = [0, *(after - before for before, after in pairwise(closes))]
        self._moves = list(accumulate((move * move for move in moves), initial=0))

    def __len__(self) -> int:
        return len(self.closes)

    def total(self, bar: int, count: int) -> int:
        """Return the sum of the last `count` closes."""
        return self._sums[bar + 1] - self._sums[bar + 1 - count]

    def mean(self, bar: int, count: int) -> float:
        """Return the mean of the last `count` closes."""
        return self.total(bar, count) / count

    def deviation(self, bar: int, count: int) -> float:
        """Return the standard deviation of the last `count` closes."""
        squares = self._squares[bar + 1] - self._squares[bar + 1 - count]
        return math.sqrt(count * squares - self.total(bar, count) ** 2) / count

    def volatility(self, bar: int) -> float:
        """Return the root mean square of the last moves from close to close."""
        squares = self._moves[bar + 1] - self._moves[bar + 1 - VOLATILITY_BARS]
        return math.sqrt(squares / VOLATILITY_BARS)

    def change(self, bar: int, count: int) -> int:
        """Return the move of the last `count` bars."""
        return self.closes[bar] - self.closes[bar - count]

    def strength(self, bar: int, size: float, count: float = 1) -> float:
        """Return a size in price steps as so many deviations of a move over `count` bars; without its sign."""
        deviation = self.volatility(bar) * math.sqrt(count)
        return abs(size) / deviation if deviation else 0.0

    def highest(self, bar: int, count: int) -> int:
        """Return the highest of the last `count` closes."""
        return max(self.closes[bar + 1 - count : bar + 1])

    def lowest(self, bar: int, count: int) -> int:
        """Return the lowest of the last `count` closes."""
        return min(self.closes[bar + 1 - count : bar + 1])
