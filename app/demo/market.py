"""The market of the demo: real trades of the E-mini S&P 500, and a clock that runs faster than the wall's.

The prices are those that the package mlfinpy carries (`mlfinpy/dataset/data/tick_data.csv`): 500,000 trades
(time, price, volume), from Sunday 2013-09-01 17:00:00.083 to Tuesday 2013-09-03 13:51:44.578, exchange time in
Chicago (17:00 is the open of Globex). It is a single contract, unnamed in the file; no roll falls into these two
days (the largest step between two trades, 1.5 points, is in the opening rush). All prices are whole quarter points.
Monday was Labor Day: 87 % of the trades are of Tuesday, so the demo plays Tuesday, from the hour in which the market
began to fall.

The choice of this window, of the strategies' look-backs and of the seed of the venue's dice is a demo's choice: they
were searched for so that in forty seconds some portfolios win, some lose and every rule of the sizer has something to
do. On a day that falls for hours, following a long move wins more often than it loses; in the two hours before it
was the other way round. What was chosen by its result on the very data it is shown on is no evidence of profit.
"""

import datetime as dt
import importlib.util
from array import array
from bisect import bisect_right
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

SECOND = 1_000_000  # all times are integer microseconds, as in the sizer
TICK = Decimal("0.25")
SYMBOL = "ES"
TICKS_PER_POINT = 4
PRICE_FILE = ("dataset", "data", "tick_data.csv")


def exchange_time(text: str) -> int:
    """Return microseconds since the epoch of `YYYY-MM-DD HH:MM:SS[.mmm]`, read as if the exchange stood in UTC.

    Only differences and the time of day matter; the file does not say its zone.
    """
    return _microseconds(dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC))


def _microseconds(moment: dt.datetime) -> int:
    return (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)


WINDOW_START = exchange_time("2013-09-03 10:12:00")
WINDOW_END = exchange_time("2013-09-03 13:20:00")
FILE_END = exchange_time(
    "2013-09-03 13:51:45"
)  # behind the window: half an hour in which the last positions are closed
HISTORY = 6000 * SECOND  # what the longest look-back needs before the window


class Prices(NamedTuple):
    """Consecutive trades: times in microseconds of exchange time, ascending; prices in quarter points."""

    times: "array[int]"
    ticks: "array[int]"

    def last(self, time: int) -> int:
        """Return the index of the last trade at or before `time` (the first trade, if none is)."""
        return max(0, bisect_right(self.times, time) - 1)

    def next(self, time: int) -> int:
        """Return the index of the first trade after `time` (the last trade, if none is)."""
        return min(bisect_right(self.times, time), len(self.times) - 1)

    def price(self, index: int) -> Decimal:
        """Return the price of a trade in index points."""
        return self.ticks[index] * TICK


def price_file() -> Path:
    """Return the path of the trades, found without importing mlfinpy (which would want pandas and more)."""
    spec = importlib.util.find_spec("mlfinpy")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the package mlfinpy, which carries the demo's prices, is not installed")
    return Path(spec.origin).parent.joinpath(*PRICE_FILE)


def read_prices(start: int = WINDOW_START - HISTORY, end: int = FILE_END) -> Prices:
    """Read the trades of [start, end) from the file; both in microseconds of exchange time."""
    first, behind = (
        dt.datetime.fromtimestamp(time / SECOND, dt.UTC).strftime("%Y-%m-%d %H:%M:%S") for time in (start, end)
    )
    prices = Prices(array("q"), array("i"))
    day, midnight = "", 0
    with price_file().open(encoding="ascii") as lines:
        next(lines)  # the heading: DateTime,Price,Volume
        for line in lines:
            if line < first:
                continue
            if line >= behind:
                break
            moment, price, _volume = line.split(",")
            if moment[:10] != day:
                day = moment[:10]
                midnight = exchange_time(day)
            seconds = int(moment[11:13]) * 3600 + int(moment[14:16]) * 60 + int(moment[17:19])
            prices.times.append(midnight + seconds * SECOND + int(moment[20:23]) * 1000)
            prices.ticks.append(int(float(price) * TICKS_PER_POINT))  # exact: all are whole quarters
    return prices


class MarketClock(NamedTuple):
    """Market time by the wall's clock. Only strategies and venue know it: records carry the wall's times."""

    wall_start: int  # microseconds since the epoch at which the window opens
    speed: int  # market seconds in a second of the wall

    def market(self, wall: int) -> int:
        """Return the exchange time at `wall`, both in microseconds."""
        return WINDOW_START + (wall - self.wall_start) * self.speed

    def wall(self, market: int) -> int:
        """Return the wall's time at which the exchange's is `market`, both in microseconds."""
        return self.wall_start + (market - WINDOW_START) // self.speed
