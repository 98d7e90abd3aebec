"""The task of one partition: records in, one transaction out, then the local rows. Nobody else writes them."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager

from app.codecs import SchemaPending
from app.errors import Doubt
from app.processor import Change, Processor
from app.stream.doubt import exit_in_doubt
from app.stream.inbox import Inbox, Piece
from app.stream.producers import Producers
from app.stream.store import PartitionStore

BATCH_LIMIT = 2_000
"""Records per transaction: bounds its duration and its memory. Under it, batches grow with the load by themselves,
because what arrives during a commit waits for the next one."""

BATCH_SECONDS = 1.0
"""How long a transaction takes in records: where a machine is slow for a while, BATCH_LIMIT of them could last longer
than the brokers let a transaction live, and the next owner would fail at the same ones."""

_SLICE = 50
"""Records processed before the event loop, and with it the other partitions, gets its turn: some milliseconds."""


async def no_registry(schema_id: int) -> None:
    """Get no schema: without a registry none is ever asked for."""
    raise AssertionError(f"schema {schema_id} is asked for, but there is no registry")


class PartitionTask:
    """Processes what is offered, batch by batch, as long as it is not paused.

    Any error ends the process: after a transaction whose outcome is unknown nothing may be processed, and whoever
    opens the partition next finds out by fencing and restoring.
    """

    def __init__(
        self,
        partition: int,
        processor: Processor,
        store: PartitionStore,
        producers: Producers,
        inbox: Inbox,
        *,
        topic_names: Mapping[str, str],
        executor: Executor,
        on_taken: Callable[[], None],
        turn: Callable[[], AbstractAsyncContextManager[None]],
        await_schema: Callable[[int], Awaitable[None]] = no_registry,
    ) -> None:
        """`topic_names`: real names of the output topics by logical name and of the changelogs by table.

        `on_taken`: called when the inbox has become emptier. `turn`: entered for each transaction. `await_schema`:
        returns when a registry's schema is known, or known to be unknown.
        """
        self.partition = partition
        self.processor = processor
        self.inbox = inbox
        self.committed_positions: Mapping[str, int] = dict(inbox.expected)
        self._store = store
        self._producers = producers
        self._topic_names = topic_names
        self._executor = executor
        self._on_taken = on_taken
        self._turn = turn
        self._await_schema = await_schema
        self._pending_schema: int | None = None
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._is_paused = False
        self._running = asyncio.create_task(self._run(), name=f"partition {partition}")

    @property
    def waits_for_schema(self) -> bool:
        """Whether it does not get on because a record's schema has to be told by the registry first."""
        return self._pending_schema is not None

    def wake(self) -> None:
        """Process what is in the inbox."""
        self._wake.set()

    async def pause(self) -> None:
        """Begin no further transaction; return when the current one is committed."""
        self._is_paused = True
        await self._idle.wait()

    def resume(self) -> None:
        """Go on."""
        self._is_paused = False
        self._wake.set()

    async def close(self) -> None:
        """End after the current transaction; what waits is left to the next owner."""
        await self.pause()
        self._running.cancel()
        await asyncio.get_running_loop().run_in_executor(self._executor, self._producers.close)

    async def _run(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self.inbox.is_ready and not self._is_paused:
                    if self._pending_schema is not None:
                        # No transaction is open and nobody's turn is taken, however long it lasts.
                        await self._await_schema(self._pending_schema)
                        self._pending_schema = None
                        continue
                    async with self._turn():
                        if not self._is_paused:
                            self._idle.clear()
                            await self._transact()
                            self._idle.set()
        except asyncio.CancelledError:
            raise
        except Doubt as doubt:
            exit_in_doubt(str(doubt))
        except BaseException as error:  # noqa: BLE001 - whatever it is, the batch is not known to be right
            exit_in_doubt(f"partition {self.partition}: an event could not be processed", error=error)

    async def _transact(self) -> None:
        """Process a batch and commit all that it caused, its next positions included, by one transaction."""
        self._producers.begin()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + BATCH_SECONDS
        count = 0
        while count < BATCH_LIMIT and loop.time() < deadline and not self._is_paused:
            piece = self.inbox.take(min(_SLICE, BATCH_LIMIT - count))
            if piece is None:
                break
            self._on_taken()
            count += self._process(piece)
            if self._pending_schema is not None:
                break
            await asyncio.sleep(0)
        changes = self.processor.changes()
        rows = self._produce_rows(changes)
        ends = await loop.run_in_executor(self._executor, self._commit, rows)
        self.processor.committed()
        self.processor.changelog_ends.update(ends)
        self.committed_positions = dict(self.processor.positions)

    def _process(self, piece: Piece) -> int:
        """Process records, up to one whose schema has to be asked for: it goes back. Return how many were."""
        process = self.processor.process
        for count, record in enumerate(piece.records):
            try:
                outcome = process(record, time.time_ns() // 1000)
            except SchemaPending as pending:
                self._pending_schema = pending.schema_id
                self.inbox.put_back(piece._replace(records=piece.records[count:]))
                return count
            # Sent at once: while the next records are processed, these are on their way.
            for produced in outcome.produced:
                name = self._topic_names[produced.topic]
                self._producers.produce(name, produced.key, produced.value, produced.headers)
        self.processor.advance(piece.topic, piece.next_position)
        return len(piece.records)

    def _produce_rows(self, changes: list[Change]) -> Mapping[str, list[tuple[bytes, bytes | None]]]:
        rows: defaultdict[str, list[tuple[bytes, bytes | None]]] = defaultdict(list)
        for table, key, value in changes:
            rows[table].append((key, value))
        for table, changed in rows.items():
            self._producers.produce_rows(self._topic_names[table], changed)
        return rows

    def _commit(self, rows: Mapping[str, list[tuple[bytes, bytes | None]]]) -> dict[str, int]:
        """Commit the transaction and only then write the local rows; blocks, runs in a thread.

        Returns the ends of the changelogs behind the rows, by table, as far as they are known: where a resent row was
        acknowledged without its offset, the last known one stays.
        """
        offsets = self._producers.commit()
        ends = {table: offsets.get(self._topic_names[table], -1) + 1 for table in rows}
        for table, changed in rows.items():
            self._store.tables[table].write(changed, ends[table] - 1)
        return {table: end for table, end in ends.items() if end > 0}
