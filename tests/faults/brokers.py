"""Three real brokers as a deployment has them: three replicas, two in sync; for each worker a way to them of its own.

A worker's way leads through a proxy for each broker, so that its network can be spoilt without the others noticing.
"""

import json
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from confluent_kafka.admin import AdminClient

from app.broker import Broker
from app.broker.ports import HOST, is_free
from tests.faults.proxy import Network

_NODES = (1, 2, 3)
_PATIENCE = 30.0
_FIRST_PORT, _LAST_PORT = 20_000, 29_000

_REPLICATED = {
    f"{topic}.{setting}": value
    for topic in ("transaction.state.log", "share.coordinator.state.topic")
    for setting, value in (("replication.factor", "3"), ("min.isr", "2"))
} | {"offsets.topic.replication.factor": "3", "default.replication.factor": "3", "min.insync.replicas": "2"}


class Brokers:
    """A cluster of three nodes. `ways`: names of ways through a proxy, one for each worker."""

    def __init__(self, folder: Path, ways: Sequence[str]) -> None:
        ports = _free_ports(2 * len(_NODES) + 2 * len(_NODES) * len(ways))
        self._own = {node: next(ports) for node in _NODES}
        controllers = {node: next(ports) for node in _NODES}
        behind = {(node, way): next(ports) for node in _NODES for way in ways}
        before = {(node, way): next(ports) for node in _NODES for way in ways}
        cluster_id = secrets.token_urlsafe(16)
        voters = ",".join(f"{node}@{HOST}:{port}" for node, port in controllers.items())
        self.networks = {way: Network({before[node, way]: behind[node, way] for node in _NODES}) for way in ways}
        self._ways = {way: ",".join(f"{HOST}:{before[node, way]}" for node in _NODES) for way in ways}
        self.nodes = {
            node: Broker(
                folder / f"broker-{node}",
                properties=_REPLICATED
                | {"node.id": str(node), "controller.quorum.voters": voters}
                | _listeners(self._own[node], controllers[node], ways, node, behind, before),
                cluster_id=cluster_id,
            )
            for node in _NODES
        }
        for node, broker in self.nodes.items():
            broker.data_dir.mkdir(parents=True)
            chosen = {"broker": self._own[node], "controller": controllers[node]}
            (broker.data_dir / "ports.json").write_text(json.dumps(chosen))

    @property
    def bootstrap_servers(self) -> str:
        """Where the desk connects: straight to the brokers."""
        return ",".join(f"{HOST}:{port}" for port in self._own.values())

    def bootstrap_servers_of(self, way: str) -> str:
        """Where a worker connects that takes this way."""
        return self._ways[way]

    def start(self, *nodes: int) -> None:
        """Start some nodes, or all; return when they are ready."""
        with ThreadPoolExecutor(len(_NODES)) as pool:
            list(pool.map(lambda node: self.nodes[node].start(), nodes or _NODES))
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
        while len(admin.list_topics(timeout=_PATIENCE).brokers) < len(_NODES):
            threading.Event().wait(0.1)  # else the next topics would get fewer replicas

    def kill(self, *nodes: int) -> None:
        """End some nodes, or all, by SIGKILL."""
        for node in nodes or _NODES:
            self.nodes[node].kill()

    def __enter__(self) -> Self:
        for network in self.networks.values():
            network.open()
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything; nobody needs the data."""
        self.kill()
        for network in self.networks.values():
            network.close()


def _listeners(
    own: int,
    controller: int,
    ways: Sequence[str],
    node: int,
    behind: Mapping[tuple[int, str], int],
    before: Mapping[tuple[int, str], int],
) -> dict[str, str]:
    """Return the properties of a node that listens on a port for each way, and advertises the proxy's."""
    direct = f"PLAINTEXT://{HOST}:{own}"
    names = ["CONTROLLER", "PLAINTEXT", *map(str.upper, ways)]
    listens = [direct, f"CONTROLLER://{HOST}:{controller}"]
    listens += [f"{way.upper()}://{HOST}:{behind[node, way]}" for way in ways]
    advertised = [direct, *(f"{way.upper()}://{HOST}:{before[node, way]}" for way in ways)]
    return {
        "listeners": ",".join(listens),
        "advertised.listeners": ",".join(advertised),
        "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in names),
    }


def _free_ports(count: int) -> Iterator[int]:
    start = _FIRST_PORT + secrets.randbelow(_LAST_PORT - _FIRST_PORT - 10 * count)
    found = [port for port in range(start, _LAST_PORT) if is_free(port)][:count]
    assert len(found) == count, "no free ports"
    return iter(found)
