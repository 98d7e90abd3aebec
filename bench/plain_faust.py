"""The reference: the same processor in a plain Faust program, as Faust's guide would have it.

Two agents, three tables in RocksDB (Faust's own store, through rocksdict), a send for each output. It makes the same
decisions as the worker. What it does not do is the worker's point: after a crash its tables, answers and offsets can
disagree, because Faust writes them one by one.

    SIZER_BOOTSTRAP_SERVERS=localhost:9092 python -m bench.plain_faust worker --without-web
"""

import time
from collections.abc import Iterator
from functools import cache
from typing import Any

import faust
from faust.types import StreamT

from app.codecs.policy_file import load_policy
from app.processor import TABLES, Processor, Record
from app.processor.partitioners import partitioner
from app.processor.rows import PARTITION_KEY
from app.settings import load_settings
from app.topics import FILLS, INPUTS, OUTPUTS, SIGNALS
from bench.workload import PARTITIONS

_settings = load_settings()
_policy = load_policy(_settings.policy_file)

app = faust.App(
    # Then its changelogs have the names of the worker's, and are there before Faust looks for them.
    _settings.topic(_settings.app_id),
    broker=f"kafka://{_settings.bootstrap_servers}",
    store="rocksdb://",
    datadir=_settings.data_dir,
    topic_partitions=PARTITIONS,
)
_topics = {
    name: app.topic(_settings.topic(name), key_type=bytes, value_type=bytes, partitions=PARTITIONS)
    for name in (*INPUTS, *OUTPUTS)
}
_tables = {name: app.Table(name, key_type=bytes, value_type=bytes, partitions=PARTITIONS) for name in TABLES}


class TableStore:
    """The rows of one partition in Faust's tables."""

    def __init__(self, partition: int) -> None:
        self._partition = partition

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return a row's value, None if there is no such row."""
        row: bytes | None = _tables[table].get(key)
        return row

    def scan(self, table: str, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over the rows from `start` on; Faust's tables have no such thing, their RocksDB does."""
        store: Any = _tables[table].data
        rows = store._db_for_partition(self._partition).items(from_key=start)  # noqa: SLF001 - there is no public scan
        return ((key, row) for key, row in rows if key != store.offset_key)


@cache
def _processor(partition: int) -> Processor:
    return Processor(
        partition,
        TableStore(partition),
        _policy,
        partition_count=PARTITIONS,
        partition_of=partitioner(_settings.partitioner, PARTITIONS),
        topic_names={topic: _settings.topic(topic) for topic in INPUTS},
    )


async def _answer(topic: str, stream: StreamT[bytes]) -> None:
    async for event in stream.events():
        message = event.message
        processor = _processor(message.partition)
        record = Record(topic, message.partition, message.offset, message.key, message.value, message.headers or ())
        outcome = processor.process(record, time.time_ns() // 1000)
        for table, key, row in processor.changes():
            if key == PARTITION_KEY:
                continue  # where to read on is Faust's to know
            if row is None:
                _tables[table].pop(key)
            else:
                _tables[table][key] = row
        processor.committed()
        for produced in outcome.produced:
            headers: Any = list(produced.headers)
            await _topics[produced.topic].send(
                key=produced.key, value=produced.value, partition=message.partition, headers=headers
            )


@app.agent(_topics[SIGNALS])
async def signals(stream: StreamT[bytes]) -> None:
    """Answer signals."""
    await _answer(SIGNALS, stream)


@app.agent(_topics[FILLS])
async def fills(stream: StreamT[bytes]) -> None:
    """Apply fills."""
    await _answer(FILLS, stream)


if __name__ == "__main__":
    app.main()
