"""What remembering costs: restoring it, and the processor time of an event beside it.

A worker remembers each decided signal for 48 hours and each finished order with its fills for 24. Two workers run side
by side, one that remembers ten signals and one that remembers very many, and take turns at equal backlogs: were the
cost of an event to grow with what is remembered, the ratio of the two would show it.

What they remember is written straight into their changelogs before they start: one decided signal, one finished order
and one applied fill for each id, all over the portfolios that the events are of. So their first start restores it from
there, and that is timed as well, and a second start on what is then on their disks. Answers are audited as everywhere;
the state is not, for rows that come of no input are what the auditor is there to find.
"""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from confluent_kafka import Producer

from app.broker import Broker
from app.core.messages import Side
from app.core.state import Order
from app.processor import Change
from app.processor.partitioners import partitioner
from app.processor.rows import (
    EXEC_ID_ROW,
    DecidedSignal,
    encode_decided_signal,
    encode_order,
    exec_id_key,
    order_key,
    signal_id_key,
)
from app.settings import Settings
from app.stream.topics import changelog_topic
from bench.contestants import WORKER, Race
from bench.observer import Observer
from bench.throughput import Throughput, backlog, work_off
from bench.workload import PARTITIONS, PORTFOLIOS, Workload, portfolio_name

FEW = 10
MANY = 1_000_000
ROWS_PER_ID = 3
ROUNDS = 3
_CONTESTANT = WORKER._replace(keeps_our_state=False)
_START_SECONDS = 900.0
_POLL_SECONDS = 0.02
_FLUSH_SECONDS = 120.0
_IDLE_SHARE = 0.1
_SECOND = 1_000_000
_HOUR = 3_600 * _SECOND


class Start(NamedTuple):
    """How long a start took."""

    seconds: float
    """From the process's start until it has its partitions and is ready."""
    opening_seconds: float
    """Of these, for fencing, restoring and checking its partitions, all at once."""


class Remembering(NamedTuple):
    """What was measured of the worker that remembers so many ids."""

    ids: int
    disk_lost: Start
    """All rows came from the changelogs."""
    disk_kept: Start
    runs: Sequence[Throughput]
    """One for each round."""


def measure(broker: Broker, folder: Path, number: int, *, ids: int, seed: int, events: int) -> list[Remembering]:
    """Measure a worker that remembers few ids and one that remembers `ids`, in turn.

    `number`: of the first's run, the other's is the next one. `events`: of each of a worker's `ROUNDS`.

    Raises ContestantError if one falls silent or answers wrongly.
    """
    now = time.time_ns() // 1000
    workload = Workload(seed, PARTITIONS, now)
    starts: list[tuple[Start, Start]] = []
    runs: tuple[list[Throughput], list[Throughput]] = ([], [])
    with ExitStack() as stack:
        races = []
        for place, count in enumerate((FEW, ids)):
            prepare = partial(remember, ids=count, now=now)
            races.append(stack.enter_context(Race(_CONTESTANT, broker, folder, number + place, prepare)))
            starts.append(_starts(races[-1]))
        observers = [stack.enter_context(Observer(race.settings)) for race in races]
        sides = list(zip(races, observers, runs, strict=True))
        for turn in range(ROUNDS):
            work = backlog(workload, events)
            for race, observer, run in sides[:: -1 if turn % 2 else 1]:
                run.append(work_off(_CONTESTANT.name, race, observer, work))
        for race in races:
            race.verified()
    return [Remembering(count, *start, run) for count, start, run in zip((FEW, ids), starts, runs, strict=True)]


def remember(settings: Settings, ids: int, now: int) -> None:
    """Write so many remembered ids into the changelogs. `now`: microseconds since the epoch."""
    producer = Producer(
        {
            "bootstrap.servers": settings.bootstrap_servers,
            "linger.ms": 20,
            "log_level": 2,
            "queue.buffering.max.messages": 500_000,
        }
    )
    partition_of = partitioner("murmur2", PARTITIONS)
    assert partition_of is not None
    names = [portfolio_name(number) for number in range(PORTFOLIOS)]
    partitions = [partition_of(name.encode()) for name in names]
    for number in range(ids):
        place = number % PORTFOLIOS
        for table, key, row in _rows(names[place], number, now - _HOUR):
            topic = changelog_topic(settings, table)
            while True:
                try:
                    producer.produce(topic, row, key, partitions[place])
                except BufferError:  # the queue is full: sending makes room
                    producer.poll(0.1)
                else:
                    break
        producer.poll(0)
    left = producer.flush(_FLUSH_SECONDS)
    assert left == 0, f"{left} rows were not taken by the broker"


def _rows(portfolio_id: str, number: int, at: int) -> Iterator[Change]:
    """Yield what a worker remembers of a signal whose order was filled and closed at a time."""
    signal_id = f"M-{number:08}"
    yield Change(
        "signal_ids", signal_id_key(portfolio_id, signal_id), encode_decided_signal(DecidedSignal(at, f"{number:016x}"))
    )
    order_id = str(UUID(int=number))
    quantity, notional = Decimal("0.00020000"), Decimal("1.00")
    order = Order(
        order_id,
        portfolio_id,
        Side.BUY,
        phase=1,
        sequence=number,
        notional=notional,
        quantity=quantity,
        expires_at=at + _HOUR,
        working=False,
        filled_quantity=quantity,
        finished_at=at,
    )
    key = order_key(portfolio_id, order_id)
    yield Change("orders", key, encode_order(order))
    yield Change("orders", exec_id_key(key, f"F-{number:08}"), EXEC_ID_ROW)


def _starts(race: Race) -> tuple[Start, Start]:
    """Time the start that has just begun, on an empty disk, and another one on what it leaves there."""
    lost = _await_start(race, 1)
    _settle(race)
    race.restart()
    kept = _await_start(race, 2)
    _settle(race)
    return lost, kept


def _await_start(race: Race, times: int) -> Start:
    begin = time.perf_counter()
    while True:
        said = race.said()
        seconds = time.perf_counter() - begin
        openings = re.findall(r" assigned .*opened=\[\d.* seconds=([\d.]+)", said)
        if len(openings) >= times and said.count(" ready ") >= times:
            return Start(seconds, float(openings[-1]))
        race.check()
        if seconds > _START_SECONDS:
            raise race.error(f"was not ready after {seconds:.0f} s")
        time.sleep(_POLL_SECONDS)


def _settle(race: Race) -> None:
    """Wait until it does nothing any more: RocksDB goes on for a while with sorting what it was given."""
    share = 1.0
    while share > _IDLE_SHARE:
        before, begin = race.usage().cpu_seconds, time.perf_counter()
        time.sleep(1.0)
        share = (race.usage().cpu_seconds - before) / (time.perf_counter() - begin)
