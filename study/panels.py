"""Accounts side by side: each strategy on each instrument, or one account for all of them, sized in several ways."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.core.policy import Policy
from app.replay.counterfactual import Rule, fixed_sizing, without
from study.coins import BASKET_COINS, COINS, Coin, coin_ideas
from study.curves import Array, Curve, curve
from study.desk import Account, Desk
from study.ideas import Idea, merged, textbook_ideas
from study.markets import Market, Universe
from study.textbook import STRATEGIES

RULES: Final = "the rules"
FIXED: Final = "fixed sizing"
FIXED_LIMITED: Final = "fixed sizing within the limit"
TEXTBOOK: Final = "textbook"


def policies(names: Sequence[str]) -> dict[str, Policy]:
    """Return ways of sizing by their names: the three above, or the name of a rule, which is off."""
    named = {RULES: without(), FIXED: fixed_sizing(), FIXED_LIMITED: fixed_sizing(limited=True)}
    return {name: named[name] if name in named else without(Rule(name)) for name in names}


class Plan(NamedTuple):
    """What is run: ideas of a family on a universe."""

    name: str
    title: str
    universe: str
    is_textbook: bool
    """Else coins."""
    is_basket: bool
    """One account trades all instruments; else each has its own."""
    sizings: Sequence[str]


class Panel(NamedTuple):
    """Accounts in columns, the same columns for each way of sizing."""

    plan: Plan
    groups: Sequence[str]
    """Of each account: the textbook, or the kind of coin."""
    names: Sequence[tuple[str, str]]
    """Of each account: the strategy's and the instrument's."""
    returns: Mapping[str, Array]
    """By sizing, bars x accounts."""
    exposure: Mapping[str, Array]
    trades: Mapping[str, NDArray[np.int64]]
    """By sizing: closed trades of each account."""
    counts: Mapping[str, Mapping[str, Counter[str]]]
    """By sizing and group: ideas, what became of them, in which phase, and the last phases of the accounts."""


def build(plan: Plan, universe: Universe, limit: int | None = None) -> Iterator[Panel | str]:
    """Yield lines of progress, and at last the panel. `limit`: only so many strategies."""
    groups: list[str] = []
    names: list[tuple[str, str]] = []
    ways = policies(plan.sizings)
    curves: dict[str, list[Curve]] = {name: [] for name in ways}
    trades: dict[str, list[int]] = {name: [] for name in ways}
    counts: dict[str, dict[str, Counter[str]]] = {name: {} for name in ways}
    sources = _sources(plan)[:limit]
    for number, (group, name) in enumerate(sources, 1):
        for place, markets, ideas in _portfolios(plan, universe, number - 1):
            groups.append(group)
            names.append((name, place))
            for sizing, policy in ways.items():
                account = Desk(markets, policy).run(ideas)
                curves[sizing].append(curve(account, markets))
                trades[sizing].append(len(account.trades))
                counts[sizing].setdefault(group, Counter()).update(_count(account))
        if number % 5 == 0 or number == len(sources):
            yield f"{plan.title}: {number} of {len(sources)} strategies"
    yield Panel(
        plan,
        groups,
        names,
        {name: np.column_stack([one.returns for one in of_one]) for name, of_one in curves.items()},
        {name: np.column_stack([one.exposure for one in of_one]) for name, of_one in curves.items()},
        {name: np.array(of_one) for name, of_one in trades.items()},
        counts,
    )


def _sources(plan: Plan) -> list[tuple[str, str]]:
    """Return group and name of each strategy."""
    if plan.is_textbook:
        return [(TEXTBOOK, strategy.name) for strategy in STRATEGIES]
    return [(coin.kind, coin.name) for coin in _coins(plan)]


def _coins(plan: Plan) -> Sequence[Coin]:
    return BASKET_COINS if plan.is_basket else COINS


def _portfolios(plan: Plan, universe: Universe, number: int) -> Iterator[tuple[str, Sequence[Market], list[Idea]]]:
    """Yield the accounts of a strategy: name, instruments, ideas."""
    markets = universe.markets
    if plan.is_basket:
        yield "all", markets, merged([list(_ideas(plan, number, market, at)) for at, market in enumerate(markets)])
    else:
        for market in markets:
            yield market.name, [market], list(_ideas(plan, number, market, 0))


def _ideas(plan: Plan, number: int, market: Market, place: int) -> Iterator[Idea]:
    if plan.is_textbook:
        return textbook_ideas(STRATEGIES[number], market, place)
    return coin_ideas(_coins(plan)[number], market, place)


def _count(account: Account) -> dict[str, int]:
    count = {
        "accounts": 1,
        "ideas": sum(account.phases.values()),
        "protected": account.protected,
        "trades": len(account.trades),
        "won": sum(trade.result > 0 for trade in account.trades),
        **{f"skipped {reason}": number for reason, number in account.skipped.items()},
        **{f"ideas in phase {phase}": number for phase, number in account.phases.items()},
    }
    if account.portfolio is not None:
        count[f"ended in phase {account.portfolio.phase}"] = 1
    return count
