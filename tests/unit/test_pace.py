"""As many transactions at a time as make none of them slow, and no turn is lost."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from app.stream.pace import Pace

PARTITIONS = 12


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("app.stream.pace.time", made)
    return made


async def transactions(pace: Pace, clock: Clock, count: int, seconds: Callable[[int], float]) -> int:
    """Let all partitions do so many each, as long as they take with so many at a time; return how many there were."""
    at_work = most = 0

    async def partition() -> None:
        nonlocal at_work, most
        for _ in range(count):
            async with pace.turn(PARTITIONS):
                begun = clock.now
                at_work += 1
                most = max(most, at_work)
                await asyncio.sleep(0)
                clock.now = begun + seconds(at_work)
                at_work -= 1

    async with asyncio.timeout(20):
        await asyncio.gather(*(partition() for _ in range(PARTITIONS)))
    return most


def test_where_they_do_not_slow_each_other_down_all_partitions_have_one(clock: Clock) -> None:
    async def play() -> None:
        pace = Pace()
        assert await transactions(pace, clock, 30, lambda _: 0.01) == PARTITIONS

    asyncio.run(play())


def test_where_they_do_there_are_few(clock: Clock) -> None:
    async def play() -> None:
        pace = Pace()
        await transactions(pace, clock, 30, lambda _: 0.01)
        await transactions(pace, clock, 30, lambda at_work: 0.01 * at_work)
        assert await transactions(pace, clock, 30, lambda at_work: 0.01 * at_work) <= PARTITIONS / 2

    asyncio.run(play())


def test_a_slower_network_is_got_used_to(clock: Clock) -> None:
    async def play() -> None:
        pace = Pace()
        await transactions(pace, clock, 30, lambda _: 0.01)
        await transactions(pace, clock, 300, lambda _: 0.5)
        assert await transactions(pace, clock, 30, lambda _: 0.5) == PARTITIONS

    asyncio.run(play())


def test_a_busy_partition_does_not_keep_a_quiet_one_from_its_turn() -> None:
    async def play() -> None:
        pace = Pace()
        order: list[str] = []

        async def partition(name: str, count: int) -> None:
            for _ in range(count):
                async with pace.turn(2):
                    order.append(name)
                    await asyncio.sleep(0)

        async with asyncio.timeout(20):
            await asyncio.gather(*(partition(name, 20) for name in ("busy", "busier")), partition("quiet", 3))
        assert [place for place, name in enumerate(order) if name == "quiet"][-1] < 12

    asyncio.run(play())


def test_a_turn_that_fails_or_is_given_up_is_free_again(clock: Clock) -> None:
    async def play() -> None:
        pace = Pace()
        taken = asyncio.Event()

        async def take(*, fails: bool = False) -> None:
            async with pace.turn(PARTITIONS):
                if fails:
                    raise ValueError
                await taken.wait()

        holders: list[asyncio.Task[Any]] = [asyncio.create_task(take()) for _ in range(2)]
        waiting = [asyncio.create_task(take(fails=True)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        taken.set()
        async with asyncio.timeout(20):
            found = await asyncio.gather(*holders, *waiting, return_exceptions=True)
        assert [type(one) for one in found] == [type(None)] * 2 + [asyncio.CancelledError] + [ValueError] * 2
        assert pace._running == 0

    asyncio.run(play())
