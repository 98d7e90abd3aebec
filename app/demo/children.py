"""The demo's child processes: started, watched, killed on purpose, and none left behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_PATIENCE_SECONDS = 15
_SHOWN_LINES = 15

# Runs before the command, in its process: on Linux a child dies with whoever started it, even by SIGKILL. (A
# preexec_fn would run Python between fork and exec of a process that has threads.)
_DIE_WITH_PARENT = """
import os, sys
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


class ChildDied(Exception):  # noqa: N818 - what happened, not whose error it was
    """A child process ended that should not have; the message has the end of its log."""


class Child:
    """One child process with its log file. Ctrl-C in the terminal does not reach it."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        *,
        ends_by_itself: bool = False,
    ) -> None:
        """Start `python -m ARGUMENTS…` in `folder`, where its log goes as well.

        Call it from the main thread: on Linux the child dies with the thread that made it.
        `ends_by_itself`: an end with status 0 is what is expected of it.
        """
        self.name = name
        self._ends_by_itself = ends_by_itself
        self._folder = folder
        self._log = folder / "log"
        self._arguments = arguments
        self._environment = environment
        self._expected_end = False
        self._process = self._start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """The exit status, negative after a signal; None while it runs."""
        return self._process.poll()

    def tell(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def has_said(self, word: str) -> bool:
        """Tell whether a word is in its log."""
        return word in self._log.read_text(errors="replace").split()

    def check(self) -> None:
        """Raise ChildDied if it ended and was not asked to."""
        if self.status is None or self._expected_end or (self.status == 0 and self._ends_by_itself):
            return
        raise ChildDied(f"{self.name} ended unexpectedly with status {self.status}{self.log_tail()}")

    def log_tail(self) -> str:
        """Return the last lines of its log, for people, after a heading."""
        lines = self._log.read_text(errors="replace").splitlines()[-_SHOWN_LINES:]
        return "; its last lines:\n  " + "\n  ".join(lines) if lines else "; it said nothing"

    def kill(self) -> None:
        """End it by SIGKILL, as a crash would."""
        self._expected_end = True
        self._process.kill()
        self._reap()

    def ask_to_stop(self) -> None:
        """Send SIGTERM, if it still runs."""
        self._expected_end = True
        if self.status is None:
            self._process.send_signal(signal.SIGTERM)

    def await_end(self) -> int:
        """Wait for the end after `ask_to_stop`, by SIGKILL if it takes too long; return the exit status."""
        try:
            self._process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        return self._reap()

    def restart(self) -> None:
        """Start it again after its end, with the same settings; its log goes on."""
        self._expected_end = False
        self._process = self._start()

    def _reap(self) -> int:
        if self._process.stdin is not None:
            self._process.stdin.close()
        return self._process.wait()

    def _start(self) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - our own interpreter and modules
                [
                    *(sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid())),
                    *(sys.executable, "-m", *self._arguments),
                ],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(self._environment),
                cwd=self._folder,
                start_new_session=True,
            )
