"""Making and sending single messages for the generator, with the reference model driven along."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import orjson

from tests.model.reading import DAY, LAST_TIME, round_half_even
from tests.model.reference import Simulator, partition_of, time_text
from tests.model.rules import MINUTE
from tests.model.spoiling import CONFIDENCES, SECOND, has_literal, message_text, moment, number

Message = dict[str, Any]
ORDINARY_START = 1_700_000_000_000_000
ODD_NAMES = ["PF-é\U0001f600", 'PF"\\ /1', "p" * 128, "\u0645\u062d\u0641\u0638\u0629", "x"]
HEADERS: list[dict[str, str | None]] = [
    {"trace": "1"},
    {"a": None, "b": 'é"\\\n'},
    {"__streams.errors.exception": "old", "z": ""},
    {"sizer.now": "old", "__streams.errors.offset": "0", "": "empty name"},
]
VALUES: list[Any] = [
    *("100000", "100000", "100000", "50000", "1000000", 123456.789, "100000.123456789012", None),
    *("0", "-5", -0.0, "-999999999999999", "999999999999999.999999999999", "0.000000000001", "9.99", "10", "13.33"),
]


def framed(body: bytes, rng: random.Random) -> dict[str, Any]:
    """Give the line's field for these bytes: as text, if they are text, or as base64."""
    if rng.random() < 0.5:
        try:
            return {"value_text": body.decode()}
        except UnicodeDecodeError:
            pass
    return {"value_base64": base64.b64encode(body).decode()}


