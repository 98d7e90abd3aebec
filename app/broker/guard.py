"""The guard: a small process between the one that wants a broker and Java, so that no Java outlives its owner.

Run as `python -I -S guard.py OWNER COMMAND…`, on its own, without the package. It starts COMMAND, prints its process
id, and ends it (SIGTERM, and SIGKILL after 10 s) when the owner is gone: when its pid is no longer our parent's or
the pipe at our standard input closes; also on a SIGTERM of our own. Both are watched, because a pipe stays open in a
forked child of the owner, and a parent is looked at only now and then. If the guard itself is killed, Linux kills Java.
(PR_SET_PDEATHSIG straight from the owner would fire as soon as the *thread* that started Java ends.)

Its exit status is that of COMMAND; 128 + n if a signal n ended it.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable

_STANDARD_INPUT = 0
_STANDARD_ERROR = 2
_PR_SET_PDEATHSIG = 1
_LOOK_AT_PARENT_SECONDS = 0.5
_PATIENCE_SECONDS = 10


def main(owner: int, command: list[str]) -> int:
    """Run `command` for as long as the process `owner` lives; return its status."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # whatever the owner's thread had blocked, Java must not
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)  # the number arrives in the pipe `woken`
    java = subprocess.Popen(  # noqa: S603 - the command comes from our own package
        command,
        stdin=subprocess.DEVNULL,
        stdout=_STANDARD_ERROR,
        preexec_fn=_die_with_the_guard(),  # noqa: PLW1509 - there is one thread
        close_fds=False,  # what the owner let us inherit, the lock of the data folder, is Java's as well
    )
    print(java.pid, flush=True)
    while java.poll() is None and os.getppid() == owner:
        readable, _, _ = select.select([_STANDARD_INPUT, woken], [], [], _LOOK_AT_PARENT_SECONDS)
        if _STANDARD_INPUT in readable or (woken in readable and set(os.read(woken, 64)) != {signal.SIGCHLD}):
            break
    return _end(java)


def _die_with_the_guard() -> Callable[[], object] | None:
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl  # found before the fork: little is safe between fork and exec
    return lambda: prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def _end(java: subprocess.Popen[bytes]) -> int:
    java.terminate()
    try:
        status = java.wait(_PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        java.kill()
        status = java.wait()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
