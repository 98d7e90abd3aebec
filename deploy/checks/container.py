"""As much of a container as can be had without an engine."""

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from deploy.checks.dockerfile import Stage
from deploy.checks.tools import CheckError, require

_WAIT_SECONDS = 60
_STOP_SECONDS = 5
_CONTAINED = """
set -eu
data=$1; user=$2; group=$3; shift 3
mount --bind "$data" "$data"
mount -o remount,bind,ro /
exec setpriv --reuid "$user" --regid "$group" --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all -- "$@"
"""


class Running(NamedTuple):
    """A command that runs."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def wait_for(self, what: str, condition: Callable[[], bool]) -> None:
        """Return when a condition holds; raises CheckError if the command ends, or after a minute."""
        deadline = time.monotonic() + _WAIT_SECONDS
        while not condition():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise CheckError(f"{self.name}: {what} is not to be seen:\n{self.log.read_text()}")
            time.sleep(0.2)  # pages and logs have to be looked at again and again

    def end(self) -> None:
        """End it by SIGTERM; raises CheckError if that takes too long or gives another status than 0."""
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise CheckError(f"{self.name} has not ended {_STOP_SECONDS} s after SIGTERM") from None
        require(status == 0, f"{self.name} ended with status {status}:\n{self.log.read_text()}")


class Container:
    """Runs commands as the image would: its environment and no other, its user, its working directory."""

    def __init__(self, prefix: Path, final: Stage, folder: Path) -> None:
        """Take what was installed, the Dockerfile's last stage, and a folder to work in."""
        self._final = final
        self._prefix = prefix
        self._data = folder / "data"
        self._data.mkdir(mode=0o700)
        folder.chmod(0o755)
        self._port = _free_port()
        self._reason = self._why_not_contained()
        if self._reason is None:
            os.chown(self._data, *self._user())

    @property
    def how(self) -> str:
        """Tell how commands are run."""
        if self._reason is None:
            return f"as user {self._final.value('USER')}, without rights, on a read-only root file system"
        return f"as this user, on a root file system as it is ({self._reason})"

    def run(
        self, *arguments: str, servers: str = "", stdin: Path | None = None, status: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run the image's entry point with these arguments; raises CheckError for another status than is expected."""
        with (stdin or Path(os.devnull)).open() as source:
            result = subprocess.run(  # noqa: S603 - our own
                self._command(*self._final.command("ENTRYPOINT"), *arguments),
                cwd=self._final.value("WORKDIR"),
                env=self._environment(servers),
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=120,
                check=False,
            )
        command = " ".join(arguments)
        require(
            result.returncode == status,
            f"sizer {command} ended with status {result.returncode}, not {status}:\n{result.stdout}",
        )
        return result

    @contextmanager
    def running(self, name: str, command: Sequence[str], servers: str) -> Iterator["Running"]:
        """Run a command until the block ends, then end it by SIGTERM; raises CheckError for a status other than 0."""
        log = self._data.parent / f"{name}.log"
        with (
            log.open("w") as output,
            subprocess.Popen(  # noqa: S603 - our own
                self._command(*command),
                cwd=self._final.value("WORKDIR"),
                env=self._environment(servers),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            ) as process,
        ):
            running = Running(name, process, log)
            try:
                yield running
                running.end()
            finally:
                process.kill()

    def run_worker(self, servers: str) -> AbstractContextManager["Running"]:
        """Run what the image runs until the block ends."""
        return self.running("worker", [*self._final.command("ENTRYPOINT"), *self._final.command("CMD")], servers)

    def is_healthy_and_ready(self) -> bool:
        """Ask a worker as Docker and as Kubernetes would."""
        return self._is_healthy() and self._is_ready()

    def _is_healthy(self) -> bool:
        """Ask as Docker would, by the image's own health check."""
        probe = subprocess.run(  # noqa: S603 - the Dockerfile's own command
            self._command(*self._final.command("HEALTHCHECK")),
            cwd=self._final.value("WORKDIR"),
            env=self._environment(""),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        return probe.returncode == 0

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)  # noqa: PLR2004 - HTTP's
        except (urllib.error.URLError, OSError):
            return False

    def _environment(self, servers: str) -> dict[str, str]:
        image = {name: self._here(value) for name, value in self._final.environment().items()}
        given = {"SIZER_BOOTSTRAP_SERVERS": servers} if servers else {}
        return {**image, **given, "SIZER_WEB_PORT": str(self._port)}  # that of the image may be taken here

    def _here(self, text: str) -> str:
        return text.replace("/opt/sizer", str(self._prefix)).replace("/var/lib/sizer", str(self._data))

    def _command(self, *command: str) -> list[str]:
        here = [self._here(part) for part in command]
        if self._reason is not None:
            return here
        user, group = map(str, self._user())
        return [
            *("unshare", "--mount", "--propagation", "private", "--", "/bin/sh", "-c", _CONTAINED, "contained"),
            *(str(self._data), user, group, *here),
        ]

    def _user(self) -> tuple[int, int]:
        user, _, group = self._final.value("USER").partition(":")
        return int(user), int(group)

    def _why_not_contained(self) -> str | None:
        if os.geteuid() != 0:
            return "only root may do otherwise"
        if not all(shutil.which(tool) for tool in ("unshare", "setpriv", "mount")):
            return "unshare, setpriv or mount is missing"
        if not all(parent.stat().st_mode & 1 for parent in (*self._prefix.parents, *self._data.parents)):
            return f"no other user gets at {self._prefix}"
        trial = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)  # noqa: S607 - from PATH
        return None if trial.returncode == 0 else "this machine allows no mounts"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
