"""A worker's process: the real Partitions, readers, tasks and producers, on an event loop of its own."""

import asyncio
from collections.abc import Callable
from typing import Any

from faust.types import TP

from app.core.policy import Policy
from app.errors import Doubt, UserError
from app.processor import TABLES
from app.settings import Settings
from app.stream.partitions import Partitions
from app.stream.topics import TopicFacts, changelog_topic
from app.stream.totals import Totals
from app.topics import INPUTS
from tests.simulation.cluster import Cluster
from tests.simulation.disk import Disk
from tests.simulation.group import Assignment
from tests.simulation.loop import Loop
from tests.simulation.scheduler import Killed, Scheduler

_PAUSE_SECONDS = 0.05


class Worker:
    """A place where processes of the worker run, one after the other: its disk and its clock stay."""

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        self.name = name
        self.disk = Disk(scheduler, name)
        self.clock_ahead = 0
        self.process: Process | None = None
        self.count = 0


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
        self.is_member = False
        """Whether it has begun to take part in the group."""
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
        self.partitions = Partitions(*self._arguments, Totals())
        self.is_member = True
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
            await self.partitions.pause()
            assignment.paused.add(self.name)
            while not assignment.is_through(self._scheduler.now):  # noqa: ASYNC110 - it depends on virtual time too
                await asyncio.sleep(_PAUSE_SECONDS)
            if self.assignment is not assignment:
                continue
            actives, standbys = (self._topics(owned) for owned in assignment.of(self.worker.name))
            await self.partitions.rebalance(assignment.generation, actives, standbys)
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

    @property
    def standby_partitions(self) -> set[int]:
        """The partitions that it stands by for, once it has taken up its assignment."""
        return set() if self.settled is None else set(self.settled.of(self.worker.name)[1])

    def end_in_doubt(self, message: str, error: BaseException | None = None) -> None:
        """End with status 70."""
        self.end(70, message, error)

    def end(self, status: int, reason: str, error: BaseException | None = None) -> None:
        """End at once."""
        if not self.is_dead:
            self.is_dead, self.status, self.reason, self.error = True, status, reason, error
            self._scheduler.trace(f"{self.name} ends with {status}: {reason} {error!r}")
            self.worker.disk.lose_process()

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
