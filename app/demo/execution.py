"""What happens to one order at the demo's venue: a plan of execution reports, all at the prices of real trades.

Pure, and a function of the order, its arrival, the prices and a seed alone. Nearly all orders fill, in one to four
parts at the next real prices; some late, some in part only, some not at all. A position is closed at the next real
price after its holding time, which is exponential with a half-life of 200 s of market time.
"""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal
from typing import Any, Final, Literal, NamedTuple

from app.demo.market import FILE_END, SECOND, Prices

HALF_LIFE: Final = 200  # seconds of market time
GOOD_FOR: Final = 900 * SECOND  # market time after which the venue ends an order that still works
COMMISSION: Final = Decimal("0.000025")  # of the cost: about two dollars for a contract
REBATE: Final = Decimal("-0.000005")  # for the one who waited in the book
REBATES: Final = 0.1  # share of the opening fills that earn one
FAILED_EXITS: Final = 0.05  # share of the positions whose first exit order is cancelled
TOLD_RESULTS: Final = 0.15  # share of the positions for which the venue tells realized_pnl itself
_QUANTITY_STEP: Final = Decimal("0.00000001")
_MONEY_STEP: Final = Decimal("0.0001")

Fate = Literal["filled", "late", "canceled", "crossed", "expired", "rejected"]
FATES: Final[Mapping[Fate, int]] = {
    "filled": 80,
    "late": 6,  # minutes after it was sent
    "canceled": 6,  # filled in part, then cancelled
    "crossed": 1,  # as before, and a last fill crosses the cancel on its way
    "expired": 3,  # never touched
    "rejected": 4,
}


class Report(NamedTuple):
    """An execution report to be sent at an exchange time, without the fields that are known only then."""

    time: int  # exchange time, microseconds
    exec_type: Literal["TRADE", "CANCELED", "REJECTED", "EXPIRED"]
    position_effect: Literal["OPEN", "CLOSE"]
    last_qty: Decimal = Decimal(0)
    last_px: Decimal = Decimal(0)
    leaves_qty: Decimal | None = None
    commission: Decimal = Decimal(0)
    realized_pnl: Decimal | None = None  # as the venue's book has it; None on openings
    tells_realized_pnl: bool = False


