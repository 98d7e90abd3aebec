# /// script
# dependencies = ["confluent-kafka[schemaregistry]", "fastavro", "orjson"]
# ///
"""An execution service over a simulated venue: takes sized orders, executes each once, reports every end as a fill.

The venue fills at the reference price, in two halves, and closes the position at once, some way off that price. An
order without a price it cannot fill: that one is canceled when its time is up. A report that the sizer refuses is
told on stderr: it may be a real position that no limit counts. One instance runs on one journal.
"""

import argparse
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import ROUND_DOWN, ROUND_UP, Context, Decimal
from functools import partial
from typing import Any

import orjson
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer

EXAMPLES = """examples:

  trade what the sizer on this machine sizes, and close each position 1 % above where it was opened
    python execution_service.py

  another Kafka, topics with a prefix; a journal per prefix; trades that lose
    python execution_service.py --bootstrap-servers kafka:9092 --prefix desk. --journal desk.db --move=-0.01

  where sized_orders is written as Avro
    python execution_service.py --registry http://localhost:8081
"""
EXACT = Context(prec=60)
TABLES = """
PRAGMA locking_mode = EXCLUSIVE;
CREATE TABLE IF NOT EXISTS orders (order_id TEXT PRIMARY KEY, portfolio_id TEXT, expires_at TEXT, works INTEGER);
CREATE TABLE IF NOT EXISTS reports (number INTEGER PRIMARY KEY, portfolio_id TEXT, fill BLOB);
"""


def canonical_now() -> str:
    """Return the clock in the sizer's own notation: as all its times have six decimals, they compare as text."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def as_json(field: Any) -> Any:
    """Return a field of a record of Avro as JSON would have it."""
    if isinstance(field, Decimal):
        return f"{field:f}"
    return f"{field.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}" if isinstance(field, datetime) else field


def order_reader(registry: str | None) -> Callable[[bytes], dict[str, Any]]:
    """Return what reads a record of `sized_orders`: JSON, or Avro in Confluent framing if there is a registry."""
    deserialize = None
    if registry is not None:
        # Imported here: who reads JSON need not have it.
        from confluent_kafka.schema_registry import SchemaRegistryClient
        from confluent_kafka.schema_registry.avro import AvroDeserializer

        deserialize = AvroDeserializer(SchemaRegistryClient({"url": registry}))

    def read(value: bytes) -> dict[str, Any]:
        if value.startswith(b"{"):
            return orjson.loads(value)
        if deserialize is None:
            sys.exit("sized_orders is written as Avro: say --registry URL")
        return {name: as_json(field) for name, field in deserialize(value).items()}

    return read


class ExecutionService:
    """Works orders and remembers, in its journal, which it has taken and which reports are not delivered yet."""

    def __init__(self, journal: sqlite3.Connection, move: Decimal) -> None:
        self.journal = journal
        self._move = move
        journal.executescript(TABLES)

    def take(self, order: dict[str, Any], now: str) -> None:
        """Take a record of `sized_orders`; only a new SIZED one does anything."""
        if order["decision"] != "SIZED":
            return
        new = "INSERT OR IGNORE INTO orders VALUES (:order_id, :portfolio_id, :expires_at, 1)"
        if not self.journal.execute(new, order).rowcount:
            return  # taken before: an order_id never has two contents
        # With a real venue: commit the journal, then send with ClOrdID = order_id; after a crash, ask for it first.
        reports = self._fills(order) if now < order["send_before"] else [{"exec_type": "EXPIRED"}]
        for number, report in enumerate(reports, 1):
            self._report(order["order_id"], order["portfolio_id"], f"{number}", now, report)

    def cancel_overdue(self, now: str) -> None:
        """Cancel what still works at its `expires_at`: a minute later the sizer gives its reservation to others."""
        overdue = "SELECT order_id, portfolio_id FROM orders WHERE works AND expires_at <= ?"
        for order_id, portfolio_id in self.journal.execute(overdue, (now,)).fetchall():
            self._report(order_id, portfolio_id, "cancel", now, {"exec_type": "CANCELED"})

    def deliver(self, producer: Producer, topic: str) -> None:
        """Deliver the reports in their order; raises KafkaException if not all could be: they stay in the journal."""
        waiting = self.journal.execute("SELECT number, portfolio_id, fill FROM reports ORDER BY number").fetchall()
        delivered: list[tuple[int]] = []
        for number, portfolio_id, fill in waiting:
            producer.produce(topic, fill, portfolio_id, on_delivery=partial(_delivered, delivered, number))
        producer.flush(30)
        with self.journal:
            self.journal.executemany("DELETE FROM reports WHERE number = ?", delivered)
        if len(delivered) < len(waiting):
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "not all fills are delivered"))  # noqa: SLF001 - as below

    def _fills(self, order: dict[str, Any]) -> Iterable[dict[str, str]]:
        if order["price"] is None:
            return
        price = Decimal(order["price"])
        # The notional is the limit. The quantity is advice, from a reference price: elsewhere it may cost more.
        affordable = EXACT.divide(Decimal(order["notional"]), price).quantize(Decimal("1e-8"), ROUND_DOWN, EXACT)
        quantity = min(Decimal(order["quantity"]), affordable)
        half = EXACT.divide(quantity, Decimal(2)).quantize(Decimal("1e-8"), ROUND_UP, EXACT)
        at = {"exec_type": "TRADE", "last_px": f"{price:f}"}
        for part, leaves in ((half, quantity - half), (quantity - half, Decimal(0))):
            if part:
                yield at | {"last_qty": f"{part:f}", "leaves_qty": f"{leaves:f}"}
        exit_price = EXACT.multiply(price, 1 + self._move).quantize(Decimal("1e-12"), ROUND_DOWN, EXACT)
        yield at | {"position_effect": "CLOSE", "last_qty": f"{quantity:f}", "last_px": f"{exit_price:f}"}

    def _report(self, order_id: str, portfolio_id: str, number: str, now: str, report: dict[str, str]) -> None:
        # The venue's own id of the report: the same whenever it is sent again, so that nothing counts twice.
        ids = {"exec_id": f"{order_id}/{number}", "order_id": order_id, "portfolio_id": portfolio_id}
        fill = ids | report | {"transact_time": now}
        self.journal.execute("INSERT INTO reports VALUES (NULL, ?, ?)", (portfolio_id, orjson.dumps(fill)))
        if fill["exec_type"] != "TRADE" or not Decimal(fill.get("leaves_qty", 1)):
            self.journal.execute("UPDATE orders SET works = 0 WHERE order_id = ?", (order_id,))
        print(f"{order_id} {fill['exec_type']} {fill.get('last_qty', '')}".rstrip(), flush=True)


def _delivered(delivered: list[tuple[int]], number: int, error: KafkaError | None, _message: Message) -> None:
    if error is None:
        delivered.append((number,))


def tell_refused(message: Message) -> None:
    """Tell a human of a fill that did not count: the sizer's reason is in the headers."""
    headers = {name: str(value, "ascii") for name, value in message.headers() or () if isinstance(value, bytes)}
    code, reason = headers.get("__streams.errors.exception"), headers.get("__streams.errors.message")
    print(f"REFUSED {code}: {reason}: {(message.value() or b'').decode(errors='replace')}", file=sys.stderr, flush=True)


