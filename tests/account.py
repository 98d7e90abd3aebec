"""One account at a known time, worth 100,000: what it sends can be sent again with something changed."""

from collections.abc import Callable
from typing import Any

from app.core.policy import TABLE_POLICY, Policy
from app.topics import FILLS, SIGNALS
from tests.history import NOON, MemorySource, Recorder

Sent = dict[str, Any]


class Account(Recorder):
    """Records its inputs as a worker takes them, each with the clock that it was taken at."""

    def __init__(self, policy: Policy = TABLE_POLICY, *, value: str | None = "100000", name: str = "PF") -> None:
        super().__init__(policy)
        self.now: int = NOON
        self.name = name
        self.value = value
        self.sent: list[tuple[int, str, Sent]] = []
        self.orders: dict[str, Sent] = {}
        """The last answer to each signal id."""
        self._policy = policy
        self._count = 0

    def later(self, seconds: float) -> None:
        self.now += int(seconds * 1_000_000)

    def order(self, confidence: float = 0.9, **fields: Any) -> Sent:
        """Send a signal and return its answer."""
        self._count += 1
        signal = {
            "signal_id": f"S-{self._count}",
            "portfolio_id": self.name,
            "symbol": "ES",
            "side": "BUY",
            "confidence": confidence,
            "price": "50",
            "portfolio_value": self.value,
            "generated_at": self.now,
        } | fields
        return self.send(SIGNALS, signal)

    def fill(self, order: Sent, **fields: Any) -> None:
        self._count += 1
        report = {
            "exec_id": f"E-{self._count}",
            "order_id": order["order_id"],
            "portfolio_id": self.name,
            "exec_type": "TRADE",
            "transact_time": self.now,
        }
        self.send(FILLS, report | fields)

    def open(self, order: Sent, **fields: Any) -> None:
        """Fill an order as a whole, at its reference price."""
        self.fill(order, **({"last_qty": order["quantity"], "last_px": order["price"], "leaves_qty": "0"} | fields))

    def close(self, order: Sent, **fields: Any) -> None:
        self.fill(
            order,
            **({"position_effect": "CLOSE", "last_qty": order["quantity"], "last_px": order["price"]} | fields),
        )

    def trade(self, result: str, confidence: float = 0.9) -> Sent:
        """Make a trade with this result."""
        order = self.order(confidence)
        self.open(order)
        self.close(order, realized_pnl=result)
        return order

    def send(self, topic: str, value: Sent) -> Sent:
        self.sent.append((self.now, topic, value))
        orders = self.take(topic, self.name.encode(), value)
        for order in orders:
            self.orders[order["signal_id"]] = order
        return orders[-1] if orders else {}

    def again(self, change: Callable[[int, str, Sent], tuple[int, Sent] | None]) -> "Account":
        """Send all once more to a new worker; `change` returns clock and value of each input, None to leave it out."""
        account = Account(self._policy, value=self.value, name=self.name)
        for now, topic, value in self.sent:
            changed = change(now, topic, value)
            if changed is not None:
                account.now = changed[0]
                account.send(topic, changed[1])
        return account

    def with_signal(self, signal_id: str, **fields: Any) -> Sent:
        """Return the answer to a signal when all is sent again and this signal says something else."""

        def change(now: int, topic: str, value: Sent) -> tuple[int, Sent]:
            return now, value | fields if value.get("signal_id") == signal_id else value

        return self.again(change).orders[signal_id]

    @property
    def source(self) -> MemorySource:
        return MemorySource({topic: list(log) for topic, log in self.records.items()})
