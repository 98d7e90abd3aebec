"""A partition's history as a worker makes it, in memory: what came in, what was published, what is kept."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import orjson

from app.codecs import decode_signal
from app.core.messages import order_id_of
from app.core.policy import TABLE_POLICY, Policy
from app.processor import TABLES, MemoryStore, Processor, Record
from app.processor.partitioners import partitioner
from app.replay.history import TOPICS, History
from app.topics import FILLS, INPUTS, OUTPUTS, SIGNALS, SIZED_ORDERS

NOON = 1_767_614_400_000_000
MINUTE = 60_000_000
HOUR = 60 * MINUTE
PULLED = 7
"""Records at a time, so that reading ahead is exercised."""
NAMES = {topic: f"desk.{topic}" for topic in TOPICS}


class Recorder:
    """A processor whose inputs and outputs are kept as topics would keep them."""

    def __init__(
        self,
        policy: Policy = TABLE_POLICY,
        *,
        now: int | None = NOON,
        partition_count: int = 1,
        partitioner_name: str = "any",
    ) -> None:
        self.records: dict[str, list[Record]] = {topic: [] for topic in TOPICS}
        self.store = MemoryStore()
        self.now = now
        self._options = {
            "partition_count": partition_count,
            "partition_of": partitioner(partitioner_name, partition_count),
            "partitioner_name": partitioner_name,
            "topic_names": NAMES,
        }
        self.restart(policy)

    def restart(self, policy: Policy) -> None:
        """Stop the worker and start it on what it has committed, with a policy."""
        if hasattr(self, "processor"):
            self.commit()
        self.processor = Processor(0, self.store, policy, **self._options)  # type: ignore[arg-type]  # by name

    def commit(self) -> None:
        self.store.write(self.processor.changes())
        self.processor.committed()

    def take(self, topic: str, key: bytes | None, value: Any, headers: Any = ()) -> list[dict[str, Any]]:
        """Append a record to an input topic and process it; return the orders that it caused."""
        raw = orjson.dumps(value) if isinstance(value, dict) else value
        record = self._append(topic, key, raw, headers)
        produced = self.processor.process(record, self.now).produced
        for one in produced:
            self._append(one.topic, one.key, one.value, one.headers)
        return [orjson.loads(one.value or b"") for one in produced if one.topic == SIZED_ORDERS]

    def _append(self, topic: str, key: bytes | None, value: bytes | None, headers: Any) -> Record:
        # Markers of transactions take offsets of their own.
        offset = self.records[topic][-1].offset + 1 + (len(self.records[topic]) % 3 == 0) if self.records[topic] else 0
        timestamp = -1 if self.now is None else self.now // 1000
        record = Record(topic, 0, offset, key, value, tuple(headers), timestamp)
        self.records[topic].append(record)
        return record

    @property
    def history(self) -> History:
        return History(0, self.records)

    @property
    def rows(self) -> dict[str, dict[bytes, bytes]]:
        """All committed rows."""
        return {table: dict(self.store.scan(table, b"")) for table in TABLES}


class Day(Recorder):
    """A day of a few portfolios: trades that win and lose, lapses, late and excessive fills, repeats, bad records."""

    def __init__(self, seed: int, signals: int = 240, portfolios: int = 3) -> None:
        super().__init__()
        self.now: int = NOON
        self._dice = random.Random(seed)
        self._open: list[dict[str, Any]] = []
        self._fresh: list[dict[str, Any]] = []
        self._count = 0
        self._names = [f"PF-{number}" for number in range(portfolios)]
        tighter = Policy({"reservation_ttl": 300, "exposure_limit": "0.009"})
        for number in range(signals):
            self.now += self._dice.choice((0, 1, 1_000, MINUTE // 2, MINUTE, 3 * MINUTE))
            self._step()
            if self._dice.random() < 0.2:
                self.commit()
            if number == signals // 2:
                self.restart(tighter)
            if number == signals * 3 // 4:
                self.now += 49 * HOUR  # all is forgotten that can be
        self.commit()

    def _step(self) -> None:
        dice = self._dice
        portfolio = dice.choice(self._names)
        signal = self.signal(portfolio)
        orders = self.take(SIGNALS, portfolio.encode(), signal)
        self._fresh += [order for order in orders if order["decision"] == "SIZED"]
        if dice.random() < 0.1:
            self.take(SIGNALS, portfolio.encode(), signal)
        if dice.random() < 0.1:
            self._spoil(portfolio, signal)
        while self._fresh and dice.random() < 0.45:
            self._fill(self._fresh.pop(dice.randrange(len(self._fresh))))
        while self._open and dice.random() < 0.6:
            self._close(self._open.pop(dice.randrange(len(self._open))))

    def signal(self, portfolio: str, **fields: Any) -> dict[str, Any]:
        self._count += 1
        return {
            "signal_id": f"S-{self._count}",
            "portfolio_id": portfolio,
            "symbol": "ESH6",
            "side": self._dice.choice(("BUY", "SELL")),
            "confidence": round(self._dice.uniform(0.55, 1), 2),
            "price": "5000",
            "portfolio_value": self._dice.choice(("100000", "100000", "90000", None)) if self._count > 9 else "100000",
            "generated_at": self.now - self._dice.choice((0, 1, 5_000_000)),
        } | fields

    def report(self, order: dict[str, Any], **fields: Any) -> None:
        """Send an execution report about an order."""
        self._count += 1
        value = {
            "exec_id": f"E-{self._count}",
            "order_id": order["order_id"],
            "portfolio_id": order["portfolio_id"],
            "exec_type": "TRADE",
            "transact_time": self.now,
        }
        self.take(FILLS, order["portfolio_id"].encode(), value | fields)

    def _fill(self, order: dict[str, Any]) -> None:
        dice = self._dice
        if dice.random() < 0.15:
            self.report(order, exec_type=dice.choice(("CANCELED", "REJECTED", "EXPIRED")))
            return
        part = 10 if dice.random() < 0.03 else dice.choice((0.5, 1, 1, 1, 1.7))
        price = round(float(order["notional"]) * part / 3, 4)
        leaves = dice.choice(("0", None)) if part >= 1 else "1"
        self.report(order, last_qty="3", last_px=str(price), leaves_qty=leaves, commission="0.1")
        self._open.append(order | {"left": ["3"] if dice.random() < 0.7 else ["1", "0.999999999999", "1.000000000001"]})

    def _close(self, order: dict[str, Any]) -> None:
        price = float(order["notional"]) / 3 + self._dice.choice((-1, -1, 0, 2))
        value = self._dice.choice((None, None, "95000"))
        quantity, *left = order["left"]
        self.report(order, position_effect="CLOSE", last_qty=quantity, last_px=str(price), portfolio_value=value)
        if left:
            self._open.append(order | {"left": left})
        elif self._dice.random() < 0.2:
            self.report(order, last_qty="1", last_px=str(price))  # late, and real all the same
            self._open.append(order | {"left": ["1"]})

    def _spoil(self, portfolio: str, signal: dict[str, Any]) -> None:
        bad: list[tuple[str, bytes | None, Any]] = [
            (SIGNALS, portfolio.encode(), b"{"),
            (SIGNALS, b"other", signal),
            (SIGNALS, portfolio.encode(), self.signal(portfolio, generated_at=self.now - 25 * HOUR)),
            (SIGNALS, portfolio.encode(), self.signal("new-" + portfolio, generated_at=self.now + 25 * HOUR)),
            (FILLS, portfolio.encode(), b"\x00"),
            (FILLS, portfolio.encode(), self._unknown_fill(portfolio)),
        ]
        self.take(*self._dice.choice(bad), headers=[("trace", b"1")])

    def _unknown_fill(self, portfolio: str) -> dict[str, Any]:
        self._count += 1
        order_id = order_id_of(decode_signal(orjson.dumps(self.signal(portfolio))))
        return {
            "exec_id": f"E-{self._count}",
            "order_id": order_id,
            "portfolio_id": portfolio,
            "exec_type": "CANCELED",
            "transact_time": self.now,
        }


class MemoryLog:
    """A partition's history as a source has it."""

    def __init__(
        self,
        partition: int,
        records: dict[str, list[Record]],
        starts: dict[str, int],
        taken: Any,
        settled: dict[str, int] | None,
    ) -> None:
        self.partition = partition
        self.starts = starts
        self.ends = {topic: (log[-1].offset + 1 if log else starts[topic]) for topic, log in records.items()}
        self.settled = {topic: self.ends[topic] for topic in OUTPUTS} if settled is None else settled
        self.taken = {topic: self.ends[topic] for topic in INPUTS} if taken == "all" else taken
        self._records = records

    def pull(self, starts: Mapping[str, int]) -> Any:
        left = {
            topic: [
                record._replace(partition=self.partition)
                for record in log
                if record.offset >= max(starts.get(topic, 0), self.starts[topic])
            ]
            for topic, log in self._records.items()
        }

        def give(topic: str) -> list[Record]:
            given, left[topic] = left[topic][:PULLED], left[topic][PULLED:]
            return given

        return give


class MemorySource:
    """Histories, one for each partition, as a source."""

    where = "memory"
    partitioner = "any"
    topic_names: Mapping[str, str] = NAMES
    schemas = None

    def __init__(
        self,
        *logs: dict[str, list[Record]],
        taken: Any = "all",
        starts: dict[str, int] | None = None,
        settled: dict[str, int] | None = None,
    ) -> None:
        self.logs = logs
        self.taken = taken
        self.settled = settled
        self.starts = dict.fromkeys(TOPICS, 0) | (starts or {})
        self.partition_count = len(logs)
        self.topic_ids: dict[str, str] = {topic: f"id-of-{topic}" for topic in TOPICS}

    def schema_text(self, schema_id: int) -> str | None:
        return None

    @contextmanager
    def open(self, partition: int) -> Iterator[MemoryLog]:
        yield MemoryLog(partition, self.logs[partition], self.starts, self.taken, self.settled)
