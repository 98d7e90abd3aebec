"""What an onlooker knows who reads all six topics: the state of every portfolio, and how far the sizer is behind.

Pure: records in. Phase, drawdown and streaks are as last published; exposure, closed trades and profit follow from
the published orders and the fills, by the sizer's own rules. Records of different topics arrive in any order, so a
fill may come before its order, and an answer before its signal.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, NamedTuple

from app.codecs import BadRecord, fields
from app.codecs.output import read_output
from app.codecs.records import PHASE_EVENT, SIZED_ORDER
from app.core import order as order_life
from app.core.exact import ZERO, exact
from app.core.exposure import order_exposure
from app.core.messages import ExecType, Fill, PositionEffect, Side
from app.core.state import Order
from app.demo.wire import ONLOOKER
from app.processor.dead_letter import CODE_HEADER, OFFSET_HEADER
from app.topics import FILLS, PHASE_EVENTS, SIGNALS, SIZED_ORDERS

_LATENCIES: Final = 400  # answers over which the latency is shown


class Seen(NamedTuple):
    """A record that the onlooker read; `topic` is the logical name, `timestamp` the broker's, in milliseconds."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


@dataclass
class Line:
    """One portfolio."""

    phase: int = 1
    drawdown: bool = False
    wins_in_row: int = 0
    losses_in_row: int = 0
    exposure: Decimal = ZERO
    limit: Decimal | None = None
    sized: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    trades: int = 0  # in the present phase, as evidence for the next
    wins: int = 0
    profit: Decimal = ZERO  # realised, after commissions
    breaches: int = 0


class News(NamedTuple):
    """Something worth a line: of what kind, and in words."""

    kind: str
    text: str


