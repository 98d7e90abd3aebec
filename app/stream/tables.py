"""The three tables as Faust sees them: it assigns them and names their changelogs."""

from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from typing import TYPE_CHECKING, Any

import faust
from faust.stores.base import Store
from faust.tables import TableManager
from faust.types import TP

from app.stream.store import LocalTable
from app.stream.topics import changelog_topic

if TYPE_CHECKING:
    from app.stream.faust_app import SizerApp

_READ_ONLY = "rows are written by the partitions' tasks and standbys only"


class RowStore(Store[bytes, bytes]):
    """A table's rows on this worker, to be read."""

    app: "SizerApp"

    def persisted_offset(self, tp: TP) -> int | None:
        """Return the changelog offset up to which the local rows are complete."""
        offset = self._local(tp.partition).next_offset - 1
        return None if offset < 0 else offset

    def apply_changelog_batch(self, *_: Any, **__: Any) -> None:
        """Refuse: Faust reads no changelog here, and nobody but the partitions writes."""
        raise TypeError(_READ_ONLY)

    def _local(self, partition: int) -> LocalTable:
        return self.app.partitions.local_tables.open(self.table_name, partition)

    def _owned(self) -> Iterator[LocalTable]:
        return (self._local(partition) for partition in sorted(self.app.partitions.tasks))

    def reset_state(self) -> None:
        """Faust's `reset` command is not for this state."""
        raise TypeError(_READ_ONLY)

    async def backup_partition(self, *_: Any, **__: Any) -> None:
        """There is nothing to back up: the changelog has it all."""
        raise TypeError(_READ_ONLY)

    def restore_backup(self, *_: Any, **__: Any) -> None:
        """There is nothing to back up: the changelog has it all."""
        raise TypeError(_READ_ONLY)

    def __getitem__(self, key: bytes) -> bytes:
        for local in self._owned():
            value = local.get(key)
            if value is not None:
                return value
        raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, bytes) and any(local.get(key) is not None for local in self._owned())

    def keys(self) -> KeysView[bytes]:
        """Return the keys; Faust's mapping would look for a dict."""
        return KeysView(self)

    def values(self) -> ValuesView[bytes]:
        """Return the rows."""
        return ValuesView(self)

    def items(self) -> ItemsView[bytes, bytes]:
        """Return keys and rows."""
        return ItemsView(self)

    def __setitem__(self, key: bytes, value: bytes) -> None:
        raise TypeError(_READ_ONLY)

    def __delitem__(self, key: bytes) -> None:
        raise TypeError(_READ_ONLY)

    def __iter__(self) -> Iterator[bytes]:
        return (key for local in self._owned() for key, _ in local.scan(b""))

    def __len__(self) -> int:
        return sum(1 for _ in self)


class RowTable(faust.Table[bytes, bytes]):
    """A table over a `RowStore`."""

    app: "SizerApp"

    def _new_store(self) -> RowStore:
        return RowStore("rows:", self.app, self, table_name=self.name, loop=self.loop)

    def _changelog_topic_name(self) -> str:
        return changelog_topic(self.app.settings, self.name)


class Tables(TableManager):
    """Faust's table manager, which has the partitions taken up when the group has assigned them."""

    app: "SizerApp"

    async def on_start(self) -> None:
        """Start without Faust's second of waiting for tables to be declared: these are from the beginning."""
        await self._update_channels()
        await self.recovery.start()

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Take up a new assignment, before Faust's recovery, which finds nothing left to do."""
        assignor = self.app.assignor
        await self.app.partitions.rebalance(generation_id, assignor.assigned_actives(), assignor.assigned_standbys())
        await super().on_rebalance(assigned, revoked, newly_assigned, generation_id)
