"""Who is measured: the worker and its peers, each as processes of their own on topics of their own."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from confluent_kafka import ConsumerGroupState
from confluent_kafka.admin import AdminClient

from app.broker import Broker
from app.demo.children import Child
from app.errors import UserError
from app.replay import verify_topics
from app.replay.findings import Audit
from app.settings import Settings, load_settings
from app.stream.topics import create_topics
from bench.usage import Usage, usage
from bench.workload import PARTITIONS, POLICY_PARAMETERS

_HOME = Path(__file__).parent.parent
_QUIX_FOLDER = ".venv-quix"
_JOIN_SECONDS = 60.0
_POLL_SECONDS = 0.1
_REQUEST_SECONDS = 30.0
_SHOWN_FINDINGS = 5


class Contestant(NamedTuple):
    """A program that answers signals."""

    name: str
    arguments: Sequence[str]
    """Of `python -m`."""
    keeps_our_state: bool
    """Its state is in the worker's changelogs, row by row, so that it can be audited too."""
    processes: int = 1
    share: float = 1.0
    """Of a round's events: less for who takes long."""


WORKER = Contestant("sizer", ("app.cli", "worker"), keeps_our_state=True)
WORKERS = (WORKER, *(WORKER._replace(name=f"sizer, {count} workers", processes=count) for count in (2, 4)))
PLAIN_LOOP = Contestant("plain loop", ("bench.plain_loop",), keeps_our_state=True)
QUIX = Contestant("Quix Streams", ("bench.venv", _QUIX_FOLDER, "bench.quix"), keeps_our_state=False)
PLAIN_FAUST = Contestant(
    "plain Faust",
    ("bench.plain_faust", "--loop", "uvloop", "worker", "--without-web", "--loglevel", "info"),
    keeps_our_state=False,
    share=0.25,
)
PEERS = (PLAIN_LOOP, QUIX, PLAIN_FAUST)


class ContestantError(Exception):
    """A contestant was silent or answered wrongly; the message has the end of its log."""


def check_installed() -> None:
    """Raise UserError if a peer has nothing to run in."""
    if not (_HOME / _QUIX_FOLDER / "bin" / "python").exists():
        raise UserError(f"there is no {_QUIX_FOLDER}, where Quix Streams is installed: `make bench` makes it")


class Race:
    """One contestant running on fresh topics. Whatever happens, its processes are gone at the end of the block."""

    def __init__(
        self,
        contestant: Contestant,
        broker: Broker,
        folder: Path,
        number: int,
        prepare: Callable[[Settings], object] | None = None,
    ) -> None:
        """Make the topics and start it.

        `folder`: for state and logs; `number`: tells one benchmark's runs apart; `prepare`: called before the start.
        """
        self._contestant = contestant
        self._broker = broker
        self._prefix = f"run-{number}-"
        home = folder / f"run-{number}"
        home.mkdir()
        policy_file = home / "policy.toml"
        policy_file.write_text("".join(f'{key} = "{value}"\n' for key, value in POLICY_PARAMETERS.items()))
        self.settings = load_settings(
            bootstrap_servers=broker.bootstrap_servers,
            app_id=f"sizer-{number}",  # two may run at once, and no group shall remember another run
            topic_prefix=self._prefix,
            data_dir=home / "data",
            policy_file=policy_file,
        )
        create_topics(self.settings, PARTITIONS)
        self._admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
        if prepare is not None:
            prepare(self.settings)
        self._children: list[Child] = []
        self._places = [home / str(process) for process in range(contestant.processes)]
        try:
            for place in self._places:
                place.mkdir()
                environment = _environment(self.settings, place / "data")
                self._children.append(Child(contestant.name, contestant.arguments, environment, place))
            if contestant.processes > 1:
                self._await_members()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        if kind is None:
            self._delete_topics()

    def usage(self) -> Usage:
        """Return what its processes have used so far."""
        return usage(child.pid for child in self._children)

    def broker_usage(self) -> Usage:
        """Return what the broker has used so far, for whomever."""
        return usage([self._broker.pid])

    def log_bytes(self) -> int:
        """Return how much the broker has written for it so far: the inputs, the answers and the state."""
        return sum(file.stat().st_size for file in self._broker.data_dir.glob(f"*/{self._prefix}*/*.log"))

    def said(self) -> str:
        """Return what its processes have said so far."""
        return "".join((place / "log").read_text(errors="replace") for place in self._places)

    def restart(self) -> None:
        """End its processes and start them again on what they have on their disks."""
        self.stop()
        for child in self._children:
            child.restart()

    def stop(self) -> None:
        """End its processes."""
        for child in self._children:
            child.ask_to_stop()
        for child in self._children:
            child.await_end()

    def check(self) -> None:
        """Raise ChildDied if a process has ended."""
        for child in self._children:
            child.check()

    def error(self, what: str) -> ContestantError:
        """Return an error with the ends of the logs."""
        return ContestantError(
            f"{self._contestant.name}: {what}{''.join(child.log_tail() for child in self._children)}"
        )

    def verified(self) -> Audit:
        """Stop it and audit all that it has published, and its state if that is in the worker's changelogs.

        Raises ContestantError if anything is wrong: then there is no figure.
        """
        self.stop()
        settings = self.settings
        if not self._contestant.keeps_our_state:
            settings = settings.model_copy(update={"app_id": "none"})  # an audit without changelogs
        audit = verify_topics(settings)
        states = PARTITIONS if self._contestant.keeps_our_state else 0
        if not audit.is_proved or audit.waiting or audit.states != states:
            found = "".join(f"\n  {finding.text}" for finding in audit.findings[:_SHOWN_FINDINGS])
            raise self.error(f"answered wrongly: {audit._replace(findings=(), notes=())}{found}")
        return audit

    def _await_members(self) -> None:
        """Wait until the group has all processes as members and shares the partitions out."""
        group, deadline = self.settings.app_id, time.monotonic() + _JOIN_SECONDS
        while time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
            self.check()
            description = self._admin.describe_consumer_groups([group])[group].result(_REQUEST_SECONDS)
            if description.state == ConsumerGroupState.STABLE and len(description.members) == len(self._children):
                return
        raise self.error("its processes did not form a group")

    def _delete_topics(self) -> None:
        """Delete what the run leaves behind, internal topics too: the next one shall find the broker as it was."""
        names = [name for name in self._admin.list_topics(timeout=_REQUEST_SECONDS).topics if self._prefix in name]
        for future in self._admin.delete_topics(names).values():
            future.result(_REQUEST_SECONDS)


def _environment(settings: Settings, data_dir: Path) -> Mapping[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(_HOME),  # where the package `bench` is
        "SIZER_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "SIZER_APP_ID": settings.app_id,
        "SIZER_TOPIC_PREFIX": settings.topic_prefix,
        "SIZER_DATA_DIR": str(data_dir),
        "SIZER_POLICY_FILE": str(settings.policy_file),
    }
