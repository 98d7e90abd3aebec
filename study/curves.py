"""An account bar by bar: returns on its value, and the exposure that it held, as numpy arrays."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from study.desk import START_VALUE, Account
from study.markets import Market

Array = NDArray[np.float64]


class Curve(NamedTuple):
    """One value a bar; the first bar is the start."""

    returns: Array
    """Marked to the bar's price, against the value at the bar before."""
    exposure: Array
    """Open cost from this bar's price on to the next, as a share of the starting value."""


def curve(account: Account, markets: Sequence[Market]) -> Curve:
    """Return an account's curve."""
    bars = len(markets[0].closes)
    prices = [np.array(market.closes, dtype=np.float64) * float(market.step) for market in markets]
    profit, exposure = np.zeros(bars), np.zeros(bars)
    for idea, _, quantity, opened, closed, _ in account.trades:
        closes = prices[idea.market]
        held = float(quantity) * idea.side
        entry, end = idea.entry, idea.exit
        profit[entry] += held * (closes[entry] - float(opened.last_px)) - float(opened.commission)
        profit[entry + 1 : end + 1] += held * np.diff(closes[entry : end + 1])
        profit[end] += held * (float(closed.last_px) - closes[end]) - float(closed.commission)
        exposure[entry:end] += float(quantity) * float(opened.last_px)
    start = float(START_VALUE)
    value = start + np.cumsum(profit)
    before = np.concatenate(([start], value[:-1]))
    return Curve(profit / before, exposure / start)
