"""As much of a container as can be had without an engine."""

import os
import shlex
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
from deploy.checks.tools import ROOT, CheckError, attempt, require

_WAIT_SECONDS = 60
_STOP_SECONDS = 5
_PROOF = """
import os, sys
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
held = {name: status[name].strip() for name in ("CapEff", "CapPrm", "CapBnd", "NoNewPrivs")}
assert held == {"CapEff": "0" * 16, "CapPrm": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1"}, held
assert (os.getuid(), os.getgid(), os.getgroups()) == (int(sys.argv[1]), int(sys.argv[2]), []), os.getgroups()
assert os.statvfs("/").f_flag & os.ST_RDONLY, "the root file system can be written"
open(os.environ["SIZER_DATA_DIR"] + "/proof", "w").close()
"""
_DROPPED = "exec setpriv --reuid {} --regid {} --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all -- "


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

    def prove(self) -> None:
        """Check that it is as it says; raises CheckError."""
        if self._reason is not None:
            return
        python = f"{self._prefix}/bin/python"
        proof = attempt(
            *self._command(python, "-c", _PROOF, *map(str, self._user())), environment=self._environment("")
        )
        require(proof.returncode == 0, f"a command is not contained as it should be:\n{proof.stdout}")

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
        script = "\n".join(["set -eu", *self._mounts(), _DROPPED.format(*self._user()) + '"$@"'])
        return ["unshare", "--mount", "--propagation", "private", "--", "/bin/sh", "-c", script, "contained", *here]

    def _mounts(self) -> Iterator[str]:
        """Yield what makes the root file system one that cannot be written, but for the data, and can be read.

        A folder that other users may not enter, as root's own, is covered; what is needed of it shines through.
        """
        data = shlex.quote(str(self._data))
        hold = self._data.parent / "hold"
        covered = {path: folder for path in self._needed() if (folder := _closed_folder(path)) is not None}
        for number, path in enumerate(covered):
            place = shlex.quote(str(hold / str(number)))
            yield f"mkdir -p {place} && mount --bind {shlex.quote(str(path))} {place}"
        for folder in sorted(set(covered.values())):
            yield f"mount -t tmpfs -o mode=755 covered {shlex.quote(str(folder))}"
        for number, path in enumerate(covered):
            place = shlex.quote(str(hold / str(number)))
            yield f"mkdir -p {shlex.quote(str(path))} && mount --bind {place} {shlex.quote(str(path))}"
        yield f"mount --bind {data} {data} && mount -o remount,bind,ro /"

    def _needed(self) -> list[Path]:
        """Return the folders that commands read: Python's own, the project's, ours."""
        python = (self._prefix / "bin" / "python").resolve().parents[1]
        return [python, ROOT, self._prefix.resolve(), self._data.parent]

    def _user(self) -> tuple[int, int]:
        user, _, group = self._final.value("USER").partition(":")
        return int(user), int(group)

    def _why_not_contained(self) -> str | None:
        if os.geteuid() != 0:
            return "only root may do otherwise"
        if not all(shutil.which(tool) for tool in ("unshare", "setpriv", "mount")):
            return "unshare, setpriv or mount is missing"
        closed = [path for path in self._needed() if not path.stat().st_mode & 1]
        if closed:
            return f"no other user may enter {closed[0]}"
        trial = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)  # noqa: S607 - from PATH
        return None if trial.returncode == 0 else "this machine allows no mounts"


def _closed_folder(path: Path) -> Path | None:
    """Return the outermost folder around a path that other users may not enter, None if there is none."""
    return next((folder for folder in reversed(path.parents) if not folder.stat().st_mode & 1), None)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
