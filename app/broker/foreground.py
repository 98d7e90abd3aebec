"""`sizer broker` and `sizer registry`: the packaged Kafka and Schema Registry in the foreground."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import platformdirs

from app.broker.broker import Broker
from app.broker.errors import BrokerError
from app.broker.registry import Registry
from app.broker.service import Service

# What Kafka's own documentation uses, so the sizer's default `localhost:9092` finds it.
DEFAULT_PORT = 9092
DEFAULT_REGISTRY_PORT = 8081  # Confluent's


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
    return _run(broker, lambda: f"broker ready at {broker.bootstrap_servers}, data in {broker.data_dir}")


def run_registry(port: int | None = None, folder: Path | None = None) -> int:
    """Run a Schema Registry in the same way: `registry ready at URL, schemas in memory only`.

    `folder`: for its log; by default one of that port's own, in the user's data folder of position-sizer.

    Raises UserError as `Registry.start` does.
    """
    port = DEFAULT_REGISTRY_PORT if port is None else port
    folder = folder or platformdirs.user_data_path("position-sizer") / "registry" / str(port)
    registry = Registry(folder, port)
    return _run(registry, lambda: f"registry ready at {registry.url}, schemas in memory only")


def _run(service: Service, is_ready: Callable[[], str]) -> int:
    """Run it in the foreground; `is_ready` tells what is said when it is."""
    with _stop_requests():
        try:
            service.start()
            print(is_ready(), flush=True)
            status = service.wait()
        except _StopRequest:
            service.stop()
            return 0
        except BrokerError as error:
            print(f"sizer: {error}", file=sys.stderr)
            return 1
    print(f"sizer: {service.told_end(status)}", file=sys.stderr)
    service.stop()
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
