"""The Faust app. `faust -A app.stream.faust_app worker` runs it by Faust's own command line, `sizer worker` by ours."""

import asyncio
from typing import Any, cast

import faust
from faust.app.base import BootStrategy
from yarl import URL

from app.codecs.policy_file import load_policy
from app.core.policy import Policy
from app.processor import TABLES
from app.settings import Settings, load_settings
from app.stream.consumer import Consumer, Transport
from app.stream.credentials import faust_credentials
from app.stream.data_dir import own
from app.stream.formats import await_formats
from app.stream.partitions import Partitions
from app.stream.startup import await_topics
from app.stream.tables import RowTable, Tables
from app.stream.topics import changelog_topic
from app.topics import INPUTS

_REBALANCE_SECONDS = 60.0
_HINT_SECONDS = 3.0
_NEVER_SECONDS = 100 * 365 * 24 * 60 * 60.0
_HELP = {
    "portfolios": "Portfolios, working orders by expiry, the partition's positions.",
    "orders": "Orders and their applied fills.",
    "signal_ids": "Signals that were decided.",
}


class _Boot(BootStrategy):
    """Without Faust's producer: nothing goes through it."""

    enable_kafka_producer = False


class SizerApp(faust.App):
    """One worker: the inputs, the three tables, and the partitions with their tasks."""

    BootStrategy = _Boot
    partitions: Partitions

    def __init__(self, settings: Settings, policy: Policy) -> None:
        """Nothing is connected or written before it is started."""
        super().__init__(settings.app_id, **_faust_settings(settings))
        self.settings = settings
        self.policy = policy
        self.topic_names = {
            *map(settings.topic, INPUTS),
            *(changelog_topic(settings, table) for table in TABLES),
        }
        for topic in INPUTS:  # Faust has them assigned, the partitions' reader reads them
            self.topics.add(self.topic(settings.topic(topic), acks=False))
        for table in TABLES:
            self.Table(table, help=_HELP[table])
        self.on_partitions_revoked.connect(self._pause)
        self.connected = asyncio.Event()
        """Set when a broker was found and the topics are in order, so that there may be partitions."""

    def _crash(self, reason: BaseException) -> None:
        """Keep the first reason: the services that go down with a crash have reasons of their own."""
        super()._crash(self.crash_reason or reason)

    async def on_first_start(self) -> None:
        """Take the data folder, wait for a broker and the registry, check topics and schemas, before anything else.

        Raises UserError.
        """
        self._data_dir = own(self.settings.data_dir)
        facts = await await_topics(self.settings)
        formats = await await_formats(self.settings)
        self.partitions = Partitions(self.settings, self.policy, facts, formats)
        self.connected.set()
        await super().on_first_start()

    @property
    def is_connected(self) -> bool:
        """Whether it was connected, and there may be partitions."""
        return self.connected.is_set()

    @property
    def group_member(self) -> Consumer:
        """The member of the group, which Faust knows as a consumer."""
        return cast("Consumer", self.consumer)

    async def _pause(self, *_: Any, **__: Any) -> None:
        await self.partitions.pause()

    def _new_transport(self) -> Transport:
        return Transport(self.conf.broker_consumer, self)

    def _create_directories(self) -> None:
        """Faust's folders are not used: the partitions make their own."""


def rebalance_seconds(settings: Settings) -> float:
    """Return how long the group waits, while it moves partitions, for a member that is busy."""
    return max(_REBALANCE_SECONDS, settings.session_timeout)


def _faust_settings(settings: Settings) -> dict[str, Any]:
    rebalance_timeout = rebalance_seconds(settings)
    return {
        "broker": [URL(f"kafka://{server.strip()}") for server in settings.bootstrap_servers.split(",")],
        "broker_client_id": settings.app_id,
        "broker_credentials": faust_credentials(settings),
        "datadir": settings.data_dir,
        "autodiscover": False,
        "TableManager": Tables,
        "Table": RowTable,
        "table_standby_replicas": 1,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "web_enabled": settings.web_port != 0,
        "web_port": settings.web_port or None,
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
        # aiokafka fetches nothing, and must not take that for idleness.
        "broker_max_poll_interval": _NEVER_SECONDS,
    }


def __getattr__(name: str) -> SizerApp:
    """Build the app when Faust's command line asks for it, from the environment; importing this does nothing."""
    if name != "app":
        raise AttributeError(name)
    settings = load_settings()
    return SizerApp(settings, load_policy(settings.policy_file))