class Board:
    """All of it; `take` every record once."""

    def __init__(self) -> None:
        self.lines: defaultdict[str, Line] = defaultdict(Line)
        self.taken: Counter[str] = Counter()  # records by topic
        self.dead_letters: Counter[tuple[str, str]] = Counter()  # by topic and code
        self.sized = 0
        self.duplicates = 0
        self.waiting: dict[tuple[int, int], int] = {}  # (partition, offset) of unanswered signals -> timestamp
        self.answered_at: dict[int, int] = {}  # partition -> timestamp of its last answer
        self.latencies: deque[int] = deque(maxlen=_LATENCIES)  # milliseconds
        self.news: list[News] = []
        self.last_price = ZERO
        self._orders: dict[str, Order] = {}
        self._unmatched: defaultdict[str, list[Fill]] = defaultdict(list)
        self._executions: set[tuple[str, str]] = set()
        self._signal_ids: set[tuple[bytes | None, str]] = set()
        self._answered_early: dict[tuple[int, int], int] = {}

    @property
    def unfinished_orders(self) -> int:
        """How many sized orders still work or have an open position, as far as is known."""
        return sum(1 for order in self._orders.values() if not order_life.is_finished(order))

    @property
    def skipped(self) -> Counter[str]:
        """Skipped signals by reason, over all portfolios."""
        return sum((line.skipped for line in self.lines.values()), Counter())

    def take(self, seen: Seen) -> None:
        """Take a record of any topic."""
        self.taken[seen.topic] += 1
        if seen.topic == SIGNALS:
            self._signal(seen)
        elif seen.topic == FILLS:
            self._fill(seen)
        elif seen.topic == SIZED_ORDERS:
            self._sized_order(seen, read_output(seen.value, SIZED_ORDER))
        elif seen.topic == PHASE_EVENTS:
            self._phase_event(read_output(seen.value, PHASE_EVENT))
        else:
            self._dead_letter(seen)

    def _signal(self, seen: Seen) -> None:
        is_repeat = self._is_repeat(seen)
        answered_at = self._answered_early.pop((seen.partition, seen.offset), None)
        if answered_at is not None:
            self.latencies.append(answered_at - seen.timestamp)
        elif is_repeat:
            self.duplicates += 1  # it gets no answer
        else:
            self.waiting[seen.partition, seen.offset] = seen.timestamp

    def _is_repeat(self, seen: Seen) -> bool:
        """Tell whether this portfolio's signal id was here before, and remember it."""
        try:
            signal = ONLOOKER.signal(seen.value)
        except BadRecord:
            return False
        if seen.key != signal.portfolio_id.encode():
            return False
        name = (seen.key, signal.signal_id)
        if name in self._signal_ids:
            return True
        self._signal_ids.add(name)
        return False

    def _answered(self, partition: int, offset: int, timestamp: int) -> None:
        self.answered_at[partition] = max(timestamp, self.answered_at.get(partition, 0))
        sent_at = self.waiting.pop((partition, offset), None)
        if sent_at is None:
            self._answered_early[partition, offset] = timestamp
        else:
            self.latencies.append(timestamp - sent_at)

    def _sized_order(self, seen: Seen, answer: dict[str, Any]) -> None:
        self._answered(seen.partition, answer["signal_offset"], seen.timestamp)
        line = self.lines[answer["portfolio_id"]]
        line.phase = answer["phase"]
        line.drawdown = Decimal(answer["drawdown_multiplier"]) < 1
        line.wins_in_row, line.losses_in_row = answer["consecutive_wins"], answer["consecutive_losses"]
        line.limit = None if answer["exposure_limit"] is None else Decimal(answer["exposure_limit"])
        if answer["decision"] == "SKIPPED":
            line.skipped[answer["skip_reason"]] += 1
            return
        line.sized += 1
        self.sized += 1
        order = Order(
            order_id=answer["order_id"],
            portfolio_id=answer["portfolio_id"],
            side=Side(answer["side"]),
            phase=answer["phase"],
            sequence=answer["sequence"],
            notional=Decimal(answer["notional"]),
            quantity=None if answer["quantity"] is None else Decimal(answer["quantity"]),
            expires_at=fields.time("expires_at", answer["expires_at"]),
        )
        self._orders[order.order_id] = order
        line.exposure += order_exposure(order)
        for fill in self._unmatched.pop(order.order_id, ()):
            self._apply(fill)

    def _phase_event(self, event: dict[str, Any]) -> None:
        portfolio_id, kind = event["portfolio_id"], event["type"]
        line = self.lines[portfolio_id]
        line.phase, line.drawdown = event["phase"], event["drawdown_active"]
        line.wins_in_row, line.losses_in_row = event["consecutive_wins"], event["consecutive_losses"]
        if kind == "PHASE_UPGRADED":
            line.trades = line.wins = 0
            won = f"{Decimal(event['win_rate']):.0%} of {event['trades']} trades won"
            factor = "no loss" if event["profit_factor"] is None else f"{Decimal(event['profit_factor']):.2f}"
            self.news.append(
                News(kind, f"{portfolio_id} has earned phase {event['phase']}: {won}, profit factor {factor}")
            )
        elif kind == "EXPOSURE_BREACHED":
            line.breaches += 1
            self.news.append(
                News(kind, f"{portfolio_id} is above its limit, with {Decimal(event['exposure']):,.0f} open")
            )

    def _dead_letter(self, seen: Seen) -> None:
        headers = {name: value.decode() for name, value in seen.headers if value is not None}
        topic = seen.topic.removesuffix(".dlq")
        self.dead_letters[topic, headers[CODE_HEADER]] += 1
        self.news.append(News("DLQ", f"a bad record of {topic} went to {seen.topic}: {headers[CODE_HEADER]}"))
        if topic == SIGNALS:
            self._answered(seen.partition, int(headers[OFFSET_HEADER]), seen.timestamp)

    def _fill(self, seen: Seen) -> None:
        try:
            fill = ONLOOKER.fill(seen.value)
        except BadRecord:
            return  # the sizer's dead letter tells of it
        if fill.order_id in self._orders:
            self._apply(fill)
        else:
            self._unmatched[fill.order_id].append(fill)

    @exact
    def _apply(self, fill: Fill) -> None:
        order = self._orders[fill.order_id]
        opens = fill.position_effect is PositionEffect.OPEN
        is_trade = fill.exec_type is ExecType.TRADE
        execution = (fill.order_id, fill.exec_id)
        if execution in self._executions or (order_life.is_finished(order) and not (is_trade and opens)):
            return
        if is_trade and not opens and fill.last_qty > order.open_quantity:
            return
        self._executions.add(execution)
        if is_trade:
            self.last_price = fill.last_px
            changed = order_life.open_trade(order, fill) if opens else order_life.close_trade(order, fill)
        else:
            changed = order._replace(commissions=order.commissions + fill.commission)
            changed = order_life.end(changed) if opens else changed
        ended = order_life.settle(changed, 0)
        self._orders[fill.order_id] = ended.order
        line = self.lines[fill.portfolio_id]
        line.exposure += order_exposure(ended.order) - order_exposure(order)
        if ended.result is not None:
            line.profit += ended.result
            if order.phase == line.phase:
                line.trades += 1
                line.wins += ended.result > 0
