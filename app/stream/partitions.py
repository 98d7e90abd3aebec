"""The partitions of this worker: which it owns, which it stands by for, and what happens when that changes."""

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import structlog
from confluent_kafka import IsolationLevel
from faust.types import TP

from app.core.policy import Policy
from app.errors import Doubt, UserError
from app.processor import TABLES, Processor
from app.processor.partitioners import partitioner
from app.settings import Settings
from app.stream.doubt import exit_in_doubt
from app.stream.formats import PLAIN, Formats
from app.stream.inbox import Inbox
from app.stream.pace import Pace
from app.stream.producers import Producers
from app.stream.reader import InputReader
from app.stream.restore import prepare_standby, restore
from app.stream.standby import StandbyReader
from app.stream.startup import InputState, check_changelogs, check_partition, find_changelog_ends
from app.stream.store import LocalTable, LocalTables, PartitionStore
from app.stream.task import PartitionTask, no_registry
from app.stream.topics import TopicFacts, changelog_topic, check_topics
from app.topics import INPUTS, OUTPUTS, SIGNALS

_INCOMPLETE_SECONDS = 5.0
"""Beyond a session, in which a member that subscribed to less is gone and the group moves partitions again."""

_log = structlog.get_logger("sizer")

T = TypeVar("T")


class Partitions:
    """Opens, keeps and closes the tasks of the partitions that the group assigns to this worker."""

    def __init__(self, settings: Settings, policy: Policy, facts: TopicFacts, formats: Formats = PLAIN) -> None:
        """Nothing is connected or opened before the first assignment."""
        self._settings = settings
        self._formats = formats
        self._policy = policy
        self._facts = facts
        self._logical = {settings.topic(topic): topic for topic in INPUTS}
        self._names = {topic: settings.topic(topic) for topic in OUTPUTS}
        self._names |= {table: changelog_topic(settings, table) for table in TABLES}
        self._tasks: dict[int, PartitionTask] = {}
        self._generation = 0
        self._is_moving = False
        self.waits_for_group = True
        """Whether it is not known which partitions are this worker's, because the group has not said yet."""
        self._is_closed = False
        self._incomplete: asyncio.TimerHandle | None = None
        self.local_tables = LocalTables(settings.data_dir / settings.app_id, facts.changelog_ids)
        # Opening and committing wait for brokers; the threads do next to nothing else.
        self._executor = ThreadPoolExecutor(max_workers=32, thread_name_prefix="partition")
        self._reader = InputReader(settings)
        self._standbys = StandbyReader(settings)
        self._pace = Pace()

    @property
    def tasks(self) -> Mapping[int, PartitionTask]:
        """The tasks by partition."""
        return self._tasks

    def committed_positions(self) -> dict[TP, int]:
        """Return up to where each owned input partition is processed for good."""
        return {
            TP(name, partition): task.committed_positions[topic]
            for partition, task in self._tasks.items()
            for name, topic in self._logical.items()
        }

    def places(self) -> dict[TP, int]:
        """Return up to where each owned input partition is processed for good; none while they move.

        One that waits for the registry is left out: that it does not get on is told in the log.
        """
        waiting = {partition for partition, task in self._tasks.items() if task.waits_for_schema}
        places = {} if self._is_moving else self.committed_positions()
        return {tp: place for tp, place in places.items() if tp.partition not in waiting}

    async def pause(self) -> None:
        """Finish what is in flight and begin nothing; before the group moves partitions.

        Were a transaction in flight while the next owner fences this one, its end could not be known.
        """
        self._is_moving = self.waits_for_group = True
        self._forget_incomplete()
        await asyncio.gather(*(task.pause() for task in self._tasks.values()))

    async def rebalance(self, generation: int, actives: set[TP], standbys: set[TP]) -> None:
        """Take up a new assignment: close tasks that are gone, open new ones, let the kept ones go on.

        Raises UserError if the worker must refuse, Doubt if a partition could not be taken over.
        """
        self.waits_for_group = False
        self._forget_incomplete()
        owned = await self._active_partitions(actives)
        # If the group went through a generation without this worker, another may have had its partitions meanwhile.
        is_unbroken = generation == self._generation + 1
        self._generation = generation
        await self._standbys.stop()
        gone = [partition for partition in self._tasks if not is_unbroken or partition not in owned]
        await self._close(gone)
        standby = {tp.partition for tp in standbys} - owned
        self.local_tables.close_all_but(owned | standby)
        new = sorted(owned - self._tasks.keys())
        started = time.monotonic()
        opened = await asyncio.gather(*(self._in_thread(self._open, partition) for partition in new))
        for partition, parts in zip(new, opened, strict=True):
            self._tasks[partition] = self._task(partition, *parts)
        await asyncio.gather(*(self._in_thread(self._prepare_standby, partition) for partition in standby))
        if self._is_closed:
            await self._close(list(self._tasks))
            return
        for task in self._tasks.values():
            task.resume()
        self._reader.assign(self._tasks)
        self._standbys.assign(self._changelogs(standby))
        self._is_moving = False
        _log.info(
            "assigned",
            generation=generation,
            partitions=sorted(owned),
            opened=new,
            closed=sorted(gone),
            standby=sorted(standby),
            seconds=round(time.monotonic() - started, 2),
        )

    async def close(self) -> None:
        """Finish what is in flight and open nothing any more; for the end of the process.

        The local tables stay open: a rebalance may be going on in other threads, and a kill would be no worse.
        """
        self._is_closed = True
        self._forget_incomplete()
        self._reader.close()
        await self._close(list(self._tasks))

    async def _active_partitions(self, actives: set[TP]) -> set[int]:
        """Return the partitions of which this worker has all of signals, fills and changelogs.

        Where it has not, the topics have become different, and it must refuse; or a member of the group subscribes to
        less, as one that is being stopped while it starts, and the next rebalance puts it right; or a topic was missing
        for a moment, and as no rebalance follows from that the worker has to begin anew.
        """
        by_topic: dict[str, set[int]] = {
            name: set() for name in (*self._logical, *map(self._names.__getitem__, TABLES))
        }
        for tp in actives:
            if tp.topic in by_topic:
                by_topic[tp.topic].add(tp.partition)
        owned = set.intersection(*by_topic.values())
        if set.union(*by_topic.values()) - owned or any(
            partition >= self._facts.partition_count for partition in owned
        ):
            facts = await asyncio.to_thread(check_topics, self._settings)
            if facts.partition_count != self._facts.partition_count:
                raise UserError(
                    f"topic {self._settings.topic(SIGNALS)} had {self._facts.partition_count} partitions when this"
                    f" worker started and now has {facts.partition_count}: their number must stay the same, for ever"
                )
            _log.warning("incomplete assignment", owned=sorted(owned))
            seconds = self._settings.session_timeout + _INCOMPLETE_SECONDS
            self._incomplete = asyncio.get_running_loop().call_later(
                seconds,
                exit_in_doubt,
                f"the group left this worker with an incomplete assignment for {seconds:g} s: a topic may have been"
                " created again",
            )
        return owned

    def _forget_incomplete(self) -> None:
        if self._incomplete is not None:
            self._incomplete.cancel()
            self._incomplete = None

    async def _close(self, partitions: list[int]) -> None:
        await asyncio.gather(*(self._tasks[partition].close() for partition in partitions))
        for partition in partitions:
            del self._tasks[partition]

    def _open(self, partition: int) -> tuple[Producers, PartitionStore, Processor, InputState]:
        """Fence, restore, check: in this order. What a former owner still commits would be missing otherwise."""
        settings = self._settings
        started = time.monotonic()
        producers = Producers(settings, partition)
        try:
            producers.fence()
            changelog_ends = check_changelogs(settings, partition)
            tables = self.local_tables.partition(partition)
            restored = restore(settings, partition, tables, changelog_ends, self._facts.tombstone_seconds)
            store = PartitionStore(tables)
            processor = self._processor(partition, store)
            try:
                state = check_partition(settings, partition, processor, changelog_ends)
            except UserError:
                # Were we slow, and the next owner is at work already, its rows and answers are newer than our ends.
                if check_changelogs(settings, partition) != changelog_ends:
                    raise Doubt(f"partition {partition}: another worker has taken it over meanwhile") from None
                raise
        except BaseException:
            producers.close()
            raise
        _log.debug("opened", partition=partition, restored=restored, seconds=round(time.monotonic() - started, 2))
        return producers, store, processor, state

    def _processor(self, partition: int, store: PartitionStore) -> Processor:
        settings, count = self._settings, self._facts.partition_count
        try:
            return Processor(
                partition,
                store,
                self._policy,
                partition_count=count,
                partition_of=partitioner(settings.partitioner, count),
                partitioner_name=settings.partitioner,
                topic_names={topic: settings.topic(topic) for topic in INPUTS},
                decoder=self._formats.decoder,
                encoders=self._formats.encoders,
            )
        except UserError as error:
            raise UserError(f"topic {settings.topic(SIGNALS)}: {error}") from None

    def _task(
        self, partition: int, producers: Producers, store: PartitionStore, processor: Processor, state: InputState
    ) -> PartitionTask:
        return PartitionTask(
            partition,
            processor,
            store,
            producers,
            Inbox(state.positions, state.ends),
            topic_names=self._names,
            executor=self._executor,
            on_taken=self._reader.look,
            turn=lambda: self._pace.turn(len(self._tasks)),
            await_schema=no_registry if self._formats.registry is None else self._formats.registry.await_schema,
        )

    def _changelogs(self, partitions: set[int]) -> dict[tuple[str, int], LocalTable]:
        return {
            (self._names[table], partition): local
            for partition in sorted(partitions)
            for table, local in self.local_tables.partition(partition).items()
        }

    def _prepare_standby(self, partition: int) -> None:
        tables = self.local_tables.partition(partition)
        # A commit is acknowledged before its markers are written: the local rows may stand beyond what can be read.
        ends = find_changelog_ends(self._settings, partition, IsolationLevel.READ_UNCOMMITTED)
        prepare_standby(self._settings, partition, tables, ends, self._facts.tombstone_seconds)

    async def _in_thread(self, function: Callable[[int], T], partition: int) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, partition)
