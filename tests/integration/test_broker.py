"""The packaged Kafka: its life as a child process, and what survives."""

import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from app.broker import Broker
from app.broker.ports import Ports, choose_ports
from app.errors import UserError

PATIENCE = 60  # seconds until a test gives up waiting for something that is to happen

OWNER = """
import sys
from pathlib import Path
from app.broker import Broker
broker = Broker(Path(sys.argv[1]))
broker.start()
print(broker.pid, flush=True)
sys.stdin.read()
"""

FOREGROUND = """
import sys
from pathlib import Path
from app.broker import run_broker
sys.exit(run_broker(int(sys.argv[2]), Path(sys.argv[1])))
"""


def create_topic(broker: Broker, name: str) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=1)])[name].result(PATIENCE)


def transactional_producer(broker: Broker, transactional_id: str) -> Producer:
    producer = Producer(
        {"bootstrap.servers": broker.bootstrap_servers, "transactional.id": transactional_id, "log_level": 0}
    )
    producer.init_transactions(PATIENCE)
    return producer


def committed(broker: Broker, topic: str, at_least: int = 0) -> list[Message]:
    """Return all messages that a `read_committed` reader sees, up to the end of partition 0.

    A commit is acknowledged before its marker is written: the reader waits for `at_least` messages.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": broker.bootstrap_servers,
            "group.id": "not used",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "log_level": 0,
        }
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    messages: list[Message] = []
    while (message := consumer.poll(PATIENCE)) is not None:
        if message.error() is None:
            messages.append(message)
        elif len(messages) >= at_least:
            break
    consumer.close()
    assert message is not None, "the end of the partition was not reached"
    return messages


@contextlib.contextmanager
def python(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run `code` in a Python of its own, which is killed at the end of the test if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_only_what_was_committed_is_read(broker: Broker) -> None:
    create_topic(broker, "broker-transactions")
    producer = transactional_producer(broker, "broker-transactions")
    producer.begin_transaction()
    producer.produce("broker-transactions", b"kept")
    producer.commit_transaction(PATIENCE)
    producer.begin_transaction()
    producer.produce("broker-transactions", b"dropped")
    producer.flush(PATIENCE)
    producer.abort_transaction(PATIENCE)
    assert [message.value() for message in committed(broker, "broker-transactions")] == [b"kept"]


def test_group_finds_its_committed_position(broker: Broker) -> None:
    create_topic(broker, "broker-groups")
    settings = {"bootstrap.servers": broker.bootstrap_servers, "group.id": "broker-groups"}
    consumer = Consumer(settings)
    consumer.commit(offsets=[TopicPartition("broker-groups", 0, 7)], asynchronous=False)
    assert consumer.committed([TopicPartition("broker-groups", 0)], timeout=PATIENCE)[0].offset == 7
    consumer.close()


def test_acknowledged_data_and_the_port_survive_a_kill(tmp_path: Path) -> None:
    folder = tmp_path / "folder with, ä comma"
    broker = Broker(folder, properties={"log.message.timestamp.type": "LogAppendTime"})
    try:
        broker.start()
        address, first_pid = broker.bootstrap_servers, broker.pid
        create_topic(broker, "survives")
        producer = transactional_producer(broker, "survives")
        producer.begin_transaction()
        producer.produce("survives", b"acknowledged")
        producer.commit_transaction(PATIENCE)
        broker.kill()
        assert not psutil.pid_exists(first_pid)
        broker.start()
        assert broker.bootstrap_servers == address
        (message,) = committed(broker, "survives")
        assert message.value() == b"acknowledged"
        assert message.timestamp()[0] == TIMESTAMP_LOG_APPEND_TIME
        broker.stop()
        assert (folder / "storage" / ".kafka_cleanshutdown").exists()
    finally:
        broker.kill()


def test_no_java_outlives_a_killed_owner(tmp_path: Path) -> None:
    with python(OWNER, tmp_path) as owner:
        assert owner.stdout is not None
        java = psutil.Process(int(owner.stdout.readline()))
        guard = java.parent()
        assert guard is not None
        owner.send_signal(signal.SIGKILL)
        assert not psutil.wait_procs([java, guard], timeout=PATIENCE)[1]


def test_second_start_on_the_same_folder_is_refused(broker: Broker) -> None:
    with pytest.raises(UserError, match=r"in use by another broker") as refusal:
        Broker(broker.data_dir).start()
    assert str(broker.data_dir) in str(refusal.value)


def test_taken_port_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} on 127.0.0.1 is taken"):
            Broker(tmp_path, port).start()


def test_port_lost_between_the_look_and_the_start_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        lost = Ports(other.getsockname()[1], free_port())
        answers = iter([lost])
        monkeypatch.setattr(
            "app.broker.broker.choose_ports", lambda *asked: next(answers, None) or choose_ports(*asked)
        )
        broker = Broker(tmp_path)
        try:
            broker.start()
            assert broker.bootstrap_servers != f"127.0.0.1:{lost.broker}"
        finally:
            broker.kill()


def test_port_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="port 65536: expected a number from 1 to 65535"):
        Broker(tmp_path, 65536).start()


def test_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be written \(Not a directory\): name another one"):
        Broker(tmp_path / "file" / "folder").start()


def test_kept_beside_the_data(tmp_path: Path) -> None:
    ports = choose_ports(tmp_path / "ports.json", None)
    assert choose_ports(tmp_path / "ports.json", None) == ports


def test_only_a_taken_one_is_replaced(tmp_path: Path) -> None:
    ports = choose_ports(tmp_path / "ports.json", None)
    with socket.create_server(("127.0.0.1", ports.broker)):
        others = choose_ports(tmp_path / "ports.json", None)
    assert others.broker != ports.broker
    assert others.controller == ports.controller


def test_half_a_file_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / "ports.json").write_text('{"broker": 2', encoding="ascii")
    ports = choose_ports(tmp_path / "ports.json", None)
    assert ports.broker != ports.controller


def test_one_line_when_ready_and_a_clean_end(tmp_path: Path) -> None:
    port = free_port()
    with python(FOREGROUND, tmp_path, port) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"broker ready at 127.0.0.1:{port}, data in {tmp_path}\n"
        admin = AdminClient({"bootstrap.servers": f"localhost:{port}", "log_level": 0})
        assert admin.list_topics(timeout=PATIENCE).brokers
        process.send_signal(signal.SIGTERM)
        stdout, stderr = process.communicate(timeout=PATIENCE)
    assert (process.returncode, stdout, stderr) == (0, "", "")
    assert (tmp_path / "storage" / ".kafka_cleanshutdown").exists()


def test_says_so_when_java_ends_by_itself(tmp_path: Path) -> None:
    with python(FOREGROUND, tmp_path, free_port()) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("broker ready at ")
        guard = psutil.Process(process.pid).children()[0]
        guard.children()[0].kill()
        stdout, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert stdout == ""
    first, *tail = stderr.splitlines()
    log = tmp_path / "broker.log"
    assert first == f"sizer: the broker ended by itself with status 137; the end of {log}:"
    assert tail == log.read_text(encoding="utf-8").splitlines()
