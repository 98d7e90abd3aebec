# /// script
# dependencies = ["aiokafka", "fastavro", "orjson"]
# ///
"""An execution service on asyncio: takes sized orders, executes each once, reports every end as a fill.

Its venue is simulated: it fills at the reference price and closes the position at once, some way off that price. An
order without a price it cannot fill: that one is canceled when its time is up. A report that the sizer refuses is
told on stderr: it may be a real position that no limit counts. One instance runs on one journal.
"""

import argparse
import asyncio
import signal
import sqlite3
import sys
from collections.abc import Collection
from datetime import UTC, datetime
from decimal import ROUND_DOWN, Context, Decimal
from functools import cache
from io import BytesIO
from typing import Any
from urllib.request import urlopen

import fastavro
import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord, TopicPartition

EXAMPLES = """examples:

  trade what the sizer on this machine sizes, and close each position 1 % above where it was opened
    python execution_service.py

  another Kafka, topics with a prefix; a journal per prefix; trades that lose
    python execution_service.py --bootstrap-servers kafka:9092 --prefix desk. --journal desk.db --move=-0.01

  where sized_orders is written as Avro
    python execution_service.py --registry http://localhost:8081
"""
EXACT = Context(prec=60)
DELIVERY_SECONDS = 30
TABLES = """
PRAGMA locking_mode = EXCLUSIVE;
CREATE TABLE IF NOT EXISTS orders (order_id TEXT PRIMARY KEY, portfolio_id TEXT, expires_at TEXT, works INTEGER);
CREATE TABLE IF NOT EXISTS reports (number INTEGER PRIMARY KEY, portfolio_id TEXT, fill BLOB);
"""


def canonical_now() -> str:
    """Return the clock in the sizer's own notation: as all its times have six decimals, they compare as text."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@cache
def schema_of(registry: str, schema_id: int) -> Any:
    """Return a schema of the registry; what a number stands for never changes."""
    with urlopen(f"{registry}/schemas/ids/{schema_id}") as response:  # noqa: S310 - the user's own URL
        return fastavro.parse_schema(orjson.loads(orjson.loads(response.read())["schema"]))


def as_json(field: Any) -> Any:
    """Return a field of a record of Avro as JSON would have it."""
    if isinstance(field, Decimal):
        return f"{field:f}"
    return f"{field.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}" if isinstance(field, datetime) else field


def read_order(value: bytes, registry: str | None) -> dict[str, Any]:
    """Read a record of `sized_orders`: JSON, or Avro in Confluent framing if there is a registry."""
    if value.startswith(b"{"):
        return orjson.loads(value)
    if registry is None:
        sys.exit("sized_orders is written as Avro: say --registry URL")
    schema = schema_of(registry, int.from_bytes(value[1:5], "big"))  # after the byte that says which framing it is
    fields = fastavro.schemaless_reader(BytesIO(value[5:]), schema)
    return {name: as_json(field) for name, field in fields.items()}


class Journal:
    """Which orders were taken, which of them still work, and which reports are not delivered yet: all on disk."""

    def __init__(self, file: str) -> None:
        self.rows = sqlite3.connect(file)
        self.rows.executescript(TABLES)

    def take(self, order: dict[str, Any], move: Decimal) -> None:
        """Take a record of `sized_orders`; only a new SIZED one does anything."""
        if order["decision"] != "SIZED":
            return
        now = canonical_now()
        new = "INSERT OR IGNORE INTO orders VALUES (:order_id, :portfolio_id, :expires_at, 1)"
        if not self.rows.execute(new, order).rowcount:
            return  # taken before: an order_id never has two contents
        # With a real venue: commit the journal, then send with ClOrdID = order_id; after a crash, ask for it first.
        if now >= order["send_before"]:
            self._report(order, "1", now, exec_type="EXPIRED")
        elif order["price"] is not None:
            price = Decimal(order["price"])
            # The notional is the limit. The quantity is advice, from a reference price: elsewhere it may cost more.
            affordable = EXACT.divide(Decimal(order["notional"]), price).quantize(Decimal("1e-8"), ROUND_DOWN, EXACT)
            traded = {"exec_type": "TRADE", "last_qty": f"{min(Decimal(order['quantity']), affordable):f}"}
            self._report(order, "1", now, **traded, last_px=f"{price:f}", leaves_qty="0")
            exit_price = EXACT.multiply(price, 1 + move).quantize(Decimal("1e-12"), ROUND_DOWN, EXACT)
            self._report(order, "2", now, **traded, last_px=f"{exit_price:f}", position_effect="CLOSE")

    def cancel_overdue(self) -> None:
        """Cancel what still works at its `expires_at`: a minute later the sizer gives its reservation to others."""
        now = canonical_now()
        overdue = "SELECT order_id, portfolio_id FROM orders WHERE works AND expires_at <= ?"
        for order_id, portfolio_id in self.rows.execute(overdue, (now,)).fetchall():
            order = {"order_id": order_id, "portfolio_id": portfolio_id}
            self._report(order, "cancel", now, exec_type="CANCELED")

    def waiting(self) -> list[tuple[int, str, bytes]]:
        """Return the reports that are not delivered yet, in their order."""
        return self.rows.execute("SELECT number, portfolio_id, fill FROM reports ORDER BY number").fetchall()

    def forget(self, numbers: list[int]) -> None:
        """Forget reports: they are delivered."""
        with self.rows:
            self.rows.executemany("DELETE FROM reports WHERE number = ?", [(number,) for number in numbers])

    def _report(self, order: dict[str, Any], number: str, now: str, **report: str) -> None:
        # The venue's own id of the report: the same whenever it is sent again, so that nothing counts twice.
        ids = {name: order[name] for name in ("order_id", "portfolio_id")}
        fill = {"exec_id": f"{order['order_id']}/{number}"} | ids | report | {"transact_time": now}
        self.rows.execute("INSERT INTO reports VALUES (NULL, ?, ?)", (order["portfolio_id"], orjson.dumps(fill)))
        self.rows.execute("UPDATE orders SET works = 0 WHERE order_id = ?", (order["order_id"],))
        print(f"{order['order_id']} {fill['exec_type']} {fill.get('last_qty', '')}".rstrip(), flush=True)


async def deliver(journal: Journal, producer: AIOKafkaProducer, topic: str) -> None:
    """Deliver the reports in their order; raises TimeoutError or KafkaError if not all could be: they stay."""
    async with asyncio.timeout(DELIVERY_SECONDS):
        waiting = journal.waiting()
        deliveries = [await producer.send(topic, fill, portfolio_id.encode()) for _, portfolio_id, fill in waiting]
        await asyncio.gather(*deliveries)
    journal.forget([number for number, _, _ in waiting])


def tell_refused(record: ConsumerRecord) -> None:
    """Tell a human of a fill that did not count: the sizer's reason is in the headers."""
    headers = {name: value.decode() for name, value in record.headers}
    code, reason = headers.get("__streams.errors.exception"), headers.get("__streams.errors.message")
    print(f"REFUSED {code}: {reason}: {(record.value or b'').decode(errors='replace')}", file=sys.stderr, flush=True)


