"""Who runs next, at what virtual time: one seeded source of chance for everything, and a trace that proves it.

Code that blocks (a commit, a restore, an event loop that waits) runs in a fiber: a thread of its own of which exactly
one runs at a time. It gives the baton back at every effect, so that a process can be frozen or killed between any two
of them. A fiber is a real thread because the code under test is plain blocking code.
"""

import hashlib
import random
import threading
from collections.abc import Callable
from typing import Any

MILLISECOND = 1_000
SECOND = 1_000_000
HOUR = 3_600 * SECOND
DAY = 24 * HOUR
START = 1_767_614_400 * SECOND  # 2026-01-05T12:00:00Z


class Killed(BaseException):
    """The process that a fiber belongs to is dead: nothing it does has an effect any more."""


class _Carrier:
    """A thread that carries one fiber after the other."""

    def __init__(self) -> None:
        self.go = threading.Lock()
        self.go.acquire()
        self.job: Callable[[], None] = _nothing
        threading.Thread(target=self._run, daemon=True, name="carrier").start()

    def _run(self) -> None:
        while True:
            self.go.acquire()
            self.job()


def _nothing() -> None:
    pass


_idle_carriers: list[_Carrier] = []


class Fiber:
    """A piece of blocking code of a process."""

    def __init__(self, scheduler: "Scheduler", name: str, process: Any, function: Callable[[], None]) -> None:
        self.name = name
        self.process = process
        self.is_done = False
        self.condition: Callable[[], bool] | None = None
        """What it waits for; None: nothing, it can go on."""
        self.deadline: int | None = None
        """When it goes on all the same, in virtual microseconds."""
        self._scheduler = scheduler
        self._function = function
        self._carrier = _idle_carriers.pop() if _idle_carriers else _Carrier()
        self._carrier.job = self._run

    def _run(self) -> None:
        try:
            if not self.process.is_dead:
                self._function()
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - told by the scheduler, in its own thread
            self._scheduler.failure = error
        self.is_done = True
        _idle_carriers.append(self._carrier)
        self._scheduler.baton.release()

    def resume(self) -> None:
        """Let it run until its next pause; for the scheduler's thread."""
        self._scheduler.current = self
        self._carrier.go.release()
        self._scheduler.baton.acquire()
        self._scheduler.current = None

    def pause(self) -> None:
        """Give the baton back; raises Killed if the process died meanwhile."""
        self._scheduler.baton.release()
        self._carrier.go.acquire()
        if self.process.is_dead:
            raise Killed

    def can_run(self, now: int) -> bool:
        """Tell whether it would get on."""
        if self.process.is_frozen:
            return False
        return self.condition is None or (self.deadline is not None and now >= self.deadline) or self.condition()


class Scheduler:
    """Fibers, virtual time, chance and the trace."""

    def __init__(self, seed: int, *, keep_trace: bool = False) -> None:
        self.random = random.Random(seed)
        self.now = START
        self.steps = 0
        self.stay = 0.6
        """The chance that a fiber goes on after an effect without anybody else getting a turn."""
        self.current: Fiber | None = None
        self.fibers: list[Fiber] = []
        self.baton = threading.Lock()
        self.baton.acquire()
        self.failure: BaseException | None = None
        self.is_unwinding = False
        """What runs now belongs to a dead process."""
        self.lines: list[str] | None = [] if keep_trace else None
        self._hash = hashlib.blake2b(digest_size=12)

    @property
    def trace_hash(self) -> str:
        """A digest of everything that happened, in order."""
        return self._hash.hexdigest()

    def trace(self, text: str) -> None:
        """Write down what happened."""
        self._hash.update(text.encode())
        if self.lines is not None:
            who = "" if self.current is None else self.current.name
            self.lines.append(f"{self.steps:6} {(self.now - START) / SECOND:14.3f} {who:12} {text}")

    def spawn(self, name: str, process: Any, function: Callable[[], None]) -> None:
        """Start a fiber; it runs when it is chosen."""
        self.fibers.append(Fiber(self, name, process, function))

    def effect(self, what: str) -> None:
        """Mark the instant before or after an effect; here others get a turn, and a process may freeze or die."""
        if self.is_unwinding:
            raise Killed
        self.steps += 1
        self.trace(what)
        fiber = self.current
        if fiber is None:
            return
        if fiber.process.is_dead:
            raise Killed
        if self.random.random() >= self.stay:
            fiber.pause()

    def wait(self, condition: Callable[[], bool], seconds: float | None) -> None:
        """Wait until something is so, or some virtual time has passed (None: for ever)."""
        fiber = self.current
        assert fiber is not None, "only fibers wait"
        if fiber.process.is_dead:
            raise Killed
        fiber.condition = condition
        fiber.deadline = None if seconds is None else self.now + int(seconds * SECOND)
        fiber.pause()
        fiber.condition = fiber.deadline = None

    def sleep(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.wait(_never, seconds)

    def runnable(self) -> list[Fiber]:
        """Return the fibers that would get on."""
        now = self.now
        return [fiber for fiber in self.fibers if fiber.can_run(now)]

    def run(self, fiber: Fiber) -> None:
        """Let a fiber run until it pauses."""
        fiber.resume()
        if fiber.is_done:
            self.fibers.remove(fiber)
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure

    def next_deadline(self) -> int | None:
        """Return when the next waiting fiber goes on by time alone."""
        deadlines = [f.deadline for f in self.fibers if f.deadline is not None and not f.process.is_frozen]
        return min(deadlines, default=None)

    def unwind(self, process: Any) -> None:
        """End all fibers of a dead process."""
        assert process.is_dead
        for fiber in [fiber for fiber in self.fibers if fiber.process is process]:
            while not fiber.is_done:
                fiber.resume()
            self.fibers.remove(fiber)


def _never() -> bool:
    return False
