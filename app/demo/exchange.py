"""The venue as a process: `python -m app.demo.exchange`, with the sizer's settings. Runs until SIGTERM."""

import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition

from app.codecs.records import FILL
from app.demo.accounts import ACCOUNTS, PARTITIONS, SEED
from app.demo.market import SECOND, read_prices
from app.demo.neighbour import Sender, await_opening, stop_request, wall_now
from app.demo.venue import Venue
from app.demo.wire import encoder, registry_client, sized_order_reader
from app.settings import Settings, load_settings
from app.topics import FILLS, SIZED_ORDERS

_FETCH = 500
_LONGEST_WAIT = 0.1  # seconds, after which a SIGTERM is noticed


def main() -> int:
    """Work every sized order and report what happens to it, until SIGTERM."""
    stop = stop_request()
    settings = load_settings()
    prices = read_prices()
    sender = Sender(settings, FILLS)
    consumer = _sized_orders(settings)
    registry = registry_client(settings)
    encode = encoder(registry, settings.topic(FILLS), FILL)
    read = sized_order_reader(registry, settings.topic(SIZED_ORDERS))
    clock = await_opening()
    venue = Venue(ACCOUNTS, prices, clock, SEED, encode)
    while not stop.is_set():
        wait = _LONGEST_WAIT
        if venue.next_time is not None:
            wait = min(wait, max(0, clock.wall(venue.next_time) + 1 - wall_now()) / SECOND)
        first = consumer.poll(wait)
        for message in (first, *consumer.consume(_FETCH, 0)) if first is not None else ():
            error = message.error()
            if error is not None:
                raise KafkaException(error)
            venue.accept(read(message.value()), wall_now())
        sender.send(venue.due(clock.market(wall_now())))
    sender.flush()
    consumer.close()
    return 0


def _sized_orders(settings: Settings) -> Consumer:
    consumer = Consumer(
        {
            "bootstrap.servers": settings.bootstrap_servers,
            "client.id": "demo-venue",
            "group.id": "demo-venue",
            "isolation.level": "read_committed",  # what was not committed was never decided
            "enable.auto.commit": False,
        }
    )
    topic = settings.topic(SIZED_ORDERS)
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(PARTITIONS)])
    return consumer


if __name__ == "__main__":
    sys.exit(main())
