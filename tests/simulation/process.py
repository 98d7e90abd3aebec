"""A worker's process: the real Partitions, tasks and producers, on an event loop of its own, fed with chunks."""

import asyncio
from collections.abc import Callable
from typing import Any

from faust.types import TP

from app.core.policy import Policy
from app.errors import Doubt, UserError
from app.processor import TABLES
from app.settings import Settings
from app.stream.inbox import Chunk
from app.stream.partitions import Partitions
from app.stream.tables import RowStore
from app.stream.topics import TopicFacts, changelog_topic
from app.topics import INPUTS
from tests.simulation.cluster import Cluster, Entry
from tests.simulation.disk import Disk
from tests.simulation.group import Assignment
from tests.simulation.loop import Loop
from tests.simulation.scheduler import Killed, Scheduler

_PAUSE_SECONDS = 0.05
_ALONG_CHANCE = 0.5


class Worker:
    """A place where processes of the worker run, one after the other: its disk and its clock stay."""

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        self.name = name
        self.disk = Disk(scheduler, name)
        self.clock_ahead = 0
        self.process: Process | None = None
        self.count = 0


class Standby(RowStore):
    """A table's rows as Faust's recovery writes them on a standby, without Faust around it."""

    def __init__(self, process: Any, table: str) -> None:
        self.app = process
        self.table_name = table


