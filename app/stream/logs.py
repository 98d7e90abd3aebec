"""The worker's log: one line per event, to stderr."""

import logging
import sys
import time

import structlog

from app.errors import Doubt, UserError

_REPEAT_SECONDS = 60.0
_LIBRARIES = ("faust", "mode", "aiokafka", "asyncio", "concurrent", "app")
"""`app` is Faust too: its services log by the module of their class. The worker's own logger is `sizer`."""


class _LibraryFilter(logging.Filter):
    """Lets a library say the same thing once a minute, and leaves what the worker says itself to the worker.

    aiokafka tells of a broker that is away ten times a second, Faust of an error at each of its services.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, (UserError, Doubt)):
            return False
        what = (record.name, str(record.msg))
        now = time.monotonic()
        if now - self._said.get(what, -_REPEAT_SECONDS) < _REPEAT_SECONDS:
            return False
        self._said[what] = now
        return True


def configure_logging() -> None:
    """Set up structlog for us and the standard library's logging, from warnings on, for the libraries."""
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
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.dev.ConsoleRenderer(
                    colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
                ),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    handler.addFilter(_own_or(_LibraryFilter()))
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)


def _own_or(libraries: logging.Filter) -> logging.Filter:
    """Return a filter that passes the worker's own lines and gives all others to `libraries`."""

    class _Filter(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool | logging.LogRecord:
            return record.name.split(".")[0] not in _LIBRARIES or libraries.filter(record)

    return _Filter()
