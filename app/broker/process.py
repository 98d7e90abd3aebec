"""Java as a child process behind its guard."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from app.broker.java import java_environment

_GUARD = Path(__file__).with_name("guard.py")


class GuardedProcess:
    """A command that ends when we end, whatever ends us; not reached by a Ctrl-C in our terminal."""

    def __init__(self, command: Sequence[str], *, folder: Path, log: Path, inherited: Sequence[int] = ()) -> None:
        """Start `command` in `folder`; what it prints goes to `log`. It inherits the file descriptors `inherited`.

        Raises OSError if not even the guard can be started. If the command cannot be, it counts as one that ended.
        """
        with log.open("wb") as log_file:
            self._guard = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-I", "-S", str(_GUARD), str(os.getpid()), *command],
                stdin=subprocess.PIPE,  # open for as long as we live
                stdout=subprocess.PIPE,
                stderr=log_file,
                cwd=folder,
                env=java_environment(),
                pass_fds=inherited,
                start_new_session=True,
            )
        assert self._guard.stdout is not None
        self._pid = self._guard.stdout.readline().strip()

    @property
    def pid(self) -> int:
        """The process id of the command, not of its guard."""
        return int(self._pid)

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for its end; return its status (128 + n: ended by signal n), or None after `timeout` seconds."""
        try:
            status = self._guard.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        return status if status >= 0 else 128 - status

    def stop(self) -> None:
        """End it by SIGTERM, after 10 s by SIGKILL; return when it is gone."""
        self._guard.terminate()
        self._forget()

    def kill(self) -> None:
        """End it by SIGKILL; return when it is gone."""
        if self._pid and self._guard.poll() is None:  # its guard has not reaped it: the pid is still its own
            os.kill(self.pid, signal.SIGKILL)
        else:
            self._guard.kill()
        self._forget()

    def _forget(self) -> None:
        self._guard.wait()
        for pipe in (self._guard.stdin, self._guard.stdout):
            if pipe is not None:
                pipe.close()
