"""When a broker is ready for transactions, and how it gets there sooner."""

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from app.broker.ports import HOST

_SEGMENT_BYTES = "104857600"
_REQUEST_SECONDS = 5


def await_ready(port: int, cluster_id: str, properties: Mapping[str, str], pause: Callable[[], None]) -> None:
    """Return when the broker serves transactions and groups without a first wait.

    That is: its port answers, it is in its own cluster's metadata, and the two internal topics have leaders. Kafka
    makes those at their first use, which then takes seconds; made here, the first transaction is as quick as the next.

    `pause` is called between two looks: it waits a little, and raises to end the waiting.
    """
    while not _answers(port):
        pause()
    # Refused connections are part of a start: librdkafka shall not print them.
    admin = AdminClient({"bootstrap.servers": f"{HOST}:{port}", "log_level": 0})
    while not _is_in_metadata(admin, cluster_id):
        pause()
    for _ in _until_created(admin, _internal_topics(properties)):
        pause()


def _answers(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=_REQUEST_SECONDS).close()
    except OSError:
        return False
    return True


def _is_in_metadata(admin: AdminClient, cluster_id: str) -> bool:
    with suppress(KafkaException):
        metadata = admin.list_topics(timeout=_REQUEST_SECONDS)
        return metadata.cluster_id == cluster_id and bool(metadata.brokers)
    return False


def _internal_topics(properties: Mapping[str, str]) -> list[NewTopic]:
    """Return the topics as Kafka would make them itself, with the numbers of the properties."""
    config = {"cleanup.policy": "compact", "segment.bytes": _SEGMENT_BYTES}
    return [
        NewTopic(
            "__transaction_state",
            num_partitions=int(properties["transaction.state.log.num.partitions"]),
            replication_factor=int(properties["transaction.state.log.replication.factor"]),
            config={**config, "compression.type": "uncompressed"},
        ),
        NewTopic(
            "__consumer_offsets",
            num_partitions=int(properties["offsets.topic.num.partitions"]),
            replication_factor=int(properties["offsets.topic.replication.factor"]),
            config={**config, "compression.type": "producer"},
        ),
    ]


def _until_created(admin: AdminClient, topics: list[NewTopic]) -> Iterator[None]:
    missing = topics
    while missing:
        created = admin.create_topics(missing, operation_timeout=_REQUEST_SECONDS)
        missing = [topic for topic in missing if not _exists(created[topic.topic].exception())]
        if missing:
            yield
    while not _have_leaders(admin, [topic.topic for topic in topics]):
        yield


def _exists(error: BaseException | None) -> bool:
    return error is None or (
        isinstance(error, KafkaException) and error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS
    )


def _have_leaders(admin: AdminClient, names: list[str]) -> bool:
    with suppress(KafkaException):
        known = admin.list_topics(timeout=_REQUEST_SECONDS).topics
        partitions = [known[name].partitions if name in known else {} for name in names]
        return all(part and all(one.leader >= 0 for one in part.values()) for part in partitions)
    return False
