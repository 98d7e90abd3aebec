"""The thread in which aiokafka runs: heartbeats, joining, offsets as a hint, leaving the group."""
# ruff: noqa: SLF001 - what has to be done otherwise here is private to aiokafka and Faust; their versions are locked

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka.client import ConnectionGroup
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    IllegalStateError,
    InconsistentGroupProtocolError,
    InvalidSessionTimeoutError,
    KafkaError,
)
from aiokafka.protocol.group import JoinGroupRequest, LeaveGroupRequest
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode import Service

from app.errors import UserError
from app.settings import Settings
from app.stream.refusals import lacking

if TYPE_CHECKING:
    from app.stream.faust_app import SizerApp

_COMMIT_SECONDS = 1.0
_LEAVE_SECONDS = 1.0
_WATCH_SECONDS = 1.0

_log = structlog.get_logger("sizer")


class RebalanceListener(driver.ConsumerRebalanceListener):
    """Keeps the worker in the group while it restores, and aiokafka from fetching."""

    async def on_partitions_assigned(self, assigned: Any) -> None:
        """Take up an assignment, with heartbeats: aiokafka would start them only afterwards.

        A long restore would be taken for death, and the partition given to the next worker, which would begin to
        restore.
        """
        consumer = self._thread._ensure_consumer()
        consumer.pause(*assigned)
        consumer._coordinator._start_heartbeat_task()
        await super().on_partitions_assigned(assigned)


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's thread for aiokafka, with its own event loop."""

    app: "SizerApp"

    @Service.task
    async def _watch_coordination(self) -> None:
        """Bring down the worker with what aiokafka cannot mend: it keeps such errors for a fetch, and none comes."""
        while not self.should_stop:
            await self.sleep(_WATCH_SECONDS)
            if self._consumer is not None and not self.should_stop:
                try:
                    self._consumer._coordinator.check_errors()
                except KafkaError as error:
                    raise _refusal(self.app.settings, error) or error from None

    @property
    def knows_coordinator(self) -> bool:
        """Whether the group's coordinator is known: aiokafka forgets one that does not answer."""
        return self._consumer is not None and self._consumer._coordinator.coordinator_id is not None

    async def commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commit offsets as a hint; tell whether it could be done."""
        is_done: bool = await self.call_thread(self._commit, offsets)
        return is_done

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
            _log.warning("could not leave the group", error=repr(error))

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


def _refusal(settings: Settings, error: KafkaError) -> UserError | None:
    """Return what a human must mend before a worker can be a member of the group, if that is what the error says."""
    match error:
        case InconsistentGroupProtocolError():
            return UserError(
                f"consumer group {settings.app_id} is used by another program: set another SIZER_APP_ID, or another"
                " group there"
            )
        case InvalidSessionTimeoutError():
            return UserError(
                f"SIZER_SESSION_TIMEOUT={settings.session_timeout:g}: not within what the brokers take"
                " (group.min.session.timeout.ms, group.max.session.timeout.ms)"
            )
        case GroupAuthorizationFailedError():
            return lacking(settings, "worker", f"Read on group {settings.app_id}")
    return None
