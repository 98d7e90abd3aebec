"""Bugs planted on purpose, for the simulation to find: each one breaks a single rule of the design."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import app.core.admission
import app.stream.partitions
from app.processor import TABLES
from app.processor.state import PartitionState
from app.settings import Settings
from app.stream.inbox import Chunk, Inbox
from app.stream.producers import Producers
from app.stream.reader import _Assignment
from app.stream.task import PartitionTask
from app.stream.topics import changelog_topic
from tests.simulation.cluster import Cluster
from tests.simulation.network import Network

Put = Callable[[Any, str, Any], None]


def position_moves_back(put: Put) -> None:
    """Read on from before the task's position after a rebalance, as from offsets in the group, and move back to it."""
    assign, offer = _Assignment.__init__, Inbox.offer

    def from_before(self: _Assignment, tasks: Mapping[int, Any]) -> None:
        assign(self, tasks)
        self.positions = {where: max(0, position - 3) for where, position in self.positions.items()}

    def careless(self: Inbox, chunk: Chunk) -> None:
        self._expected[chunk.topic] = chunk.position
        offer(self, chunk)

    def advance(self: PartitionState, topic: str, position: int) -> None:
        self._positions[topic] = position
        self._moved = True

    put(_Assignment, "__init__", from_before)
    put(Inbox, "offer", careless)
    put(PartitionState, "advance", advance)


def restore_before_fence(put: Put) -> None:
    """Fence, and look for open transactions, too late: what the former owner commits meanwhile is missing."""
    fence, restore = Producers.fence, app.stream.partitions.restore
    waiting: dict[tuple[int, int], Producers] = {}

    def restore_first(settings: Any, partition: int, tables: Any, tombstone_seconds: Any, *rest: Any) -> Any:
        producers = waiting.pop((id(Network.active.process), partition))
        found = restore(settings, partition, tables, tombstone_seconds, *rest)
        fence(producers)
        return found

    def no_fence(self: Producers) -> None:
        waiting[id(Network.active.process), self._partition] = self

    def no_check(settings: Settings, partition: int) -> dict[str, int]:
        cluster = Network.active.cluster
        return {table: cluster.log(changelog_topic(settings, table), partition).stable for table in TABLES}

    put(Producers, "fence", no_fence)
    put(app.stream.partitions, "check_changelogs", no_check)
    put(app.stream.partitions, "restore", restore_first)


def write_before_commit(put: Put) -> None:
    """Write the local rows before it is known that they are committed."""
    commit = PartitionTask._commit

    def hasty(self: PartitionTask, rows: Mapping[str, list[tuple[bytes, bytes | None]]], *rest: Any) -> Any:
        for table, changed in rows.items():
            self._store.tables[table].write(changed, -1)
        return commit(self, rows, *rest)

    put(PartitionTask, "_commit", hasty)


def duplicates_forgotten(put: Put) -> None:
    """Restore all but the memory of decided signals."""
    restore = app.stream.partitions.restore

    def forgetful(settings: Any, partition: int, tables: Mapping[str, Any], *rest: Any) -> Any:
        kept = {table: local for table, local in tables.items() if table != "signal_ids"}
        return restore(settings, partition, kept, *rest)

    put(app.stream.partitions, "restore", forgetful)


def expired_row_counted(put: Put) -> None:
    """Take a signal for a duplicate as long as its row is there."""
    put(app.core.admission, "is_remembered", lambda *_: True)


def late_commit_taken(put: Put) -> None:
    """Let a late `EndTxn` end the next transaction of the same epoch: no bug of ours but Kafka's way (KIP-890)."""
    put(Cluster, "takes_late_end", True)  # noqa: FBT003 - the attribute is a boolean


BUGS: Mapping[str, Callable[[Put], None]] = {
    function.__name__: function
    for function in (
        position_moves_back,
        restore_before_fence,
        write_before_commit,
        duplicates_forgotten,
        expired_row_counted,
        late_commit_taken,
    )
}


@contextmanager
def planted(name: str | None) -> Iterator[None]:
    """Plant a bug as long as the block runs; None: none."""
    replaced: list[tuple[Any, str, Any]] = []

    def put(where: Any, attribute: str, value: Any) -> None:
        replaced.append((where, attribute, getattr(where, attribute)))
        setattr(where, attribute, value)

    if name is not None:
        BUGS[name](put)
    try:
        yield
    finally:
        for where, attribute, value in reversed(replaced):
            setattr(where, attribute, value)
