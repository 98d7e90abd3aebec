"""Trade ideas: what a strategy asks for, before anyone sizes it. The same for every way of sizing.

What is asked for at bar t rests on bars up to t - 1; it is bought and sold at the price of bar t, the next one. An
idea ends at the price of the bar after the one whose end told so, and the next one begins a bar later at the
earliest: then the result of the one before is known.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from study.markets import Market
from study.past import Past
from study.textbook import Strategy

REMEMBERED: Final = 100
"""A confidence is a rank among so many earlier ideas."""
LEAST: Final = 10
"""With fewer of them it is `UNKNOWN`."""
UNKNOWN: Final = 0.75


class Idea(NamedTuple):
    """One round trip, from a bar's price to a later bar's."""

    market: int
    """Its place in the universe."""
    entry: int
    exit: int
    side: int
    """1: bought, -1: sold."""
    confidence: float


class Ranks:
    """Confidence by rank: the share of a strategy's earlier ideas that were weaker, from 0.5 (none) to 1 (all)."""

    def __init__(self) -> None:
        self._earlier: deque[float] = deque(maxlen=REMEMBERED)

    def confidence(self, strength: float) -> float:
        """Return an idea's confidence, four decimals, and remember its strength."""
        earlier = self._earlier
        known = len(earlier)
        # Whole numbers: ties count half.
        weaker = sum((2 if other < strength else 1) for other in earlier if other <= strength)
        earlier.append(strength)
        return UNKNOWN if known < LEAST else round(0.5 + weaker / (4 * known), 4)


def textbook_ideas(strategy: Strategy, market: Market, place: int = 0) -> Iterator[Idea]:
    """Yield a strategy's ideas on a market, in order of time; what is open at the end ends with the last bar."""
    ranks = Ranks()
    last = len(market.closes) - 1
    entry = side = 0
    confidence = 0.0
    for known, call in enumerate(strategy.calls(Past(market.closes))):
        bar = known + 1  # the next price, at which what was called is done
        if bar > last:
            break
        if side:
            ends = call.side != side if strategy.hold is None else bar >= entry + strategy.hold
            if ends:
                yield Idea(place, entry, bar, side, confidence)
                side = 0
        elif call.side and bar < last:
            entry, side, confidence = bar, call.side, ranks.confidence(call.strength)
    if side:
        yield Idea(place, entry, last, side, confidence)


def merged(ideas: Sequence[Sequence[Idea]]) -> list[Idea]:
    """Return the ideas on several markets in order of their entries; who comes first at a bar takes turns."""
    count = len(ideas)
    every = [idea for of_one in ideas for idea in of_one]
    return sorted(every, key=lambda idea: (idea.entry, (idea.market + idea.entry) % count))
