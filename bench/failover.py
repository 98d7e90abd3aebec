"""Failover: how long the partitions of a worker that is killed go without an answer. `python -m bench.failover`.

Two workers under load, one is killed by SIGKILL; the clock runs until a reader of committed records has a new answer in
every partition that the dead one had. For the default settings and for those of "fast failover" (docs/guarantees.md).
"""

import statistics
import tempfile
import threading
import time
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path

import orjson
from confluent_kafka import Consumer, TopicPartition

from app.broker import Broker
from app.topics import SIZED_ORDERS
from bench.results import Results
from tests.integration.cluster import Deployment, Worker, load
from tests.integration.traffic import Traffic

EVENTS_PER_SECOND = 300
TRIALS = 5
SEED = 20260110
SETTINGS: Mapping[str, Mapping[str, str]] = {
    "default": {"SIZER_SESSION_TIMEOUT": "6"},
    "fast failover": {"SIZER_SESSION_TIMEOUT": "2"},
}
_PATIENCE = 60.0


class Answers:
    """When the last answer of each partition came."""

    def __init__(self, deployment: Deployment) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": deployment.settings.bootstrap_servers,
                "group.id": "failover",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 50,
            }
        )
        topic = deployment.settings.topic(SIZED_ORDERS)
        self._consumer.assign([TopicPartition(topic, number, 0) for number in range(deployment.partitions)])
        self._decided: dict[int, str] = {}
        self._changed = threading.Condition()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def wait_for(self, partitions: Collection[int], since: str) -> None:
        """Wait until each partition has an answer that was decided after a time (as in `decided_at`)."""
        with self._changed:
            found = self._changed.wait_for(
                lambda: all(self._decided.get(partition, "") > since for partition in partitions), _PATIENCE
            )
        assert found, "no answers came"

    def close(self) -> None:
        """End."""
        self._is_over.set()
        self._thread.join()
        self._consumer.close()

    def _run(self) -> None:
        while not self._is_over.is_set():
            message = self._consumer.poll(0.05)
            if message is not None and message.error() is None:
                with self._changed:
                    decided_at = orjson.loads(message.value() or b"")["decided_at"]
                    self._decided[message.partition() or 0] = decided_at
                    self._changed.notify_all()


def measure(broker: Broker, name: str, settings: Mapping[str, str], folder: Path) -> list[float]:
    """Return the seconds until the survivor answered, of each trial; all that was answered is audited."""
    deployment = Deployment(broker.bootstrap_servers, name, folder)
    deployment.environment |= settings
    deployment.create_topics()
    answers = Answers(deployment)
    seconds = []
    try:
        workers: dict[str, Worker] = {data: deployment.started(data) for data in ("a", "b")}
        with load(deployment, Traffic(SEED), EVENTS_PER_SECOND):
            for trial in range(TRIALS):
                answers.wait_for(range(deployment.partitions), _now())
                victim = ("a", "b")[trial % 2]
                since, began = _now(), time.perf_counter()
                workers[victim].kill()
                answers.wait_for(range(deployment.partitions), since)
                seconds.append(time.perf_counter() - began)
                survivor = workers[("a", "b")[1 - trial % 2]]
                assignments = survivor.said.count("assigned")
                workers[victim] = deployment.started(victim)
                survivor.wait_for("assigned", assignments + 1)
    finally:
        answers.close()
        deployment.close()
    deployment.prove()
    return seconds


def run(broker: Broker, folder: Path, results: Results | None = None) -> None:
    """Measure both settings and print one line for each."""
    for name, settings in SETTINGS.items():
        app_id = f"failover-{name.replace(' ', '-')}"
        seconds = measure(broker, app_id, settings, folder / app_id)
        if results is not None:
            results.add("failover", name, seconds=seconds)
        print(
            f"failover, {name}: median {statistics.median(seconds):.1f} s, worst {max(seconds):.1f} s"
            f" of {' '.join(f'{value:.1f}' for value in seconds)}",
            flush=True,
        )


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def main() -> None:
    """Measure on a broker of its own."""
    with tempfile.TemporaryDirectory(prefix="sizer-bench-") as folder, Broker(Path(folder, "kafka")) as broker:
        run(broker, Path(folder))


if __name__ == "__main__":
    main()
