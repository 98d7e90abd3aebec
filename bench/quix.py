"""Another framework's way: the same processor in a Quix Streams program, exactly once, with its RocksDB and changelog.

Quix gives a function a state per message key, without scans. The rules also need a little per partition (what position
the fills have, a policy) and scan a portfolio's working orders. So the processor's rows are kept in the same state
store, but by partition and not by key, as Quix's own windows do it; a scan reads the store's database and what the
present transaction has changed. Processors keep what they have read until Quix opens the partition anew.

Quix commits by the clock: every 0.1 seconds here, so that an answer does not wait for long. Of what waits in both
topics it takes the older record first, not the fill. Its time to live of states is not used, for it would cost, and the
other references have none either. It wants older versions of some libraries than the worker, so it runs in a virtual
environment of its own (requirements/quix.txt).

    SIZER_BOOTSTRAP_SERVERS=localhost:9092 .venv-quix/bin/python -m bench.quix
"""

import time
from collections.abc import Iterator, Sequence
from heapq import merge
from typing import Any

from quixstreams import Application
from quixstreams.context import message_context
from quixstreams.dataframe import StreamingDataFrame
from quixstreams.models import Serializer
from quixstreams.state.base import PartitionTransaction, StorePartition
from sortedcontainers import SortedDict

from app.codecs.policy_file import load_policy
from app.core.policy import Policy
from app.processor import TABLES, Processor, Produced, Record
from app.processor.partitioners import partitioner
from app.settings import Settings, load_settings
from app.topics import INPUTS, OUTPUTS
from bench.workload import PARTITIONS

_COMMIT_SECONDS = 0.1
_POLL_SECONDS = 0.05
_TABLE_PREFIXES = {table: bytes([number]) for number, table in enumerate(TABLES, start=1)}
_NO_PREFIX = b""


class StateStore:
    """The rows of one partition in Quix's state store."""

    def __init__(self, partition: StorePartition) -> None:
        self.partition = partition
        self._transaction: PartitionTransaction | None = None
        self._pending: SortedDict[bytes, bytes | None] = SortedDict()

    def join(self, transaction: PartitionTransaction) -> None:
        """Take part in Quix's present transaction; the one before has been written."""
        if transaction is not self._transaction:
            self._transaction = transaction
            self._pending.clear()

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return a row's value, None if there is no such row."""
        assert self._transaction is not None
        row: bytes | None = self._transaction.get_bytes(_TABLE_PREFIXES[table] + key, _NO_PREFIX)
        return row

    def scan(self, table: str, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over the rows from `start` on."""
        prefix = _TABLE_PREFIXES[table]
        end = bytes([prefix[0] + 1])
        written = self.partition.iter_items(lower_bound=prefix + start, upper_bound=end)
        pending = ((key, self._pending[key]) for key in self._pending.irange(prefix + start, end, (True, False)))
        last = None
        # Of equal keys the first one comes first, and that is what the transaction has.
        for key, row in merge(pending, written, key=lambda item: item[0]):
            if key != last and row is not None:
                yield key[1:], row
            last = key

    def write(self, table: str, key: bytes, row: bytes | None) -> None:
        """Write or delete a row."""
        assert self._transaction is not None
        full = _TABLE_PREFIXES[table] + key
        self._pending[full] = row
        if row is None:
            self._transaction.delete(full, _NO_PREFIX)
        else:
            self._transaction.set_bytes(full, row, _NO_PREFIX)


class Answers:
    """The function that answers a record."""

    def __init__(self, frame: StreamingDataFrame, settings: Settings, policy: Policy) -> None:
        frame.register_store()
        self._frame = frame
        self._settings = settings
        self._policy = policy
        self._topics = {settings.topic(topic): topic for topic in INPUTS}
        self._partition_of = partitioner(settings.partitioner, PARTITIONS)
        self._open: dict[int, tuple[StateStore, Processor]] = {}

    def __call__(self, value: Any, key: Any, _timestamp: int, headers: Any) -> Sequence[Produced]:
        """Return what a record causes to be produced."""
        place = message_context()
        store, processor = self._partition(place.partition)
        record = Record(self._topics[place.topic], place.partition, place.offset, key, value, headers or ())
        outcome = processor.process(record, time.time_ns() // 1000)
        for change in processor.changes():
            store.write(*change)
        processor.committed()
        return outcome.produced

    def _partition(self, number: int) -> tuple[StateStore, Processor]:
        frame, context = self._frame, self._frame.processing_context
        transaction = context.checkpoint.get_store_transaction(stream_id=frame.stream_id, partition=number)
        partition = context.state_manager.get_store(frame.stream_id, "default").partitions[number]
        if number not in self._open or self._open[number][0].partition is not partition:
            store = StateStore(partition)
            store.join(transaction)
            self._open[number] = (store, self._processor(number, store))
        self._open[number][0].join(transaction)
        return self._open[number]

    def _processor(self, number: int, store: StateStore) -> Processor:
        return Processor(
            number,
            store,
            self._policy,
            partition_count=PARTITIONS,
            partition_of=self._partition_of,
            topic_names={topic: name for name, topic in self._topics.items()},
        )


class _ValueSerializer(Serializer):
    """Writes the value of what was produced."""

    def __call__(self, value: Produced, ctx: Any) -> Any:  # noqa: ARG002 - Quix gives it
        return value.value


def main() -> None:
    """Run until SIGTERM."""
    settings = load_settings()
    app = Application(
        broker_address=settings.bootstrap_servers,
        consumer_group=settings.topic(settings.app_id),
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        commit_interval=_COMMIT_SECONDS,
        consumer_poll_timeout=_POLL_SECONDS,
        state_dir=settings.data_dir,
        consumer_extra_config={"session.timeout.ms": int(settings.session_timeout * 1000)},
        # An answer has the key of its question, so the same hash brings it to the same partition number.
        producer_extra_config={"transactional.id": f"{settings.app_id}-quix", "partitioner": "murmur2_random"},
        loglevel="WARNING",
    )
    signals, fills = (app.dataframe(app.topic(settings.topic(topic), value_deserializer="bytes")) for topic in INPUTS)
    outputs = {topic: app.topic(settings.topic(topic), value_serializer=_ValueSerializer()) for topic in OUTPUTS}
    frame = signals.concat(fills)
    frame = frame.apply(Answers(frame, settings, load_policy(settings.policy_file)), expand=True, metadata=True)
    frame = frame.set_headers(lambda produced, *_: list(produced.headers))
    frame.to_topic(lambda produced, *_: outputs[produced.topic])
    app.run()


if __name__ == "__main__":
    main()
