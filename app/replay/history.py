"""The history of the topics, read once from beginning to end, as a consumer that reads committed data sees it."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.error import ConsumeError

from app.errors import UserError
from app.processor import Record
from app.settings import Settings
from app.topics import INPUTS, OUTPUTS

TOPICS = (*INPUTS, *OUTPUTS)
_POLL_SECONDS = 1.0
_METADATA_SECONDS = 10.0
_FETCH = 5_000


class History(NamedTuple):
    """All records of one partition number, by logical topic, in offset order."""

    partition: int
    records: Mapping[str, list[Record]]


def read_history(settings: Settings) -> list[History]:
    """Read every topic up to its present end, partition by partition.

    Raises UserError if the broker cannot be reached or a topic is missing.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": settings.bootstrap_servers,
            "group.id": f"{settings.app_id}-replay",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "log_level": 0,
        }
    )
    try:
        partitions = _partition_count(consumer, settings)
        histories = [History(number, {topic: [] for topic in TOPICS}) for number in range(partitions)]
        logical = {settings.topic(topic): topic for topic in TOPICS}
        for message in _messages(consumer, [(name, number) for name in logical for number in range(partitions)]):
            topic = logical[str(message.topic())]
            number = message.partition()
            assert number is not None, "a consumed record has a partition"
            histories[number].records[topic].append(_record(message, topic))
    finally:
        consumer.close()
    return histories


def _partition_count(consumer: Consumer, settings: Settings) -> int:
    try:
        known = consumer.list_topics(timeout=_METADATA_SECONDS).topics
    except KafkaException as error:
        raise UserError(
            f"no broker at SIZER_BOOTSTRAP_SERVERS={settings.bootstrap_servers} ({error.args[0].str()}): "
            "start one with `sizer broker` or set the address of yours"
        ) from None
    for topic in TOPICS:
        if settings.topic(topic) not in known:
            raise UserError(f"topic {settings.topic(topic)} does not exist: run `sizer topics create`")
    return max(len(known[settings.topic(topic)].partitions) for topic in TOPICS)


def _messages(consumer: Consumer, wanted: list[tuple[str, int]]) -> Iterator[Message]:
    consumer.assign([TopicPartition(name, number, OFFSET_BEGINNING) for name, number in wanted])
    unfinished = set(wanted)
    while unfinished:
        first = consumer.poll(_POLL_SECONDS)
        if first is None:
            continue
        for message in (first, *consumer.consume(_FETCH, 0)):
            error = message.error()
            if error is None:
                yield message
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the public name of librdkafka's code
                unfinished.discard((str(message.topic()), int(message.partition() or 0)))
            elif error.fatal() or not error.retriable():
                raise ConsumeError(error)


def _record(message: Message, topic: str) -> Record:
    key, value = message.key(), message.value()
    assert key is None or isinstance(key, bytes)
    assert value is None or isinstance(value, bytes)
    headers = message.headers() or []
    partition, offset = int(message.partition() or 0), int(message.offset() or 0)
    return Record(topic, partition, offset, key, value, tuple(headers))  # type: ignore[arg-type]  # stubs allow str values
