"""What a worker is doing, told from inside: for a violation's report, where its log alone explains nothing."""

import asyncio
import faulthandler
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.stream.faust_app import SizerApp

_LOOK_SECONDS = 0.3


def answer_questions(question: Path) -> None:
    """Watch, in a thread, for a file; as soon as it is there, write to stderr what the worker is doing, and remove it.

    A thread, because neither event loop needs to turn for it.
    """
    threading.Thread(target=_watch, args=(question,), name="inside", daemon=True).start()


def _watch(question: Path) -> None:
    pause = threading.Event()
    while True:
        pause.wait(_LOOK_SECONDS)
        if question.exists():
            for line in _lines():
                os.write(2, f"inside: {line}\n".encode())
            faulthandler.dump_traceback(all_threads=True)
            question.unlink(missing_ok=True)


def _lines() -> Iterator[str]:
    app = _started[-1] if _started else None
    if app is None or not app.is_connected:
        yield "not connected"
        return
    for part in (_own, _faust, _aiokafka, _tasks):
        try:
            yield from part(app)
        except Exception as error:  # noqa: BLE001 - a look from another thread may find things half done
            yield f"{part.__name__}: {error!r}"


def _own(app: SizerApp) -> Iterator[str]:
    partitions: Any = app.partitions
    reader, standbys = partitions._reader, partitions._standbys
    yield f"partitions: moving {partitions.is_moving}, waits for group {partitions.waits_for_group}"
    yield (
        f"reader: wants more {reader._more.is_set()}, new assignment {reader._assignment is not reader._current},"
        f" positions {reader._assignment.positions}, paused {reader._paused}, task {reader._running}"
    )
    yield f"standbys: wants more {standbys._more.is_set()}, idle {standbys._idle.is_set()}, of {list(standbys._tables)}"
    for number, task in app.partitions.tasks.items():
        inbox: Any = task.inbox
        yield (
            f"task {number}: paused {task._is_paused}, idle {task._idle.is_set()}, expected {inbox._expected},"
            f" waiting {inbox._counts}, may be more fills {inbox._may_be_more_fills},"
            f" committed {task.committed_positions}"
        )


def _faust(app: SizerApp) -> Iterator[str]:
    yield f"faust: rebalancing {app.rebalancing}, generation {app.consumer_generation_id}"


def _aiokafka(app: SizerApp) -> Iterator[str]:
    consumer: Any = app.group_member._thread._consumer
    coordinator = consumer._coordinator
    subscription = consumer._subscription.subscription
    yield (
        f"group: generation {coordinator.generation}, member {coordinator.member_id!r},"
        f" coordinator {coordinator.coordinator_id}, rejoin {coordinator._rejoin_needed_fut.done()},"
        f" heartbeats {coordinator._heartbeat_task}, reassignment {subscription._reassignment_in_progress}"
    )
    for where, connection in consumer._client._conns.items():
        requests = [type(request).__name__ for _, request, _ in connection._requests]
        yield f"  connection {where}: connected {connection.connected()}, requests {requests}"


def _tasks(app: SizerApp) -> Iterator[str]:
    for loop in (app.loop, app.group_member._thread.thread_loop):
        for task in asyncio.all_tasks(loop):
            yield f"{task.get_name()[:60]}: {' < '.join(reversed(list(_places(task.get_coro()))))}"


def _places(awaited: Any) -> Iterator[str]:
    """Give where a coroutine stands, and where the one that it waits for does, and so on."""
    while (frame := getattr(awaited, "cr_frame", None)) is not None:
        yield f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_name}"
        awaited = awaited.cr_await


_started: list[SizerApp] = []


def remember_apps() -> None:
    """Keep the worker's app, for the report."""
    original = SizerApp.__init__

    def remembering(self: SizerApp, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        _started.append(self)

    SizerApp.__init__ = remembering  # type: ignore[method-assign]  # nothing else is changed