class Driver:
    """One seed: a clock, portfolios of several characters, the lines so far, and the model to look into."""

    def __init__(self, seed: int, partitions: int | None, policy: dict[str, Any] | None) -> None:
        """Draw what this seed is like."""
        self.rng = rng = random.Random(seed)
        self.model = Simulator(partitions, policy)
        self.partitions = partitions
        self.lines: list[bytes] = []
        self.outputs: list[list[bytes]] = []
        self.clock = ORDINARY_START + rng.randrange(10**15)
        if seed % 16 == 7:
            self.clock = rng.randrange(2 * DAY)
        elif seed % 16 == 11:
            self.clock = LAST_TIME - rng.randrange(4 * DAY)
        self.gives_now = rng.choice([0.0, 0.3, 0.9, 0.9])
        self.stars = [f"STAR-{seed}", f"CALM-{seed}"][: rng.choice([1, 1, 2])]
        self.loser = f"LOSER-{seed}"
        self.whale = f"WHALE-{seed}"
        self.wild = [f"WILD-{seed}", rng.choice(ODD_NAMES)]
        self.win_chance = dict.fromkeys(self.stars, rng.choice([0.7, 0.8, 0.9])) | {self.loser: 0.3}
        self.spoils = rng.choice([0.01, 0.01, 0.15])  # the share of spoilt input
        self.serial = 0
        self.sent: dict[str, list[Message]] = {"signals": [], "fills": []}
        self.skipped: list[tuple[str, str]] = []  # portfolio, order id
        self.queue: list[Callable[[], None]] = []

    # -- sending ------------------------------------------------------------------------------------------------

    def emit(self, line: bytes) -> None:
        """Add a line and let the model take it."""
        outputs = self.model.feed(line)
        self.lines.append(line)
        self.outputs.append(outputs)
        for output in outputs:
            record = orjson.loads(output)
            if record.get("topic") == "sized_orders":
                order = orjson.loads(record["value"])
                if order["decision"] == "SKIPPED":
                    self.skipped.append((order["portfolio_id"], order["order_id"]))

    def home(self, portfolio: str) -> int:
        """Give the partition where a portfolio lives."""
        if self.partitions is not None:
            return partition_of(portfolio, self.partitions)
        return 1 if portfolio == self.wild[0] else 0

    def send(self, topic: str, message: Message, *, now: int | None = None, body: bytes | None = None) -> None:
        """Send a message (or `body` in its place), now and then with a wrong key, partition or odd frame."""
        rng = self.rng
        portfolio = message["portfolio_id"]
        record: dict[str, Any] = {"topic": topic, "key": portfolio}
        if rng.random() < 0.012:
            record["key"] = rng.choice([None, "", portfolio + " ", portfolio.lower() + "x", "PF-1"])
        if body is not None:
            record |= framed(body, rng)
        elif has_literal(message) or rng.random() < 0.1:
            record["value_text"] = message_text(message, rng)
        else:
            record["value"] = message
        self.sent[topic].append(message)
        if now is not None or rng.random() < self.gives_now:
            shown = time_text(self.clock if now is None else now)
            record["now"] = rng.choice([shown, shown, shown.lower(), shown[:-1] + "+00:00"])
        if rng.random() < 0.03:
            record["offset"] = self.model.last_offset[topic] + rng.choice([1, 2, 1000])
        partition = self.home(portfolio)
        if self.partitions is not None:
            if rng.random() < 0.02:
                partition = rng.randrange(self.partitions)
            record["partition"] = partition
        elif partition or rng.random() < 0.05:
            record["partition"] = partition if rng.random() < 0.98 else 2
        if rng.random() < 0.05:
            record["headers"] = rng.choice(HEADERS)
        self.emit(orjson.dumps(record))

    # -- signals ------------------------------------------------------------------------------------------------

    def state(self, portfolio: str) -> dict[str, Any] | None:
        """Give the model's portfolio."""
        return self.model.portfolios.get((self.home(portfolio), portfolio))

    def now_of(self, portfolio: str) -> int:
        """Give about what a decision of this portfolio would be judged by."""
        state = self.state(portfolio)
        return max(self.clock, state["time"] if state is not None else 0)

    def signal(self, portfolio: str, **changes: Any) -> Message:
        """Make an ordinary signal."""
        rng = self.rng
        self.serial += 1
        message: Message = {
            "signal_id": f"s{self.serial}",
            "portfolio_id": portfolio,
            "symbol": rng.choice(["AAPL", "EURUSD", "BTC/USD"]),
            "side": rng.choice(["BUY", "SELL"]),
            "confidence": rng.choice([0.9, 0.95, 0.7]),
            "generated_at": moment(self.clock - rng.choice([0, 0, 1, SECOND]), rng),
        }
        if rng.random() < 0.8:
            message["price"] = number(Fraction(rng.randint(1, 10**6), rng.choice([1, 100, 7])), rng)
        state = self.state(portfolio)
        if state is None or state["value"] is None or rng.random() < 0.1:
            message["portfolio_value"] = number(Fraction(rng.randint(10**5, 10**8), rng.choice([1, 3])), rng)
        if rng.random() < 0.2:
            message["strategy_id"] = rng.choice(["s-1", None, "é"])
        return message | changes

    def wild_signal(self, portfolio: str) -> Message:
        """Make a signal with something at a limit."""
        rng, now = self.rng, self.now_of(portfolio)
        changes: Message = {}
        if rng.random() < 0.5:
            changes["confidence"] = rng.choice(CONFIDENCES)
        if rng.random() < 0.3:
            changes["portfolio_value"] = rng.choice(VALUES)
        if rng.random() < 0.2:
            changes["price"] = rng.choice(["0.000000000001", "999999999999999", None, "33333333333", "0.3", 7, 1e-9])
        if rng.random() < 0.25:
            edge = rng.choice(
                [0, DAY, -DAY, DAY + 1, -DAY - 1, -MINUTE, 5 * MINUTE, 3 * DAY, 3 * DAY, -3 * DAY, -20 * 60 * MINUTE]
            )
            changes["generated_at"] = moment(now + edge, rng)
        if rng.random() < 0.3:
            edge = rng.choice([0, -1, 1, MINUTE, 15 * MINUTE, 15 * MINUTE + 1, -DAY, 30 * DAY, 10 * MINUTE])
            changes["expires_at"] = rng.choice([None, moment(now + edge, rng), moment(now + edge, rng)])
        return self.signal(portfolio, **changes)

    def again(self, topic: str) -> None:
        """Send an earlier message again, the same or with another content."""
        if not self.sent[topic]:
            return
        rng = self.rng
        message = dict(rng.choice(self.sent[topic][-rng.choice([1, 5, 50, 10**6]) :]))
        if not isinstance(message.get("portfolio_id"), str) or not message["portfolio_id"]:
            return
        if rng.random() < 0.5:
            other = self.signal("x") if topic == "signals" else self.fill("x", "y", "TRADE", Fraction(1), Fraction(1))
            for name in rng.sample(sorted(set(other) - {"portfolio_id", "signal_id", "exec_id", "order_id"}), 2):
                message[name] = other[name]
        self.send(topic, message)

    def stand_at_limit(self, portfolio: str) -> None:
        """Set the clock to exactly where a memory or a reservation ends, signal, and come back to it."""
        state = self.state(portfolio)
        if state is None:
            return
        rng = self.rng
        orders = list(state["orders"].values())
        ends = [(order["expires_at"] + MINUTE, order["id"], "") for order in orders if order["works"]]
        ends += [(order["finished_at"] + DAY, order["id"], "") for order in orders if order["finished_at"] is not None]
        ends += [(decided + 2 * DAY, "", name) for name, decided in state["decided"].items()]
        ends = [end for end in ends if self.clock - DAY < end[0] and state["time"] <= end[0]]
        if not ends:
            return
        end, order_id, signal_id = min(ends) if rng.random() < 0.5 else rng.choice(ends)
        now = min(max(end + rng.choice([0, 0, 1, 1, -1]), 0), LAST_TIME)
        self.clock = now
        given = now if self.gives_now else None
        if signal_id:
            self.send("signals", self.signal(portfolio, signal_id=signal_id, generated_at=now), now=given)
            return
        self.send("signals", self.signal(portfolio, generated_at=now), now=given)
        if order_id in state["orders"]:
            self.queue.append(lambda: self.any_fill(portfolio, state["orders"][order_id]))

    # -- fills --------------------------------------------------------------------------------------------------

    def fill(
        self, portfolio: str, order_id: str, kind: str, quantity: Fraction, price: Fraction, **changes: Any
    ) -> Message:
        """Make a fill; one that is no trade carries no quantity."""
        rng = self.rng
        self.serial += 1
        message: Message = {
            "exec_id": f"e{self.serial}",
            "order_id": order_id,
            "portfolio_id": portfolio,
            "exec_type": kind,
            "transact_time": moment(self.clock + rng.choice([0, 0, -1, -MINUTE, 1, DAY]), rng),
        }
        if kind == "TRADE":
            message["last_qty"] = number(max(quantity, Fraction(1, 10**12)), rng, exact=True)
            message["last_px"] = number(max(price, Fraction(1, 10**12)), rng, exact=True)
        elif rng.random() < 0.3:
            message |= {"last_qty": rng.choice([0, "0", None, "0.000"]), "last_px": rng.choice(["-0", 0, None])}
        if rng.random() < 0.2:
            message["commission"] = rng.choice(["0.01", "-0.02", 0.5, "1", None, 0, "-3", "0.000000000001"])
        if rng.random() < 0.08:
            message["portfolio_value"] = rng.choice(["100000", "95000.5", None, 123456, "1000000"])
        return message | changes

    def open_fill(self, portfolio: str, order: dict[str, Any], share: Fraction, leaves: Any, **changes: Any) -> None:
        """Fill a share of an order's notional, about."""
        rng = self.rng
        notional, quantity = order["notional"], order["quantity"]
        if not quantity:
            quantity = Fraction(rng.randint(1, 10**6), 10 ** rng.randint(0, 5))
        price = round_half_even(notional / quantity, rng.choice([2, 8, 12]))
        filled = round_half_even(quantity * share, rng.choice([8, 8, 12]))
        if leaves is not None or rng.random() < 0.1:
            changes["leaves_qty"] = leaves
        self.send("fills", self.fill(portfolio, order["id"], "TRADE", filled, price, **changes))

    def close_fill(
        self, portfolio: str, order: dict[str, Any], share: Fraction, gain: Fraction, **changes: Any
    ) -> None:
        """Close a share of what is open at a price better by `gain` (a fraction)."""
        rng = self.rng
        quantity = order["open_quantity"] * share
        if share != 1:
            quantity = round_half_even(quantity, rng.choice([0, 2, 8, 12]))
        entry = order["open_cost"] / order["open_quantity"] if order["open_quantity"] else Fraction(10)
        price = entry * (1 + gain if order["side"] == "BUY" else 1 - gain)
        if gain:
            price = round_half_even(price, rng.choice([6, 12]))
        if rng.random() < 0.1:
            changes["realized_pnl"] = number(quantity * entry * gain, rng)
        if rng.random() < 0.1:
            changes["leaves_qty"] = rng.choice([0, "5"])
        message = self.fill(portfolio, order["id"], "TRADE", quantity, price, position_effect="CLOSE", **changes)
        self.send("fills", message)

    def any_fill(self, portfolio: str, order: dict[str, Any]) -> None:
        """Send one of everything that can happen to an order."""
        rng = self.rng
        way = rng.random()
        if way < 0.4:
            share = rng.choice(
                [Fraction(1), Fraction(1, 2), Fraction(1, 3), Fraction(11, 10), Fraction(1, 100), Fraction(3)]
            )
            self.open_fill(portfolio, order, share, rng.choice([None, None, 0, "0.0", "1.5", 7]))
        elif way < 0.68:
            share = rng.choice([Fraction(1), Fraction(1), Fraction(1), Fraction(1, 2), Fraction(1, 3), Fraction(2, 7)])
            gain = rng.choice([Fraction(1, 50), Fraction(-1, 50), Fraction(0), Fraction(1, 3), Fraction(-9, 10)])
            self.close_fill(portfolio, order, share, gain)
        elif way < 0.72:
            over = order["open_quantity"] + Fraction(rng.choice([1, 10**12]), 10**12)
            message = self.fill(portfolio, order["id"], "TRADE", over, Fraction(5), position_effect="CLOSE")
            self.send("fills", message)
        elif way < 0.93:
            kind = rng.choice(["CANCELED", "REJECTED", "EXPIRED"])
            effect = rng.choice([{}, {"position_effect": "OPEN"}, {"position_effect": "CLOSE"}])
            self.send("fills", self.fill(portfolio, order["id"], kind, Fraction(0), Fraction(0), **effect))
        else:
            known = sorted(order["exec_ids"]) or ["e1"]
            message = self.fill(
                portfolio, order["id"], "TRADE", Fraction(1, 100), Fraction(1), exec_id=rng.choice(known)
            )
            self.send("fills", message)

    def unknown_fill(self, portfolio: str) -> None:
        """Send a fill of an order that this portfolio does not have."""
        rng = self.rng
        ids = ["nobody", "00000000-0000-5000-8000-000000000000"]
        ids += [order_id for _, order_id in self.skipped[-20:]]
        for (_, other), state in self.model.portfolios.items():
            if other != portfolio:
                ids += list(state["orders"])[-3:]
        own = self.state(portfolio)
        if own is not None:
            ids += [order_id.upper() for order_id in list(own["orders"])[-3:]]
        kind = rng.choice(["TRADE", "CANCELED"])
        self.send("fills", self.fill(portfolio, rng.choice(ids), kind, Fraction(1), Fraction(1)))
