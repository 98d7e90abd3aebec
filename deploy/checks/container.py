"""As much of a container as can be had without an engine."""

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from deploy.checks.dockerfile import Stage
from deploy.checks.tools import CheckError, require

_START_SECONDS = 60
_STOP_SECONDS = 5
_CONTAINED = """
set -eu
data=$1; user=$2; group=$3; shift 3
mount --bind "$data" "$data"
mount -o remount,bind,ro /
exec setpriv --reuid "$user" --regid "$group" --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all -- "$@"
"""


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

    def run_worker(self, servers: str) -> float:
        """Run what the image runs until it is healthy and ready, then end it; return how long that took in seconds."""
        log = self._data.parent / "worker.log"
        with (
            log.open("w") as output,
            subprocess.Popen(  # noqa: S603 - our own
                self._command(*self._final.command("ENTRYPOINT"), *self._final.command("CMD")),
                cwd=self._final.value("WORKDIR"),
                env=self._environment(servers),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            ) as worker,
        ):
            try:
                self._await_ready(worker, log)
                begun = time.monotonic()
                worker.send_signal(signal.SIGTERM)
                status = worker.wait(_STOP_SECONDS)
                require(status == 0, f"the worker ended with status {status}:\n{log.read_text()}")
                return time.monotonic() - begun
            except subprocess.TimeoutExpired:
                raise CheckError(f"the worker has not ended {_STOP_SECONDS} s after SIGTERM") from None
            finally:
                worker.kill()

    def _await_ready(self, worker: subprocess.Popen[bytes], log: Path) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not (self._is_healthy() and self._is_ready()):
            if worker.poll() is not None or time.monotonic() > deadline:
                raise CheckError(f"the worker did not become healthy and ready:\n{log.read_text()}")
            time.sleep(0.2)  # a page has to be asked again and again

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
        # The port may be taken here, and the volume is somewhere else.
        return {**image, **given, "SIZER_DATA_DIR": str(self._data), "SIZER_WEB_PORT": str(self._port)}

    def _here(self, text: str) -> str:
        return text.replace("/opt/sizer", str(self._prefix))

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
