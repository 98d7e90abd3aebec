"""The last resort: a member of the group that holds partitions and does not get on is worse than a dead one.

Whatever keeps it, in Faust, in aiokafka or in us: it ends in doubt, its partitions are given to others, and it begins
anew. What counts is that there is work and nothing moves, not the clock alone, so that a quiet day is no alarm.

aiokafka's heartbeats come from a thread of their own: they would go on though the event loop, in which everything else
happens, stands still. A further thread looks at that.
"""

import asyncio
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol

from faust.types import TP

from app.stream.doubt import exit_in_doubt

STALL_SECONDS = 45.0
"""Longer than a transaction takes that fails by its own time-outs."""
_LOOK_SECONDS = 5.0

Place = tuple[int, int]
"""Of an input partition: up to where it was read, and up to where it was processed for good."""


class Watched(Protocol):
    """What is looked at."""

    def places(self) -> Mapping[TP, Place]:
        """Return the places of the owned input partitions; empty while the group moves partitions."""

    def has_work(self, tp: TP) -> bool:
        """Tell whether something of an input partition waits here, or cannot even be fetched."""


async def watch(watched: Watched, *, stall_seconds: float = STALL_SECONDS, look_seconds: float = _LOOK_SECONDS) -> None:
    """Look on and on; exit in doubt when a place has not moved for so long though there was work all the time."""
    stalled: dict[TP, tuple[Place, int]] = {}
    while True:
        await asyncio.sleep(look_seconds)
        places = watched.places()
        for tp in stalled.keys() - places.keys():
            del stalled[tp]
        for tp, place in places.items():
            known, looks = stalled.get(tp, (None, 0))
            # Looks are counted, not time: a process that was suspended, and goes on, must not find its time over.
            looks = looks + 1 if known == place and watched.has_work(tp) else 0
            stalled[tp] = (place, looks)
            if looks * look_seconds >= stall_seconds:
                exit_in_doubt(
                    f"partition {tp.partition}: nothing of {tp.topic} was processed for {stall_seconds:g} s, at offset"
                    f" {place[1]}, though there is some"
                )


def watch_loop(
    loop: asyncio.AbstractEventLoop, *, stall_seconds: float = STALL_SECONDS, look_seconds: float = _LOOK_SECONDS
) -> None:
    """Start a thread that exits in doubt when the event loop gets to nothing for so long."""
    looks = round(stall_seconds / look_seconds)
    pause = threading.Event()

    def look() -> None:
        while True:
            turned = threading.Event()
            with suppress(RuntimeError):  # it is closed: the process is about to end
                loop.call_soon_threadsafe(turned.set)
            # In steps, as above: a process that was suspended must not find its time over.
            if not any(turned.wait(look_seconds) for _ in range(looks)):
                exit_in_doubt(f"the event loop stood still for {stall_seconds:g} s")
            pause.wait(look_seconds)

    threading.Thread(target=look, name="watchdog", daemon=True).start()
