"""`sizer worker`: one worker in the foreground, from its start to its end."""

import asyncio
import errno
import os
import signal
import sys
import threading
from contextlib import suppress
from typing import NoReturn

import structlog
import uvloop
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    InconsistentGroupProtocolError,
    InvalidSessionTimeoutError,
    KafkaError,
)

from app.core.policy import Policy
from app.errors import Doubt, UserError
from app.settings import Settings
from app.stream.clients import BrokerUnavailableError, LogEnds
from app.stream.doubt import DOUBT_STATUS, exit_in_doubt, in_a_thread
from app.stream.faust_app import SizerApp, rebalance_seconds
from app.stream.logs import configure_logging
from app.stream.refusals import NotAllowedError, lacking
from app.stream.watchdog import STALL_SECONDS, watch, watch_loop

_STOP_SECONDS = 4.0
"""A clean end takes a fraction of it; supervisors get a quick end even if Faust or a broker does not answer."""
_FAUST_SECONDS = 1.5
_REFUSED_STATUS = 2

_log = structlog.get_logger("sizer")


def run_worker(settings: Settings, policy: Policy) -> int:
    """Run a worker until SIGTERM or SIGINT and return its exit status.

    Raises UserError if the worker refuses to start, or to take a partition. Any doubt ends the process with status 70.
    """
    configure_logging()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(settings, policy))


async def _serve(settings: Settings, policy: Policy) -> int:
    loop = asyncio.get_running_loop()
    watch_loop(loop)
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    app = SizerApp(settings, policy)
    starting = asyncio.create_task(app.start())
    is_ready = False
    waiting = {starting, *map(asyncio.create_task, (asked.wait(), app.wait_until_stopped(), _watch(app)))}
    while not asked.is_set():
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        waiting -= done
        error = next((error for task in done if (error := task.exception())), None) or app.crash_reason
        if isinstance(error, BrokerUnavailableError):
            exit_in_doubt(str(error))
        error = _group_refusal(settings, error) or error
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            error = UserError(f"SIZER_WEB_PORT={settings.web_port} is taken by another program: set another, or 0")
        if is_ready and isinstance(error, NotAllowedError):
            exit_in_doubt(str(error))  # it was allowed before: the next start tells whether it is for good
        if isinstance(error, UserError):
            await _stop(app, error)
            raise error
        if isinstance(error, (Doubt, KafkaError)):
            exit_in_doubt(str(error) or repr(error))
        if error is not None or app.should_stop:
            exit_in_doubt("the worker broke down", error=error)
        if starting in done:
            is_ready = True
            _log.info("ready", app_id=settings.app_id, bootstrap_servers=settings.bootstrap_servers)
    _log.info("stopping")
    starting.cancel()
    await _stop(app)
    _log.info("stopped")
    return 0


def _group_refusal(settings: Settings, error: BaseException | None) -> UserError | None:
    """Return what a human must mend before this worker can be a member of the group, if that is what the error says."""
    match error:
        case InconsistentGroupProtocolError():
            return UserError(
                f"consumer group {settings.app_id} is used by another program: set another SIZER_APP_ID, or another"
                " group there"
            )
        case InvalidSessionTimeoutError():
            return UserError(
                f"SIZER_SESSION_TIMEOUT={settings.session_timeout:g}: not within what the brokers take"
                " (group.min.session.timeout.ms, group.max.session.timeout.ms)"
            )
        case GroupAuthorizationFailedError():
            return lacking(settings, "worker", f"Read on group {settings.app_id}")
    return None


async def _watch(app: SizerApp) -> None:
    await app.connected.wait()
    settings = app.settings
    group_seconds = rebalance_seconds(settings) + settings.session_timeout + STALL_SECONDS
    await watch(app.partitions, LogEnds(settings).find, group_seconds=group_seconds)


async def _stop(app: SizerApp, error: UserError | None = None) -> None:
    """Finish the transactions in flight and leave the group; then let Faust end, as far as it does so in time.

    Once the tasks are closed the end is clean: nothing is in flight, nothing more will be published.
    `error`: why the worker refuses.
    """
    is_clean = threading.Event()
    watchdog = in_a_thread(_STOP_SECONDS, _end, is_clean, error)
    if not app.is_connected:
        is_clean.set()  # Faust has started nothing yet
        return
    app.consumer.stop_flow()
    await app.partitions.pause()
    hints = app.partitions.committed_positions()
    await app.partitions.close()
    is_clean.set()
    # A wait for a service that is stopping may be cancelled by it, or, if it went down already, never end.
    for ending in (app.group_member.leave(hints), app.stop()):
        with suppress(Exception, asyncio.CancelledError):
            await asyncio.wait_for(ending, _FAUST_SECONDS)
    watchdog.cancel()  # else a refusal could be told twice
    in_a_thread(_STOP_SECONDS, os._exit, 0 if error is None else _REFUSED_STATUS)


def _end(is_clean: threading.Event, error: UserError | None) -> NoReturn:
    """End a process that has not ended in time; in a thread of its own, whatever the others wait for."""
    if error is not None:
        telling = threading.Thread(target=lambda: print(f"sizer: {error}", file=sys.stderr, flush=True), daemon=True)
        telling.start()
        telling.join(1.0)
        os._exit(_REFUSED_STATUS)
    os._exit(0 if is_clean.is_set() else DOUBT_STATUS)
