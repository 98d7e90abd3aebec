"""One Kafka node that is broker and controller: its properties, its Java, its storage.

Paths in the properties are relative to the data folder, which Java runs in: an absolute one could hold a comma
or a character that is not Latin-1, which Kafka's properties cannot say.
"""

import secrets
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.broker.errors import BrokerError
from app.broker.java import QUICK_START, class_path, java_command, java_environment
from app.broker.ports import HOST, Ports

_PROPERTIES_FILE = "server.properties"
_STORAGE = "storage"
_HEAP_MEGABYTES = 512

_LOGGING = (
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
)

# One node has nobody to copy to, so every replication factor is 1. Time-outs are short, so that a restart after a
# kill -9, a fenced worker or an abandoned transaction costs a second or two instead of ten.
_PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "log.dirs": _STORAGE,
    "auto.create.topics.enable": "false",
    "num.partitions": "1",
    "offsets.topic.num.partitions": "4",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "500",
    "group.consumer.heartbeat.interval.ms": "500",
    "group.consumer.min.heartbeat.interval.ms": "200",
    "group.consumer.session.timeout.ms": "3000",
    "group.consumer.min.session.timeout.ms": "1000",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    "log.cleaner.dedupe.buffer.size": "16777216",
    "num.network.threads": "2",
    "num.io.threads": "4",
}


def node_properties(ports: Ports, extra: Mapping[str, str]) -> dict[str, str]:
    """Return the node's properties; `extra` wins over ours."""
    listener = f"PLAINTEXT://{HOST}:{ports.broker}"
    return {
        **_PROPERTIES,
        "listeners": f"{listener},CONTROLLER://{HOST}:{ports.controller}",
        "advertised.listeners": listener,
        "controller.quorum.voters": f"1@{HOST}:{ports.controller}",
        **extra,
    }


def prepare(folder: Path, properties: Mapping[str, str], jars: Sequence[Path], cluster_id: str | None) -> str:
    """Write the properties into the data folder and format its storage if it is new; return the cluster's id.

    `cluster_id`: of the cluster that new storage joins; None: it begins one of its own.

    Raises BrokerError if Kafka will not format it.
    """
    lines = [f"{name}={value}\n".replace("\\", "\\\\") for name, value in properties.items()]
    (folder / _PROPERTIES_FILE).write_text("".join(lines), encoding="latin-1")
    meta = folder / _STORAGE / "meta.properties"
    if not meta.exists():
        _format(folder, jars, cluster_id or secrets.token_urlsafe(16))  # what Kafka calls a Uuid: 16 bytes in base64
    fields = dict(line.split("=", 1) for line in meta.read_text(encoding="latin-1").splitlines() if "=" in line)
    return fields["cluster.id"]


def server_command(jars: Sequence[Path], *, full_speed: bool) -> list[str]:
    """Return the command that runs the node; its working directory must be the data folder.

    `full_speed`: without the flag that keeps Java from optimizing.
    """
    return _java(jars, *(() if full_speed else (QUICK_START,)), "kafka.Kafka", _PROPERTIES_FILE)


def _java(jars: Sequence[Path], *arguments: str) -> list[str]:
    return java_command(_HEAP_MEGABYTES, *_LOGGING, *class_path(jars), *arguments)


def _format(folder: Path, jars: Sequence[Path], cluster_id: str) -> None:
    result = subprocess.run(  # noqa: S603 - our own Java and arguments
        _java(
            jars,
            QUICK_START,
            "kafka.tools.StorageTool",
            "format",
            f"--cluster-id={cluster_id}",
            f"--config={_PROPERTIES_FILE}",
        ),
        cwd=folder,
        env=java_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
        check=False,
    )
    if result.returncode != 0:
        raise BrokerError(f"Kafka cannot format its storage in {folder}:\n{result.stdout}{result.stderr}".rstrip())