class TakenAway(ConsumerRebalanceListener):
    """Notices that another instance has come: nothing else takes partitions away from a static member that lives."""

    has_happened = False

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Remember it; at the start there is nothing to be taken away."""
        self.has_happened |= bool(revoked)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Do nothing."""


async def run(arguments: argparse.Namespace) -> None:
    """Take orders until canceled. Offsets are committed behind delivered fills: nothing taken is ever lost."""
    orders, fills, refused = (f"{arguments.prefix}{name}" for name in ("sized_orders", "fills", "fills.dlq"))
    journal = Journal(arguments.journal)
    name = f"{arguments.prefix}execution-service"
    consumer = AIOKafkaConsumer(
        bootstrap_servers=arguments.bootstrap_servers,
        group_id=name,
        group_instance_id=name,  # a static member: it has its partitions back at once after a crash
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        retry_backoff_ms=1_000,
    )
    # No partitioner is set: the default hashes keys by murmur2. With idempotence nothing doubles or changes its order.
    producer = AIOKafkaProducer(bootstrap_servers=arguments.bootstrap_servers, enable_idempotence=True)
    taken_away = TakenAway()
    consumer.subscribe([orders, refused], listener=taken_away)
    try:
        await producer.start()
        await consumer.start()
        while not taken_away.has_happened:
            taken = await consumer.getmany(timeout_ms=200, max_records=500)
            with journal.rows:  # one transaction: all that was taken is on the disk before anything of it is reported
                for place, records in taken.items():
                    for record in records:
                        if place.topic == refused:
                            tell_refused(record)
                        else:
                            journal.take(read_order(record.value, arguments.registry), arguments.move)
                journal.cancel_overdue()
            await deliver(journal, producer, fills)
            if taken:
                await consumer.commit()
        sys.exit("another instance has taken over")
    finally:
        await consumer.stop()
        await producer.stop()


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bootstrap-servers", default="localhost:9092", help="(%(default)s)")
    parser.add_argument("--prefix", default="", help="the sizer's topic prefix, if it has one")
    parser.add_argument("--journal", default="execution.db", help="file of the orders taken (%(default)s)")
    parser.add_argument("--move", type=Decimal, default=Decimal("0.01"), help="close so far off (%(default)s = +1 %%)")
    parser.add_argument("--registry", metavar="URL", help="the schema registry, where sized_orders is written as Avro")
    return parser.parse_args()


async def main() -> None:
    """Run until SIGTERM or Ctrl-C."""
    arguments = read_arguments()
    running = asyncio.create_task(run(arguments))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    try:
        await running
    except asyncio.CancelledError:
        pass
    except (KafkaError, TimeoutError) as error:
        sys.exit(f"{error!r}: start again, nothing is lost")
    except sqlite3.OperationalError as error:
        sys.exit(f"journal {arguments.journal}: {error}; another instance may be using it")


if __name__ == "__main__":
    asyncio.run(main())
