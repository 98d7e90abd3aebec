"""A Kafka broker of one node as a child process."""

import fcntl
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from app.broker.errors import BrokerError
from app.broker.jars import kafka_jars
from app.broker.node import node_properties, prepare, server_command
from app.broker.ports import HOST, Ports, choose_ports
from app.broker.process import GuardedProcess
from app.broker.readiness import await_ready
from app.errors import UserError

_START_SECONDS = 120  # a broker that has not become ready by then, on whatever machine, will not
_PAUSE_SECONDS = 0.05
_BIND_ATTEMPTS = 3
_TAIL_LINES = 20
_TAIL_BYTES = 8_000


class _PortTakenError(BrokerError):
    """Another program took a port between our look at it and Java's."""


class Broker:
    """A real Kafka, for itself in `data_dir`; ready for transactions when `start` returns.

    It lives no longer than this process, however that ends. What it acknowledged survives its own kill -9 and is
    there after the next `start` on the same folder, on the same port. One thread at a time may call its methods.

        with Broker(folder) as broker:
            Producer({"bootstrap.servers": broker.bootstrap_servers})
    """

    def __init__(
        self,
        data_dir: Path,
        port: int | None = None,
        *,
        properties: Mapping[str, str] | None = None,
        cluster_id: str | None = None,
        java_options: Sequence[str] = (),
        full_speed: bool = False,
    ) -> None:
        """Describe a broker; nothing is started or written yet.

        `port`: on 127.0.0.1; without one it is the folder's last one or any that is free.
        `properties`: Kafka's, win over ours. `cluster_id`: of the cluster that it is a node of; by default its own.
        `java_options`: further ones, such as `-Dname=value`, which Kafka asks some of its settings of.
        `full_speed`: let Java optimize fully, for benchmarks; starts slower.
        """
        self.data_dir = data_dir.expanduser().absolute()
        self._port = port
        self._extra = dict(properties or {})
        self._cluster_id = cluster_id
        self._java_options = tuple(java_options)
        self._full_speed = full_speed
        self._ports: Ports | None = None
        self._process: GuardedProcess | None = None
        self._lock: int | None = None

    @property
    def bootstrap_servers(self) -> str:
        """Where clients connect: `127.0.0.1:PORT`; stays the same over `stop`, `kill` and `start`."""
        if self._ports is None:
            raise RuntimeError("the broker was not started yet")
        return f"{HOST}:{self._ports.broker}"

    @property
    def pid(self) -> int:
        """The process id of its Java."""
        return self._running().pid

    @property
    def log_file(self) -> Path:
        """What Kafka has logged since the last start; the one before is beside it, with `.1` at the end."""
        return self.data_dir / "broker.log"

    def start(self) -> None:
        """Start it; return when it is ready for transactions (2 to 3 s; the first time ever also fetches the jars).

        Raises UserError for a data folder in use or not writable, a port that is taken, jars that cannot be had;
        BrokerError if Kafka ends or is not ready after two minutes. Then nothing is left running.
        """
        if self._process is not None:
            if self._process.wait(0) is None:
                raise RuntimeError("the broker is running already")
            self.kill()
        jars = kafka_jars()
        self._lock = self._own_folder()
        try:
            self._start(jars)
        except BaseException:
            self.kill()
            raise
        self._port = None if self._ports is None else self._ports.broker

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

    def _start(self, jars: list[Path]) -> None:
        for attempt in range(1, _BIND_ATTEMPTS + 1):
            self._ports = choose_ports(self.data_dir / "ports.json", self._port)
            try:
                self._start_once(jars, self._ports)
            except _PortTakenError:
                if self._process is not None:
                    self._process.kill()
                if attempt == _BIND_ATTEMPTS:
                    raise
            else:
                return

    def _start_once(self, jars: list[Path], ports: Ports) -> None:
        properties = node_properties(ports, self._extra)
        cluster_id = prepare(self.data_dir, properties, jars, self._cluster_id)
        with suppress(FileNotFoundError):
            self.log_file.replace(self.log_file.with_name("broker.log.1"))
        assert self._lock is not None
        process = self._process = GuardedProcess(
            server_command(jars, self._java_options, full_speed=self._full_speed),
            folder=self.data_dir,
            log=self.log_file,
            inherited=self._lock,
        )
        deadline = time.monotonic() + _START_SECONDS

        def pause() -> None:
            status = process.wait(_PAUSE_SECONDS)
            if status is not None:
                raise self._ended(status)
            if time.monotonic() > deadline:
                raise BrokerError(self.with_log(f"the broker was not ready after {_START_SECONDS} s"))

        await_ready(ports.broker, cluster_id, properties, pause)

    def _ended(self, status: int) -> BrokerError:
        message = self.with_log(f"the broker ended by itself with status {status}")
        return _PortTakenError(message) if "Address already in use" in message else BrokerError(message)

    def _own_folder(self) -> int:
        """Lock the data folder for us, the guard and Java: it is free again when the last of the three is gone."""
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise UserError(
                f"the data folder {self.data_dir} cannot be written ({error.strerror}):"
                " name another one, as with --data-dir"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise UserError(
                f"the data folder {self.data_dir} is in use by another broker:"
                " stop that one, or name another folder, as with --data-dir"
            ) from None
        return lock

    def _running(self) -> GuardedProcess:
        if self._process is None:
            raise RuntimeError("the broker is not running")
        return self._process

    def _release(self) -> None:
        self._process = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