class Process:
    """One process; how it ended is in `status`: 0 killed, 2 refused, 70 in doubt."""

    def __init__(
        self,
        worker: Worker,
        scheduler: Scheduler,
        cluster: Cluster,
        settings: Settings,
        policy: Policy,
        facts: TopicFacts,
    ) -> None:
        worker.count += 1
        worker.process = self
        self.worker = worker
        self.name = f"{worker.name}{worker.count}"
        self.is_dead = False
        self.is_frozen = False
        self.frozen_at = 0
        self.status: int | None = None
        self.reason = ""
        self.error: BaseException | None = None
        self.assignment: Assignment | None = None
        self.settled: Assignment | None = None
        """The last assignment that was taken up completely."""
        self.feed: Feed | None = None
        self._news = asyncio.Event()
        self.partitions: Partitions
        self.cluster = cluster
        self._scheduler = scheduler
        self._settings = settings.model_copy(update={"data_dir": worker.disk.root})
        self._arguments = (self._settings, policy, facts)
        self.loop = Loop(scheduler, self)
        self.loop.call_soon(self._start)
        scheduler.spawn(self.name, self, self.loop.run_forever)

    @property
    def clock_ahead(self) -> int:
        """By how much its clock is ahead of the true time, in microseconds."""
        return self.worker.clock_ahead

    def _start(self) -> None:
        self.partitions = Partitions(*self._arguments, self._read_again)
        self.standbys = {table: Standby(self, table) for table in TABLES}
        self.feed = Feed(self, self._settings)
        self.loop.create_task(self._guarded(self._take_part), name="membership")

    def assign(self, assignment: Assignment) -> None:
        """Tell it of a rebalance."""
        self.assignment = assignment
        self.loop.call_soon(self._news.set)

    async def _take_part(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            assignment = self.assignment
            assert assignment is not None
            assert self.feed is not None
            self.feed.is_active = False
            await self.partitions.pause()
            assignment.paused.add(self.name)
            while not assignment.is_through(self._scheduler.now):  # noqa: ASYNC110 - it depends on virtual time too
                await asyncio.sleep(_PAUSE_SECONDS)
            if self.assignment is not assignment:
                continue
            actives, standbys = (self._topics(owned) for owned in assignment.of(self.worker.name))
            await self.partitions.rebalance(assignment.generation, actives, standbys)
            self.feed.begin(assignment.generation, standbys)
            self.settled = assignment

    def _topics(self, partitions: list[int]) -> set[TP]:
        names = [
            *map(self._settings.topic, INPUTS),
            *(changelog_topic(self._settings, table) for table in TABLES),
        ]
        return {TP(name, partition) for name in names for partition in partitions}

    async def _guarded(self, function: Callable[[], Any]) -> None:
        """End as `sizer worker` does: status 2 if it refuses, 70 in any doubt."""
        try:
            await function()
        except UserError as error:
            self.end(2, str(error))
        except Doubt as doubt:
            self.end_in_doubt(str(doubt))
        except Exception as error:  # noqa: BLE001 - whatever it is
            self.end_in_doubt("the worker broke down", error)

    def offer(self, chunk: Chunk) -> None:
        """Take a chunk as the agent does."""
        try:
            self.partitions.offer(chunk)
        except Doubt as doubt:
            self.end_in_doubt(str(doubt))
        except Exception as error:  # noqa: BLE001 - whatever it is
            self.end_in_doubt("a chunk was not taken", error)

    def _read_again(self, tp: TP, offset: int) -> None:
        assert self.feed is not None
        self.feed.seeks.append((tp, offset))

    def mend_standby(self, table: str, tp: TP) -> None:
        """Read a standby's changelog again, as the consumer does."""
        local = self.partitions.local_tables.open(table, tp.partition)
        local.begin_at(self.cluster.log(*tp).start)
        assert self.feed is not None
        self.feed.seeks.append((tp, local.next_offset))

    @property
    def chunk_consumer(self) -> "Process":
        """Where `mend_standby` is, for the standbys."""
        return self

    def end_in_doubt(self, message: str, error: BaseException | None = None) -> None:
        """End with status 70."""
        self.end(70, message, error)

    def end(self, status: int, reason: str, error: BaseException | None = None) -> None:
        """End at once."""
        if not self.is_dead:
            self.is_dead, self.status, self.reason, self.error = True, status, reason, error
            self._scheduler.trace(f"{self.name} ends with {status}: {reason} {error!r}")

    def unwind(self) -> None:
        """Let its fibers and tasks end."""
        self._scheduler.unwind(self)
        self._scheduler.is_unwinding = True
        try:
            self.loop.unwind()
        except Killed:
            pass
        finally:
            self._scheduler.is_unwinding = False
        if self.worker.process is self:
            self.worker.process = None


class Feed:
    """What Faust's consumer does: fetches chunks from positions, and delivers them a little later."""

    def __init__(self, process: Process, settings: Settings) -> None:
        self.is_active = False
        self.positions: dict[TP, int] = {}
        self.in_flight: list[tuple[int, Chunk]] = []
        self.seeks: list[tuple[TP, int]] = []
        self._process = process
        self._generation = 0
        self._random = process._scheduler.random
        self._tables = {changelog_topic(settings, table): table for table in TABLES}

    def begin(self, generation: int, standbys: set[TP]) -> None:
        """Seek all positions and fetch on."""
        local = self._process.partitions.local_tables
        self.positions = self._process.partitions.positions()
        for tp in sorted(standbys):
            table = self._tables.get(tp.topic)
            if table is not None:
                self.positions[tp] = local.open(table, tp.partition).next_offset
        self.seeks.clear()
        self._generation = generation
        self.is_active = True

    def fetchable(self) -> list[TP]:
        """Return the partitions of which something could be fetched now."""
        if not self.is_active:
            return []
        process = self._process
        return [
            tp
            for tp, position in self.positions.items()
            if process.cluster.log(*tp).stable > position
            and (tp.topic in self._tables or process.partitions.has_room(tp))
        ]

    def fetch(self, tp: TP) -> None:
        """Fetch a chunk; it is delivered later."""
        log = self._process.cluster.log(*tp)
        position = max(self.positions[tp], log.start)  # auto_offset_reset
        limit = self._random.randrange(1, 9)
        records: list[Entry] = []
        next_position = log.stable
        for entry in log.committed(position):
            if len(records) == limit:
                # Behind the last record, or also behind the markers and aborted records that follow it.
                next_position = entry.offset if self._random.random() < _ALONG_CHANCE else records[-1].offset + 1
                break
            records.append(entry)
        if next_position > position:
            self.positions[tp] = next_position
            chunk = Chunk(tp.topic, tp.partition, position, next_position, log.stable, records)
            self.in_flight.append((self._generation, chunk))

    def deliver(self, index: int, *, is_kept: bool, is_stale_too: bool) -> str:
        """Deliver a chunk; keep it, to be delivered once more; also one of a former generation."""
        generation, chunk = self.in_flight[index]
        if not is_kept:
            del self.in_flight[index]
        what = f"{chunk.topic}/{chunk.partition} {chunk.position}-{chunk.next_position}"
        if not is_stale_too and (generation != self._generation or not self.is_active):
            return f"dropped {what}"
        table = self._tables.get(chunk.topic)
        if table is None:
            self._process.loop.call_soon(self._process.offer, chunk)
        else:
            self._process.loop.call_soon(self._apply, table, chunk)
        return f"delivered {what}"

    def _apply(self, table: str, chunk: Chunk) -> None:
        tp = TP(chunk.topic, chunk.partition)
        if (chunk.topic, chunk.partition) in self.positions or self._process.partitions.owns(chunk.partition):
            self._process.standbys[table].apply_changelog_batch([_Event(tp, chunk)])

    def seek(self) -> None:
        """Carry out a seek that was asked for."""
        tp, offset = self.seeks.pop(0)
        if tp in self.positions:
            self.positions[tp] = offset


class _Event:
    """A chunk as Faust's recovery gives it to a table's store."""

    def __init__(self, tp: TP, chunk: Chunk) -> None:
        self.message = _Message(tp)
        self.value = chunk


class _Message:
    def __init__(self, tp: TP) -> None:
        self.tp = tp
        self.partition = tp.partition
