"""The thread in which aiokafka runs: fetching in chunks, heartbeats, leaving the group."""
# ruff: noqa: SLF001 - what has to be done otherwise here is private to aiokafka and Faust; their versions are locked

import asyncio
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import aiokafka
import structlog
from aiokafka.client import ConnectionGroup
from aiokafka.errors import ConsumerStoppedError, IllegalStateError, KafkaError
from aiokafka.protocol.group import JoinGroupRequest, LeaveGroupRequest
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode import Service

from app.stream.inbox import Chunk

_FETCH_WAIT_MS = 100
_RECORDS_PER_POLL = 1_000
_COMMIT_SECONDS = 1.0
_LEAVE_SECONDS = 1.0
_WATCH_SECONDS = 1.0

_log = structlog.get_logger("sizer")


class RebalanceListener(driver.ConsumerRebalanceListener):
    """Keeps the worker in the group while it restores."""

    async def on_partitions_assigned(self, assigned: Any) -> None:
        """Take up an assignment, with heartbeats: aiokafka would start them only afterwards.

        A long restore would be taken for death, and the partition given to the next worker, which would begin to
        restore.
        """
        self._thread._ensure_consumer()._coordinator._start_heartbeat_task()
        await super().on_partitions_assigned(assigned)


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's thread for aiokafka, with its own event loop."""

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        # Faust gives no way to set these two: 1,500 ms, and uncommitted records unless it does the transactions.
        consumer._fetch_max_wait_ms = _FETCH_WAIT_MS
        consumer._isolation_level = "read_committed"
        return consumer

    @Service.task
    async def _watch_coordination(self) -> None:
        """Bring down the worker with what aiokafka cannot mend: it keeps such errors for a fetch, and none may come.

        Its fetching may end by an error that it did not foresee, or without one, while its heartbeats go on: a member
        of the group that never reads again.
        """
        while not self.should_stop:
            await self.sleep(_WATCH_SECONDS)
            if self._consumer is not None and not self.should_stop:
                self._consumer._coordinator.check_errors()
                if self._consumer._fetcher._fetch_task.done():
                    await self._consumer._fetcher._fetch_task  # raises what ended it
                    raise KafkaError("aiokafka has ended its fetching")

    async def fetch_chunks(self, wanted: AbstractSet[TP], first: AbstractSet[TP], patience: float) -> list[Chunk]:
        """Return what has been fetched of the wanted partitions, those of `first` first.

        If there is nothing yet, wait for it, `patience` seconds at most.
        """
        chunks: list[Chunk] = await self.call_thread(self._fetch_chunks, wanted, first, patience)
        return chunks

    async def _fetch_chunks(self, wanted: AbstractSet[TP], first: AbstractSet[TP], patience: float) -> list[Chunk]:
        fetcher = self._ensure_consumer()._fetcher
        deadline = self.thread_loop.time() + patience
        with fetcher._subscriptions.fetch_context():
            while self.consumer.flow_active:
                if self._ensure_consumer()._closed or fetcher._closed:
                    raise ConsumerStoppedError
                chunks = await _drain(fetcher, wanted, first)
                remaining = deadline - self.thread_loop.time()
                if chunks or remaining <= 0:
                    return chunks
                waiter = fetcher._create_fetch_waiter()
                await asyncio.wait([waiter], timeout=remaining)
                if not waiter.done():
                    waiter.cancel()
                    break
                waiter.result()  # raises what aiokafka has to tell, a missing permission for instance
        return []

    async def pause(self, tps: AbstractSet[TP]) -> None:
        """Stop fetching partitions, until the next assignment."""
        await self.call_thread(self._pause, tps)

    async def _pause(self, tps: AbstractSet[TP]) -> None:
        self._ensure_consumer().pause(*map(driver.ensure_aiokafka_TP, tps))

    async def leave(self, hints: Mapping[TP, int]) -> None:
        """Commit offsets as a hint and leave the group."""
        await self.call_thread(self._leave, hints)

    async def _leave(self, hints: Mapping[TP, int]) -> None:
        consumer = self._ensure_consumer()
        coordinator = consumer._coordinator
        await self._commit(hints)
        if coordinator.coordinator_id is None or coordinator.member_id == JoinGroupRequest.UNKNOWN_MEMBER_ID:
            return
        if not coordinator._closing.done():
            coordinator._closing.set_result(None)  # else it would join again
        request = LeaveGroupRequest(coordinator.group_id, coordinator.member_id)
        # On a connection of its own: on the usual one a join may be waiting for its answer, for as long as it takes.
        leaving = consumer._client.send(coordinator.coordinator_id, request, group=ConnectionGroup.DEFAULT)
        try:
            await asyncio.wait_for(leaving, _LEAVE_SECONDS)
        except (KafkaError, TimeoutError) as error:
            _log.warning("could not leave the group, the others will notice later", error=repr(error))

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commit offsets as far as possible: they are a hint for lag monitors, nothing is read by them.

        Only between rebalances: a commit that comes after a join is refused for its old generation, and aiokafka takes
        that for the end of its membership and joins again.
        """
        consumer = self._ensure_consumer()
        coordinator, subscription = consumer._coordinator, consumer._subscription
        if subscription.reassignment_in_progress or coordinator.need_rejoin(subscription.subscription):
            return False
        assignment = self.assignment()
        wanted = {
            driver.ensure_aiokafka_TP(tp): OffsetAndMetadata(offset, "")
            for tp, offset in offsets.items()
            if tp in assignment
        }
        try:
            async with asyncio.timeout(_COMMIT_SECONDS):
                # Not by `commit`, which suspends before it sends: a rebalance could begin in between.
                await coordinator._do_commit_offsets(subscription.subscription.assignment, wanted)
        except (KafkaError, IllegalStateError, TimeoutError):
            return False
        return True


async def _drain(fetcher: Any, wanted: AbstractSet[TP], first: AbstractSet[TP]) -> list[Chunk]:
    """Take fetched records. Nothing in here is suspended, so that no seek comes between position and records."""
    if fetcher._subscriptions.reassignment_in_progress:
        return []
    assignment = fetcher._subscriptions.subscription.assignment
    states = {tp: assignment.state_value(tp) for tp in fetcher._records if tp in wanted}
    before = {tp: state.position for tp, state in states.items() if state is not None and state.has_valid_position}
    records: dict[TP, list[Any]] = {}
    room = _RECORDS_PER_POLL
    for group in (before.keys() & first, before.keys() - first):
        if group and room > 0:  # to aiokafka an empty group means all
            drained = await fetcher.fetched_records(group, timeout=0, max_records=room)
            room -= sum(map(len, drained.values()))
            records |= drained
    chunks = []
    for tp, position in before.items():
        state = states[tp]
        if state.position > position:
            end = state.position if state.lso is None else state.lso
            chunks.append(Chunk(tp.topic, tp.partition, position, state.position, end, records.get(tp, [])))
    return chunks
