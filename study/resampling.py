"""Intervals by the bootstrap, drawn by arch: of histories for the textbook, of accounts for coins.

Histories are made of blocks of the real one, the same blocks for all accounts and sizings: what hangs together in time
(within a block) and across accounts is kept. What is resampled is what the accounts earned: no rule is run again. An
edge that changes in time would be mixed up by that; but coins fall independently of each other, so of them the
accounts are drawn anew.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from arch.bootstrap import IIDBootstrap, StationaryBootstrap
from numpy.typing import NDArray

from study.claims import CLAIMS, LEVELS, Interval, interval, median
from study.curves import Array
from study.figures import Figures, figures
from study.panels import Panel

SEED: Final = 20260105
RESAMPLES: Final = 400
LEAST_TRADES: Final = 10
"""Pairs in which either side closed fewer have no figures worth the name, and are left out."""
LEAST_ACCOUNTS: Final = 20
"""Of fewer none are drawn anew: there is no interval."""


class Comparison(NamedTuple):
    """A group of accounts under one sizing and under another, in pairs."""

    group: str
    ours: str
    others: str
    pairs: int
    claims: Mapping[str, Interval]
    """By claim: median over the pairs of the differences."""
    levels: Mapping[str, tuple[Interval, Interval]]
    """By figure: the medians of the two sides."""
    sharpe_errors: tuple[Array, Array] | None
    """Of each pair: difference of the Sharpe ratios, and its standard error; where histories were resampled."""


class _Wanted(NamedTuple):
    group: str
    ours: str
    others: str
    columns: NDArray[np.int64]


class _Values(NamedTuple):
    claims: list[float]
    ours: list[float]
    others: list[float]
    sharpe: Array


def compare(
    panel: Panel, block: int, period: int, pairs: Sequence[tuple[str, str]], resamples: int = RESAMPLES
) -> Iterator[list[Comparison] | str]:
    """Yield lines of progress, and at last a comparison for each group and each pair of sizings that is asked for."""
    wanted = list(_wanted(panel, pairs))
    whole = {
        name: figures(returns, panel.exposure[name].mean(axis=0), period) for name, returns in panel.returns.items()
    }
    points = [_values(whole, one, one.columns) for one in wanted]
    if not panel.plan.is_textbook:
        yield [
            _comparison(one, point, _other_accounts(whole, one, resamples))
            for one, point in zip(wanted, points, strict=True)
        ]
        return
    drawn: list[list[_Values]] = [[] for _ in wanted]
    for number, bars in enumerate(_histories(len(panel.returns[pairs[0][0]]), block, resamples), 1):
        weights = np.bincount(bars, minlength=len(bars)) / len(bars)
        made = {
            name: figures(returns[bars], weights @ panel.exposure[name], period)
            for name, returns in panel.returns.items()
        }
        for values, one in zip(drawn, wanted, strict=True):
            values.append(_values(made, one, one.columns))
        if number % 50 == 0 or number == resamples:
            yield f"{panel.plan.title}: {number} of {resamples} resampled histories"
    yield [
        _comparison(one, point, values)._replace(
            sharpe_errors=(point.sharpe, np.nanstd([value.sharpe for value in values], axis=0, ddof=1))
        )
        for one, point, values in zip(wanted, points, drawn, strict=True)
    ]


def _other_accounts(whole: Mapping[str, Figures], one: _Wanted, resamples: int) -> list[_Values]:
    """Return what other coins could have given; nothing where there are too few to draw from."""
    if len(one.columns) < LEAST_ACCOUNTS:
        return []
    bootstrap = IIDBootstrap(one.columns, seed=np.random.RandomState(SEED))
    return [_values(whole, one, columns) for (columns,), _ in bootstrap.bootstrap(resamples)]


def _wanted(panel: Panel, pairs: Sequence[tuple[str, str]]) -> Iterator[_Wanted]:
    groups = np.array(panel.groups)
    for group in dict.fromkeys(panel.groups):
        for ours, others in pairs:
            traded = np.minimum(panel.trades[ours], panel.trades[others]) >= LEAST_TRADES
            yield _Wanted(group, ours, others, np.flatnonzero((groups == group) & traded))


def _histories(bars: int, block: int, resamples: int) -> Iterator[NDArray[np.int64]]:
    bootstrap = StationaryBootstrap(block, np.arange(bars), seed=np.random.RandomState(SEED))
    for (drawn,), _ in bootstrap.bootstrap(resamples):
        yield drawn


def _values(made: Mapping[str, Figures], one: _Wanted, columns: NDArray[np.int64]) -> _Values:
    ours, others = (Figures(*(values[columns] for values in made[name])) for name in (one.ours, one.others))
    with np.errstate(divide="ignore", invalid="ignore"):
        return _Values(
            [claim.value(ours, others) for claim in CLAIMS],
            [median(level(ours)) for _, level in LEVELS],
            [median(level(others)) for _, level in LEVELS],
            ours.sharpe - others.sharpe,
        )


def _comparison(one: _Wanted, point: _Values, drawn: Sequence[_Values]) -> Comparison:
    def intervals(name: str) -> list[Interval]:
        return [
            interval(value, [getattr(values, name)[at] for values in drawn])
            for at, value in enumerate(getattr(point, name))
        ]

    ours, others = intervals("ours"), intervals("others")
    return Comparison(
        one.group,
        one.ours,
        one.others,
        len(one.columns),
        dict(zip((claim.name for claim in CLAIMS), intervals("claims"), strict=True)),
        {name: (mine, theirs) for (name, _), mine, theirs in zip(LEVELS, ours, others, strict=True)},
        None,
    )
