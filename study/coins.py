"""Ideas whose edge is known beforehand: the side is right with a given probability.

A coin that is right by more than half the time looks into the future, on purpose: it *is* the edge. Nothing else of
the study does. A fair coin has none.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from study.ideas import Idea
from study.markets import Market

SEEDS: Final = range(1, 5)
BASKET_SEEDS: Final = range(1, 25)
"""A basket is one account where there are 23 otherwise."""


class Coin(NamedTuple):
    """A kind of edge."""

    kind: str
    title: str
    hold: int
    """Bars that each idea lasts."""
    right: Callable[[int, float, float], float]
    """Probability of the right side, of an idea's number, its share of the history and its confidence."""
    seed: int

    @property
    def name(self) -> str:
        """Name and seed."""
        return f"{self.kind}, held {self.hold}, seed {self.seed}"


def _steady(probability: float) -> Callable[[int, float, float], float]:
    return lambda _number, _share, _confidence: probability


_KINDS: Final[Sequence[tuple[str, str, Sequence[int], Callable[[int, float, float], float]]]] = (
    ("fair", "no edge: right 50 %", (5, 20), _steady(0.5)),
    ("steady 55", "right 55 %", (5,), _steady(0.55)),
    ("steady 60", "right 60 %", (5,), _steady(0.6)),
    ("steady 65", "right 65 %", (5,), _steady(0.65)),
    (
        "confidence right",
        "right 50 to 70 %, as the confidence says",
        (5,),
        lambda _number, _share, confidence: 0.5 + 0.4 * (confidence - 0.5),
    ),
    (
        "confidence wrong",
        "right 70 to 50 %, the reverse of the confidence",
        (5,),
        lambda _number, _share, confidence: 0.7 - 0.4 * (confidence - 0.5),
    ),
    (
        "in turns",
        "right 75 and 45 % in turns, 25 ideas each",
        (5,),
        lambda number, _share, _confidence: 0.45 if number // 25 % 2 else 0.75,
    ),
    (
        "dying",
        "right 65 % in the first half of the time, then 45 %",
        (5,),
        lambda _number, share, _confidence: 0.65 if 2 * share < 1 else 0.45,
    ),
)

TITLES: Final = {kind: title for kind, title, _holds, _right in _KINDS}
COINS: Final[Sequence[Coin]] = tuple(
    Coin(kind, title, hold, right, seed) for kind, title, holds, right in _KINDS for hold in holds for seed in SEEDS
)
BASKET_COINS: Final[Sequence[Coin]] = tuple(
    Coin(kind, title, 5, right, seed)
    for kind, title, _holds, right in _KINDS
    if kind in ("fair", "steady 55", "steady 60", "confidence right")
    for seed in BASKET_SEEDS
)


def coin_ideas(coin: Coin, market: Market, place: int = 0) -> Iterator[Idea]:
    """Yield a coin's ideas on a market, one after the other, each for as many bars as it holds.

    The confidence is drawn evenly from 0.5 to 1: no rank of anything.
    """
    draw = random.Random(f"{coin.name}/{market.name}").random  # noqa: S311 - repeatable by its seed
    last = len(market.closes) - 1
    for number, entry in enumerate(range(1, last - coin.hold + 1, coin.hold + 1)):
        end = entry + coin.hold
        rises = market.closes[end] >= market.closes[entry]
        confidence = round(0.5 + draw() / 2, 4)
        is_right = draw() < coin.right(number, entry / last, confidence)
        yield Idea(place, entry, end, 1 if rises == is_right else -1, confidence)
