"""The worker's log: one line per event, to stderr."""

import logging
import os
import queue
import sys
import threading
import time
from contextlib import suppress

import structlog

from app.errors import Doubt, UserError

_STDERR = 2
_LINES_LIMIT = 10_000
_FLUSH_SECONDS = 1.0
_REPEAT_SECONDS = 60.0
_LIBRARIES = ("faust", "mode", "aiokafka", "asyncio", "concurrent", "httpx2", "httpcore2", "app")
"""`app` is Faust too: its services log by the module of their class. The worker's own logger is `sizer`."""


def configure_logging() -> None:
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
    renderer = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
    )
    handler = _Writer()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    handler.addFilter(_LibraryFilter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)


class _Writer(logging.Handler):
    """Writes to stderr in a thread of its own: who reads it may stand still, the worker must not.

    Lines that find no room are counted, and told when there is some again.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lines: queue.Queue[str] = queue.Queue(_LINES_LIMIT)
        self._dropped = 0
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Have a line written."""
        try:
            self._lines.put_nowait(self.format(record))
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
                text += f"{dropped} lines of this log found no room, because nobody read it\n"
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
        is_told = isinstance(error, (UserError, Doubt))
        # Faust's warnings about the app itself are that taking up an assignment takes long: a restore may.
        level = logging.ERROR if library == "app" else logging.WARNING
        return record.levelno >= level and not is_told and self._is_new(record)

    def _filter_aiokafka(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.ERROR:
            self._is_away = True
            record.msg, record.args = f"brokers do not answer, trying again: {record.getMessage()}", ()
            return self._is_new(record, "away")
        if self._is_away and "Discovered coordinator" in str(record.msg):
            self._is_away = False
            self._said.pop(("aiokafka", "away"), None)
            record.msg, record.args = "brokers answer again", ()
            return True
        return False

    def _is_new(self, record: logging.LogRecord, what: str | None = None) -> bool:
        key = (record.name.split(".")[0], what or str(record.msg))
        now = time.monotonic()
        if now - self._said.get(key, -_REPEAT_SECONDS) < _REPEAT_SECONDS:
            return False
        self._said[key] = now
        return True
