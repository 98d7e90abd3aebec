"""What the idea claims, as numbers: accounts under the rules beside the same accounts under another sizing."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np

from study.curves import Array
from study.figures import Figures


class Claim(NamedTuple):
    """A measure of the difference, over a group of accounts in pairs, and what was projected for it."""

    name: str
    title: str
    unit: str
    value: Callable[[Figures, Figures], float]
    """Of the rules' figures and the other sizing's."""
    projected: tuple[float, float] | None
    """In the unit, from and to."""
    scale: float
    """From a plain number to the unit."""


def median(values: Array) -> float:
    """Return the median of the pairs that have a value; nan if none has."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")


def _change(of: Callable[[Figures], Array]) -> Callable[[Figures, Figures], float]:
    """Return the median over the pairs of the relative change."""
    return lambda ours, others: median(of(ours) / of(others) - 1)


def _difference(of: Callable[[Figures], Array]) -> Callable[[Figures, Figures], float]:
    """Return the median over the pairs of the difference."""
    return lambda ours, others: median(of(ours) - of(others))


def _change_of_medians(ours: Figures, others: Figures) -> float:
    """Return the change of the median efficiency: that of a single account may have any sign, or none."""
    return median(ours.per_exposure) / median(others.per_exposure) - 1


CLAIMS: Final[Sequence[Claim]] = (
    Claim("drawdown", "Maximum drawdown", "%", _change(lambda of: of.drawdown), (-40, -30), 100),
    Claim(
        "at_exposure",
        "Maximum drawdown at equal mean exposure",
        "%",
        _change(lambda of: of.drawdown / of.exposure),
        (-40, -30),
        100,
    ),
    Claim(
        "at_volatility",
        "Maximum drawdown at equal volatility",
        "%",
        _change(lambda of: of.drawdown / of.volatility),
        (-40, -30),
        100,
    ),
    Claim("sharpe", "Sharpe ratio", "", _difference(lambda of: of.sharpe), (0.2, 0.3), 1),
    Claim("recovery", "Longest recovery", "%", _change(lambda of: of.recovery), (-50, -50), 100),
    Claim(
        "efficiency",
        "Profit a year on the mean exposure",
        "points",
        _difference(lambda of: of.per_exposure),
        None,
        100,
    ),
    Claim("efficiency_change", "Capital efficiency", "%", _change_of_medians, (15, 25), 100),
)
LEVELS: Final[Sequence[tuple[str, Callable[[Figures], Array]]]] = (
    ("drawdown", lambda of: of.drawdown),
    ("sharpe", lambda of: of.sharpe),
    ("recovery", lambda of: of.recovery),
    ("exposure", lambda of: of.exposure),
    ("profit", lambda of: of.profit),
    ("per_exposure", lambda of: of.per_exposure),
)


class Interval(NamedTuple):
    """A median over pairs, with the interval in which 95 % of the resampled ones lie."""

    median: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether zero lies outside."""
        return self.low > 0 or self.high < 0

    def scaled(self, by: float) -> "Interval":
        """Return it in another unit."""
        return Interval(self.median * by, self.low * by, self.high * by)


def interval(point: float, resampled: Sequence[float]) -> Interval:
    """Return a point with the percentiles of its resampled values; without such values there are none."""
    if not resampled:
        return Interval(point, float("nan"), float("nan"))
    low, high = np.nanpercentile(resampled, (2.5, 97.5))
    return Interval(point, float(low), float(high))
