"""How many transactions of this worker may be under way: as many as make none of them slow.

Each costs brokers and worker some milliseconds of processor time, however little is in it. Where that is scarce, many
at a time only slow each other down, and what arrives waits all the same; fewer of them take more along each. Where it
is not, and a commit is mostly waiting for replicas, there may be one for each partition.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_LEAST = 2
"""One is processed while one is committed."""
_TOLERANCE = 2.0
"""How many times as long as the quickest of late a transaction may take before there are to be fewer."""
_SMOOTHING = 0.2
_WINDOW_SECONDS = 30.0
"""After that long the quickest is forgotten: brokers and networks change."""


class Pace:
    """A limit that follows from how long transactions take, in the manner of TCP's congestion control (Vegas)."""

    def __init__(self) -> None:
        self.limit = float(_LEAST)
        self._running = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._quickest = [float("inf"), float("inf")]
        """In the present window, and in the one before."""
        self._window_ends = 0.0

    @asynccontextmanager
    async def turn(self, most: int) -> AsyncIterator[None]:
        """Wait for a turn; the block is a transaction. `most`: how many turns there can be use for."""
        await self._wait()
        begun = time.monotonic()
        try:
            yield
        finally:
            self._learn(time.monotonic() - begun, max(most, _LEAST))
            self._give_back()

    async def _wait(self) -> None:
        """Wait for a turn, behind all who wait already: a busy partition must not keep a quiet one from its next."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._hand_out()
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():  # it had been given one
                self._give_back()
            raise

    def _give_back(self) -> None:
        self._running -= 1
        self._hand_out()

    def _hand_out(self) -> None:
        while self._waiting and self._running < round(self.limit):
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                self._running += 1

    def _learn(self, seconds: float, most: int) -> None:
        now = time.monotonic()
        if now >= self._window_ends:
            self._quickest = [float("inf"), self._quickest[0]]
            self._window_ends = now + _WINDOW_SECONDS
        self._quickest[0] = min(self._quickest[0], seconds)
        quickest = min(self._quickest)
        share = min(1.0, max(0.5, _TOLERANCE * quickest / seconds)) if seconds > 0 else 1.0
        wanted = self.limit * share + 1
        self.limit += (min(max(wanted, _LEAST), most) - self.limit) * _SMOOTHING
