"""The last resort: a member of the group that holds partitions and does not get on is worse than a dead one.

Whatever keeps it, in Faust, in aiokafka or in us: it ends in doubt, its partitions are given to others, and it begins
anew. What counts is that there is work and nothing moves, not the clock alone, so that a quiet day is no alarm. Whether
there is work the brokers are asked, by a client of its own: what the readers know is no evidence against them.

aiokafka's heartbeats come from a thread of their own: they would go on though the event loop, in which everything else
happens, stands still. A further thread looks at that. And where native code stops while it holds Python's lock (RocksDB
when a disk does not answer, say) no thread of Python's can look at anything, nor is SIGTERM heard. A native one ends
the process then, after it has written where all threads are.
"""

import asyncio
import faulthandler
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Protocol

from faust.types import TP

from app.stream.doubt import exit_in_doubt

STALL_SECONDS = 45.0
"""Longer than a transaction takes that fails by its own time-outs."""
_LOOK_SECONDS = 5.0


class Watched(Protocol):
    """What is looked at."""

    @property
    def waits_for_group(self) -> bool:
        """Whether nothing is done because the group has not said yet which partitions are whose."""

    def places(self) -> Mapping[TP, int]:
        """Return up to where each owned input partition was processed for good; empty while partitions are moved."""


class Pulse:
    """What the watchdog saw when it last looked, for those who are asked how the worker is."""

    def __init__(self) -> None:
        self.standstill: Mapping[int, float] = {}
        """For how many seconds, at least, partitions that had work all the time did nothing."""
        self.silence = 0.0
        """For how many seconds the watchdog has not looked, though it was to."""
        self._is_watched = False

    def look(self, standstill: Mapping[int, float]) -> None:
        """Take note of a look."""
        self.standstill = standstill
        self.silence = 0.0
        self._is_watched = True

    def tick(self, seconds: float) -> None:
        """Let time go by, as the event loop has it: a process that was suspended must not find its time over."""
        if self._is_watched:
            self.silence += seconds


FindEnds = Callable[[Iterable[TP]], Mapping[tuple[str, int], int]]
"""Asks brokers where logs end, up to where they can be read; blocks, and leaves out what it could not learn."""


async def watch(
    watched: Watched,
    find_ends: FindEnds,
    pulse: Pulse,
    *,
    group_seconds: float,
    stall_seconds: float = STALL_SECONDS,
    look_seconds: float = _LOOK_SECONDS,
) -> None:
    """Look on and on; exit in doubt when a partition did nothing for `stall_seconds` though it had work all the time.

    So too when the group has not come to an end with moving partitions for `group_seconds`. `pulse` is told of each
    look.

    Looks are counted, not time: a process that was suspended, and goes on, must not find its time over.
    """
    waiting = 0
    stalled: dict[int, tuple[dict[TP, int], int]] = {}
    while True:
        await asyncio.sleep(look_seconds)
        waiting = waiting + 1 if watched.waits_for_group else 0
        if waiting * look_seconds >= group_seconds:
            exit_in_doubt(f"the group has not said for {group_seconds:g} s which partitions are this worker's")
        # By partition: signals wait, for as long as it takes, while many fills are processed.
        places: dict[int, dict[TP, int]] = {}
        for tp, place in watched.places().items():
            places.setdefault(tp.partition, {})[tp] = place
        still = {partition for partition, there in places.items() if stalled.get(partition, ({}, 0))[0] == there}
        ends = await asyncio.to_thread(find_ends, [tp for partition in still for tp in places[partition]])
        for partition, there in places.items():
            work = {tp: place for tp, place in there.items() if ends.get(tp, 0) > place}
            looks = stalled[partition][1] + 1 if work and partition in still else 0
            stalled[partition] = there, looks
            if looks * look_seconds >= stall_seconds:
                where = ", ".join(f"{tp.topic} at offset {place} of {ends[tp]}" for tp, place in work.items())
                exit_in_doubt(f"partition {partition}: nothing was processed for {stall_seconds:g} s, {where}")
        for partition in stalled.keys() - places.keys():
            del stalled[partition]
        pulse.look({partition: looks * look_seconds for partition, (_, looks) in stalled.items() if looks})


def watch_loop(
    loop: asyncio.AbstractEventLoop, *, stall_seconds: float = STALL_SECONDS, look_seconds: float = _LOOK_SECONDS
) -> None:
    """Start a thread that exits in doubt when the event loop gets to nothing for so long.

    When no thread gets to anything, the process ends a little later, with status 1: nobody could be asked for another.
    """
    looks = round(stall_seconds / look_seconds)
    pause = threading.Event()

    def look() -> None:
        while True:
            faulthandler.dump_traceback_later(stall_seconds + 2 * look_seconds, exit=True)
            turned = threading.Event()
            with suppress(RuntimeError):  # it is closed: the process is about to end
                loop.call_soon_threadsafe(turned.set)
            # In steps, as above: a process that was suspended must not find its time over.
            if not any(turned.wait(look_seconds) for _ in range(looks)):
                exit_in_doubt(f"the event loop stood still for {stall_seconds:g} s")
            pause.wait(look_seconds)

    threading.Thread(target=look, name="watchdog", daemon=True).start()
