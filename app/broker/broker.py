"""A Kafka broker of one node as a child process."""

import fcntl
import os
from collections.abc import Mapping
from pathlib import Path

from app.broker.jars import kafka_jars
from app.broker.java import TEMPORARY
from app.broker.node import node_properties, prepare, server_command
from app.broker.ports import HOST, Ports, choose_ports
from app.broker.readiness import await_ready
from app.broker.service import Service
from app.errors import UserError


class Broker(Service):
    """A real Kafka, for itself in `data_dir`; ready for transactions when `start` returns.

    It lives no longer than this process, however that ends. What it acknowledged survives its own kill -9 and is
    there after the next `start` on the same folder, on the same port. One thread at a time may call its methods.

        with Broker(folder) as broker:
            Producer({"bootstrap.servers": broker.bootstrap_servers})
    """

    _name = "broker"
    _cure = "name another one, as with --data-dir"

    def __init__(
        self,
        data_dir: Path,
        port: int | None = None,
        *,
        properties: Mapping[str, str] | None = None,
        cluster_id: str | None = None,
        full_speed: bool = False,
    ) -> None:
        """Describe a broker; nothing is started or written yet.

        `port`: on 127.0.0.1; without one it is the folder's last one or any that is free.
        `properties`: Kafka's, win over ours. `cluster_id`: of the cluster that it is a node of; by default its own.
        `full_speed`: let Java optimize fully, for benchmarks; starts slower.
        """
        super().__init__(data_dir)
        self._port = port
        self._extra = dict(properties or {})
        self._cluster_id = cluster_id
        self._full_speed = full_speed
        self._ports: Ports | None = None
        self._lock: int | None = None

    @property
    def data_dir(self) -> Path:
        """Where its data are."""
        return self._folder

    @property
    def bootstrap_servers(self) -> str:
        """Where clients connect: `127.0.0.1:PORT`; stays the same over `stop`, `kill` and `start`."""
        if self._ports is None:
            raise RuntimeError("the broker was not started yet")
        return f"{HOST}:{self._ports.broker}"

    def start(self) -> None:
        """Start it; return when it is ready for transactions (2 to 3 s; the first time ever also fetches the jars).

        Raises UserError for a data folder in use or not writable, a port that is taken, jars that cannot be had;
        BrokerError if Kafka ends or is not ready after two minutes. Then nothing is left running.
        """
        self._forget_the_dead()
        jars = kafka_jars()
        self._lock = self._own_folder()

        def start_once() -> int:
            ports = self._ports = choose_ports(self.data_dir / "ports.json", self._port)
            properties = node_properties(ports, self._extra)
            cluster_id = prepare(self.data_dir, properties, jars, self._cluster_id)
            assert self._lock is not None
            pause = self._run(server_command(jars, full_speed=self._full_speed), inherited=(self._lock,))
            await_ready(ports.broker, cluster_id, properties, pause)
            return ports.broker

        try:
            self._port = self._attempt(start_once)
        except BaseException:
            self.kill()
            raise

    def _own_folder(self) -> int:
        """Lock the data folder for us, the guard and Java: it is free again when the last of the three is gone."""
        self._make_folder(TEMPORARY)
        try:
            lock = os.open(self.data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise self._not_writable(error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise UserError(
                f"the data folder {self.data_dir} is in use by another broker:"
                " stop that one, or name another folder, as with --data-dir"
            ) from None
        return lock

    def _release(self) -> None:
        super()._release()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
