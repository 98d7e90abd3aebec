# /// script
# dependencies = ["confluent-kafka[schemaregistry]", "fastavro", "orjson"]
# ///
"""A signal producer: sends one signal, or several, and knows of each that it arrived.

What makes it safe is that a signal is never made twice: its `signal_id`, its `generated_at` and its bytes are chosen
once, before the first try, and every further try sends the same. The sizer answers the first and ignores the rest.
"""

import argparse
import sys
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

import orjson
from confluent_kafka import KafkaError, KafkaException, Message, Producer

EXAMPLES = """examples:

  one signal, sized at full confidence
    python signal_producer.py --portfolio PF-1 --portfolio-value 100000 --price 5000 --confidence 0.9

  five signals that are worth sending for a minute only, to another Kafka and to topics with a prefix
    python signal_producer.py --bootstrap-servers kafka:9092 --prefix desk. --portfolio PF-1 --count 5 --good-for 60

  as Avro, by the schema that the registry has for the topic
    python signal_producer.py --portfolio PF-1 --format avro --registry http://localhost:8081

  the same signal twice: the second is counted as a duplicate and answered by nothing
    python signal_producer.py --portfolio PF-1 --signal-id S-42
    python signal_producer.py --portfolio PF-1 --signal-id S-42
"""
ATTEMPTS = 3


class Record(NamedTuple):
    """A signal as it is sent. Keep it until it is delivered, and send it again as it is."""

    signal_id: str
    key: bytes
    value: bytes


def new_signal(arguments: argparse.Namespace) -> dict[str, Any]:
    """Make a signal: here its identity and its time are fixed, for all tries."""
    now = datetime.now(UTC)
    return {
        "signal_id": arguments.signal_id or str(uuid.uuid4()),
        "portfolio_id": arguments.portfolio,
        "symbol": arguments.symbol,
        "side": arguments.side,
        "confidence": arguments.confidence,
        "price": arguments.price,
        "portfolio_value": arguments.portfolio_value,
        "strategy_id": "example",
        "generated_at": now,
        "expires_at": None if arguments.good_for is None else now + timedelta(seconds=arguments.good_for),
    }


def to_json(signal: dict[str, Any]) -> bytes:
    """Write a signal as JSON. Money, prices and quantities travel as strings: no digit is lost on the way."""
    return orjson.dumps(signal, default=lambda number: f"{number:f}")


def to_avro(registry: str, topic: str) -> Callable[[dict[str, Any]], bytes | None]:
    """Return what writes a signal as Avro in Confluent framing, by the latest schema that the registry has for it."""
    # Imported here: who sends JSON need not have it.
    from confluent_kafka.schema_registry import SchemaRegistryClient
    from confluent_kafka.schema_registry.avro import AvroSerializer
    from confluent_kafka.serialization import MessageField, SerializationContext

    conf = {"auto.register.schemas": False, "use.latest.version": True}  # who sends shall not make new schemas
    serialize = AvroSerializer(SchemaRegistryClient({"url": registry}), conf=conf)
    return lambda signal: serialize(signal, SerializationContext(topic, MessageField.VALUE))


def send(bootstrap_servers: str, topic: str, records: Sequence[Record], seconds: float) -> list[Record]:
    """Try to deliver records; return those of which it is not known that they arrived."""
    missing = dict(enumerate(records))
    producer = Producer(
        {
            "bootstrap.servers": bootstrap_servers,
            "client.id": "signal-producer",
            "partitioner": "murmur2_random",  # librdkafka's default is another one: WRONG_PARTITION
            "enable.idempotence": True,  # implies acks=all; librdkafka's own retries neither double nor reorder
            "delivery.timeout.ms": int(seconds * 1_000),
            "topic.metadata.propagation.max.ms": 2_000,  # a topic that is not there is told soon
            "log_level": 0,
        }
    )

    def delivered(number: int, error: KafkaError | None, message: Message) -> None:
        signal_id = records[number].signal_id
        if error is not None:
            print(f"{signal_id} not delivered: {error.str()}", file=sys.stderr)
            return
        del missing[number]
        print(f"{signal_id} -> {message.topic()}, partition {message.partition()}, offset {message.offset()}")

    for number, record in enumerate(records):
        while True:
            try:
                producer.produce(topic, record.value, record.key, on_delivery=partial(delivered, number))
                break
            except BufferError:  # the local queue is full: wait until something was delivered
                producer.poll(1)
            except KafkaException as error:  # this producer can do no more; another one can
                print(f"{record.signal_id} not sent: {error.args[0].str()}", file=sys.stderr)
                break
        producer.poll(0)
    producer.flush(seconds + 10)
    return list(missing.values())


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bootstrap-servers", default="localhost:9092", help="(%(default)s)")
    parser.add_argument("--prefix", default="", help="the sizer's topic prefix, if it has one")
    parser.add_argument("--portfolio", required=True, help="portfolio_id, which is also the record's key")
    parser.add_argument("--symbol", default="ESZ6", help="(%(default)s)")
    parser.add_argument("--side", choices=("BUY", "SELL"), default="BUY", help="(%(default)s)")
    parser.add_argument("--confidence", type=float, default=0.9, help="from 0 to 1 (%(default)s)")
    parser.add_argument("--price", type=Decimal, help="the reference price; without one the answer has no quantity")
    parser.add_argument(
        "--portfolio-value", type=Decimal, help="what the account is worth; without one the last known value counts"
    )
    parser.add_argument("--good-for", type=float, metavar="SECONDS", help="no order later than this")
    parser.add_argument("--signal-id", help="of a signal that may have been sent before (a new one for each signal)")
    parser.add_argument("--count", type=int, default=1, help="how many signals (%(default)s)")
    parser.add_argument("--format", choices=("json", "avro"), default="json", help="(%(default)s)")
    parser.add_argument("--registry", metavar="URL", help="the schema registry, for --format avro")
    parser.add_argument("--timeout", type=float, default=20, metavar="SECONDS", help="of each try (%(default)s)")
    arguments = parser.parse_args()
    if arguments.format == "avro" and arguments.registry is None:
        parser.error("--format avro needs --registry URL")
    return arguments


def main() -> int:
    """Send the signals; the status is 1 if one may not have arrived."""
    arguments = read_arguments()
    topic = f"{arguments.prefix}signals"
    signals = [new_signal(arguments) for _ in range(arguments.count)]
    try:
        encode = to_json if arguments.format == "json" else to_avro(arguments.registry, topic)
        records = [Record(signal["signal_id"], arguments.portfolio.encode(), encode(signal)) for signal in signals]
    except Exception as error:  # noqa: BLE001 - the clients of registries raise errors of many libraries
        sys.exit(f"nothing was sent; no schema from {arguments.registry}, or it does not fit: {error}")
    for _ in range(ATTEMPTS):
        records = send(arguments.bootstrap_servers, topic, records, arguments.timeout)  # the same ones, as they are
        if not records:
            return 0
    lost = f"{len(records)} of {len(signals)} signals may not have arrived at {arguments.bootstrap_servers}"
    print(f"{lost}: keep them, and send them again as they are", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
