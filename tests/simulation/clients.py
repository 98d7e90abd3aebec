"""confluent_kafka's consumer and admin client over the cluster in memory: same signatures, same exceptions.

As far as the app uses them: consumers are assigned by hand, and read committed records only.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import OffsetSpec

from tests.simulation.cluster import TOMBSTONE_SECONDS, BrokerError
from tests.simulation.network import Network, failure
from tests.simulation.producing import Message, metadata

_DULL_POLL_CHANCE = 0.2
_NO_OFFSET = -1001
"""What librdkafka gives, without an error, for the end of a log that its new leader does not know yet."""
_METADATA_SECONDS = 10.0


class Consumer:
    """A reader of committed records of partitions that are assigned to it."""

    def __init__(self, config: dict[str, Any]) -> None:
        assert config["isolation.level"] == "read_committed"
        assert config["auto.offset.reset"] in ("earliest", "error")
        self._is_reset = config["auto.offset.reset"] == "earliest"
        self._tells_ends = config.get("enable.partition.eof", False)
        self._network = Network.active
        self._positions: dict[tuple[str, int], int] = {}
        self._told: dict[tuple[str, int], int] = {}
        self._ends: dict[tuple[str, int], int] = {}
        self._paused: set[tuple[str, int]] = set()

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        self._positions = {(where.topic, where.partition): where.offset for where in partitions}
        self._told.clear()
        self._ends.clear()
        self._paused.clear()

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        self._paused |= {(where.topic, where.partition) for where in partitions}

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        self._paused -= {(where.topic, where.partition) for where in partitions}

    def get_watermark_offsets(
        self, partition: TopicPartition, timeout: float = -1, *, cached: bool = False
    ) -> tuple[int, int]:
        log = self._network.cluster.log(partition.topic, partition.partition)
        if cached:
            return log.start, self._ends.get((partition.topic, partition.partition), _NO_OFFSET)
        return self._network.read(f"watermarks {log.topic}/{log.partition}", lambda: (log.start, log.stable), timeout)

    def poll(self, timeout: float = -1) -> Message | None:
        scheduler = self._network.scheduler
        scheduler.effect("poll")
        if not self._is_ready() or (self._network.fault_chance and scheduler.random.random() < _DULL_POLL_CHANCE):
            scheduler.wait(self._is_ready, timeout)
        found = self._take(1)
        return found[0] if found else None

    def consume(self, num_messages: int = 1, timeout: float = -1) -> list[Message]:
        assert timeout == 0, "else it waits for the whole time-out"
        return self._take(self._network.scheduler.random.randrange(min(num_messages, 50) + 1))

    def close(self) -> None:
        self._positions.clear()

    def _is_ready(self) -> bool:
        return not self._network.is_away() and any(map(self._has_news, self._positions))

    def _has_news(self, where: tuple[str, int]) -> bool:
        log, position = self._network.cluster.logs[where], self._positions[where]
        if where in self._paused:
            return False
        is_told = self._told.get(where) == position
        return position < log.stable or (not is_told and (self._tells_ends or position > log.end))

    def _take(self, limit: int) -> list[Message]:
        """Take what a fetch has brought: of some partitions, in some order, up to some record."""
        found: list[Message] = []
        if self._network.is_away():
            return found
        dice = self._network.scheduler.random
        news = [where for where in self._positions if self._has_news(where)]
        dice.shuffle(news)
        for where in news:
            if len(found) < limit:
                self._take_from(where, found, limit)
        if self._network.fault_chance and found and dice.random() < self._network.fault_chance:
            found.append(Message(None, None, None, None, KafkaError._ALL_BROKERS_DOWN))
        return found

    def _take_from(self, where: tuple[str, int], found: list[Message], limit: int) -> None:
        log, position = self._network.cluster.logs[where], self._positions[where]
        if not log.start <= position <= log.end:
            if not self._is_reset:
                self._told[where] = position
                self._paused.add(where)  # librdkafka does not fetch it any more
                found.append(Message(*where, position, None, KafkaError._AUTO_OFFSET_RESET))
                return
            position = log.start
        self._ends[where] = log.end
        for entry in log.committed(position):
            if len(found) == limit:
                break
            found.append(Message(*where, entry.offset, entry, None))
            position = entry.offset + 1
        else:
            position = max(position, log.stable)  # behind markers and what was aborted
            if self._tells_ends and self._told.get(where) != position and len(found) < limit:
                self._told[where] = position
                found.append(Message(*where, position, None, KafkaError._PARTITION_EOF))
        self._positions[where] = position


class AdminClient:
    """Offsets, ids and settings of topics."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._network = Network.active

    def poll(self, timeout: float = -1) -> int:
        return 0

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> Any:
        return metadata(self._network, timeout)

    def list_offsets(
        self,
        wanted: dict[TopicPartition, OffsetSpec],
        *,
        isolation_level: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
        request_timeout: float = _METADATA_SECONDS,
    ) -> dict[TopicPartition, "Future[Any]"]:
        def offset(where: TopicPartition, spec: OffsetSpec) -> Any:
            log = self._network.cluster.log(where.topic, where.partition)
            if spec is OffsetSpec.earliest():
                return SimpleNamespace(offset=log.start)
            assert spec is OffsetSpec.latest()
            if self._network.is_leader_new():
                return SimpleNamespace(offset=_NO_OFFSET)
            is_committed = isolation_level is IsolationLevel.READ_COMMITTED
            return SimpleNamespace(offset=log.stable if is_committed else log.end)

        return self._futures("list offsets", wanted, lambda where: offset(where, wanted[where]), request_timeout)

    def describe_topics(
        self, topics: TopicCollection, *, request_timeout: float = _METADATA_SECONDS, **_: Any
    ) -> dict[str, "Future[Any]"]:
        cluster = self._network.cluster

        def describe(name: str) -> Any:
            if name not in cluster.ids:
                raise BrokerError(KafkaError.UNKNOWN_TOPIC_OR_PART)
            partitions = [SimpleNamespace(id=number) for number in range(cluster.partitions)]
            return SimpleNamespace(
                name=name, topic_id=cluster.ids[name], partitions=partitions, authorized_operations=None
            )

        return self._futures("describe topics", topics.topic_names, describe, request_timeout)

    def describe_configs(
        self, resources: Sequence[Any], *, request_timeout: float = _METADATA_SECONDS, **_: Any
    ) -> dict[Any, "Future[Any]"]:
        def describe(resource: Any) -> Any:
            settings = topic_settings(resource.name)
            return {name: SimpleNamespace(name=name, value=value) for name, value in settings.items()}

        return self._futures("describe settings", resources, describe, request_timeout)

    def _futures(self, what: str, keys: Any, answer: Callable[[Any], Any], seconds: float) -> dict[Any, "Future[Any]"]:
        futures: dict[Any, Future[Any]] = {key: Future() for key in keys}
        try:
            self._network.read(what, lambda: None, seconds)
        except KafkaException as error:
            for future in futures.values():
                future.set_exception(error)
            return futures
        for key, future in futures.items():
            try:
                future.set_result(answer(key))
            except BrokerError as error:
                future.set_exception(failure(error.code))
        return futures


def topic_settings(topic: str) -> dict[str, str]:
    """Return the settings with which `sizer topics create` made a topic, as far as anybody asks."""
    is_changelog = topic.endswith("-changelog")
    is_expiring = "signal_ids" in topic
    policy = "delete" if not is_changelog else "compact,delete" if is_expiring else "compact"
    return {
        "cleanup.policy": policy,
        "delete.retention.ms": str(TOMBSTONE_SECONDS * 1000),
        "retention.ms": str(TOMBSTONE_SECONDS * 1000),
    }
