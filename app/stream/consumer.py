"""Faust's consumer as a member of the group and nothing else: the partitions have readers of their own.

Faust's way costs some 400 microseconds for each record, 2 milliseconds for each fetch, however it is packed; it drops
records silently when it clears its queues around a rebalance; and its positions are the group's, not the tasks'.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.types import ServiceT

from app.stream.membership import ConsumerThread, RebalanceListener

if TYPE_CHECKING:
    from app.stream.faust_app import SizerApp


class Consumer(driver.Consumer):
    """Takes part in the group, and fetches nothing."""

    RebalanceListener = RebalanceListener
    app: "SizerApp"
    _thread: ConsumerThread

    def _new_consumer_thread(self) -> ConsumerThread:
        # With asyncio's own loop: uvloop's raises, when a connection was reset, what aiokafka does not expect, and its
        # requests would end.
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon, thread_loop=asyncio.new_event_loop())

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Join the group, but only for all topics.

        Faust joins for some of them when it is stopped while it starts, and the other workers would be given inputs
        without their changelogs.
        """
        if self.app.topic_names.issubset(topics := set(topics)):
            await super().subscribe(topics)

    @property
    def knows_coordinator(self) -> bool:
        """Whether a broker is known that leads the group, and answers, by the last that was heard of it."""
        return self._thread.knows_coordinator

    async def leave(self, hints: Mapping[TP, int]) -> None:
        """Leave the group at once, so that the others need not wait for this session to expire."""
        await self._thread.leave(hints)

    async def _drain_messages(self, fetcher: ServiceT) -> None:
        """Wait until stopped; Faust's fetcher runs this."""
        await fetcher.wait_until_stopped()

    async def perform_seek(self) -> None:
        """Seek nothing: the tasks know where their inputs go on."""

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        """Return 0 for all changelogs, for Faust's recovery to find nothing to do: the partitions do it."""
        return dict.fromkeys(partitions, 0)

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        """Return 0 for all changelogs, without asking brokers."""
        return dict.fromkeys(partitions, 0)

    async def force_commit(self, *_: Any, **__: Any) -> bool:
        """Commit the tasks' positions, as a hint; Faust calls this at an interval and at the end."""
        if not self.app.is_connected:
            return False
        positions = self.app.partitions.committed_positions()
        return bool(positions) and await self._thread.commit(positions)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Faust's search for stuck streams has none to look at."""


class Transport(driver.Transport):
    """Kafka with the consumer above."""

    Consumer = Consumer
