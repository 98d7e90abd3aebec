"""Real prices, of the files that three packages carry: found without importing them, they would want much more.

Prices are whole numbers of a market's smallest step, so that sums over them are exact, whatever the machine.
"""

import csv
import datetime as dt
import importlib.util
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Final, NamedTuple

from app.demo import market as demo

MINUTE: Final = 60 * demo.SECOND
_ETF_STEP: Final = Decimal("0.0001")
_EURUSD_STEP: Final = Decimal("0.00001")


class Costs(NamedTuple):
    """What a side costs, as fractions of its price."""

    half_spread: Decimal
    commission: Decimal


class Market(NamedTuple):
    """One instrument, bar by bar."""

    name: str
    times: Sequence[int]
    """Ends of the bars, microseconds since the epoch, ascending."""
    closes: Sequence[int]
    """Last prices, in steps."""
    step: Decimal
    costs: Costs

    def price(self, bar: int) -> Decimal:
        """Return the last price of a bar."""
        return self.closes[bar] * self.step


class Universe(NamedTuple):
    """Instruments with bars at the same times."""

    name: str
    title: str
    markets: Sequence[Market]
    period: int
    """Bars of the time that Sharpe ratios and profits are told for: a year, of two days' prices a day."""
    block: int
    """Mean length of the bootstrap's blocks, in bars."""


# A liquid ETF has a spread of one or two cents in 50 to 100 dollars, a broker takes half a cent a share.
_ETF_COSTS: Final = Costs(Decimal("0.0001"), Decimal("0.00005"))
# 0.5 pips between bid and ask, 20 dollars a million.
_EURUSD_COSTS: Final = Costs(Decimal("0.00002"), Decimal("0.00002"))
# Half of the quarter point at 1640, and the demo's two dollars a contract.
_EMINI_COSTS: Final = Costs(Decimal("0.000076"), Decimal("0.000025"))


def etfs() -> Universe:
    """Return 23 exchange-traded funds, daily closes from 2008 to 2016, without dividends."""
    path = _package("mlfinpy").joinpath("dataset", "data", "stock_prices.csv")
    with path.open(newline="", encoding="ascii") as file:
        heading, *rows = csv.reader(file)
    times = [demo.exchange_time(f"{row[0]} 16:00:00") for row in rows]
    markets = [
        Market(name, times, [_steps(row[column], _ETF_STEP) for row in rows], _ETF_STEP, _ETF_COSTS)
        for column, name in enumerate(heading[1:], 1)
    ]
    return Universe("etf", "23 ETFs, daily", markets, period=252, block=20)


def eurusd() -> Universe:
    """Return the euro in dollars, hourly closes of 2017 (ask prices)."""
    path = _package("gym_anytrading").joinpath("datasets", "data", "FOREX_EURUSD_1H_ASK.csv")
    with path.open(newline="", encoding="ascii") as file:
        rows = list(csv.DictReader(file))
    moments = [dt.datetime.strptime(row["Time"], "%d.%m.%Y %H:%M:%S.%f").replace(tzinfo=dt.UTC) for row in rows]
    times = [int(moment.timestamp()) * demo.SECOND for moment in moments]
    closes = [_steps(row["Close"], _EURUSD_STEP) for row in rows]
    market = Market("EURUSD", times, closes, _EURUSD_STEP, _EURUSD_COSTS)
    return Universe("eurusd", "EURUSD, hourly", [market], period=len(rows), block=120)


def emini() -> Universe:
    """Return the E-mini S&P 500 of the demo: the last trade of each minute that has one, two days of 2013."""
    prices = demo.read_prices(demo.exchange_time("2013-09-01 17:00:00"))
    last = {time // MINUTE: ticks for time, ticks in zip(prices.times, prices.ticks, strict=True)}
    times = [(minute + 1) * MINUTE for minute in last]
    market = Market("ES", times, list(last.values()), demo.TICK, _EMINI_COSTS)
    return Universe("emini", "E-mini S&P 500, by the minute", [market], period=1380, block=30)


def _steps(text: str, step: Decimal) -> int:
    return round(Decimal(text) / step)


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"the package {name}, which carries prices, is not installed: call make study")
    return Path(spec.origin).parent
