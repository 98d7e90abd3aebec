"""Figures that an analyst knows, of one portfolio's closed trades. Sharpe, Sortino and drawdown are empyrical's."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import numpy as np
from empyrical import stats
from numpy.typing import NDArray

Array = NDArray[np.float64]

MINIMUM_DAYS = 20
"""From so many days on, Sharpe and Sortino are of days and a year; below, of trades."""
_FRIDAY = 4
_YEAR_OF_WORKDAYS = 252
_YEAR_OF_ALL_DAYS = 365


class Basis(NamedTuple):
    """What Sharpe and Sortino ratios are of."""

    periods: int
    """Returns that they were made of."""
    a_year: int | None
    """Periods a year, by which they are annualised; None: they are of trades, and are not."""


class Figures(NamedTuple):
    """Of one way of sizing. nan: there is no such figure, for want of trades, of losses or of a value."""

    result: float
    """Money, after commissions."""
    result_share: float
    """Of the value at the start."""
    profit_factor: float
    """Gross profit by gross loss; infinite without a loss."""
    expectancy: float
    """Mean result of a trade, money."""
    average_win: float
    average_loss: float
    """Below 0."""
    sharpe: float
    sortino: float
    basis: Basis
    max_drawdown: float
    """The largest fall of the curve from a peak, as a share of the peak; 0 or below."""
    recovery: float
    """The longest time from a peak until it was reached again, seconds; 0 without a fall."""
    is_recovered: bool
    """False: the longest goes on at the end."""


class Curves(NamedTuple):
    """Values after each trade."""

    equity: Array
    """Start value and the results so far."""
    drawdown: Array
    """Share below the highest so far, 0 or below."""


def curves(start_value: float, results: Sequence[float]) -> Curves:
    """Return the curves. `start_value`: above 0, or nan: then there is no drawdown."""
    equity, returns = _returns(start_value, results)
    if not len(returns) or np.isnan(start_value):
        return Curves(equity, np.full(len(returns), np.nan))  # empyrical takes what is not known for no change
    return Curves(equity, np.asarray(stats.drawdown_series(returns)))


def figures(start: float, start_value: float, times: Sequence[float], results: Sequence[float], end: float) -> Figures:
    """Return the figures.

    `start`, `end`: of the time looked at; `times`: of the trades, in order; seconds since the epoch. `start_value`:
    above 0, or nan.
    """
    array = np.asarray(results, dtype=np.float64)
    wins, losses = array[array > 0], array[array < 0]
    gross_loss = -losses.sum()
    profit_factor = wins.sum() / gross_loss if gross_loss else (np.inf if len(wins) else np.nan)
    drawdown = curves(start_value, results).drawdown
    recovery, is_recovered = _longest_recovery([start, *times], np.concatenate(([0.0], drawdown)), end)
    sharpe, sortino, basis = _ratios(start_value, times, array)
    return Figures(
        result=float(array.sum()),
        result_share=float(array.sum() / start_value),
        profit_factor=float(profit_factor),
        expectancy=_mean(array),
        average_win=_mean(wins),
        average_loss=_mean(losses),
        sharpe=sharpe,
        sortino=sortino,
        basis=basis,
        max_drawdown=float(drawdown.min()) if len(drawdown) else 0.0,
        recovery=recovery,
        is_recovered=is_recovered,
    )


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _returns(start_value: float, results: Sequence[float]) -> tuple[Array, Array]:
    """Return the value after each result, and each result as a share of the value before it."""
    array = np.asarray(results, dtype=np.float64)
    equity = start_value + np.cumsum(array)
    before = np.concatenate(([start_value], equity[:-1]))[: len(array)]
    # Who lost all has no returns any more.
    return equity, np.divide(array, before, out=np.full(len(array), np.nan), where=before > 0)


def _longest_recovery(times: Sequence[float], drawdown: Array, end: float) -> tuple[float, bool]:
    """Return the longest time below a peak, and whether the peak was reached again."""
    longest, is_recovered, peak_time = 0.0, True, times[0]
    is_below = False
    for time, fall in zip(times, drawdown, strict=True):
        if fall < 0:
            is_below = True
            continue
        if is_below and time - peak_time > longest:
            longest, is_recovered = time - peak_time, True
        peak_time, is_below = time, False
    if is_below and end - peak_time >= longest:
        longest, is_recovered = end - peak_time, False
    return longest, is_recovered


def _ratios(start_value: float, times: Sequence[float], results: Array) -> tuple[float, float, Basis]:
    """Return Sharpe, Sortino and what they are of. Money that is not in use earns nothing, and so is no risk."""
    days = _days(times)
    basis = Basis(len(results), None)
    periods = results
    if len(days) >= MINIMUM_DAYS:
        place = {day: number for number, day in enumerate(days)}
        periods = np.zeros(len(days))
        np.add.at(periods, [place[_day(time)] for time in times], results)
        has_weekends = any(day.weekday() > _FRIDAY for day in days)
        basis = Basis(len(days), _YEAR_OF_ALL_DAYS if has_weekends else _YEAR_OF_WORKDAYS)
    _, returns = _returns(start_value, periods.tolist())
    returns = returns[np.isfinite(returns)]
    a_year = basis.a_year or 1
    sharpe = float(stats.sharpe_ratio(returns, annualization=a_year))
    sortino = float(stats.sortino_ratio(returns, annualization=a_year))
    return sharpe, sortino, basis


def _days(times: Sequence[float]) -> list[date]:
    """Return the days from the first trade to the last: workdays, or all if there are trades on weekends."""
    if not times:
        return []
    traded = {_day(time) for time in times}
    first, last = min(traded), max(traded)
    every = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    if any(day.weekday() > _FRIDAY for day in traded):
        return every
    return [day for day in every if day.weekday() <= _FRIDAY]


def _day(time: float) -> date:
    return datetime.fromtimestamp(time, UTC).date()
