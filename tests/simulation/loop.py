"""An event loop in virtual time, in a fiber: asyncio's own tasks, futures and order of callbacks, nobody's clock."""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from tests.simulation.scheduler import SECOND, Killed, Scheduler

_TURN_CHANCE = 0.1


class Loop(asyncio.AbstractEventLoop):
    """The event loop of one process. Blocking functions run in fibers of the same process."""

    def __init__(self, scheduler: Scheduler, process: Any) -> None:
        self._scheduler = scheduler
        self._process = process
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[int, int, asyncio.TimerHandle]] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self._count = 0
        self.errors: list[dict[str, Any]] = []

    def run_forever(self) -> None:
        """Run callbacks as they become due, until the process is dead."""
        asyncio.events._set_running_loop(self)
        try:
            while True:
                self._due_timers()
                if not self._ready:
                    self._scheduler.wait(self._is_due, None)
                    continue
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()
                if self._process.is_dead:
                    raise Killed
                if self._ready and self._scheduler.random.random() < _TURN_CHANCE:
                    self._scheduler.effect("turn")
        finally:
            asyncio.events._set_running_loop(None)

    def unwind(self) -> None:
        """End all tasks of a dead process, in the scheduler's thread, so that nothing is left to the collector."""
        asyncio.events._set_running_loop(self)
        try:
            for _ in range(100):
                for task in self._tasks:
                    task.cancel()
                while self._ready:
                    handle = self._ready.popleft()
                    if not handle.cancelled():
                        handle._run()
                self._tasks = [task for task in self._tasks if not task.done()]
                if not self._tasks:
                    return
            raise AssertionError(f"tasks do not end: {self._tasks}")
        finally:
            asyncio.events._set_running_loop(None)

    def _is_due(self) -> bool:
        return bool(self._ready) or (bool(self._timers) and self._timers[0][0] <= self._scheduler.now)

    def _due_timers(self) -> None:
        while self._timers and self._timers[0][0] <= self._scheduler.now:
            self._ready.append(heapq.heappop(self._timers)[2])

    @property
    def next_timer(self) -> int | None:
        """When the next timer is due, in virtual microseconds."""
        return self._timers[0][0] if self._timers else None

    # What asyncio asks of a loop.

    def time(self) -> float:
        return self._scheduler.now / SECOND

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Any = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any, context: Any = None) -> Any:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any, context: Any = None) -> Any:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._count += 1
        heapq.heappush(self._timers, (round(when * SECOND), self._count, handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Any = None) -> Any:
        # A name of asyncio's own would count over all loops of this process.
        task = asyncio.Task(coro, loop=self, name=name or "task", context=context)
        self._tasks = [task, *(other for other in self._tasks if not other.done())]
        return task

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":
        future = self.create_future()

        def run() -> None:
            try:
                result, error = func(*args), None
            except Killed:
                raise
            except BaseException as raised:  # noqa: BLE001 - an executor passes on whatever it is
                result, error = None, raised
            self.call_soon(_settle, future, result, error)

        name = getattr(func, "__name__", "thread").strip("_")
        self._scheduler.spawn(f"{self._process.name}.{name}", self._process, run)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._process.is_dead:
            self.errors.append(context)


def _settle(future: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
    if future.cancelled():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
