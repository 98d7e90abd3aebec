"""The worker's log on stderr: one line per event, to be read by people or by machines.

As JSON each line is an object: `timestamp`, `level`, `event` and what else there is to tell. Events have names that
stay the same, docs/logs.md has them all; what a library says is the event `library`.
"""

import json
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import structlog
from aiohttp.http_exceptions import HttpProcessingError

from app.errors import Doubt, UserError
from app.settings import LogFormat

_STDERR = 2
_LINES_LIMIT = 10_000
_FLUSH_SECONDS = 1.0
_REPEAT_SECONDS = 60.0
_LIBRARIES = ("faust", "mode", "aiohttp", "aiokafka", "asyncio", "concurrent", "httpx2", "httpcore2", "app")
"""`app` is Faust too: its services log by the module of their class. The worker's own logger is `sizer`."""
_FIRST = ("timestamp", "level", "event")

EventDict = structlog.typing.EventDict


def configure_logging(log_format: LogFormat) -> None:
    """Set up structlog for us and the standard library's logging for the libraries."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
    handler = _Writer(_dropped_as_json if log_format == "json" else _dropped_as_text)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_rendering(log_format))
    )
    handler.addFilter(_LibraryFilter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    if log_format == "json":
        # Python itself would write several lines of text.
        logging.captureWarnings(capture=True)
        sys.excepthook = _log_uncaught
        threading.excepthook = lambda told: _log_uncaught(told.exc_type, told.exc_value, told.exc_traceback)


def refusal(error: UserError, log_format: LogFormat, status: int) -> str:
    """Return the one line that says why the worker refuses, and with which exit status."""
    if log_format == "json":
        return _json_line("error", "refused", reason=str(error), status=status)
    return f"sizer: {error}"


def _rendering(log_format: LogFormat) -> Sequence[structlog.typing.Processor]:
    if log_format == "json":
        return [
            _name_event,
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,  # without values of variables: they may be secret
            _in_order,
            structlog.processors.JSONRenderer(),
        ]
    renderer = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
    )
    return [structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer]


def _name_event(_: object, __: str, event: EventDict) -> EventDict:
    """Give a library's line the name of an event, and tell who said what beside it."""
    if not event["_from_structlog"]:
        record = event["_record"]
        event.update(event=getattr(record, "event", "library"), library=record.name, message=event["event"])
    return event


def _in_order(_: object, __: str, event: EventDict) -> EventDict:
    return {name: event[name] for name in _FIRST} | dict(event)


def _json_line(level: str, event: str, **fields: Any) -> str:
    now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return json.dumps({"timestamp": now, "level": level, "event": event, **fields})


def _dropped_as_json(count: int) -> str:
    return _json_line("warning", "lines dropped", lines=count)


def _dropped_as_text(count: int) -> str:
    return f"{count} lines of this log found no room, because nobody read it"


def _log_uncaught(kind: type[BaseException], error: BaseException | None, traceback: Any) -> None:
    logging.getLogger("python").critical("uncaught exception", exc_info=(kind, error or kind(), traceback))


class _Writer(logging.Handler):
    """Writes to stderr in a thread of its own: who reads it may stand still, the worker must not.

    Lines that find no room are counted, and told when there is some again.
    """

    def __init__(self, tell_dropped: Callable[[int], str]) -> None:
        super().__init__()
        self._tell_dropped = tell_dropped
        self._lines: queue.Queue[str] = queue.Queue(_LINES_LIMIT)
        self._dropped = 0
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Have a line written; whoever logs something odd is not held up by it either."""
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 - whatever a library's arguments do when they are put into words
            record.msg, record.args, record.exc_info = f"{record.msg} ({error!r})", (), None
            line = self.format(record)
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._dropped += 1

    def flush(self) -> None:
        """Wait until all lines are written, but not for long."""
        done = self._lines.all_tasks_done
        with done:
            done.wait_for(lambda: not self._lines.unfinished_tasks, _FLUSH_SECONDS)

    def _run(self) -> None:
        while True:
            text = self._lines.get() + "\n"
            dropped, self._dropped = self._dropped, 0
            if dropped:
                text += self._tell_dropped(dropped) + "\n"
            # Not by sys.stderr: the interpreter could not end while this thread holds its lock.
            with suppress(OSError):
                os.write(_STDERR, text.encode(errors="backslashreplace"))
            self._lines.task_done()


class _LibraryFilter(logging.Filter):
    """Lets the worker's own lines pass, and of the libraries' only what an operator has to know, once.

    aiokafka tells of brokers that are away in many ways, ten times a second, and warns of each rebalance; Faust tells
    of an error at each of its services, also of one that the worker tells itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, str], float] = {}
        self._is_away = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a line is to be written; may put it in other words."""
        library = record.name.split(".")[0]
        if library == "aiokafka":
            return self._filter_aiokafka(record)
        if library not in _LIBRARIES:
            return True
        error = record.exc_info[1] if record.exc_info else None
        # What somebody sends to the port that is no HTTP is nobody's trouble here.
        is_told = isinstance(error, (UserError, Doubt, HttpProcessingError))
        # Faust's warnings about the app itself are that taking up an assignment takes long: a restore may.
        level = logging.ERROR if library == "app" else logging.WARNING
        return record.levelno >= level and not is_told and self._is_new(record)

    def _filter_aiokafka(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.ERROR:
            self._is_away = True
            record.__dict__["event"] = "brokers do not answer"
            record.msg, record.args = f"brokers do not answer, trying again: {record.getMessage()}", ()
            return self._is_new(record, "away")
        if self._is_away and "Discovered coordinator" in str(record.msg):
            self._is_away = False
            self._said.pop(("aiokafka", "away"), None)
            record.__dict__["event"] = record.msg = "brokers answer again"
            record.args = ()
            return True
        return False

    def _is_new(self, record: logging.LogRecord, what: str | None = None) -> bool:
        key = (record.name.split(".")[0], what or str(record.msg))
        now = time.monotonic()
        if now - self._said.get(key, -_REPEAT_SECONDS) < _REPEAT_SECONDS:
            return False
        self._said[key] = now
        return True
