"""Puts the fakes in the place of what the modules of app.stream imported: clients, clocks, RocksDB, the way out."""

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NoReturn

import confluent_kafka
import rocksdict
import structlog
from confluent_kafka import admin

import app.processor.state
import app.stream.clients
import app.stream.inbox
import app.stream.partitions
import app.stream.producers
import app.stream.progress
import app.stream.restore
import app.stream.startup
import app.stream.store
import app.stream.tables
import app.stream.task
from app.stream import doubt
from tests.simulation import clients, disk, producing
from tests.simulation.network import Network
from tests.simulation.scheduler import SECOND, Killed

_REAL: dict[int, Any] = {
    id(confluent_kafka.Producer): producing.Producer,
    id(confluent_kafka.Consumer): clients.Consumer,
    id(confluent_kafka.Message): producing.Message,
    id(admin.AdminClient): clients.AdminClient,
    id(rocksdict.Rdict): disk.Rdict,
    id(rocksdict.WriteBatch): disk.WriteBatch,
    id(rocksdict.AccessType): disk.AccessType,
    id(shutil): disk.Shutil,
}


def _clock() -> float:
    network = Network.active
    fiber = network.scheduler.current
    ahead = 0 if fiber is None else fiber.process.clock_ahead
    return (network.scheduler.now + ahead) / SECOND


def _clock_ns() -> int:
    network = Network.active
    fiber = network.scheduler.current
    ahead = 0 if fiber is None else fiber.process.clock_ahead
    return (network.scheduler.now + ahead) * 1000


def _monotonic() -> float:
    return Network.active.scheduler.now / SECOND


_time = SimpleNamespace(time=_clock, time_ns=_clock_ns, monotonic=_monotonic)


def _exit_in_doubt(message: str, *, error: BaseException | None = None) -> NoReturn:
    fiber = Network.active.scheduler.current
    if fiber is not None:
        fiber.process.end_in_doubt(message, error)
    raise Killed


class _Log:
    """Structlog's loggers, as far as they are used: what is said goes to the trace."""

    def _say(self, event: str, **_: Any) -> None:
        Network.active.scheduler.trace(f"log: {event}")

    debug = info = warning = error = critical = _say


@contextmanager
def installed(**limits: int) -> Iterator[None]:
    """Put the fakes in place as long as the block runs.

    `limits`: other values for `module__NAME` (module of app.stream), small ones so that much happens.
    """
    replaced: list[tuple[Any, str, Any]] = []

    def put(module: Any, name: str, value: Any) -> None:
        replaced.append((module, name, getattr(module, name)))
        setattr(module, name, value)

    fakes = {**_REAL, id(time): _time, id(doubt.exit_in_doubt): _exit_in_doubt}
    log = _Log()
    for module_name in sorted(sys.modules):
        module = sys.modules[module_name]
        if not module_name.startswith("app.stream.") or module is None:
            continue
        for name, value in list(vars(module).items()):
            if id(value) in fakes:
                put(module, name, fakes[id(value)])
            elif name == "_log" and isinstance(value, structlog.BoundLoggerBase | type(structlog.get_logger())):
                put(module, name, log)
    put(app.stream.clients, "find_refusal", lambda *_: None)  # it would make a real connection
    put(app.stream.store, "find_damage", lambda _: None)
    put(app.stream.store, "_options", lambda **_: None)
    put(app.processor.state, "PORTFOLIO_CAPACITY", 2)
    put(app.processor.state, "ORDER_CAPACITY", 3)
    for name, value in limits.items():
        module_name, _, constant = name.partition("__")
        put(sys.modules[f"app.stream.{module_name}"], constant, value)
    try:
        yield
    finally:
        for module, name, value in reversed(replaced):
            setattr(module, name, value)
