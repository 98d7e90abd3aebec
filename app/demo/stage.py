"""Everything that runs for the demo, besides the onlooker: a broker, two workers, the generator and the venue.

With Avro a Schema Registry as well.
"""

import os
from pathlib import Path
from typing import Literal

from confluent_kafka import ConsumerGroupState
from confluent_kafka.admin import AdminClient

from app.broker import Broker, BrokerError, Registry
from app.broker.ports import HOST
from app.demo.accounts import PARTITIONS
from app.demo.children import Child, ChildDied
from app.demo.neighbour import READY
from app.settings import Settings, load_settings
from app.stream.formats import register_schemas
from app.stream.topics import create_topics

WireFormat = Literal["json", "avro"]

WORKERS = 2
_SESSION_TIMEOUT = 3.0  # seconds until a killed worker is missed; a real one would rather take the default
_IN_DOUBT = 70  # exit status that asks for a restart
_MOST_RESTARTS = 5  # a supervisor would go on for ever; here somebody waits
_REQUEST_SECONDS = 5.0


def _ask_no_proxy_for(host: str) -> None:
    """Let HTTP clients, ours and those of the children, reach a host past the proxy that the user may have."""
    others = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")  # the first wins over the second
    os.environ["no_proxy"] = f"{others},{host}" if others else host


class Stage:
    """Starts and ends all of it. `stop` is safe at any time."""

    def __init__(self, folder: Path, wire_format: WireFormat) -> None:
        self._folder = folder
        self.broker = Broker(folder / "broker")
        self.registry = Registry(folder / "registry") if wire_format == "avro" else None
        self._wire_format = wire_format
        self.settings: Settings | None = None
        self.workers: list[Child] = []
        self.neighbours: list[Child] = []
        self._admin: AdminClient | None = None
        self._restarts = 0

    def start_servers(self) -> Settings:
        """Start Kafka, make the topics, register the schemas; return the settings that the demo's workers have."""
        self.broker.start()
        if self.registry is not None:
            self.registry.start()
            _ask_no_proxy_for(HOST)
        # Every setting is given, so that the user's own environment and .env file do not matter here.
        defaults = {name: field.get_default(call_default_factory=True) for name, field in Settings.model_fields.items()}
        self.settings = load_settings(
            **defaults
            | {
                "bootstrap_servers": self.broker.bootstrap_servers,
                "app_id": "sizer-demo",
                "data_dir": self._folder,
                "output_format": self._wire_format,
                "schema_registry_url": None if self.registry is None else self.registry.url,
                "web_port": 0,
                "session_timeout": _SESSION_TIMEOUT,
            }
        )
        create_topics(self.settings, PARTITIONS)
        if self.registry is not None:
            register_schemas(self.settings)
        self._admin = AdminClient({"bootstrap.servers": self.settings.bootstrap_servers, "log_level": 0})
        return self.settings

    def start_processes(self) -> None:
        """Start the workers and their neighbours, without waiting for them."""
        for number in range(1, WORKERS + 1):
            self.workers.append(self._child(f"worker-{number}", "app.cli", "worker"))
        for name in ("generator", "exchange"):
            self.neighbours.append(self._child(name, f"app.demo.{name}", ends_by_itself=name == "generator"))

    @property
    def is_ready(self) -> bool:
        """All workers have joined and opened their partitions, and the neighbours have read their prices."""
        return all(child.has_said(READY) for child in (*self.neighbours, *self.workers)) and self.group_size == WORKERS

    @property
    def group_size(self) -> int:
        """How many workers share the partitions; 0 while they settle it."""
        assert self._admin is not None
        assert self.settings is not None
        futures = self._admin.describe_consumer_groups([self.settings.app_id], request_timeout=_REQUEST_SECONDS)
        group = futures[self.settings.app_id].result()
        return len(group.members) if group.state == ConsumerGroupState.STABLE else 0

    def open_market(self, start: int, speed: int) -> None:
        """Tell the neighbours when the market opens (microseconds since the epoch), and how fast it runs."""
        for child in self.neighbours:
            child.tell(f"{start} {speed}")

    def check(self) -> str | None:
        """Look after everyone; return what was done. Raises ChildDied or BrokerError if someone is missing."""
        if (status := self.broker.wait(0)) is not None:
            raise BrokerError(self.broker.told_end(status))
        if self.registry is not None and (status := self.registry.wait(0)) is not None:
            raise BrokerError(self.registry.told_end(status))
        for child in self.neighbours:
            child.check()
        for child in self.workers:
            if child.status == _IN_DOUBT and self._restarts < _MOST_RESTARTS:
                self._restarts += 1
                child.restart()
                return f"{child.name} was in doubt (status {_IN_DOUBT}) and has been started again"
            child.check()
        return None

    def stop_processes(self) -> None:
        """End workers and neighbours cleanly; raises ChildDied if one could not."""
        children = [*self.neighbours, *self.workers]
        for child in children:
            child.ask_to_stop()
        ends = [(child, child.await_end()) for child in children]
        self.neighbours, self.workers = [], []
        for child, status in ends:
            if status:
                raise ChildDied(f"{child.name} did not end cleanly: status {status}{child.log_tail()}")

    def stop(self) -> None:
        """End everything at once, by SIGKILL: its data go away with it."""
        for child in (*self.neighbours, *self.workers):
            child.kill()
        self.neighbours, self.workers = [], []
        for server in (self.broker, self.registry):
            if server is not None:
                server.kill()

    def _child(self, name: str, *arguments: str, ends_by_itself: bool = False) -> Child:
        assert self.settings is not None
        folder = self._folder / name
        folder.mkdir()
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SIZER_")}
        for key, value in (self.settings.model_dump() | {"data_dir": folder}).items():
            if value is not None:
                environment[f"SIZER_{key.upper()}"] = str(value)
        return Child(name, arguments, environment, folder, ends_by_itself=ends_by_itself)
