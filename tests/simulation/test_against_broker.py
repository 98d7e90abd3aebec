"""The fakes against a real Kafka: the same calls in the same order have the same answers, offset for offset."""

import logging
import random
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import confluent_kafka
import pytest
from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from app.broker import Broker
from tests.simulation import clients, producing
from tests.simulation.cluster import Cluster
from tests.simulation.network import Network
from tests.simulation.scheduler import SECOND, Scheduler

PATIENCE = 20.0
SLICE_SECONDS = 0.02
TOPICS = ("x", "y")
OPERATIONS = 45


class Kafka(NamedTuple):
    """Where a script runs: constructors of clients, and how to wait until markers are written."""

    producer: Callable[[dict[str, Any]], Any]
    consumer: Callable[[dict[str, Any]], Any]
    admin: Callable[[dict[str, Any]], Any]
    config: dict[str, Any]
    prefix: str
    wait: Callable[[Callable[[], bool]], None]


class Script:
    """Random transactions of three ids, some of whose former owners come back after they were fenced."""

    def __init__(self, seed: int, kafka: Kafka, expected: list[Any] | None) -> None:
        self._dice = random.Random(seed)
        self._kafka = kafka
        self._expected = expected
        self._owners: dict[str, Any] = {}
        self._open: set[str] = set()
        self._zombies: list[tuple[Any, bool]] = []
        self._admin = kafka.admin(kafka.config)
        self.seen: list[Any] = []

    def run(self) -> list[Any]:
        """Return all that could be observed."""
        for number in range(OPERATIONS):
            what = self._step(number)
            self._observe((what, self._ends))
        for owner in sorted(self._open):
            self._owners[owner].abort_transaction(PATIENCE)
        self._observe(("aborted", self._ends))
        for topic in TOPICS:
            self._observe((topic, lambda topic=topic: self._committed(topic)))
        return self.seen

    def _observe(self, observation: tuple[str, Callable[[], Any]]) -> None:
        what, look = observation
        if self._expected is not None:
            # Markers are written a little later, and the end of waiting is to see what is expected.
            wanted = self._expected[len(self.seen)][1]
            self._kafka.wait(lambda: look() == wanted)
            assert (what, look()) == (self._expected[len(self.seen)][0], wanted), f"after {len(self.seen)} operations"
        self.seen.append((what, look()))

    def _step(self, number: int) -> str:
        dice = self._dice.random()
        if self._zombies and dice < 0.15:
            return self._come_back(number)
        owner = self._dice.choice("abc")
        if owner not in self._owners or dice < 0.3:
            return self._take_over(owner)
        producer = self._owners[owner]
        if owner not in self._open:
            producer.begin_transaction()
            self._open.add(owner)
        if dice < 0.65:
            self._send(producer, number)
            return f"{owner} sends"
        is_commit = dice < 0.9
        (producer.commit_transaction if is_commit else producer.abort_transaction)(PATIENCE)
        self._open.discard(owner)
        return f"{owner} ends: {is_commit}"

    def _take_over(self, owner: str) -> str:
        if owner in self._owners:
            self._zombies.append((self._owners[owner], owner in self._open))
        self._open.discard(owner)
        producer = self._kafka.producer(
            self._kafka.config
            | {
                "transactional.id": self._kafka.prefix + owner,
                "transaction.timeout.ms": 60_000,
                "message.timeout.ms": 60_000,
                "linger.ms": 0,
            }
        )
        producer.list_topics(timeout=PATIENCE)  # else the first request may wait half a second for a broker
        producer.init_transactions(PATIENCE)
        self._owners[owner] = producer
        return f"{owner} is taken over"

    def _come_back(self, number: int) -> str:
        zombie, is_open = self._zombies.pop(0)
        try:
            if not is_open:
                zombie.begin_transaction()
            self._send(zombie, number)
            zombie.commit_transaction(PATIENCE)
        except KafkaException as error:
            return f"a former owner fails: {error.args[0].name()}, fatal {error.args[0].fatal()}"
        return "a former owner commits"

    def _send(self, producer: Any, number: int) -> None:
        topic = self._kafka.prefix + self._dice.choice(TOPICS)
        for row in range(self._dice.randrange(1, 4)):
            producer.produce(topic, b"%d" % number, b"%d" % row, 0)
        producer.flush(PATIENCE)

    def _ends(self) -> list[tuple[int, int]]:
        latest = OffsetSpec.latest()
        where = [TopicPartition(self._kafka.prefix + topic, 0) for topic in TOPICS]
        ends = []
        for isolation in (IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED):
            wanted = dict.fromkeys(where, latest)
            futures = self._admin.list_offsets(wanted, isolation_level=isolation, request_timeout=PATIENCE)
            ends.append(tuple(futures[one].result().offset for one in where))
        return ends

    def _committed(self, topic: str) -> list[tuple[int | None, bytes | None, bytes | None]]:
        """Return the records, and last the offset of the partition's end."""
        consumer = self._kafka.consumer(
            self._kafka.config
            | {
                "group.id": "compare",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
            }
        )
        consumer.assign([TopicPartition(self._kafka.prefix + topic, 0, 0)])
        found = []
        while True:
            message = consumer.poll(PATIENCE)
            assert message is not None
            error = message.error()
            found.append((message.offset(), message.key(), message.value() if error is None else None))
            if error is not None:
                assert error.code() == KafkaError._PARTITION_EOF
                consumer.close()
                return found


