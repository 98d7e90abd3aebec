"""Signals and fills as neighbours send them: valid, repeated, late, reordered, malformed, in transactions of theirs."""

from typing import Any

import orjson

from app.codecs import canonical_time
from app.core.messages import Signal, order_id_of
from app.processor.partitioners import partitioner
from app.topics import FILLS, SIGNALS
from tests.simulation.cluster import Cluster
from tests.simulation.scheduler import DAY, HOUR, SECOND, Scheduler

_MINUTE = 60 * SECOND
_REPEATED_KEPT = 30


class Workload:
    """Produces inputs, one step at a time, until its budget is spent."""

    def __init__(self, scheduler: Scheduler, cluster: Cluster, names: dict[str, str], budget: int) -> None:
        """`names`: real names of the input topics."""
        self._random = scheduler.random
        self._scheduler = scheduler
        self._cluster = cluster
        self._names = names
        self.budget = budget
        self.sent = 0
        self._partition_of = partitioner("murmur2", cluster.partitions)
        self._portfolios = [f"PF-{number}" for number in range(self._random.randrange(1, 5))]
        self._count = 0
        self._past: list[tuple[str, str, bytes]] = []
        self._orders: list[dict[str, Any]] = []
        """Orders that may be open: portfolio_id, order_id, what is open."""
        self._transactions: dict[tuple[str, int], str] = {}
        self._win_chance = self._random.choice((0.3, 0.6, 0.95))

    def act(self) -> None:
        """Send one record, or end a transaction of a neighbour."""
        dice = self._random.random()
        if dice < 0.05 and self._transactions:
            self.settle(1)
            return
        self.budget -= 1
        if dice < 0.12 and self._past:
            topic, portfolio, value = self._random.choice(self._past[-_REPEATED_KEPT:])
        elif dice < 0.18:
            topic, portfolio, value = self._malformed()
        elif dice < 0.55 and self._orders:
            topic, portfolio, value = self._fill()
        else:
            topic, portfolio, value = self._signal()
        self._past.append((topic, portfolio, value))
        self._send(topic, portfolio, value)

    def settle(self, count: int = 1_000) -> None:
        """End transactions of neighbours."""
        for where in list(self._transactions)[:count]:
            owner = self._transactions.pop(where)
            is_commit = self._random.random() < 0.5
            self._cluster.logs[where].mark(owner, is_commit=is_commit, time=self._scheduler.now)
            self._scheduler.trace(f"neighbour {owner} ends its transaction: {is_commit}")

    def _send(self, topic: str, portfolio: str, value: bytes) -> None:
        key: bytes | None = portfolio.encode()
        dice = self._random.random()
        if dice < 0.01:
            key = None
        elif dice < 0.02:
            key = b"PF-other"
        assert self._partition_of is not None
        partition = self._partition_of(portfolio.encode())
        if dice > 0.98:
            partition = self._random.randrange(self._cluster.partitions)
        where = (self._names[topic], partition)
        owner = self._transactions.get(where)
        if owner is None and self._random.random() < 0.08:
            self._count += 1
            owner = self._transactions[where] = f"neighbour-{self._count}"
        headers = (("source", b"simulation"),) if self._random.random() < 0.1 else ()
        offset = self._cluster.logs[where].append(key, value, headers, self._scheduler.now, owner)
        self.sent += 1
        self._scheduler.trace(f"input {where[0]}/{where[1]} {offset} {value!r}")

    def _time(self) -> int:
        """Return a time as a neighbour says it: mostly about now."""
        dice = self._random.random()
        if dice < 0.8:
            return self._scheduler.now - self._random.randrange(2 * SECOND)
        spread = self._random.choice((_MINUTE, HOUR, 23 * HOUR, 30 * HOUR, 3 * DAY))
        return self._scheduler.now + self._random.randrange(-spread, spread // 2)

    def _signal(self) -> tuple[str, str, bytes]:
        dice = self._random
        self._count += 1
        portfolio = dice.choice(self._portfolios)
        signal_id = f"S-{self._count}"
        if self._orders and dice.random() < 0.12:
            earlier = dice.choice(self._orders)
            portfolio, signal_id = earlier["portfolio_id"], earlier["signal_id"]
        generated_at = self._time()
        value = dice.choice(("100000", "100000", "20000", None, None, "0", "-5"))
        expires = generated_at + dice.randrange(-_MINUTE, HOUR) if dice.random() < 0.15 else None
        document = {
            "signal_id": signal_id,
            "portfolio_id": portfolio,
            "symbol": "ESH6",
            "side": dice.choice(("BUY", "SELL")),
            "confidence": dice.choice((0.9, 0.9, 0.9, 0.7, 0.6, 0.5)),
            "price": dice.choice(("10", "4321.5", None)),
            "portfolio_value": value,
            "generated_at": canonical_time(generated_at),
            "expires_at": None if expires is None else canonical_time(expires),
        }
        fields = dict.fromkeys(Signal._fields) | {
            "portfolio_id": portfolio, "signal_id": signal_id, "generated_at": generated_at
        }  # fmt: skip
        order = {
            "portfolio_id": portfolio,
            "signal_id": signal_id,
            "order_id": order_id_of(Signal(**fields)),
            "open": 0,
        }  # type: ignore[arg-type]  # only what an order id is made of
        self._orders.append(order)
        return SIGNALS, portfolio, orjson.dumps(document)

    def _fill(self) -> tuple[str, str, bytes]:
        dice = self._random
        self._count += 1
        order = dice.choice(self._orders[-8:])
        document = {
            "exec_id": f"E-{self._count}" if dice.random() < 0.95 else f"E-{dice.randrange(1, self._count)}",
            "order_id": order["order_id"],
            "portfolio_id": order["portfolio_id"],
            "exec_type": "TRADE",
            "commission": dice.choice(("0", "0.5")),
            "portfolio_value": "100000" if dice.random() < 0.05 else None,
            "transact_time": canonical_time(self._time()),
        }
        if dice.random() < 0.1:
            document["exec_type"] = dice.choice(("CANCELED", "REJECTED", "EXPIRED"))
        elif order["open"] == 0 or dice.random() < 0.2:
            quantity = dice.randrange(1, 5)
            order["open"] += quantity
            document |= {
                "last_qty": str(quantity),
                "last_px": "10",
                "leaves_qty": dice.choice(("0", "0", "0", "3", None)),
            }
        else:
            quantity = order["open"] if dice.random() < 0.7 else dice.randrange(1, order["open"] + 2)
            order["open"] = max(0, order["open"] - quantity)
            document |= {"position_effect": "CLOSE", "last_qty": str(quantity), "last_px": "10"}
            if dice.random() < 0.9:
                document["realized_pnl"] = "30" if dice.random() < self._win_chance else "-10"
        return FILLS, order["portfolio_id"], orjson.dumps(document)

    def _malformed(self) -> tuple[str, str, bytes]:
        dice = self._random
        portfolio = dice.choice(self._portfolios)
        topic = dice.choice((SIGNALS, FILLS))
        value = dice.choice((b"", b"{", b"\x00\x00\x00\x00\x01x", b"{}", b"[]", b'{"signal_id":7}', b"\xff\xfe"))
        return topic, portfolio, value
