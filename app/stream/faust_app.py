"""The Faust app. `faust -A app.stream.faust_app worker` runs it by Faust's own command line, `sizer worker` by ours."""

import asyncio
from collections.abc import Set as AbstractSet
from functools import cached_property
from typing import Any, cast

import faust
from faust.app.base import BootStrategy
from faust.types import TP
from yarl import URL

from app.codecs.policy_file import load_policy
from app.core.policy import Policy
from app.errors import Doubt
from app.processor import TABLES
from app.settings import Settings, load_settings
from app.stream.consumer import ChunkSchema, Consumer, FlowControl, Transport
from app.stream.data_dir import own
from app.stream.doubt import exit_in_doubt
from app.stream.inbox import Chunk
from app.stream.partitions import Partitions
from app.stream.startup import await_topics
from app.stream.tables import RowTable, Tables
from app.stream.topics import changelog_topic
from app.topics import FILLS, INPUTS

_REBALANCE_SECONDS = 60.0
_BUFFERED_CHUNKS = 16
_HINT_SECONDS = 3.0
_DAY_SECONDS = 24 * 60 * 60.0
_HELP = {
    "portfolios": "Portfolios, working orders by expiry, the partition's positions.",
    "orders": "Orders and their applied fills.",
    "signal_ids": "Signals that were decided.",
}


class _Boot(BootStrategy):
    """Without Faust's producer: nothing goes through it."""

    enable_kafka_producer = False


class SizerApp(faust.App):
    """One worker: the agent on the inputs, the three tables, and the partitions with their tasks."""

    BootStrategy = _Boot
    partitions: Partitions

    def __init__(self, settings: Settings, policy: Policy) -> None:
        """Nothing is connected or written before it is started."""
        super().__init__(settings.app_id, **_faust_settings(settings))
        self.settings = settings
        self.policy = policy
        self._fills = settings.topic(FILLS)
        self.topic_names = {
            *map(settings.topic, INPUTS),
            *(changelog_topic(settings, table) for table in TABLES),
        }
        for topic in INPUTS:
            self.agent(self.topic(settings.topic(topic), schema=ChunkSchema(), acks=False), name=topic)(_feed)
        for table in TABLES:
            # A buffer of one: chunks are written as they come. Faust treats an active buffer of one in its own way.
            self.Table(table, help=_HELP[table], schema=ChunkSchema(), standby_buffer_size=1)
        self.on_partitions_revoked.connect(self._pause)
        self.connected = asyncio.Event()
        """Set when a broker was found and the topics are in order, so that there may be partitions."""

    def _crash(self, reason: BaseException) -> None:
        """Keep the first reason: the services that go down with a crash have reasons of their own."""
        super()._crash(self.crash_reason or reason)

    async def on_first_start(self) -> None:
        """Take the data folder, wait for a broker and check the topics, before anything else; raises UserError."""
        self._data_dir = own(self.settings.data_dir)
        facts = await await_topics(self.settings)
        self.partitions = Partitions(self.settings, self.policy, facts, self._read_again)
        self.connected.set()
        await super().on_first_start()

    @property
    def is_connected(self) -> bool:
        """Whether it was connected, and there may be partitions."""
        return self.connected.is_set()

    @property
    def chunk_consumer(self) -> Consumer:
        """The consumer, which Faust knows by an interface only."""
        return cast("Consumer", self.consumer)

    def fills_of(self, tps: AbstractSet[TP]) -> AbstractSet[TP]:
        """Return those of the partitions that are fills: they come first."""
        return {tp for tp in tps if tp.topic == self._fills}

    def _read_again(self, tp: TP, offset: int) -> None:
        self.chunk_consumer.read_again(tp, offset)

    async def _pause(self, *_: Any, **__: Any) -> None:
        await self.partitions.pause()

    @cached_property
    def flow_control(self) -> FlowControl:
        """What lets chunks into the streams."""
        return FlowControl(loop=self.loop)

    def _new_transport(self) -> Transport:
        return Transport(self.conf.broker_consumer, self)

    def _create_directories(self) -> None:
        """Faust's folders are not used: the partitions make their own."""


async def _feed(chunks: faust.StreamT[Chunk]) -> None:
    """Give each chunk to the task of its partition."""
    async for chunk in chunks:
        try:
            cast("SizerApp", chunks.app).partitions.offer(chunk)
        except Doubt as doubt:
            exit_in_doubt(str(doubt))
        except Exception as error:  # noqa: BLE001 - Faust would log it, drop the event and go on
            exit_in_doubt(f"partition {chunk.partition}: a chunk was not taken", error=error)


def rebalance_seconds(settings: Settings) -> float:
    """Return how long the group waits, while it moves partitions, for a member that is busy."""
    return max(_REBALANCE_SECONDS, settings.session_timeout)


def _faust_settings(settings: Settings) -> dict[str, Any]:
    rebalance_timeout = rebalance_seconds(settings)
    return {
        "broker": [URL(f"kafka://{server.strip()}") for server in settings.bootstrap_servers.split(",")],
        "broker_client_id": settings.app_id,
        "datadir": settings.data_dir,
        "autodiscover": False,
        "TableManager": Tables,
        "Table": RowTable,
        "table_standby_replicas": 1,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "web_enabled": settings.web_port != 0,
        "web_port": settings.web_port or None,
        "stream_buffer_maxsize": _BUFFERED_CHUNKS,
        "stream_wait_empty": False,
        # Its check compares with the high waters, which are 0 for owned partitions.
        "recovery_consistency_check": False,
        "consumer_auto_offset_reset": "earliest",
        "broker_commit_interval": _HINT_SECONDS,
        "broker_session_timeout": settings.session_timeout,
        # A death is missed a session after the last heartbeat, and the others hear of it at their next one.
        "broker_heartbeat_interval": settings.session_timeout / 6,
        "broker_rebalance_timeout": rebalance_timeout,
        "broker_request_timeout": rebalance_timeout + 30,
        # Restoring fetches nothing: a long one must not look idle.
        "broker_max_poll_interval": _DAY_SECONDS,
    }


def __getattr__(name: str) -> SizerApp:
    """Build the app when Faust's command line asks for it, from the environment; importing this does nothing."""
    if name != "app":
        raise AttributeError(name)
    settings = load_settings()
    return SizerApp(settings, load_policy(settings.policy_file))
