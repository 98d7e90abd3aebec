"""The numbers behind a portfolio's charts, small enough to be drawn, and what each chart says in words."""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from app.report import text
from app.report.account import Account
from app.report.figures import curves
from app.report.series import Series, Thinned

_DIGITS = 7
_MOMENTS = 20
LONGEST_STREAK = 8
"""Streaks of so many trades and more are counted together."""


class Chart(NamedTuple):
    """A chart over time. `data` goes into the page as JSON."""

    kind: str
    title: str
    says: str
    """What it shows, in one line."""
    summary: str
    """What is to be seen, for who cannot see it."""
    data: dict[str, Any]
    shown: int
    of: int

    @property
    def is_thinned(self) -> bool:
        """Not all points are drawn."""
        return self.shown < self.of


class Bin(NamedTuple):
    """A bar of a histogram."""

    low: float
    high: float
    trades: int


class Moment(NamedTuple):
    """What the curves are at a moment. None: not known then."""

    time: float
    equity: float | None
    fixed_equity: float | None
    drawdown: float | None
    """Share, 0 or below."""
    fixed_drawdown: float | None
    exposure: float | None
    limit: float | None
    phase: float | None


class StreakRow(NamedTuple):
    """How many streaks of a length there were."""

    length: int
    wins: int
    losses: int


def charts(account: Account, points: int) -> list[Chart]:
    """Return the charts of a portfolio. `points`: about so many are drawn of each curve."""
    found = [_exposure(account, points), _phases(account, points)]
    if account.trades:
        found = [*_results(account, points), *found, _costs(account, points)]
    return found


def moments(drawn: Sequence[Chart]) -> list[Moment]:
    """Return what the curves were at moments of equal distance: the table behind the charts."""
    data = {chart.kind: chart.data for chart in drawn}
    first, length = data["exposure"]["first"], data["exposure"]["times"][-1]
    at = [length * number // (_MOMENTS - 1) for number in range(_MOMENTS)] if length else [0]
    return [_moment(data, first, milliseconds) for milliseconds in at]


def _moment(data: dict[str, dict[str, Any]], first: float, milliseconds: int) -> Moment:
    def value(kind: str, column: int) -> float | None:
        if kind not in data:
            return None
        place = bisect_right(data[kind]["times"], milliseconds) - 1
        found: float | None = data[kind]["columns"][column][place] if place >= 0 else None
        return found

    def share(column: int) -> float | None:
        found = value("drawdown", column)
        return None if found is None else found / 100

    return Moment(
        time=first + milliseconds / 1000,
        equity=value("equity", 0),
        fixed_equity=value("equity", 1),
        drawdown=share(0),
        fixed_drawdown=share(1),
        exposure=value("exposure", 0),
        limit=value("exposure", 1),
        phase=value("phase", 0),
    )


def histogram(values: Sequence[float]) -> list[Bin]:
    """Return the distribution of values in bars of equal width, none with losses and wins.

    Sturges' count of bars grows with how many values there are, whatever they are: an outlier makes no million bars.
    """
    if not len(values):
        return []
    array = np.asarray(values)
    edges = np.histogram_bin_edges(array, bins="sturges")
    width = edges[1] - edges[0]
    edges = width * np.arange(math.floor(edges[0] / width), math.floor(edges[-1] / width) + 2)
    counts, edges = np.histogram(array, bins=edges)
    return [Bin(float(edges[at]), float(edges[at + 1]), int(number)) for at, number in enumerate(counts)]


def streak_rows(account: Account) -> list[StreakRow]:
    """Return how long streaks were, by length; the last row has the longer ones too."""
    found = Counter((streak.is_win, min(streak.length, LONGEST_STREAK)) for streak in account.trades.streaks())
    longest = max((length for _, length in found), default=0)
    return [StreakRow(length, found[True, length], found[False, length]) for length in range(1, longest + 1)]


def _results(account: Account, points: int) -> list[Chart]:
    trades, start = account.trades, _start_value(account)
    actual, fixed = curves(start, trades.results), curves(start, trades.fixed)
    equity, drawdown = Series(2, points), Series(2, points)
    first = account.first_time or 0.0
    equity.add(first, start, start)
    drawdown.add(first, 0, 0)
    for row in zip(trades.times, actual.equity, fixed.equity, actual.drawdown, fixed.drawdown, strict=True):
        equity.add(row[0], float(row[1]), float(row[2]))
        drawdown.add(row[0], float(row[3]) * 100, float(row[4]) * 100)
    lowest = (text.percent(float(curve.drawdown.min())) for curve in (actual, fixed))
    ends = f"{text.money(trades.total)} as sized, {text.money(trades.fixed_total)} at fixed size"
    return [
        _chart(
            account,
            "equity",
            "Equity",
            "Value at the start and the results of closed trades since, after commissions.",
            f"In the end {ends}.",
            equity.thinned(points),
        ),
        _chart(
            account,
            "drawdown",
            "Drawdown",
            "How far equity is below its highest point so far.",
            "Lowest {} as sized, {} at fixed size.".format(*lowest),
            drawdown.thinned(points),
        ),
    ]


def _exposure(account: Account, points: int) -> Chart:
    return _chart(
        account,
        "exposure",
        "Exposure",
        "Money open and reserved, and the limit that it must keep.",
        f"At most {text.percent(account.peak_use)} of the limit, on average {text.percent(account.mean_use)}.",
        account.exposure.thinned(points),
    )


def _phases(account: Account, points: int) -> Chart:
    protection = "on" if account.drawdown_active else "off"
    return _chart(
        account,
        "phase",
        "Phase",
        "Phases only rise, by closed trades. Shaded: drawdown protection is on, sizes are cut.",
        f"Phase {account.phase} in the end, drawdown protection {protection}.",
        account.phases.thinned(points),
    )


def _costs(account: Account, points: int) -> Chart:
    drawn = account.costs.thinned(points)
    drawn.columns[:] = [[share * 100 for share in drawn.columns[1]]]
    over = sum(share > 100 for share in drawn.columns[0])  # noqa: PLR2004 - percent
    told = "No trade drawn cost more than its notional." if not over else f"{text.count(over, 'trade')} cost more."
    return _chart(
        account,
        "cost",
        "Cost against notional",
        "What each trade cost to open, as a share of what it was allowed to; above the line it slipped over.",
        told,
        drawn,
    )


def _chart(account: Account, kind: str, title: str, says: str, summary: str, drawn: Thinned) -> Chart:
    """Make a chart from the portfolio's first moment to its last: all its charts zoom together."""
    first, last = account.first_time or 0.0, account.time
    times, columns = list(drawn.times), [list(column) for column in drawn.columns]
    if not times or times[0] > first:
        times.insert(0, first)
        for column in columns:
            column.insert(0, math.nan)
    if times[-1] < last:
        times.append(last)
        for column in columns:
            column.append(math.nan if kind == "cost" else column[-1])
    data = {
        "first": first,
        # Milliseconds since then: half the size of a time.
        "times": [round((time - first) * 1000) for time in times],
        "columns": [[_rounded(value) for value in column] for column in columns],
    }
    return Chart(kind, title, says, summary, data, len(drawn.times), drawn.of)


def _rounded(value: float) -> float | int | None:
    if not math.isfinite(value):
        return None
    short = float(f"{value:.{_DIGITS}g}")
    return int(short) if short.is_integer() else short


def _start_value(account: Account) -> float:
    return math.nan if account.start_value is None else float(account.start_value)