@dataclass
class Execution:
    """One order's way through the venue; `reports` is the result, in order of time."""

    order: Mapping[str, Any]  # a SizedOrder that is SIZED
    arrival: int  # exchange time
    cancel_at: int  # exchange time at which what still works is cancelled, at the latest
    prices: Prices
    seed: int
    reports: list[Report] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Draw the order's fate; the same order with the same seed has the same one, whatever else happens."""
        name = f"{self.seed}/{self.order['portfolio_id']}/{self.order['signal_id']}"
        self._random = random.Random(name)  # noqa: S311 - a simulation, repeatable by its seed
        self._notional = Decimal(self.order["notional"])
        self._sign = 1 if self.order["side"] == "BUY" else -1
        self._cost = Decimal(0)
        self._quantity = Decimal(0)
        self._cancel_at = min(self.cancel_at, self.arrival + GOOD_FOR)
        self._play(self._random.choices(list(FATES), list(FATES.values()))[0])

    def _play(self, fate: Fate) -> None:
        start = self.arrival + self._seconds(1, 20)
        if fate == "rejected":
            self._end("REJECTED", self.arrival + self._seconds(1, 3))
            return
        if fate == "expired":
            self._end("EXPIRED", self._cancel_at)
            return
        if fate == "late":
            start += self._seconds(120, 600)
        parts = self._random.choices((1, 2, 3, 4), (50, 28, 14, 8))[0]
        canceled_after = self._random.randint(0, parts) if fate in ("canceled", "crossed") else None
        end = self._open(start, parts, canceled_after)
        if fate == "crossed":
            end = self._open_crossing(end + self._seconds(1, 3))
        if self._quantity:
            first = min(report.time for report in self.reports if report.exec_type == "TRADE")
            self._close(max(end, first + self._holding_time()))

    def _open(self, start: int, parts: int, canceled_after: int | None) -> int:
        """Fill the order in parts until all is done, cancelled, unaffordable or too late; return when it ended."""
        time = start
        wanted: Decimal | None = None
        for part in range(parts):
            time, price = self._next_trade(time)
            if time >= self._cancel_at:
                return self._end("EXPIRED", self._cancel_at)
            if part == canceled_after:
                return self._end("CANCELED", time)
            if wanted is None:
                given = self.order["quantity"]
                wanted = Decimal(given) if given is not None else _whole_steps(self._notional / price)
            is_last = part == parts - 1
            rest = wanted - self._quantity
            quantity = self._affordable(rest if is_last else _whole_steps(rest / (parts - part)), price)
            if not quantity:
                return self._end("CANCELED", time)
            leaves = Decimal(0) if is_last else rest - quantity
            self._open_trade(time, quantity, price, leaves)
            if not leaves:
                return time
            time += self._seconds(1, 25)
        return self._end("CANCELED", time)  # cancelled when all but nothing was left

    def _open_crossing(self, time: int) -> int:
        time, price = self._next_trade(time)
        quantity = self._affordable(_whole_steps(self._notional / price / 5), price)
        if quantity:
            self._open_trade(time, quantity, price, Decimal(0))
        return time

    def _open_trade(self, time: int, quantity: Decimal, price: Decimal, leaves: Decimal) -> None:
        rate = REBATE if self._random.random() < REBATES else COMMISSION
        commission = (quantity * price * rate).quantize(_MONEY_STEP)
        self.reports.append(Report(time, "TRADE", "OPEN", quantity, price, leaves, commission))
        self._cost += quantity * price
        self._quantity += quantity

    def _close(self, time: int) -> None:
        average = self._cost / self._quantity
        if self._random.random() < FAILED_EXITS:
            # The first attempt to get out fails: an exit order is cancelled, the position stays.
            self.reports.append(Report(time, "CANCELED", "CLOSE"))
            time += self._seconds(10, 40)
        tells_realized_pnl = self._random.random() < TOLD_RESULTS
        parts = self._random.choices((1, 2), (75, 25))[0]
        rest = self._quantity
        for part in range(parts):
            time, price = self._next_trade(time)
            quantity = rest if part == parts - 1 else _whole_steps(rest / 2)
            if not quantity:
                continue
            realized = ((price - average) * quantity * self._sign).quantize(_MONEY_STEP)
            commission = (quantity * price * COMMISSION).quantize(_MONEY_STEP)
            self.reports.append(
                Report(time, "TRADE", "CLOSE", quantity, price, None, commission, realized, tells_realized_pnl)
            )
            rest -= quantity
            time += self._seconds(1, 15)

    def _end(self, exec_type: Literal["CANCELED", "REJECTED", "EXPIRED"], time: int) -> int:
        self.reports.append(Report(time, exec_type, "OPEN", leaves_qty=Decimal(0)))
        return time

    def _next_trade(self, time: int) -> tuple[int, Decimal]:
        """Return time and price of the next real trade; behind the end of the file its last price stands still."""
        index = self.prices.next(time)
        return max(time, self.prices.times[index]), self.prices.price(index)

    def _affordable(self, quantity: Decimal, price: Decimal) -> Decimal:
        return min(quantity, _whole_steps((self._notional - self._cost) / price))

    def _holding_time(self) -> int:
        seconds = self._random.expovariate(math.log(2) / HALF_LIFE)
        until_end = FILE_END - self.arrival  # a day trader: nothing is held beyond the file's last trade
        return min(round(seconds * SECOND), until_end) if until_end > 0 else round(seconds * SECOND)

    def _seconds(self, least: float, most: float) -> int:
        return round(self._random.uniform(least, most) * SECOND)


def _whole_steps(quantity: Decimal) -> Decimal:
    return quantity.quantize(_QUANTITY_STEP, ROUND_DOWN)
