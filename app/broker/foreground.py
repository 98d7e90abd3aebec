"""`sizer broker`: the packaged Kafka in the foreground."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import platformdirs

from app.broker.broker import Broker
from app.broker.errors import BrokerError

# What Kafka's own documentation uses, so the sizer's default `localhost:9092` finds it.
DEFAULT_PORT = 9092


class _StopRequest(BaseException):
    """SIGTERM or Ctrl-C: as KeyboardInterrupt, it passes through whatever we are in."""


def run_broker(port: int | None = None, data_dir: Path | None = None) -> int:
    """Run a broker until SIGTERM or SIGINT (a clean end, status 0) or until it ends by itself (status 1).

    Prints one line to stdout, when it is ready for transactions: `broker ready at HOST:PORT, data in FOLDER`.
    Everything else goes to stderr. `data_dir`: by default `broker` in the user's data folder of position-sizer.

    Raises UserError as `Broker.start` does.
    """
    folder = data_dir or platformdirs.user_data_path("position-sizer") / "broker"
    broker = Broker(folder, DEFAULT_PORT if port is None else port)
    with _stop_requests():
        try:
            broker.start()
            print(f"broker ready at {broker.bootstrap_servers}, data in {broker.data_dir}", flush=True)
            status = broker.wait()
        except _StopRequest:
            broker.stop()
            return 0
        except BrokerError as error:
            print(f"sizer: {error}", file=sys.stderr)
            return 1
    print("sizer: " + broker.with_log(f"the broker ended by itself with status {status}"), file=sys.stderr)
    broker.stop()
    return 1


@contextmanager
def _stop_requests() -> Iterator[None]:
    """Turn the first SIGTERM or SIGINT into _StopRequest; further ones change nothing: the clean end is under way."""

    def handle(_number: int, _frame: FrameType | None) -> NoReturn:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        raise _StopRequest

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
