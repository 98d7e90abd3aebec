"""A deployment of workers on a real broker: topics of its own, workers to be killed, input and output."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from app.processor.partitioners import partitioner
from app.settings import Settings
from app.stream.topics import create_topics
from app.topics import SIGNALS, SIGNALS_DLQ, SIZED_ORDERS
from tests.integration.proof import prove
from tests.integration.traffic import Input, Traffic

PATIENCE = 60.0
"""Seconds until a test gives up waiting for something that is to happen."""

SLICE_SECONDS = 0.05

START = [sys.executable, "-m", "app.cli", "worker"]


class Worker:
    """A worker process; what it says on stderr is kept, line by line."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.lines: list[str] = []
        self._said = threading.Condition()
        self._process = subprocess.Popen(
            START,
            env=os.environ | environment,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            encoding="utf-8",
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            with self._said:
                self.lines.append(line.rstrip())
                self._said.notify_all()
        with self._said:
            self._said.notify_all()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def said(self) -> str:
        """All that it has said so far."""
        return "\n".join(self.lines)

    def wait_for(self, text: str, times: int = 1) -> None:
        """Wait until it has said something that many times."""
        with self._said:
            self._said.wait_for(lambda: self.said.count(text) >= times or not self._reader.is_alive(), PATIENCE)
        assert self.said.count(text) >= times, f"did not say {text!r}:\n{self.said}"

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so; looked at again whenever it has said something, and now and then."""
        deadline = time.monotonic() + PATIENCE
        with self._said:
            while not is_so():
                assert time.monotonic() < deadline, self.said
                self._said.wait(0.25)

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    def wait(self) -> int:
        """Wait until it ends and return its exit status."""
        status = self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return status

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self._process.poll() is None:
            self._process.kill()
        self.wait()

    def stop(self) -> int:
        """End it cleanly and return its exit status."""
        self.send(signal.SIGTERM)
        return self.wait()


class Deployment:
    """Topics, an application id and data folders of their own; as many workers as are started."""

    def __init__(self, bootstrap_servers: str, name: str, folder: Path, partitions: int = 4) -> None:
        self.partitions = partitions
        self.folder = folder
        self.environment = {
            "SIZER_BOOTSTRAP_SERVERS": bootstrap_servers,
            "SIZER_APP_ID": name,
            "SIZER_TOPIC_PREFIX": f"{name}.",
            "SIZER_SESSION_TIMEOUT": "2",
        }
        self.settings = Settings(bootstrap_servers=bootstrap_servers, app_id=name, topic_prefix=f"{name}.")
        self.workers: list[Worker] = []
        self._partition_of = partitioner("murmur2", partitions)
        self._producer = Producer({"bootstrap.servers": bootstrap_servers, "linger.ms": 5})
        self._sent: set[tuple[bytes | None, str]] = set()

    def create_topics(self) -> None:
        """Create the topics."""
        create_topics(self.settings, self.partitions)

    def start(self, data: str = "a", **settings: str) -> Worker:
        """Start a worker on a data folder; `settings` as in the environment."""
        worker = Worker(self.environment | {"SIZER_DATA_DIR": str(self.folder / data)} | settings)
        self.workers.append(worker)
        return worker

    def started(self, data: str = "a") -> Worker:
        """Start a worker and wait until it processes."""
        worker = self.start(data)
        worker.wait_for("ready")
        return worker

    def close(self) -> None:
        """End all workers."""
        for worker in self.workers:
            worker.kill()

    def send(self, records: Iterable[Input]) -> None:
        """Produce records as a well-behaved neighbour does: partitions by murmur2 of the key."""
        for record in records:
            partition = 0 if record.key is None or self._partition_of is None else self._partition_of(record.key)
            self.send_to(partition, record)
        self.flush()

    def send_to(self, partition: int, record: Input) -> None:
        """Produce a record to any partition; `flush` waits until it is there."""
        while True:
            try:
                self._producer.produce(self.settings.topic(record.topic), record.value, record.key, partition)
            except BufferError:
                self._producer.poll(0.1)
            else:
                break
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait until all that was produced is in the topics."""
        assert self._producer.flush(PATIENCE) == 0

    def read(self, *topics: str) -> list[dict[str, list[Message]]]:
        """Return, by partition and logical topic, all committed records."""
        with_names = {self.settings.topic(topic): topic for topic in topics}
        logs: list[dict[str, list[Message]]] = [{topic: [] for topic in topics} for _ in range(self.partitions)]
        for message in self._tail(with_names, lambda _: False):
            logs[message.partition() or 0][with_names[message.topic() or ""]].append(message)
        return logs

    def wait_for_answers(self, count: int) -> None:
        """Wait until so many signals are answered, by a sized order or by a dead letter."""
        topics = {self.settings.topic(topic): topic for topic in (SIZED_ORDERS, SIGNALS_DLQ)}
        found = len(self._tail(topics, lambda found: len(found) >= count, PATIENCE))
        assert found >= count, f"{found} of {count} signals are answered"

    def is_answered(self, sent: Iterable[Input]) -> bool:
        """Tell whether all signals among the records are answered by now."""
        logs = self.read(SIZED_ORDERS, SIGNALS_DLQ)
        found = sum(len(messages) for log in logs for messages in log.values())
        return found >= sum(record.topic == SIGNALS for record in sent)

    def read_raw(self, topic: str) -> list[list[Message]]:
        """Return, by partition, all committed records of a topic by its real name."""
        logs: list[list[Message]] = [[] for _ in range(self.partitions)]
        for message in self._tail({topic: topic}, lambda _: False):
            logs[message.partition() or 0].append(message)
        return logs

    def hints(self, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Return the offsets that the workers committed to their group, by topic and partition; -1001 for none."""
        consumer = Consumer(
            {"bootstrap.servers": self.settings.bootstrap_servers, "group.id": self.settings.app_id, "log_level": 0}
        )
        try:
            found = consumer.committed([TopicPartition(*place) for place in places], timeout=PATIENCE)
            return {(place.topic, place.partition): place.offset for place in found}
        finally:
            consumer.close()

    def prove(self) -> int:
        """Prove that everything published is right; return the number of sized orders."""
        return prove(self.settings)

    def _tail(
        self, topics: dict[str, str], is_enough: Callable[[list[Message]], bool], patience: float = 0
    ) -> list[Message]:
        """Read committed records from the beginning, to the end, or on until there are enough."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.settings.bootstrap_servers,
                "group.id": "tests",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
            }
        )
        unfinished = {(topic, partition) for topic in topics for partition in range(self.partitions)}
        found: list[Message] = []
        deadline = time.monotonic() + patience
        try:
            consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in unfinished])
            while not is_enough(found) and (unfinished or time.monotonic() < deadline):
                for message in consumer.consume(10_000, 0.1):
                    error = message.error()
                    if error is None:
                        found.append(message)
                    else:
                        assert error.code() == KafkaError._PARTITION_EOF, error
                        unfinished.discard((message.topic() or "", message.partition() or 0))
        finally:
            consumer.close()
        return found


@contextmanager
def load(deployment: Deployment, traffic: Traffic, per_second: int = 400) -> Iterator[list[Input]]:
    """Send signals and fills at a steady rate as long as the block runs; give what was sent by then."""
    sent: list[Input] = []
    is_over = threading.Event()

    def run() -> None:
        while not is_over.wait(SLICE_SECONDS):
            records = list(traffic.mixed(int(per_second * SLICE_SECONDS)))
            deployment.send(records)
            sent.extend(records)

    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(run)
        try:
            yield sent
        finally:
            is_over.set()
            sending.result()


def free_port() -> int:
    """Return a port of this machine that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def refuse(deployment: Deployment, *texts: str, **settings: str) -> None:
    """Assert that a worker refuses to start, and that it says so in one line with these texts."""
    worker = deployment.start(**settings)
    assert worker.wait() == 2, worker.said
    told = [line for line in worker.lines if line.startswith("sizer: ")]
    assert len(told) == 1, worker.said
    assert "Traceback" not in worker.said
    for text in texts:
        assert text in told[0]