def in_memory(seed: int) -> list[Any]:
    """Run a script on the fakes."""
    scheduler = Scheduler(seed)
    cluster = Cluster(dict.fromkeys(TOPICS, "id"), 1, lambda: scheduler.now)
    Network.active = Network(cluster, scheduler)
    process = SimpleNamespace(name="script", is_dead=False, is_frozen=False)
    kafka = Kafka(producing.Producer, clients.Consumer, clients.AdminClient, {}, "", lambda _: None)
    seen: list[Any] = []

    def play() -> None:
        script = Script(seed, kafka, None)
        observe = script._observe

        def settled(observation: tuple[str, Callable[[], Any]]) -> None:
            scheduler.wait(lambda: not cluster.pending(), None)
            observe(observation)

        script._observe = settled  # type: ignore[method-assign]  # here it is known when markers are written
        seen.extend(script.run())

    scheduler.spawn("script", process, play)
    while scheduler.fibers:
        if pending := cluster.pending():
            cluster.write_marker(*pending[0])
        for fiber in scheduler.runnable():
            scheduler.run(fiber)
        scheduler.now += SECOND // 1_000
    return seen


def on_broker(seed: int, broker: Broker, expected: list[Any]) -> None:
    """Run a script on a real broker and compare."""
    silent = logging.getLogger("librdkafka-compared")
    silent.disabled = True  # it tells of every fenced producer
    config = {"bootstrap.servers": broker.bootstrap_servers, "log_level": 0, "logger": silent}
    prefix = f"compare-{seed}-"
    admin = AdminClient(config)  # in a variable: it must live until the answers are there
    created = admin.create_topics([NewTopic(prefix + topic, 1, 1) for topic in TOPICS])
    for future in created.values():
        future.result(PATIENCE)
    pause = threading.Event()

    def wait(is_so: Callable[[], bool]) -> None:
        for _ in range(int(PATIENCE / SLICE_SECONDS)):
            if is_so():
                return
            pause.wait(SLICE_SECONDS)

    kafka = Kafka(confluent_kafka.Producer, confluent_kafka.Consumer, AdminClient, config, prefix, wait)
    Script(seed, kafka, expected).run()


@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_calls_have_the_same_answers(seed: int, broker: Broker) -> None:
    print(f"seed {seed}")
    expected = in_memory(seed)
    assert any("fails" in what for what, _ in expected)
    on_broker(seed, broker, expected)
