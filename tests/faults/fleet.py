"""The workers under a fault suite: each in a slot that starts it again whenever it ends, as a supervisor does."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from app.stream.doubt import DOUBT_STATUS

_RESTART_SECONDS = 0.5
_STOP_SECONDS = 30.0
_STACKS_SECONDS = 5.0
_SAID_LINES = 400
_COMMAND = [sys.executable, "-m", "tests.faults.worker", "worker"]


class Slot:
    """Where one worker runs, with its data folder: ended by a fault or by itself in doubt it is started again.

    Any other end is a violation, and is kept in `violations` with what the worker said last.
    """

    def __init__(self, name: str, folder: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.folder = folder / name
        self.data = self.folder / "data"
        self.exits: Counter[int] = Counter()
        self.violations: list[str] = []
        self._orders = self.folder / "orders"
        self._log = self.folder / "log"
        self._environment = os.environ | environment
        self._question = self.folder / "question"
        self._environment |= {"SIZER_DATA_DIR": str(self.data), "FAULTS_ORDERS": str(self._orders)}
        self._environment |= {"FAULTS_QUESTION": str(self._question)}
        self._environment |= {"PYTHONFAULTHANDLER": "1"}  # for `_show_stacks`
        self._process: subprocess.Popen[bytes] | None = None
        self._is_wanted = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._supervise, daemon=True)
        self.folder.mkdir(parents=True)
        self._thread.start()

    def start(self) -> None:
        """Have a worker run here."""
        with self._changed:
            self._is_wanted = True
            self._changed.notify_all()

    def stop(self) -> int:
        """End it by SIGTERM and start none again; return its status."""
        process = self._give_up()
        if process is None:
            return 0
        process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._show_stacks(process)
            process.kill()
            status = process.wait()
        if status not in (0, DOUBT_STATUS, -signal.SIGTERM):  # the last: asked before Python had begun
            self.violations.append(f"{self.name} was asked to stop and ended with status {status}: {self.said()}")
        return status

    def halt(self) -> None:
        """End it by SIGKILL and start none again."""
        process = self._give_up()
        if process is not None:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """End it by SIGKILL; it is started again at once."""
        self.send(signal.SIGKILL)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if there is one to send it to."""
        with self._changed:
            if self._process is not None and self._process.poll() is None:
                self._process.send_signal(number)

    def order(self, words: str) -> None:
        """Give the saboteur in it an order (`tests.faults.worker`); empty: none."""
        if words:
            new = self._orders.with_suffix(".new")
            new.write_text(words)
            new.rename(self._orders)
        else:
            self._orders.unlink(missing_ok=True)

    def wipe(self) -> None:
        """Remove its data folder; for the time when nothing runs."""
        shutil.rmtree(self.data, ignore_errors=True)

    @property
    def pid(self) -> int | None:
        """The process id, None if nothing runs."""
        with self._changed:
            return None if self._process is None or self._process.poll() is not None else self._process.pid

    def said(self) -> str:
        """Return the last lines of its log."""
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        return "\n".join(lines[-_SAID_LINES:])

    def ask(self) -> str:
        """Return the last lines of its log, and what it is doing now (`tests.faults.inside`)."""
        said, size = self.said(), self._log.stat().st_size
        if self.pid is not None:
            self._question.touch()
            deadline = time.monotonic() + _STACKS_SECONDS
            while self._question.exists() and time.monotonic() < deadline:
                threading.Event().wait(0.1)
        with self._log.open("rb") as log:
            log.seek(size)
            return f"{said}\n{log.read().decode(errors='replace')}"

    def _show_stacks(self, process: "subprocess.Popen[bytes]") -> None:
        """Have a process that does not end say in its log where each of its threads is."""
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        process.send_signal(signal.SIGABRT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STACKS_SECONDS)

    def _give_up(self) -> "subprocess.Popen[bytes] | None":
        with self._changed:
            self._is_wanted = False
            process, self._process = self._process, None
            return process

    def _supervise(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_wanted)
                with self._log.open("ab") as log:
                    process = self._process = subprocess.Popen(
                        _COMMAND, env=self._environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
                    )
            began = time.monotonic()
            status = process.wait()
            with self._changed:
                if self._process is not process:
                    continue  # it was asked for
                self._process = None
                self.exits[status] += 1
                if status not in (DOUBT_STATUS, -signal.SIGKILL):
                    self.violations.append(f"{self.name} ended by itself with status {status}: {self.said()}")
                    self._is_wanted = False
                wait = _RESTART_SECONDS - (time.monotonic() - began)
                if wait > 0:
                    self._changed.wait(wait)


def damage(folder: Path, dice: random.Random, share: float = 0.5) -> int:
    """Overwrite bytes in the middle of files below a folder, as a failing disk does; return how many files."""
    count = 0
    for file in sorted(folder.rglob("*")):
        if file.is_file() and (file.suffix in (".sst", ".log") or file.name.startswith("MANIFEST")):
            size = file.stat().st_size
            if size and dice.random() < share:
                with suppress(OSError), file.open("r+b") as opened:
                    opened.seek(size // 2)
                    opened.write(os.urandom(min(64, size)))
                    count += 1
    return count
