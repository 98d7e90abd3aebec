"""A worker that holds partitions and does not get on ends in doubt; a quiet or a slow one does not."""

import asyncio
import queue
import threading
from collections.abc import Callable

import pytest
from faust.types import TP

from app.stream.watchdog import Place, watch, watch_loop

SIGNALS = TP("signals", 2)
LOOKS = 20
STALL_SECONDS = 3.0


class Ended(BaseException):
    """What the exit is in these tests."""


class Work:
    """An input partition that is at a place after each look, and has work or not."""

    def __init__(self, place_at: Callable[[int], Place | None], *, has_work: bool = True) -> None:
        self.looks = 0
        self._place_at = place_at
        self._has_work = has_work

    def places(self) -> dict[TP, Place]:
        self.looks += 1
        if self.looks > LOOKS:
            raise TimeoutError
        place = self._place_at(self.looks)
        return {} if place is None else {SIGNALS: place}

    def has_work(self, tp: TP) -> bool:
        return self._has_work


def told(work: Work, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []

    def end(message: str) -> None:
        said.append(message)
        raise Ended

    monkeypatch.setattr("app.stream.watchdog.exit_in_doubt", end)
    with pytest.raises((Ended, TimeoutError)):
        asyncio.run(watch(work, stall_seconds=0.005, look_seconds=0.001))
    return said


def test_one_that_stands_still_with_work_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    (message,) = told(Work(lambda _: (7, 5)), monkeypatch)
    assert "partition 2: nothing of signals was processed" in message
    assert "at offset 5" in message


@pytest.mark.parametrize(
    "work",
    [
        Work(lambda look: (look, 5)),
        Work(lambda look: (7, look)),
        Work(lambda _: (7, 5), has_work=False),
        Work(lambda look: (7, 5) if look % 3 else None),
    ],
    ids=["reads on", "processes on", "has no work", "the group moves"],
)
def test_others_do_not(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(work, monkeypatch) == []


def test_an_event_loop_that_stands_still_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    said: queue.Queue[str] = queue.Queue()

    def end(message: str) -> None:
        said.put(message)
        threading.Event().wait()  # it does not return

    monkeypatch.setattr("app.stream.watchdog.exit_in_doubt", end)
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
