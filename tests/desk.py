"""A desk in miniature for tests: it sends signals and fills through `sizer simulate`'s own code and reads the answers.

Everything goes in as bytes and is read back from bytes, so a test sees what a neighbour would see.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from app.core.policy import Policy
from app.processor.simulation import Simulation

START = datetime(2026, 1, 5, 12, tzinfo=UTC)


@dataclass
class Answer:
    """What one record caused."""

    order: dict[str, Any] | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    dead_letter: dict[str, Any] | None = None
    ignored: str | None = None
    applied: bool = False

    @property
    def event_types(self) -> list[str]:
        return [event["type"] for event in self.events]

    @property
    def code(self) -> str | None:
        """The error code of the dead letter."""
        return None if self.dead_letter is None else self.dead_letter["headers"]["__streams.errors.exception"]


class Desk:
    """One portfolio's signals, its venue and the clock."""

    def __init__(
        self, portfolio: str = "PF-1", value: str | None = "100000", policy: dict[str, Any] | None = None
    ) -> None:
        self.simulation = Simulation(Policy(policy))
        self.portfolio = portfolio
        self.value = value
        self.now = START
        self.lines: list[bytes] = []
        """Everything published so far."""
        self._count = 0

    def later(self, **delta: float) -> None:
        """Let time pass: `desk.later(minutes=5)`."""
        self.now += timedelta(**delta)

    def feed(self, line: dict[str, Any]) -> Answer:
        """Send one line of `sizer simulate` and read what it caused."""
        answer = Answer()
        for raw in self.simulation.feed(orjson.dumps(line)):
            self.lines.append(raw)
            out = orjson.loads(raw)
            if "ignored" in out:
                answer.ignored = out["ignored"]
            elif "applied" in out:
                answer.applied = True
            elif out["topic"] == "sized_orders":
                answer.order = orjson.loads(out["value"])
            elif out["topic"] == "phase_events":
                answer.events.append(orjson.loads(out["value"]))
            else:
                answer.dead_letter = out
        return answer

    def signal(self, confidence: float = 0.9, **fields: Any) -> Answer:
        """Send a signal; its id is new unless given."""
        self._count += 1
        value = {
            "signal_id": f"S-{self._count}",
            "portfolio_id": self.portfolio,
            "symbol": "ESH6",
            "side": "BUY",
            "confidence": confidence,
            "price": "5000",
            "portfolio_value": self.value,
            "generated_at": self.text(self.now),
        }
        return self.send("signals", value | fields)

    def fill(self, order: dict[str, Any], **fields: Any) -> Answer:
        """Send an execution report about an order; its exec id is new unless given."""
        self._count += 1
        value = {
            "exec_id": f"E-{self._count}",
            "order_id": order["order_id"],
            "portfolio_id": self.portfolio,
            "exec_type": "TRADE",
            "transact_time": self.text(self.now),
        }
        return self.send("fills", value | fields)

    def send(self, topic: str, value: dict[str, Any]) -> Answer:
        return self.feed({"topic": topic, "key": self.portfolio, "value": value, "now": self.text(self.now)})

    def sized(self, confidence: float = 0.9, **fields: Any) -> dict[str, Any]:
        """Send a signal that must be sized, and return its order."""
        order = self.signal(confidence, **fields).order
        assert order is not None
        assert order["decision"] == "SIZED", order
        return order

    def open(self, order: dict[str, Any], quantity: str = "1", price: str = "10", **fields: Any) -> Answer:
        """Fill an order's opening, completely unless `leaves_qty` says otherwise."""
        return self.fill(order, **({"last_qty": quantity, "last_px": price, "leaves_qty": "0"} | fields))

    def close(self, order: dict[str, Any], quantity: str = "1", price: str = "10", **fields: Any) -> Answer:
        return self.fill(order, **({"position_effect": "CLOSE", "last_qty": quantity, "last_px": price} | fields))

    def trade(self, result: str, confidence: float = 0.9) -> Answer:
        """Size, fill and close one order so that its trade's result is `result`."""
        order = self.sized(confidence)
        self.open(order)
        return self.close(order, realized_pnl=result)

    @staticmethod
    def text(time: datetime) -> str:
        return time.isoformat(timespec="microseconds")