def tell_down(error: KafkaError) -> None:
    """Tell that no broker can be reached; the client goes on trying."""
    if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - the client library's own codes begin so
        print(error.str(), file=sys.stderr, flush=True)


def run(arguments: argparse.Namespace, consumer: Consumer, producer: Producer, stop: threading.Event) -> None:
    """Take orders until `stop` is set. Offsets are committed behind delivered fills: nothing taken is ever lost."""
    service = ExecutionService(sqlite3.connect(arguments.journal), arguments.move)
    read_order = order_reader(arguments.registry)
    orders, fills, refused = (f"{arguments.prefix}{name}" for name in ("sized_orders", "fills", "fills.dlq"))
    consumer.subscribe([orders, refused])
    while not stop.is_set():
        first = consumer.poll(0.2)
        messages = [] if first is None else [first, *consumer.consume(500, 0)]
        with service.journal:  # one transaction: all that was taken is on the disk before anything of it is reported
            for message in messages:
                if (error := message.error()) is not None:
                    raise KafkaException(error)
                if message.topic() == refused:
                    tell_refused(message)
                else:
                    service.take(read_order(message.value() or b""), canonical_now())
            service.cancel_overdue(canonical_now())
        service.deliver(producer, fills)
        if messages:
            consumer.commit(asynchronous=False)


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


def main() -> None:
    """Run until SIGTERM or Ctrl-C."""
    arguments = read_arguments()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    client = {
        "bootstrap.servers": arguments.bootstrap_servers,
        "error_cb": tell_down,
        "log_level": 0,
    }
    name = f"{arguments.prefix}execution-service"
    # A static member: it has its partitions back at once after a crash, and a second instance puts an end to the first.
    group = {"group.id": name, "group.instance.id": name, "enable.auto.commit": False}
    consumer = Consumer(client | group | {"isolation.level": "read_committed", "auto.offset.reset": "earliest"})
    # No time-out: a report that is given up while a later one arrives would change their order.
    delivery = {"partitioner": "murmur2_random", "enable.idempotence": True, "delivery.timeout.ms": 0}
    try:
        run(arguments, consumer, Producer(client | delivery), stop)
    except KafkaException as error:
        sys.exit(f"{error.args[0].str()}: start again, nothing is lost")
    except sqlite3.OperationalError as error:
        sys.exit(f"journal {arguments.journal}: {error}; another instance may be using it")
    finally:
        consumer.close()


if __name__ == "__main__":
    main()
