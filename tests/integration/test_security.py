"""TLS, passwords, certificates, tokens and ACLs on a real broker: who is let in, who may do what, and what is said."""

import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from app.codecs.policy_file import load_policy
from app.errors import Doubt, UserError
from app.processor import TABLES
from app.replay.verify import Topics
from app.settings import Settings, load_settings
from app.stream.acls import Acl, Operation, Resource, Role, acls_of, check_acls
from app.stream.clients import committed_reader
from app.stream.partitions import Partitions
from app.stream.producers import Producers
from app.stream.refusals import NOT_ALLOWED
from app.stream.topics import changelog_topic, check_topics, create_topics
from app.stream.totals import Totals
from app.topics import FILLS, INPUTS, OUTPUTS, SIGNALS, SIZED_ORDERS
from tests.integration.cluster import PATIENCE, Deployment
from tests.integration.locks import PASSWORD, LockedBroker, each_operation, environment, librdkafka
from tests.integration.traffic import Traffic

SEED = 20261126
SIGNALS_SENT = 40


class Desk:
    """A deployment of which each part logs in as itself, with the smallest ACLs."""

    def __init__(self, locked: LockedBroker, folder: Path) -> None:
        self.locked = locked
        self.deployment = Deployment(locked.open_server, "desk", folder, partitions=2)
        self.settings = self.deployment.settings
        self.files = {role: locked.by_password(role.value) for role in Role}
        for role in Role:
            locked.allow(role.value, acls_of(self.settings, role))

    def settings_of(self, role: str) -> Settings:
        """Return the settings of a part."""
        return load_settings(app_id="desk", topic_prefix="desk.", **self.locked.by_password(role))

    def run(self, role: Role, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a command as a part."""
        return subprocess.run(
            [sys.executable, "-m", "app.cli", *arguments],
            env={"PATH": ""} | self.deployment.environment | environment(self.files[role]),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )


@pytest.fixture(scope="module")
def desk(locked: LockedBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Have a desk whose topics are made by its admin."""
    folder = tmp_path_factory.mktemp("desk")
    made = Desk(locked, folder)
    created = made.run(Role.ADMIN, "topics", "create", "--partitions", "2")
    assert created.returncode == 0, created.stderr
    yield made
    made.deployment.close()


def send_signals(desk: Desk, count: int) -> None:
    producer = Producer(
        librdkafka(desk.settings_of(Role.SIGNAL_PRODUCER))
        | {"partitioner": "murmur2_random", "enable.idempotence": True}
    )
    failures: list[KafkaError] = []
    for signal in Traffic(SEED).signals(count):
        producer.produce(
            desk.settings.topic(SIGNALS),
            signal.value,
            signal.key,
            on_delivery=lambda error, _: failures.append(error) if error else None,
        )
    assert producer.flush(PATIENCE) == 0
    assert not failures


def execute(desk: Desk, answers: int) -> int:
    """Take so many answers as an execution service does, and report a fill of each sized one; return how many."""
    config = librdkafka(desk.settings_of(Role.EXECUTION_SERVICE))
    group = {"group.id": "execution-service", "auto.offset.reset": "earliest", "enable.auto.commit": False}
    consumer = Consumer(config | group | {"isolation.level": "read_committed"})
    producer = Producer(config | {"partitioner": "murmur2_random", "enable.idempotence": True})
    consumer.subscribe([desk.settings.topic(SIZED_ORDERS)])
    sized = 0
    for _ in range(answers):
        message = consumer.poll(PATIENCE)
        assert message is not None
        assert message.error() is None, message.error()
        order = orjson.loads(message.value() or b"")
        if order["decision"] == "SIZED":
            sized += 1
            fill = {
                "exec_id": f"E-{sized}",
                "order_id": order["order_id"],
                "portfolio_id": order["portfolio_id"],
                "exec_type": "TRADE",
                "last_qty": "1",
                "last_px": "10",
                "leaves_qty": "0",
                "transact_time": datetime.now(UTC).isoformat(),
            }
            producer.produce(desk.settings.topic(FILLS), orjson.dumps(fill), message.key())
    assert producer.flush(PATIENCE) == 0
    consumer.commit(asynchronous=False)
    consumer.close()
    return sized


def wait_for_hints(desk: Desk) -> None:
    """Wait until the worker has told the group that all fills are processed."""
    places = [(desk.settings.topic(FILLS), partition) for partition in range(2)]
    admin = AdminClient({"bootstrap.servers": desk.locked.open_server, "log_level": 0})
    consumer = Consumer({"bootstrap.servers": desk.locked.open_server, "group.id": "looking", "log_level": 0})
    ends = {place: consumer.get_watermark_offsets(TopicPartition(*place), PATIENCE)[1] for place in places}
    consumer.close()
    assert admin is not None
    deadline = threading.Event()
    for _ in range(int(PATIENCE * 5)):
        if desk.deployment.hints(places) == ends:
            return
        deadline.wait(0.2)
    raise AssertionError("the worker did not process the fills")


def test_each_part_does_its_work_with_the_smallest_acls(desk: Desk, tmp_path: Path) -> None:
    checked = desk.run(Role.ADMIN, "topics", "check")
    assert (checked.returncode, checked.stdout) == (0, "all topics are as they should be\n"), checked.stderr
    # The worker's password is in a file: neither its command line nor its environment has it.
    (tmp_path / "sizer_sasl_password").write_text(f"{PASSWORD}\n")
    files = desk.files[Role.WORKER] | {"secrets_dir": str(tmp_path)}
    del files["sasl_password"]
    worker = desk.deployment.start(**environment(files))
    worker.wait_for("ready")
    if sys.platform == "linux":
        shown = [Path(f"/proc/{worker.pid}/{what}").read_text() for what in ("cmdline", "environ")]
        assert not [text for text in shown if PASSWORD in text]
    send_signals(desk, SIGNALS_SENT)
    assert execute(desk, SIGNALS_SENT) > 0
    wait_for_hints(desk)
    assert worker.stop() == 0
    verified = desk.run(Role.ANALYST, "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert f"{SIGNALS_SENT} signals, {SIGNALS_SENT} orders, 0 lost" in verified.stdout
    assert verified.stdout.splitlines()[-1] == "proved"
    assert PASSWORD not in worker.said + verified.stdout + verified.stderr


def code_of(act: Callable[..., object], *arguments: object) -> int:
    """Return the code of the error that an act ends with."""
    with pytest.raises(KafkaException) as told:
        act(*arguments)
    return int(told.value.args[0].code())


def write(settings: Settings, topic: str) -> None:
    errors: list[KafkaError] = []
    producer = Producer(librdkafka(settings) | {"message.timeout.ms": 10_000})
    producer.produce(topic, b"{}", b"PF", 0, on_delivery=lambda error, _: errors.append(error) if error else None)
    producer.flush(PATIENCE)
    if errors:
        raise KafkaException(errors[0])


def fence(settings: Settings, transactional_id: str) -> None:
    Producer(librdkafka(settings) | {"transactional.id": transactional_id}).init_transactions(PATIENCE)


def poll_once(consumer: Consumer, *unheeded: int) -> None:
    """Take one record, or an end; raise what goes wrong."""
    try:
        error = None
        while error is None or error.code() in unheeded:
            message = consumer.poll(PATIENCE)
            assert message is not None
            error = message.error()
            if error is None or error.code() == KafkaError._PARTITION_EOF:
                return
    finally:
        consumer.close()
    raise KafkaException(error)


def join(settings: Settings, group: str, topic: str) -> None:
    consumer = Consumer(
        librdkafka(settings) | {"group.id": group, "auto.offset.reset": "earliest", "enable.partition.eof": True}
    )
    consumer.subscribe([topic])
    poll_once(consumer)


def read(settings: Settings, topic: str) -> None:
    quiet = {"enable.auto.commit": False, "enable.partition.eof": True}
    consumer = Consumer(librdkafka(settings) | {"group.id": "unused"} | quiet)
    if (error := consumer.list_topics(topic, PATIENCE).topics[topic].error) is not None:
        raise KafkaException(error)
    consumer.assign([TopicPartition(topic, 0, 0)])
    poll_once(consumer, KafkaError.GROUP_AUTHORIZATION_FAILED)  # librdkafka asks for a group that it does not need


def administer(settings: Settings, act: Callable[[AdminClient], dict[Any, Any]]) -> None:
    admin = AdminClient(librdkafka(settings))
    for future in act(admin).values():
        future.result()


class TestForbidden:
    """What one part, or a stranger who is let in, cannot do to another."""

    def test_to_fence_a_worker(self, desk: Desk) -> None:
        for other in ("stranger", Role.ANALYST, Role.EXECUTION_SERVICE, Role.SIGNAL_PRODUCER, Role.ADMIN):
            code = code_of(fence, desk.settings_of(other), "desk-0-0")
            assert code == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, other

    def test_to_write_what_a_worker_writes(self, desk: Desk) -> None:
        changelogs = [changelog_topic(desk.settings, table) for table in TABLES]
        for other in ("stranger", Role.ANALYST, Role.EXECUTION_SERVICE, Role.SIGNAL_PRODUCER, Role.ADMIN):
            settings = desk.settings_of(other)
            for topic in [*map(desk.settings.topic, OUTPUTS), *changelogs]:
                assert code_of(write, settings, topic) == KafkaError.TOPIC_AUTHORIZATION_FAILED, (other, topic)

    def test_to_join_its_group(self, desk: Desk) -> None:
        settings = desk.settings_of(Role.ANALYST)  # who may read the topics
        code = code_of(join, settings, "desk", desk.settings.topic(SIGNALS))
        assert code == KafkaError.GROUP_AUTHORIZATION_FAILED

    def test_to_change_its_topics(self, desk: Desk) -> None:
        orders = desk.settings.topic(SIZED_ORDERS)
        entry = ConfigEntry("retention.ms", "1", incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, orders, incremental_configs=[entry])
        acts: list[Callable[[AdminClient], dict[Any, Any]]] = [
            lambda admin: admin.delete_topics([orders]),
            lambda admin: admin.incremental_alter_configs([resource]),
            lambda admin: admin.create_partitions([NewPartitions(orders, 9)]),
        ]
        for other in ("stranger", *Role):  # a worker cannot either, nor who made them
            for act in acts:
                code = code_of(administer, desk.settings_of(other), act)
                assert code == KafkaError.TOPIC_AUTHORIZATION_FAILED, other
        for other in (Role.WORKER, Role.EXECUTION_SERVICE, Role.ANALYST, Role.ADMIN):  # who may see it
            settings = desk.settings_of(other)
            code = code_of(administer, settings, lambda admin: admin.delete_records([TopicPartition(orders, 0, -1)]))
            assert code == KafkaError.TOPIC_AUTHORIZATION_FAILED, other

    def test_to_do_the_work_of_another_neighbour(self, desk: Desk) -> None:
        for role, topic in ((Role.SIGNAL_PRODUCER, FILLS), (Role.EXECUTION_SERVICE, SIGNALS), (Role.WORKER, SIGNALS)):
            code = code_of(write, desk.settings_of(role), desk.settings.topic(topic))
            assert code == KafkaError.TOPIC_AUTHORIZATION_FAILED, role

    def test_to_read_what_is_none_of_its_business(self, desk: Desk) -> None:
        for role, topic in (("stranger", SIZED_ORDERS), (Role.SIGNAL_PRODUCER, SIZED_ORDERS), (Role.ADMIN, SIGNALS)):
            code = code_of(read, desk.settings_of(role), desk.settings.topic(topic))
            assert code == KafkaError.TOPIC_AUTHORIZATION_FAILED, role


def live_as_worker(settings: Settings, folder: Path) -> None:
    """Do once all that a worker does with its brokers, by its own code but without its look at the ACLs beforehand."""
    facts = check_topics(settings)
    partitions = Partitions(settings, load_policy(None), facts, Totals())
    try:
        # Taking a partition: fencing, restoring, checking. This one has a state and answers.
        producers = partitions._open(0)[0]
    finally:
        partitions.local_tables.close_all_but(set())
    producers.close()
    with committed_reader(settings, "inputs") as consumer:
        for topic in INPUTS:
            consumer.assign([TopicPartition(settings.topic(topic), 1, 0)])
            message = consumer.poll(PATIENCE)
            assert message is not None
            if (error := message.error()) is not None and error.code() != KafkaError._PARTITION_EOF:
                raise KafkaException(error)
    # A transaction with all that there may be in one, in a partition where nobody looks afterwards.
    producers = Producers(settings, 1)
    producers.fence()
    producers.begin()
    for topic in OUTPUTS:
        producers.produce(settings.topic(topic), b"PF", b"{}")
    for table in TABLES:
        producers.produce_rows(changelog_topic(settings, table), [(b"key", b"row")])
    producers.commit()
    producers.close()
    join(settings, settings.app_id, settings.topic(SIGNALS))


def is_not_allowed(error: BaseException) -> bool:
    said = str(error)
    return (
        "is not allowed" in said
        or "authorization failed" in said
        or (isinstance(error, KafkaException) and error.args[0].code() in NOT_ALLOWED)
    )


def test_a_worker_needs_each_of_its_acls(locked: LockedBroker, tmp_path: Path) -> None:
    deployment = Deployment(locked.open_server, "needs", tmp_path, partitions=2)
    deployment.create_topics()
    worker = deployment.started()
    deployment.send(Traffic(SEED).mixed(40))
    deployment.wait_for_answers(20)
    assert worker.stop() == 0

    settings = load_settings(
        app_id="needs", topic_prefix="needs.", data_dir=tmp_path / "own", **locked.by_password("needy")
    )
    acls = each_operation(acls_of(settings, Role.WORKER))
    locked.allow("needy", acls)
    check_acls(settings, Role.WORKER)
    live_as_worker(settings, tmp_path)
    for acl in acls:
        locked.forbid("needy", acl)
        if acl.resource is Resource.TOPIC:
            with pytest.raises(UserError) as told:
                check_acls(settings, Role.WORKER)
            lacking, _, where = str(told.value).removeprefix("User:needy is not allowed ").partition(" on ")
            # Who may not even see a topic does not learn what else would be allowed.
            assert acl.operations[0] in lacking.split(", "), told.value
            assert where.startswith(f"topic {acl.name}: "), told.value
        with pytest.raises((UserError, Doubt, KafkaException)) as failed:
            live_as_worker(settings, tmp_path)
        assert is_not_allowed(failed.value), (acl, failed.value)
        locked.allow("needy", [acl])


def test_their_neighbours_need_each_of_theirs(locked: LockedBroker, tmp_path: Path) -> None:
    deployment = Deployment(locked.open_server, "theirs", tmp_path, partitions=1)
    deployment.create_topics()

    def act(settings: Settings, acl: Acl) -> None:
        """Do what a part does with this right."""
        if acl.resource is Resource.GROUP:
            join(settings, acl.name, deployment.settings.topic(SIZED_ORDERS))
        elif acl.operations == (Operation.WRITE,):
            write(settings, acl.name)
        else:
            read(settings, acl.name)

    for role in (Role.SIGNAL_PRODUCER, Role.EXECUTION_SERVICE, Role.ANALYST):
        user = f"their-{role}"
        settings = load_settings(app_id="theirs", topic_prefix="theirs.", **locked.by_password(user))
        acls = each_operation(acls_of(settings, role))
        locked.allow(user, acls)
        for acl in acls:
            act(settings, acl)
            locked.forbid(user, acl)
            assert code_of(act, settings, acl) in NOT_ALLOWED, acl
            locked.allow(user, [acl])
    # The analyst's own command says it before it reads anything.
    locked.forbid(user, acls[0])
    with pytest.raises(
        UserError, match=f"User:{user} is not allowed Read on topic {re.escape(acls[0].name)}: `sizer acls a"
    ):
        Topics(settings)


def test_an_admin_needs_each_of_its_acls(locked: LockedBroker) -> None:
    settings = load_settings(app_id="made", topic_prefix="made.", **locked.by_password("maker"))
    acls = acls_of(settings, Role.ADMIN)
    locked.allow("maker", acls)

    def refused(act: Callable[[Settings], object], acl: Acl, operation: Operation) -> None:
        locked.forbid("maker", acl._replace(operations=(operation,)))
        with pytest.raises(UserError) as told:
            act(settings)
        assert str(told.value).startswith(
            f"User:maker is not allowed {operation} on topic {acl.name}: `sizer acls admin"
        )
        locked.allow("maker", [acl])

    # One topic of each kind: the requests are about all of them at once.
    for acl in (acls[0], acls[-1]):
        refused(create_topics, acl, Operation.DESCRIBE)
    refused(create_topics, acls[0], Operation.CREATE)
    create_topics(settings)
    for acl in (acls[0], acls[-1]):
        refused(check_topics, acl, Operation.DESCRIBE_CONFIGS)
    check_topics(settings)
