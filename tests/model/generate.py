"""Seeded, adversarial input for `sizer simulate`, made by driving the reference model along.

`generate(seed, count)` gives that many input lines; the same seed gives the same lines. The generator looks into the
model's state to aim: at orders that work, are open, lapsed, finished or forgotten, at times exactly on a limit.
"""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

import orjson

from tests.model.driving import Driver, Message
from tests.model.reading import LAST_TIME, round_half_even
from tests.model.rules import MINUTE, exposure
from tests.model.spoiling import SECOND, garbage, has_literal, message_text, moment, spoil, unusual


def random_policy(rng: random.Random) -> dict[str, Any]:
    """Give a policy as tight as the table or tighter, in a few of its parameters."""
    choices: dict[str, list[Any]] = {
        "base_fraction_1": ["0.0005", 0.0009, "0.000001", 0.001],
        "base_fraction_2": [0.002, "0.0025"],
        "base_fraction_3": ["0.003", 0.004999],
        "confidence_full": ["0.9", 0.850001],
        "confidence_minimum": ["0.65", 0.600001, "0.6000"],
        "multiplier_full": [0.8, "1.0", 1],
        "multiplier_reduced": ["0.5", 0.333333],
        "drawdown_multiplier": [0.25, "0.499999"],
        "drawdown_on_losses": [1, 2],
        "drawdown_off_wins": [3, 2, 5],
        "exposure_limit": ["0.005", 0.009999, "0.001"],
        "phase_2_trades": [21, 20, 25],
        "phase_2_win_rate": [0.6, "0.555555"],
        "phase_2_profit_factor": ["1.25", 1.5, 2],
        "phase_3_trades": [50, 51],
        "phase_3_win_rate": ["0.6", 0.580001],
        "phase_3_profit_factor": [1.6, "1.500000"],
        "reservation_ttl": [60, 86400, "3600", 61.000001, 1800, "60.5"],
    }
    names = rng.sample(sorted(choices), rng.choice([0, 1, 1, 2, 3]))
    if rng.random() < 0.5 and "reservation_ttl" not in names:
        names.append("reservation_ttl")
    return {name: rng.choice(choices[name]) for name in names}


