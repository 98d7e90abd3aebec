"""Reads all six topics from the beginning, as any onlooker can: committed records only, no group."""

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from app.demo.accounts import PARTITIONS
from app.demo.board import Seen
from app.settings import Settings
from app.topics import INPUTS, OUTPUTS

_FETCH = 2_000


class Watcher:
    """A consumer of everything."""

    def __init__(self, settings: Settings) -> None:
        self._logical = {settings.topic(topic): topic for topic in (*INPUTS, *OUTPUTS)}
        self._consumer = Consumer(
            {
                "bootstrap.servers": settings.bootstrap_servers,
                "client.id": "demo-watcher",
                "group.id": "demo-watcher",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "log_level": 0,
            }
        )
        self._consumer.assign(
            [TopicPartition(name, number, OFFSET_BEGINNING) for name in self._logical for number in range(PARTITIONS)]
        )

    def read(self, timeout: float) -> list[Seen]:
        """Return what is there, after at most `timeout` seconds if nothing is. Raises KafkaException."""
        first = self._consumer.poll(timeout)
        if first is None:
            return []
        seen = []
        for message in (first, *self._consumer.consume(_FETCH, 0)):
            error = message.error()
            if error is not None:
                if error.code() == KafkaError._ALL_BROKERS_DOWN or error.retriable():  # noqa: SLF001 - the code's name
                    continue
                raise KafkaException(error)
            seen.append(
                Seen(
                    self._logical[str(message.topic())],
                    int(message.partition() or 0),
                    int(message.offset() or 0),
                    message.timestamp()[1],
                    message.key(),
                    message.value(),
                    message.headers() or (),  # type: ignore[arg-type]  # the stubs allow str values
                )
            )
        return seen

    def close(self) -> None:
        """Leave."""
        self._consumer.close()
