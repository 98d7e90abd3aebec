"""Who is measured: the worker and the plain Faust program, each as a process of its own on topics of its own."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from app.demo.children import Child
from app.settings import Settings, load_settings
from app.stream.topics import create_topics
from bench.workload import PARTITIONS, POLICY_PARAMETERS


class Contestant(NamedTuple):
    """A program that answers signals."""

    name: str
    arguments: Sequence[str]
    """Of `python -m`."""


WORKER = Contestant("sizer worker", ("app.cli", "worker"))
PLAIN_FAUST = Contestant(
    "plain Faust", ("bench.plain_faust", "--loop", "uvloop", "worker", "--without-web", "--loglevel", "info")
)


class ContestantError(Exception):
    """A contestant was silent or answered wrongly; the message has the end of its log."""


class Race:
    """One contestant running on fresh topics. Whatever happens, its process is gone at the end of the `with` block."""

    def __init__(self, contestant: Contestant, bootstrap_servers: str, folder: Path, number: int) -> None:
        """Make the topics and start it. `folder`: for state and log; `number`: tells one benchmark's runs apart."""
        name = f"run-{number}"
        home = folder / name
        home.mkdir()
        policy_file = home / "policy.toml"
        policy_file.write_text("".join(f'{key} = "{value}"\n' for key, value in POLICY_PARAMETERS.items()))
        self.settings = load_settings(
            bootstrap_servers=bootstrap_servers,
            app_id="sizer",
            topic_prefix=f"{name}-",
            data_dir=home / "data",
            policy_file=policy_file,
        )
        create_topics(self.settings, PARTITIONS)
        self._child = Child(contestant.name, contestant.arguments, _environment(self.settings), home)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._child.ask_to_stop()
        self._child.await_end()

    def check(self) -> None:
        """Raise ChildDied if the process has ended."""
        self._child.check()

    def error(self, what: str) -> ContestantError:
        """Return an error with the end of the log."""
        return ContestantError(f"{self._child.name}: {what}{self._child.log_tail()}")


def _environment(settings: Settings) -> Mapping[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parent.parent),  # where the package `bench` is
        "SIZER_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "SIZER_APP_ID": settings.app_id,
        "SIZER_TOPIC_PREFIX": settings.topic_prefix,
        "SIZER_DATA_DIR": str(settings.data_dir),
        "SIZER_POLICY_FILE": str(settings.policy_file),
    }