class Generator(Driver):
    """What the portfolios of one seed do."""

    def act_calmly(self, portfolio: str) -> None:
        """Trade cleanly with a bias: the way to phases 2 and 3, or to drawdown."""
        rng, state = self.rng, self.state(portfolio)
        orders = [] if state is None else list(state["orders"].values())
        opened = [order for order in orders if order["open_quantity"] > 0]
        fresh = [order for order in orders if order["works"] and order["open_quantity"] == 0]
        ended = [order for order in opened if not order["works"]]
        if opened and (len(opened) > 4 or rng.random() < 0.5):
            order = rng.choice(ended or opened)
            wins = rng.random() < self.win_chance[portfolio]
            gain = Fraction(rng.randint(10, 30), 1000) * (1 if wins else Fraction(-1, 2))
            self.close_fill(
                portfolio, order, Fraction(1), gain if rng.random() < 0.97 else Fraction(0), commission=None
            )
        elif fresh and rng.random() < 0.7:
            self.open_fill(portfolio, rng.choice(fresh), Fraction(1), 0, commission=None)
        else:
            self.clock += rng.randrange(60 * SECOND)
            self.send("signals", self.signal(portfolio, generated_at=self.clock))

    def act_wildly(self, portfolio: str) -> None:
        """Do anything."""
        rng, state = self.rng, self.state(portfolio)
        way = rng.random()
        orders = [] if state is None else list(state["orders"].values())
        if way < 0.3 or not orders:
            self.send("signals", self.wild_signal(portfolio))
        elif way < 0.75:
            recent = orders[-rng.choice([1, 3, 8, 10**6]) :]
            alive = [order for order in orders if order["finished_at"] is None]
            self.any_fill(portfolio, rng.choice(recent if rng.random() < 0.3 or not alive else alive))
        elif way < 0.8:
            self.again("signals")
        elif way < 0.85:
            self.again("fills")
        elif way < 0.9:
            self.stand_at_limit(portfolio)
        elif way < 0.92:
            self.unknown_fill(portfolio)
        elif way < 0.97:
            self.send_spoilt(portfolio, orders)
        else:
            topic, message = self.example(portfolio, orders)
            self.send(topic, unusual(message, rng))

    def act_hugely(self, portfolio: str) -> None:
        """Fill around the largest totals."""
        rng, state = self.rng, self.state(portfolio)
        orders = [] if state is None else list(state["orders"].values())
        if not orders or rng.random() < 0.3:
            value = rng.choice(["999999999999000", "100000", "100000000", "999999999999999.999999999999"])
            reference = rng.choice(["0.000000000001", "1000000", None])
            message = self.signal(portfolio, confidence=0.9, portfolio_value=value, price=reference)
            self.send("signals", message | {"generated_at": moment(self.clock, rng)})
            return
        order = rng.choice(orders[-2:] if rng.random() < 0.7 else orders)
        effect: Message = {"position_effect": "CLOSE"} if order["open_quantity"] > 0 and rng.random() < 0.6 else {}
        quantity, price = self.huge(order, closes=bool(effect))
        message = self.fill(portfolio, order["id"], "TRADE", quantity, price, **effect)
        if rng.random() < 0.5:
            message["leaves_qty"] = rng.choice([0, 1, 1])
        self.send("fills", message)

    def huge(self, order: dict[str, Any], *, closes: bool) -> tuple[Fraction, Fraction]:
        """Give quantity and price of a fill that brings a total close to 10^26, exactly there, or beyond."""
        rng = self.rng
        high = Fraction(rng.choice([10**13, 3 * 10**12, 6 * 10**12, 9 * 10**12, 999999999999999, 10**12]))
        quantity = Fraction(rng.choice([10**13, 10**13, 10**12, 999999999999999]))
        high -= rng.choice([Fraction(0), Fraction(1, 10**12), Fraction(10**11)])
        if closes:
            quantity = min(order["open_quantity"], Fraction(999999999999999))
            if rng.random() < 0.4:
                quantity = round_half_even(quantity / 2, 12)
            taken = order["open_cost"] * quantity / order["open_quantity"] if quantity else Fraction(0)
            aims = [(10**26 + taken) / quantity, order["open_cost"] / order["open_quantity"]] if quantity else []
        else:
            exposures = sum(exposure(state) for place, state in self.model.portfolios.items() if place[1] == self.whale)
            own = max(Fraction(0), order["notional"] - order["filled_cost"]) if order["works"] else Fraction(0)
            aims = [(10**26 - exposures + own) / 10**12, (10**26 - order["filled_cost"]) / 10**12]
            if rng.random() < 0.4:
                quantity = Fraction(10**12)
        aims = [round_half_even(aim, 12) for aim in aims if 0 < aim < 10**15 - 1]
        if aims and (quantity == 10**12 or closes) and rng.random() < 0.7:
            high = rng.choice(aims) + rng.choice([Fraction(0), Fraction(0), Fraction(-1, 10**12)])
        return quantity, high

    def example(self, portfolio: str, orders: list[dict[str, Any]]) -> tuple[str, Message]:
        """Give a valid message."""
        rng = self.rng
        if rng.random() < 0.5 or not orders:
            expiry = moment(self.clock + 5 * MINUTE, rng)
            return "signals", self.signal(portfolio, price="10.5", strategy_id="s", expires_at=expiry)
        order_id = rng.choice(orders)["id"]
        extra = {"leaves_qty": "1", "commission": "0.1", "realized_pnl": "1", "portfolio_value": "100000"}
        kind = rng.choice(["TRADE", "TRADE", "CANCELED"])
        message = self.fill(portfolio, order_id, kind, Fraction(1, 1000), Fraction(7), position_effect="OPEN", **extra)
        return "fills", {"last_qty": "0", "last_px": "0"} | message

    def send_spoilt(self, portfolio: str, orders: list[dict[str, Any]]) -> None:
        """Send something to the DLQ, most likely."""
        rng = self.rng
        topic, message = self.example(portfolio, orders)
        way = rng.random()
        if way < 0.55:
            spoilt = spoil(message, rng)
            body = message_text(spoilt, rng).encode() if has_literal(spoilt) else orjson.dumps(spoilt)
            self.send(topic, message, body=body)
        elif way < 0.85:
            self.send(topic, message, body=rng.choice(garbage(message, rng)))
        elif way < 0.95:
            frame = rng.choice([b"\x00\x00\x00\x00\x01", b"\xc3\x01" + rng.randbytes(8)])
            self.send(topic, message, body=frame + rng.randbytes(rng.randrange(30)))
        else:
            record = {"topic": topic, "key": portfolio, "value": None, "partition": self.home(portfolio)}
            self.emit(orjson.dumps(record))

    def step(self) -> None:
        """Do the next thing."""
        rng = self.rng
        if self.queue:
            self.queue.pop(0)()
            return
        way = rng.random()
        if way < 0.004:
            self.emit(rng.choice([b"", b"   ", b"\t"]))
        elif way < 0.012:
            self.emit(orjson.dumps({"policy": random_policy(rng) if rng.random() < 0.7 else {}}))
        elif way < 0.012 + self.spoils:
            name = rng.choice([*self.wild, *self.stars])
            self.send_spoilt(name, list((self.state(name) or {"orders": {}})["orders"].values()))
        elif way < 0.55:
            self.act_calmly(rng.choice(self.stars))
        elif way < 0.67:
            self.act_calmly(self.loser)
        elif way < 0.71:
            self.act_hugely(self.whale)
        else:
            self.act_wildly(rng.choice([*self.wild, *self.wild, self.loser, self.whale, rng.choice(self.stars)]))
        self.pass_time()

    def pass_time(self) -> None:
        """Move the clock: mostly a little, sometimes by days, sometimes back."""
        rng = self.rng
        way = rng.random()
        if way < 0.5:
            self.clock += rng.randrange(3 * SECOND)
        elif way < 0.53:
            self.clock += rng.randrange(40 * MINUTE)
        elif way < 0.535:
            self.clock += rng.randrange(60 * 60 * MINUTE)
        elif way < 0.55:
            self.clock -= rng.choice([SECOND, MINUTE, 60 * MINUTE])
        self.clock = min(max(self.clock, 0), LAST_TIME)


def generate(seed: int, count: int, partitions: int | None = None, policy: dict[str, Any] | None = None) -> list[bytes]:
    """Give `count` input lines; `partitions` and `policy` as they will be given to the command."""
    generator = Generator(seed, partitions, policy)
    while len(generator.lines) < count:
        generator.step()
    return generator.lines[:count]


def toml(policy: dict[str, Any]) -> str:
    """Write a policy as the file for `--policy`."""
    return "".join(f"{name} = {orjson.dumps(value).decode()}\n" for name, value in policy.items())
