# /// script
# dependencies = ["aiokafka", "fastavro", "orjson"]
# ///
"""A signal producer on asyncio: sends one signal, or several, and knows of each that it arrived.

What makes it safe is that a signal is never made twice: its `signal_id`, its `generated_at` and its bytes are chosen
once, before the first try, and every further try sends the same. The sizer answers the first and ignores the rest.
"""

import argparse
import asyncio
import sys
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import BytesIO
from typing import Any, NamedTuple
from urllib.request import urlopen

import fastavro
import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

EXAMPLES = """examples:

  one signal, sized at full confidence
    python signal_producer.py --portfolio PF-1 --portfolio-value 100000 --price 5000 --confidence 0.9

  five signals that are worth sending for a minute only, to another Kafka and to topics with a prefix
    python signal_producer.py --bootstrap-servers kafka:9092 --prefix desk. --portfolio PF-1 --count 5 --good-for 60

  as Avro, by the schema that the registry has for the topic
    python signal_producer.py --portfolio PF-1 --format avro --registry http://localhost:8081
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


def to_avro(registry: str, topic: str) -> Callable[[dict[str, Any]], bytes]:
    """Return what writes a signal as Avro in Confluent framing, by the latest schema that the registry has for it."""
    with urlopen(f"{registry}/subjects/{topic}-value/versions/latest") as response:  # noqa: S310 - the user's own URL
        found = orjson.loads(response.read())
    schema = fastavro.parse_schema(orjson.loads(found["schema"]))

    def encode(signal: dict[str, Any]) -> bytes:
        value = BytesIO()
        value.write(b"\0" + found["id"].to_bytes(4, "big"))  # Confluent framing is these five bytes
        fastavro.schemaless_writer(value, schema, signal)
        return value.getvalue()

    return encode


async def send(bootstrap_servers: str, topic: str, records: Sequence[Record], seconds: float) -> list[Record]:
    """Try to deliver records; return those of which it is not known that they arrived."""
    # No partitioner is set: the default hashes keys by murmur2, which is what the sizer expects.
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers,
        client_id="signal-producer",
        enable_idempotence=True,  # implies acks=all; the client's own retries neither double nor reorder
        request_timeout_ms=int(seconds * 1_000),
        retry_backoff_ms=1_000,
    )
    deliveries: list[asyncio.Future[Any]] = []
    try:
        async with asyncio.timeout(seconds):  # left alone, an idempotent producer of aiokafka tries for ever
            await producer.start()
            for record in records:
                deliveries.append(await producer.send(topic, record.value, record.key))  # noqa: PERF401 - an error keeps those so far
            if deliveries:
                await asyncio.wait(deliveries)
    except (TimeoutError, KafkaError) as error:
        print(f"not all delivered: {error!r}", file=sys.stderr)
    missing = list(records[len(deliveries) :])
    for record, delivery in zip(records, deliveries, strict=False):
        if delivery.done() and delivery.exception() is None:
            place = delivery.result()
            print(f"{record.signal_id} -> {place.topic}, partition {place.partition}, offset {place.offset}")
        else:
            missing.append(record)
    with suppress(TimeoutError):
        await asyncio.wait_for(producer.stop(), seconds)
    return missing


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


async def main() -> int:
    """Send the signals; the status is 1 if one may not have arrived."""
    arguments = read_arguments()
    topic = f"{arguments.prefix}signals"
    signals = [new_signal(arguments) for _ in range(arguments.count)]
    try:
        encode = to_json if arguments.format == "json" else to_avro(arguments.registry, topic)
        records = [Record(signal["signal_id"], arguments.portfolio.encode(), encode(signal)) for signal in signals]
    except (OSError, ValueError) as error:
        sys.exit(f"nothing was sent; no schema from {arguments.registry}, or it does not fit: {error}")
    for _ in range(ATTEMPTS):
        records = await send(arguments.bootstrap_servers, topic, records, arguments.timeout)  # the same, as they are
        if not records:
            return 0
        await asyncio.sleep(1)
    lost = f"{len(records)} of {len(signals)} signals may not have arrived at {arguments.bootstrap_servers}"
    print(f"{lost}: keep them, and send them again as they are", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
