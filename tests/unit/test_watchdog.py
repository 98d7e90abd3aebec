"""A worker that holds partitions and does not get on ends in doubt; a quiet or a slow one does not."""

import asyncio
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
from faust.types import TP

from app.core.policy import TABLE_POLICY
from app.settings import Settings
from app.stream.partitions import Partitions
from app.stream.topics import TopicFacts
from app.stream.totals import Totals
from app.stream.watchdog import Pulse, watch, watch_loop

SIGNALS, FILLS = TP("signals", 2), TP("fills", 2)
END = 1_000
LOOKS = 20
STALL_SECONDS = 3.0


class Ended(BaseException):
    """What the exit is in these tests."""


class Work:
    """A partition whose inputs are at some places at each look, or which the group moves."""

    def __init__(
        self,
        places_at: Callable[[int], tuple[int, int] | None],
        *,
        end: int | None = END,
        waits_for_group: bool = False,
    ) -> None:
        self.looks = 0
        self.waits_for_group = waits_for_group
        self._places_at = places_at
        self._end = end

    def places(self) -> Mapping[TP, int]:
        self.looks += 1
        if self.looks > LOOKS:
            raise TimeoutError
        places = self._places_at(self.looks)
        return {} if places is None else dict(zip((SIGNALS, FILLS), places, strict=True))

    def find_ends(self, tps: Iterable[TP]) -> Mapping[tuple[str, int], int]:
        return {} if self._end is None else dict.fromkeys(tps, self._end)


def told(work: Work, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []

    def end(message: str) -> None:
        said.append(message)
        raise Ended

    monkeypatch.setattr("app.stream.watchdog.exit_in_doubt", end)
    with pytest.raises((Ended, TimeoutError)):
        asyncio.run(watch(work, work.find_ends, Pulse(), group_seconds=0.01, stall_seconds=0.005, look_seconds=0.001))
    return said


@pytest.mark.parametrize("places", [(5, END), (END, 5), (5, 5)], ids=["signals wait", "fills wait", "both wait"])
def test_one_that_stands_still_with_work_ends(places: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    (message,) = told(Work(lambda _: places), monkeypatch)
    assert "partition 2: nothing was processed" in message
    assert f"at offset 5 of {END}" in message


def test_one_that_the_group_forgets_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    (message,) = told(Work(lambda _: None, waits_for_group=True), monkeypatch)
    assert "the group has not said for 0.01 s" in message


@pytest.mark.parametrize(
    "work",
    [
        Work(lambda look: (look, 5)),
        Work(lambda look: (5, look)),
        Work(lambda _: (END, END)),
        Work(lambda _: (5, 5), end=None),
        Work(lambda look: (5, 5) if look % 3 else None),
        Work(lambda _: None),
    ],
    ids=["signals go on", "fills go on", "no work", "no broker answers", "the group moves", "opening takes long"],
)
def test_others_do_not(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(work, monkeypatch) == []


def test_an_event_loop_that_stands_still_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    said: queue.Queue[str] = queue.Queue()

    def end(message: str) -> None:
        said.put(message)
        threading.Event().wait()  # it does not return

    monkeypatch.setattr("app.stream.watchdog.exit_in_doubt", end)
    monkeypatch.setattr("faulthandler.dump_traceback_later", lambda *_, **__: None)
    loop = asyncio.new_event_loop()
    call = loop.call_soon_threadsafe
    looks = 0

    def count(callback: Callable[[], object]) -> None:
        nonlocal looks
        looks += 1
        call(callback)
        if looks == LOOKS:
            call(loop.stop)

    monkeypatch.setattr(loop, "call_soon_threadsafe", count)
    watch_loop(loop, stall_seconds=STALL_SECONDS, look_seconds=0.01)
    loop.run_forever()
    assert said.empty()
    assert "stood still" in said.get(timeout=60)
    loop.close()


def test_a_process_in_which_nothing_can_run_ends() -> None:
    """Native code that waits and keeps Python's lock, as a database may: no thread and no signal handler gets on."""
    script = """
import asyncio, ctypes
from app.stream.watchdog import watch_loop
loop = asyncio.new_event_loop()
watch_loop(loop, stall_seconds=0.2, look_seconds=0.1)
loop.call_later(0.3, ctypes.PyDLL(None).sleep, 300)
loop.run_forever()
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "most recent call first" in ended.stderr


def test_a_partition_that_waits_for_the_registry_is_no_stalled_one(tmp_path: Path) -> None:
    async def owned() -> Mapping[TP, int]:
        partitions = Partitions(Settings(data_dir=tmp_path), TABLE_POLICY, TopicFacts(2, {}, {}), Totals())
        partitions._moving_since = None  # they were assigned
        for partition in (0, 1):
            task = SimpleNamespace(waits_for_schema=partition == 1, committed_positions={"signals": 5, "fills": 3})
            partitions._tasks[partition] = task  # type: ignore[assignment]  # as far as it is looked at
        return partitions.places()

    assert asyncio.run(owned()) == {TP("signals", 0): 5, TP("fills", 0): 3}
