# /// script
# dependencies = ["confluent-kafka", "orjson"]
# ///
"""A signal producer: sends one signal, or several, and knows of each that it arrived.

What makes it safe is that a signal is never made twice: its `signal_id` and `generated_at` are chosen once, before the
first try, and every further try sends the same bytes. The sizer answers the first and ignores the rest.
"""

import argparse
import sys
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import orjson
from confluent_kafka import KafkaError, KafkaException, Message, Producer

EXAMPLES = """examples:

  one signal, sized at full confidence
    python docs/examples/signal_producer.py --portfolio PF-1 --portfolio-value 100000 --price 5000 --confidence 0.9

  five signals that are worth sending for a minute only
    python docs/examples/signal_producer.py --portfolio PF-1 --price 5000 --count 5 --good-for 60

  the same signal twice: the second is counted as a duplicate and answered by nothing
    python docs/examples/signal_producer.py --portfolio PF-1 --signal-id S-42
    python docs/examples/signal_producer.py --portfolio PF-1 --signal-id S-42
"""
ATTEMPTS = 3
DELIVERY_SECONDS = 20


def new_signal(arguments: argparse.Namespace) -> dict[str, object]:
    """Make a signal: here its identity and its time are fixed, for all tries. Keep it until it is delivered."""
    now = datetime.now(UTC)
    expires_at = None if arguments.good_for is None else now + timedelta(seconds=arguments.good_for)
    return {
        "signal_id": arguments.signal_id or str(uuid.uuid4()),
        "portfolio_id": arguments.portfolio,
        "symbol": arguments.symbol,
        "side": arguments.side,
        "confidence": arguments.confidence,
        "price": arguments.price,  # money, prices and quantities travel as strings: no digit is lost on the way
        "portfolio_value": arguments.portfolio_value,
        "strategy_id": "example",
        "generated_at": now.isoformat(),
        "expires_at": None if expires_at is None else expires_at.isoformat(),
    }


def send(bootstrap_servers: str, topic: str, signals: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """Try to deliver signals; return those of which it is not known that they arrived."""
    missing = {id(signal): signal for signal in signals}
    producer = Producer(
        {
            "bootstrap.servers": bootstrap_servers,
            "client.id": "signal-producer",
            "partitioner": "murmur2_random",  # librdkafka's default is another one: WRONG_PARTITION
            "enable.idempotence": True,  # implies acks=all; librdkafka's own retries neither double nor reorder
            "delivery.timeout.ms": DELIVERY_SECONDS * 1_000,
            "log_level": 0,
        }
    )

    def delivered(signal: dict[str, object], error: KafkaError | None, message: Message) -> None:
        if error is not None:
            print(f"{signal['signal_id']} not delivered: {error.str()}", file=sys.stderr)
            return
        missing.pop(id(signal), None)
        print(f"{signal['signal_id']} -> {message.topic()}, partition {message.partition()}, offset {message.offset()}")

    for signal in signals:
        key = str(signal["portfolio_id"]).encode()
        value = orjson.dumps(signal)
        while True:
            try:
                producer.produce(topic, value, key, on_delivery=partial(delivered, signal))
                break
            except BufferError:  # the local queue is full: wait until something was delivered
                producer.poll(1)
            except KafkaException as error:  # this producer can do no more; another one can
                print(f"{signal['signal_id']} not sent: {error.args[0].str()}", file=sys.stderr)
                break
        producer.poll(0)
    producer.flush(DELIVERY_SECONDS + 10)
    return list(missing.values())


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bootstrap-servers", default="localhost:9092", help="(%(default)s)")
    parser.add_argument("--topic", default="signals", help="with the sizer's topic prefix, if it has one (%(default)s)")
    parser.add_argument("--portfolio", required=True, help="portfolio_id, which is also the record's key")
    parser.add_argument("--symbol", default="ESZ6", help="(%(default)s)")
    parser.add_argument("--side", choices=("BUY", "SELL"), default="BUY", help="(%(default)s)")
    parser.add_argument("--confidence", type=float, default=0.9, help="from 0 to 1 (%(default)s)")
    parser.add_argument("--price", help="the reference price; without one the answer has no quantity")
    parser.add_argument("--portfolio-value", help="what the account is worth; without one the last known value counts")
    parser.add_argument("--good-for", type=float, metavar="SECONDS", help="no order later than this")
    parser.add_argument("--signal-id", help="of a signal that may have been sent before (a new one for each signal)")
    parser.add_argument("--count", type=int, default=1, help="how many signals (%(default)s)")
    return parser.parse_args()


def main() -> int:
    """Send the signals; the status is 1 if one may not have arrived."""
    arguments = read_arguments()
    signals = [new_signal(arguments) for _ in range(arguments.count)]
    for _ in range(ATTEMPTS):
        signals = send(arguments.bootstrap_servers, arguments.topic, signals)  # the same ones, as they are
        if not signals:
            return 0
    print(f"{len(signals)} signals may not have arrived; send them again as they are", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
