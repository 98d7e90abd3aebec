"""Figures of accounts: arrays with a value for each account. The way of the drawdown is empyrical's."""

import math
from typing import NamedTuple

import numpy as np
from empyrical.stats import drawdown_series

from study.curves import Array

_TOGETHER = 32
"""Accounts whose curves are looked at together: so many fit into a processor's cache."""


class Figures(NamedTuple):
    """What an analyst asks of an account; each an array over the accounts."""

    drawdown: Array
    """The largest fall from a peak, as a share of the peak: 0.01 is one percent."""
    sharpe: Array
    """Of a period (a year), of the returns themselves: money not in use earns nothing. nan without a movement."""
    recovery: Array
    """The longest time from a peak until it is reached again, in bars; what is not reached counts to the end."""
    exposure: Array
    """Mean open cost, as a share of the starting value."""
    profit: Array
    """Mean result of a period, as a share of the value."""
    volatility: Array
    """Standard deviation of a bar's return."""

    @property
    def per_exposure(self) -> Array:
        """Return the capital efficiency: a period's profit over the mean exposure."""
        return self.profit / self.exposure


def figures(returns: Array, exposure: Array, period: int) -> Figures:
    """Return the figures of accounts. `returns`: bars x accounts. `exposure`: mean of each account."""
    accounts = returns.shape[1]
    parts = [_part(returns[:, at : at + _TOGETHER]) for at in range(0, accounts, _TOGETHER)]
    drawdown, recovery, mean, volatility = (np.concatenate(values) for values in zip(*parts, strict=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        sharpe = mean / volatility * math.sqrt(period)
    return Figures(drawdown, sharpe, recovery, exposure, mean * period, volatility)


def longest_recovery(drawdowns: Array) -> Array:
    """Return the most bars in a row below a former peak. `drawdowns`: bars x accounts, 0 at a peak."""
    bars = np.arange(1, len(drawdowns) + 1, dtype=np.int32)[:, np.newaxis]
    last_peak = np.maximum.accumulate(np.where(drawdowns < 0, np.int32(0), bars), axis=0)
    return np.asarray((bars - last_peak).max(axis=0), dtype=np.float64)


def _part(returns: Array) -> tuple[Array, Array, Array, Array]:
    drawdowns = drawdown_series(returns)
    return (
        -drawdowns.min(axis=0),
        longest_recovery(drawdowns),
        returns.mean(axis=0),
        returns.std(axis=0, ddof=1),
    )
