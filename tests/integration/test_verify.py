"""`sizer verify` on a real broker: beside workers and without, once and live."""

import os
import signal
import subprocess
import sys
import threading

import orjson
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from app.stream.topics import changelog_topic
from app.topics import SIGNALS, SIZED_ORDERS
from tests.integration.cluster import PATIENCE, Deployment, load
from tests.integration.traffic import Traffic

SEED = 20260108
COMMAND = [sys.executable, "-m", "app.cli", "verify"]


def verify(deployment: Deployment, *options: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [*COMMAND, *options],
        env=os.environ | deployment.environment | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    print(done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done


class Follower:
    """`sizer verify --follow` as a process; what it says is kept, line by line."""

    def __init__(self, deployment: Deployment, *options: str) -> None:
        self.lines: list[str] = []
        self._said = threading.Condition()
        self._process = subprocess.Popen(
            [*COMMAND, "--follow", *options],
            env=os.environ | deployment.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._said:
                self.lines.append(line.rstrip())
                self._said.notify_all()

    def wait_for(self, *texts: str) -> str:
        """Wait for a line with these texts and return it."""

        def found() -> list[str]:
            return [line for line in self.lines if all(text in line for text in texts)]

        with self._said:
            assert self._said.wait_for(lambda: bool(found()), PATIENCE), self.lines
            return found()[0]

    def stop(self) -> int:
        """End it by SIGTERM and return its exit status."""
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return status

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def plant(deployment: Deployment, topic: str, key: bytes, value: bytes) -> int:
    """Produce a record to partition 0 as nobody should; return its offset."""
    offsets: list[int | None] = []
    producer = Producer({"bootstrap.servers": deployment.settings.bootstrap_servers})
    producer.produce(topic, value, key, 0, on_delivery=lambda _, message: offsets.append(message.offset()))
    assert producer.flush(PATIENCE) == 0
    assert offsets[0] is not None
    return offsets[0]


def plant_an_order(deployment: Deployment) -> int:
    order = deployment.read(SIZED_ORDERS)[0][SIZED_ORDERS][0].value() or b""
    foreign = orjson.loads(order) | {"order_id": "foreign", "signal_id": "foreign", "sequence": 1}
    return plant(deployment, deployment.settings.topic(SIZED_ORDERS), b"PF", orjson.dumps(foreign))


def test_a_worker_under_load_is_proved_and_what_is_planted_is_named(deployment: Deployment) -> None:
    worker = deployment.started()
    with load(deployment, Traffic(SEED), 200) as sent:
        deployment.wait_for_answers(200)
        for _ in range(2):
            beside = verify(deployment)
            assert beside.returncode == 0
            lines = beside.stdout.splitlines()
            assert "state: 2 of 2 partitions compared with the changelogs" in lines
            assert lines[-1] == "proved"
    count = sum(record.topic == SIGNALS for record in sent)
    deployment.wait_for_answers(count)
    assert worker.stop() == 0
    said = orjson.loads(verify(deployment, "--json").stdout)
    assert said["proved"] is True
    assert said["findings"] == []
    assert said["signals"] == said["orders"] == said["recomputed"] == count
    assert (said["waiting"], said["states"]) == (0, 2)

    order = plant_an_order(deployment)
    changelog = changelog_topic(deployment.settings, "orders")
    key = next(message.key() for message in deployment.read_raw(changelog)[0])
    assert isinstance(key, bytes)
    plant(deployment, changelog, key, b"\x01 altered")
    found = verify(deployment)
    assert found.returncode == 1
    named = f"I1 {deployment.settings.topic(SIZED_ORDERS)}, partition 0, offset {order}: order foreign"
    assert any(line.startswith(named) for line in found.stdout.splitlines())
    assert f"row {key.decode().replace(chr(0x1F), ' / ')} of orders is" in found.stdout
    assert found.stdout.splitlines()[-1] == "NOT proved"
    said = orjson.loads(verify(deployment, "--json").stdout)
    assert said["proved"] is False
    assert {finding["invariant"] for finding in said["findings"]} == {"I1", "I4", "I5"}


def test_followed_beside_a_worker_a_finding_is_told_when_it_is_made(deployment: Deployment) -> None:
    deployment.started()
    follower = Follower(deployment)
    try:
        with load(deployment, Traffic(SEED)):
            deployment.wait_for_answers(300)
            follower.wait_for("orders, 0 lost", ", 0 findings")
            order = plant_an_order(deployment)
            follower.wait_for("I1", f"partition 0, offset {order}: order foreign")
            key = b"PF-1\x1fnot-ours"
            plant(deployment, changelog_topic(deployment.settings, "orders"), key, b"\x01 planted")
            follower.wait_for("I4", "row PF-1 / not-ours of orders is")
        assert follower.stop() == 1
    finally:
        follower.kill()
    assert follower.lines[-1] == "NOT proved"
    assert not [
        line for line in follower.lines if line.startswith("I") and "foreign" not in line and "ours" not in line
    ]


def test_an_input_that_waits_too_long_is_told_and_heals(deployment: Deployment) -> None:
    traffic = Traffic(SEED)
    worker = deployment.started()
    deployment.send(traffic.mixed(100))
    deployment.wait_for_answers(50)
    assert worker.stop() == 0
    follower = Follower(deployment, "--grace", "1")
    try:
        follower.wait_for("50 signals, 50 orders")
        deployment.send(traffic.signals(1))
        late = follower.wait_for("I1", "no outcome for 1 seconds")
        deployment.started()
        follower.wait_for(f"healed: {late}")
        follower.wait_for("51 signals, 51 orders")
        assert follower.stop() == 0
    finally:
        follower.kill()
    assert follower.lines[-1] == "proved"


def test_deleted_beginnings_are_told_and_nobody_is_accused(deployment: Deployment) -> None:
    traffic = Traffic(SEED)
    worker = deployment.started()
    deployment.send(traffic.mixed(100))
    deployment.wait_for_answers(50)
    assert worker.stop() == 0
    admin = AdminClient({"bootstrap.servers": deployment.settings.bootstrap_servers})
    places = [TopicPartition(deployment.settings.topic(SIGNALS), partition, 10) for partition in range(2)]
    for future in admin.delete_records(places).values():
        future.result()
    found = verify(deployment)
    assert found.returncode == 1
    assert "partition 1: records before offset 10 were deleted" in found.stdout
    assert "not provable: " in found.stdout
    assert ", 0 findings" in found.stdout


def test_without_state_it_says_so_and_judges_the_rest(deployment: Deployment) -> None:
    worker = deployment.started()
    deployment.send(Traffic(SEED).mixed(100))
    deployment.wait_for_answers(50)
    assert worker.stop() == 0
    found = verify(deployment, SIZER_APP_ID="another")
    assert found.returncode == 1
    assert "the state (I4) is not judged" in found.stdout
    assert "not proved: the state of 2 partitions was not compared" in found.stdout
    following = verify(deployment, "--follow", SIZER_APP_ID="another")
    assert following.returncode == 2
    assert "another-portfolios-changelog does not exist, and following needs" in following.stderr
    foreign = verify(deployment, SIZER_TOPIC_PREFIX="nowhere.")
    assert foreign.returncode == 2
    assert foreign.stderr == ("sizer: topic nowhere.signals does not exist: create it with `sizer topics create`\n")


def test_no_broker_is_one_line(deployment: Deployment) -> None:
    for options in ((), ("--follow",)):
        found = verify(deployment, *options, SIZER_BOOTSTRAP_SERVERS="127.0.0.1:1")
        assert found.returncode == 2
        assert found.stderr.startswith("sizer: no Kafka broker at 127.0.0.1:1: ")
        assert found.stderr.count("\n") == 1
