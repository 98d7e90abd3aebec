"""A server in Java as a child process: what the broker and the Schema Registry have in common."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from app.broker.errors import BrokerError
from app.broker.process import GuardedProcess
from app.errors import UserError

_START_SECONDS = 120  # a server that has not become ready by then, on whatever machine, will not
_PAUSE_SECONDS = 0.05
_BIND_ATTEMPTS = 3
_TAIL_LINES = 20
_TAIL_BYTES = 8_000
_PORT_TAKEN = ("Address already in use", "seems to be in use by another process")  # as Kafka and Quarkus tell it


class PortTakenError(BrokerError):
    """Another program took a port between our look at it and Java's."""


class Service(ABC):
    """A server with a folder of its own, that lives no longer than this process, however that ends.

    One thread at a time may call its methods.
    """

    _name: ClassVar[str]  # as in the messages, and of its log
    _cure: ClassVar[str]  # if its folder cannot be written

    def __init__(self, folder: Path) -> None:
        self._folder = folder.expanduser().absolute()
        self._process: GuardedProcess | None = None

    @property
    def pid(self) -> int:
        """The process id of its Java."""
        return self._running().pid

    @property
    def log_file(self) -> Path:
        """What it has logged since the last start; the one before is beside it, with `.1` at the end."""
        return self._folder / f"{self._name}.log"

    @abstractmethod
    def start(self) -> None:
        """Start it; return when it is ready. If it does not get so far nothing is left running."""

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait until it ends, by itself or by a kill; return its status, or None after `timeout` seconds."""
        return self._running().wait(timeout)

    def stop(self) -> None:
        """End it cleanly; no error if it does not run."""
        if self._process is not None:
            self._process.stop()
        self._release()

    def kill(self) -> None:
        """End it by SIGKILL; no error if it does not run."""
        if self._process is not None:
            self._process.kill()
        self._release()

    def told_end(self, status: int | None) -> str:
        """Return for people that it ended by itself, with the end of its log below."""
        return self.with_log(f"the {self._name} ended by itself with status {status}")

    def with_log(self, message: str) -> str:
        """Return `message` with the end of the log below it, for people."""
        text = self.log_file.read_bytes()[-_TAIL_BYTES:].decode(errors="replace")
        return "\n".join([f"{message}; the end of {self.log_file}:", *text.splitlines()[-_TAIL_LINES:]])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _forget_the_dead(self) -> None:
        """Begin a start: it must not be running, and one that ended by itself is put away."""
        if self._process is not None:
            if self._process.wait(0) is None:
                raise RuntimeError(f"the {self._name} is running already")
            self.kill()

    def _make_folder(self, temporary: str) -> None:
        """Make the folder, and the one in it for what is temporary. Raises UserError if it cannot be written."""
        try:
            (self._folder / temporary).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._not_writable(error) from error

    def _not_writable(self, error: OSError) -> UserError:
        return UserError(f"the data folder {self._folder} cannot be written ({error.strerror}): {self._cure}")

    def _attempt(self, start_once: Callable[[], int]) -> int:
        """Call `start_once`, and again if it lost its port between the choice and the start; return its port."""
        for attempt in range(1, _BIND_ATTEMPTS + 1):
            try:
                return start_once()
            except PortTakenError:
                if self._process is not None:
                    self._process.kill()
                if attempt == _BIND_ATTEMPTS:
                    raise
        raise AssertionError

    def _run(self, command: Sequence[str], inherited: Sequence[int] = ()) -> Callable[[], None]:
        """Start `command`; return what to call between two looks whether it is ready.

        That waits a little, and raises BrokerError if it has ended or two minutes are over.
        """
        with suppress(FileNotFoundError):
            self.log_file.replace(self.log_file.with_name(self.log_file.name + ".1"))
        process = self._process = GuardedProcess(command, folder=self._folder, log=self.log_file, inherited=inherited)
        deadline = time.monotonic() + _START_SECONDS

        def pause() -> None:
            status = process.wait(_PAUSE_SECONDS)
            if status is not None:
                raise self._ended(status)
            if time.monotonic() > deadline:
                raise BrokerError(self.with_log(f"the {self._name} was not ready after {_START_SECONDS} s"))

        return pause

    def _ended(self, status: int) -> BrokerError:
        message = self.told_end(status)
        return PortTakenError(message) if any(words in message for words in _PORT_TAKEN) else BrokerError(message)

    def _running(self) -> GuardedProcess:
        if self._process is None:
            raise RuntimeError(f"the {self._name} is not running")
        return self._process

    def _release(self) -> None:
        self._process = None
