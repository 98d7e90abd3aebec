"""The way out when we cannot be sure: at once, before anything else is published."""

import logging
import os
import threading
from collections.abc import Callable
from typing import NoReturn

import structlog

DOUBT_STATUS = 70
"""Exit status of any doubt about state or ownership (sysexits' EX_SOFTWARE); a supervisor restarts the worker."""

_TELL_SECONDS = 3.0

_log = structlog.get_logger("sizer")


def in_a_thread(seconds: float, end: Callable[..., object], *arguments: object) -> threading.Timer:
    """Call what ends the process after so many seconds, whatever everything else waits for; it may be cancelled."""
    timer = threading.Timer(seconds, end, arguments)
    timer.daemon = True
    timer.start()
    return timer


def exit_in_doubt(message: str, *, error: BaseException | None = None) -> NoReturn:
    """Say why and end the process with status 70.

    Not by an exception: Faust's services would catch it, log it and go on. Transactions that are open stay
    unfinished; whoever opens the partition next fences and aborts them. `error`: one whose traceback tells more,
    that is, one that nobody foresaw.
    """
    in_a_thread(_TELL_SECONDS, os._exit, DOUBT_STATUS)
    try:
        _log.critical("in doubt", reason=message, status=DOUBT_STATUS, exc_info=error)
        logging.shutdown()  # waits for the last lines, but not for long
    finally:
        os._exit(DOUBT_STATUS)
