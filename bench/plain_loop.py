"""The bound: the same processor in a plain consume, process, produce loop, exactly once. No framework, one process.

One consumer of all partitions, one transactional producer, batches; the state is in memory and its rows go to the
worker's changelogs in the same transaction as the answers, the next positions among them. A start restores it from
there. What it does not do is the worker's other half: it does not share the partitions with a second process, its
state must fit in memory, and every start reads all of it.

    SIZER_BOOTSTRAP_SERVERS=localhost:9092 python -m bench.plain_loop
"""

import signal
import time
from collections.abc import Sequence
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from app.codecs.policy_file import load_policy
from app.core.policy import Policy
from app.processor import TABLES, Change, MemoryStore, Processor, Record
from app.processor.partitioners import partitioner
from app.settings import Settings, load_settings
from app.stream.topics import changelog_topic
from app.topics import FILLS, INPUTS, OUTPUTS, SIGNALS

_BATCH = 5_000
"""Records per transaction, at most."""
_POLL_SECONDS = 0.5


class PlainLoop:
    """All partitions in one loop. Any error ends it: the broker aborts the transaction, the next start restores."""

    def __init__(self, settings: Settings, policy: Policy) -> None:
        """Fence whoever ran before, restore the state and go to its positions."""
        self._settings = settings
        self._names = {topic: settings.topic(topic) for topic in OUTPUTS}
        self._changelogs = {table: changelog_topic(settings, table) for table in TABLES}
        self._inputs = {settings.topic(topic): topic for topic in INPUTS}
        self._producer = Producer(
            self._config("transactional.id", f"{settings.app_id}-plain-loop")
            | {"queue.buffering.max.messages": 1_000_000, "delivery.report.only.error": True}
        )
        self._producer.init_transactions()
        self._consumer = self._reader("plain-loop")
        signals = settings.topic(SIGNALS)
        partition_count = len(self._consumer.list_topics(signals).topics[signals].partitions)
        self._stores = self._restored(partition_count)
        self._processors = [
            Processor(
                partition,
                store,
                policy,
                partition_count=partition_count,
                partition_of=partitioner(settings.partitioner, partition_count),
                topic_names={topic: name for name, topic in self._inputs.items()},
            )
            for partition, store in enumerate(self._stores)
        ]
        self._consumer.assign(
            [
                TopicPartition(name, processor.partition, processor.positions.get(topic, OFFSET_BEGINNING))
                for processor in self._processors
                for name, topic in self._inputs.items()
            ]
        )
        self._is_over = False

    def run(self) -> None:
        """Process until `stop`."""
        while not self._is_over:
            # `consume` alone would wait until all of the number asked for are there.
            first = self._consumer.poll(_POLL_SECONDS)
            if first is not None:
                self._transact([first, *self._consumer.consume(_BATCH - 1, 0)])
        self._consumer.close()

    def stop(self, *_: object) -> None:
        """End after the present transaction; a signal handler."""
        self._is_over = True

    def _transact(self, messages: list[Message]) -> None:
        """Process a batch and commit all that it caused, its next positions included, by one transaction."""
        _check(messages)
        messages.sort(key=lambda message: self._inputs[str(message.topic())] != FILLS)  # fills go first
        self._producer.begin_transaction()
        for message in messages:
            self._process(message)
        changes = [processor.changes() for processor in self._processors]
        for partition, changed in enumerate(changes):
            for table, key, row in changed:
                self._producer.produce(self._changelogs[table], row, key, partition)
        self._producer.commit_transaction()
        for store, processor, changed in zip(self._stores, self._processors, changes, strict=True):
            store.write(changed)
            processor.committed()

    def _process(self, message: Message) -> None:
        topic, partition = self._inputs[str(message.topic())], message.partition() or 0
        key: Any = message.key()
        value: Any = message.value()
        headers: Any = message.headers() or ()
        record = Record(topic, partition, message.offset() or 0, key, value, headers)
        outcome = self._processors[partition].process(record, time.time_ns() // 1000)
        for produced in outcome.produced:
            name = self._names[produced.topic]
            if produced.headers:
                self._producer.produce(name, produced.value, produced.key, partition, headers=list(produced.headers))
            else:
                self._producer.produce(name, produced.value, produced.key, partition)

    def _restored(self, partition_count: int) -> list[MemoryStore]:
        """Return the state of each partition as its changelogs have it."""
        stores = [MemoryStore() for _ in range(partition_count)]
        tables = {name: table for table, name in self._changelogs.items()}
        reader = self._reader("restore")
        reader.assign([TopicPartition(name, number, 0) for name in tables for number in range(partition_count)])
        unread = len(tables) * partition_count
        while unread:
            messages = reader.consume(_BATCH, 0.1)
            unread -= sum(_is_end(message) for message in messages)
            rows = [message for message in messages if not _is_end(message)]
            _check(rows)
            for message in rows:
                key: Any = message.key()
                row: Any = message.value()
                stores[message.partition() or 0].write([Change(tables[str(message.topic())], key, row)])
        reader.close()
        return stores

    def _reader(self, purpose: str) -> Consumer:
        return Consumer(
            self._config("group.id", f"{self._settings.app_id}-{purpose}")  # librdkafka wants one; it is not joined
            | {
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "error",
                "enable.partition.eof": purpose == "restore",
            }
        )

    def _config(self, name: str, value: str) -> dict[str, Any]:
        return {"bootstrap.servers": self._settings.bootstrap_servers, name: value}


def _check(messages: Sequence[Message]) -> None:
    for message in messages:
        error = message.error()
        if error is not None:
            raise KafkaException(error)


def _is_end(message: Message) -> bool:
    error = message.error()
    return error is not None and error.code() == KafkaError._PARTITION_EOF  # noqa: SLF001 - the name of the code


def main() -> None:
    """Run until SIGTERM."""
    settings = load_settings()
    loop = PlainLoop(settings, load_policy(settings.policy_file))
    signal.signal(signal.SIGTERM, loop.stop)
    loop.run()


if __name__ == "__main__":
    main()
