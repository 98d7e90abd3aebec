"""A curve of bounded size: when it has too many points, those stay that show its shape, and it tells so."""

from array import array
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Thinned(NamedTuple):
    """The points of a curve that are drawn."""

    times: list[float]
    """Seconds since the epoch, in order."""
    columns: list[list[float]]
    """The values at these times, one list for each column."""
    of: int
    """How many points there were."""


class Series:
    """Points in the order of time, with one or more values each. Keeps at most twice `limit` of them.

    What is left out lies between points that are kept: of each stretch of time the first and the last point stay, and
    of each column the lowest and the highest.
    """

    def __init__(self, columns: int, limit: int = 4_000) -> None:
        """`columns`: values of a point. A value that is not known is nan."""
        self.count = 0
        """How many points were added."""
        self._limit = limit
        self._times = array("d")
        self._columns = [array("d") for _ in range(columns)]

    def __len__(self) -> int:
        return len(self._times)

    def add(self, time: float, *values: float) -> None:
        """Add a point; of those at the same time the shape is kept too. `time`: not before that of the last one."""
        self.count += 1
        self._times.append(time)
        for column, value in zip(self._columns, values, strict=True):
            column.append(value)
        if len(self._times) >= 2 * self._limit:
            self._keep(list(_shape(self._times, self._columns, self._limit)))

    def thinned(self, limit: int) -> Thinned:
        """Return the points to draw, about `limit` of them."""
        shape = list(_shape(self._times, self._columns, limit))
        times = [self._times[index] for index in shape]
        return Thinned(times, [[column[index] for index in shape] for column in self._columns], self.count)

    def _keep(self, indices: Sequence[int]) -> None:
        self._times = array("d", [self._times[index] for index in indices])
        self._columns = [array("d", [column[index] for index in indices]) for column in self._columns]


def _shape(times: Sequence[float], columns: Sequence[Sequence[float]], limit: int) -> Iterator[int]:
    """Yield the indices of the points that show the shape, in order; all if there are no more than `limit`."""
    if len(times) <= limit:
        yield from range(len(times))
        return
    stretches = max(1, limit // (2 + 2 * len(columns)))
    width = (times[-1] - times[0]) / stretches
    begin = 0
    while begin < len(times):
        end = begin + 1
        number = _stretch(times[begin] - times[0], width)
        while end < len(times) and _stretch(times[end] - times[0], width) == number:
            end += 1
        kept = {begin, end - 1}
        for column in columns:
            known = [index for index in range(begin, end) if column[index] == column[index]]
            if known:
                kept |= {min(known, key=column.__getitem__), max(known, key=column.__getitem__)}
        yield from sorted(kept)
        begin = end


def _stretch(time: float, width: float) -> int:
    return int(time / width) if width else 0
