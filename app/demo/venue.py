"""The simulated venue: sized orders in, execution reports out. It behaves as a consumer of `sized_orders` must.

It deduplicates by order_id, sends only what is SIZED, once, before `send_before`; keeps the cost within `notional`;
cancels what still works at `expires_at`; and reports every end as a fill. It also keeps the accounts: with some
fills it tells what an account is worth. Pure: orders and exchange time in, fills out.
"""

import heapq
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import orjson

from app.demo.accounts import Account
from app.demo.desk import Encode, Message, Outgoing, rfc3339, sent
from app.demo.execution import Execution, Report
from app.demo.market import SECOND, WINDOW_END, WINDOW_START, MarketClock, Prices

VALUE_EVERY: Final = 5  # one closing trade in five tells the account's value
_CENT: Final = Decimal("0.01")


def microseconds(time: str) -> int:
    """Return a canonical time of the sizer's as microseconds since the epoch."""
    moment = datetime.fromisoformat(time)
    return int(moment.timestamp()) * SECOND + moment.microsecond


class Venue:
    """All orders at the venue, and what goes wrong in it. Ask `due` as market time passes.

    `encode`: how a fill becomes a record's value.
    """

    def __init__(
        self,
        accounts: Sequence[Account],
        prices: Prices,
        clock: MarketClock,
        seed: int,
        encode: Encode = orjson.dumps,
    ) -> None:
        self._encode = encode
        self._prices = prices
        self._clock = clock
        self._seed = seed
        self._known: set[str] = set()
        self._planned: list[tuple[int, str, int, Report, Mapping[str, Any]]] = []
        self._values = {account.portfolio_id: account.value for account in accounts}
        self._closes: Counter[str] = Counter()
        span = WINDOW_END - WINDOW_START
        self._withdrawals = {
            account.portfolio_id: (WINDOW_START + int(span * account.withdrawal[0]), account.withdrawal[1])
            for account in accounts
            if account.withdrawal
        }
        self._mishaps = deque((WINDOW_START + int(span * moment), mishap) for moment, mishap in MISHAPS)

    @property
    def next_time(self) -> int | None:
        """The exchange time of the next report; None when all orders are done."""
        return self._planned[0][0] if self._planned else None

    def accept(self, order: Mapping[str, Any], wall_now: int) -> bool:
        """Take a record of `sized_orders`; tell whether it is a new order to work.

        `wall_now`: microseconds since the epoch. An order seen too late is not sent, and reported EXPIRED.
        """
        if order["decision"] != "SIZED" or order["order_id"] in self._known:
            return False
        self._known.add(order["order_id"])
        self._values.setdefault(order["portfolio_id"], Decimal(order["portfolio_value"]))
        arrival = self._clock.market(wall_now)
        if wall_now >= microseconds(order["send_before"]):
            reports = [Report(arrival, "EXPIRED", "OPEN", leaves_qty=Decimal(0))]
        else:
            cancel_at = self._clock.market(microseconds(order["expires_at"]))
            reports = Execution(order, arrival, cancel_at, self._prices, self._seed).reports
        for number, report in enumerate(reports, 1):
            heapq.heappush(self._planned, (report.time, order["order_id"], number, report, order))
        return True

    def due(self, market_now: int) -> list[Outgoing]:
        """Return the fills of all moments up to `market_now` that were not returned before, in order."""
        fills: list[Outgoing] = []
        while self._planned and self._planned[0][0] <= market_now:
            _, _, number, report, order = heapq.heappop(self._planned)
            fill = self._fill(number, report, order)
            fills.append(sent(fill, self._encode))
            if self._mishaps and self._mishaps[0][0] <= report.time and report.last_qty:
                fills.extend(self._mishaps.popleft()[1](fill, self._encode))
        return fills

    def _fill(self, number: int, report: Report, order: Mapping[str, Any]) -> Message:
        portfolio_id = order["portfolio_id"]
        realized = report.realized_pnl or Decimal(0)
        self._values[portfolio_id] += realized - report.commission
        return {
            # The number is that of the plan, which is the same in every run over the same order: a venue that
            # reports twice (after a restart, say) does so under the same exec_id, and nothing is counted twice.
            "exec_id": f"{order['order_id']}/{number}",
            "order_id": order["order_id"],
            "portfolio_id": portfolio_id,
            "exec_type": report.exec_type,
            "position_effect": report.position_effect,
            "last_qty": f"{report.last_qty:f}",
            "last_px": f"{report.last_px:f}",
            "leaves_qty": None if report.leaves_qty is None else f"{report.leaves_qty:f}",
            "commission": f"{report.commission:f}",
            "realized_pnl": f"{report.realized_pnl:f}" if report.tells_realized_pnl else None,
            "portfolio_value": self._statement(portfolio_id, report),
            "transact_time": rfc3339(self._clock.wall(report.time)),
        }

    def _statement(self, portfolio_id: str, report: Report) -> str | None:
        """Return what the account is worth, if this fill is to tell it."""
        moment, share = self._withdrawals.get(portfolio_id, (None, None))
        if moment is not None and share is not None and report.time >= moment and report.last_qty:
            del self._withdrawals[portfolio_id]
            self._values[portfolio_id] *= 1 - share
            return f"{self._values[portfolio_id].quantize(_CENT):f}"
        if report.position_effect == "OPEN" or not report.last_qty:
            return None
        self._closes[portfolio_id] += 1
        if self._closes[portfolio_id] % VALUE_EVERY:
            return None
        return f"{self._values[portfolio_id].quantize(_CENT):f}"


def _unknown_order(fill: Message, encode: Encode) -> list[Outgoing]:
    return [sent(fill, encode, exec_id="stray/1", order_id="00000000-0000-5000-8000-000000000000")]


def _closes_too_much(fill: Message, encode: Encode) -> list[Outgoing]:
    return [sent(fill, encode, exec_id="fat-finger/1", position_effect="CLOSE", last_qty="1000000")]


def _invalid(fill: Message, encode: Encode) -> list[Outgoing]:
    return [
        sent(fill, encode, exec_id="no-price/1", last_px="0"),
        sent(fill, orjson.dumps, exec_id="no-type/1", exec_type="DONE"),  # Avro knows no such type
    ]


def _undecodable(fill: Message, encode: Encode) -> list[Outgoing]:
    return [sent(fill, encode)._replace(value=b"8=FIX.4.4\x019=148\x0135=8\x01")]


def _repeated(fill: Message, encode: Encode) -> list[Outgoing]:
    return [sent(fill, encode), sent(fill, encode)]


MISHAPS: Final[tuple[tuple[float, Callable[[Message, Encode], list[Outgoing]]], ...]] = (
    (0.12, _repeated),
    (0.20, _unknown_order),
    (0.36, _closes_too_much),
    (0.44, _repeated),
    (0.66, _invalid),
    (0.74, _undecodable),
    (0.82, _unknown_order),
)
