"""Who may do what: the smallest set of Kafka's ACLs with which each part of a deployment does its work.

Kafka implies DESCRIBE of a topic by READ or WRITE, of a group by READ, of a transactional id by WRITE, so that is not
listed beside them.
"""

import shlex
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from confluent_kafka.admin import AclOperation  # type: ignore[attr-defined]  # exported, but its stubs do not say so

from app.processor import TABLES
from app.settings import Settings
from app.stream.refusals import lacking
from app.stream.topics import changelog_topic, find_allowed, topic_specs
from app.topics import FILLS, FILLS_DLQ, INPUTS, PHASE_EVENTS, SIGNALS, SIGNALS_DLQ, SIZED_ORDERS


class Role(StrEnum):
    """The parts of a deployment, each with a principal of its own."""

    WORKER = "worker"
    SIGNAL_PRODUCER = "signal-producer"
    EXECUTION_SERVICE = "execution-service"
    ANALYST = "analyst"
    ADMIN = "admin"


class Resource(StrEnum):
    """What an ACL is about; the names are those of `kafka-acls.sh`."""

    TOPIC = "topic"
    GROUP = "group"
    TRANSACTIONAL_ID = "transactional-id"


class Operation(StrEnum):
    """What may be done; the names are those of `kafka-acls.sh`."""

    READ = "Read"
    WRITE = "Write"
    CREATE = "Create"
    DESCRIBE = "Describe"
    DESCRIBE_CONFIGS = "DescribeConfigs"


_IN_KAFKA = {
    Operation.READ: AclOperation.READ,
    Operation.WRITE: AclOperation.WRITE,
    Operation.CREATE: AclOperation.CREATE,
    Operation.DESCRIBE: AclOperation.DESCRIBE,
    Operation.DESCRIBE_CONFIGS: AclOperation.DESCRIBE_CONFIGS,
}


class Acl(NamedTuple):
    """One or more operations on one resource that a principal is to be allowed, and what for."""

    resource: Resource
    name: str
    operations: tuple[Operation, ...]
    reason: str
    is_prefix: bool = False
    """Whether `name` stands for all names that begin with it."""


def acls_of(settings: Settings, role: Role, group: str | None = None) -> list[Acl]:
    """Return what a role needs on the topics of these settings, and nothing that it could do without.

    `group`: the consumer group of an execution service; by default the role's name.
    """
    match role:
        case Role.WORKER:
            return list(_worker(settings))
        case Role.SIGNAL_PRODUCER:
            return [_topic(settings, SIGNALS, "sends signals", Operation.WRITE)]
        case Role.EXECUTION_SERVICE:
            return [
                _topic(settings, SIZED_ORDERS, "takes orders", Operation.READ),
                Acl(Resource.GROUP, group or role.value, (Operation.READ,), "keeps its place in sized_orders"),
                _topic(settings, FILLS, "reports", Operation.WRITE),
            ]
        case Role.ANALYST:
            reason = "recomputes every answer and compares the state"
            return [Acl(Resource.TOPIC, spec.name, (Operation.READ,), reason) for spec in topic_specs(settings)]
        case Role.ADMIN:
            operations = (Operation.CREATE, Operation.DESCRIBE, Operation.DESCRIBE_CONFIGS)
            reason = "makes the topic and checks its settings"
            return [Acl(Resource.TOPIC, spec.name, operations, reason) for spec in topic_specs(settings)]


def _worker(settings: Settings) -> Iterator[Acl]:
    configs = Operation.DESCRIBE_CONFIGS  # of every topic: its start checks what the guarantees hang on
    for topic in INPUTS:
        yield _topic(settings, topic, "takes input, and checks the topic at its start", Operation.READ, configs)
    reason = "answers, and reads its last answer to see that the state is not older"
    yield _topic(settings, SIZED_ORDERS, reason, Operation.READ, Operation.WRITE, configs)
    yield _topic(settings, PHASE_EVENTS, "tells of phases and limits", Operation.WRITE, configs)
    for topic in (SIGNALS_DLQ, FILLS_DLQ):
        yield _topic(settings, topic, "puts aside what it cannot take", Operation.WRITE, configs)
    for table in TABLES:
        name = changelog_topic(settings, table)
        yield Acl(Resource.TOPIC, name, (Operation.READ, Operation.WRITE, configs), "keeps and restores its state")
    yield Acl(Resource.GROUP, settings.app_id, (Operation.READ,), "shares the partitions with the other workers")
    yield Acl(
        Resource.TRANSACTIONAL_ID,
        f"{settings.app_id}-",
        (Operation.WRITE,),
        "fences the former owner of a partition, and commits all at once",
        is_prefix=True,
    )


def _topic(settings: Settings, topic: str, reason: str, *operations: Operation) -> Acl:
    return Acl(Resource.TOPIC, settings.topic(topic), operations, reason)


def check_acls(settings: Settings, role: Role) -> None:
    """Ask the brokers whether a role's operations on topics are allowed; topics that do not exist are not looked at.

    All at once, before anything is done: else the right to write an event would be missed with the first event, in the
    middle of a day. Raises UserError, naming us and all that is missing, or BrokerUnavailableError.
    """
    wanted = [acl for acl in acls_of(settings, role) if acl.resource is Resource.TOPIC]
    allowed = find_allowed(settings, [acl.name for acl in wanted])
    missing = [
        f"{', '.join(lacks)} on topic {acl.name}"
        for acl in wanted
        if (is_allowed := allowed.get(acl.name)) is not None
        and (lacks := [operation for operation in acl.operations if _IN_KAFKA[operation] not in is_allowed])
    ]
    if missing:
        raise lacking(settings, role, *missing)


def acl_commands(settings: Settings, role: Role, principal: str, group: str | None = None) -> Iterator[str]:
    """Yield lines of shell that allow a principal (`User:name`) what a role needs, each behind its reason."""
    bootstrap = shlex.quote(settings.bootstrap_servers)
    for acl in acls_of(settings, role, group):
        operations = " ".join(f"--operation {operation}" for operation in acl.operations)
        pattern = " --resource-pattern-type prefixed" if acl.is_prefix else ""
        yield f"# {acl.reason}"
        yield (
            f'kafka-acls.sh --bootstrap-server {bootstrap} --command-config "$ADMIN_CONFIG" --add'
            f" --allow-principal {shlex.quote(principal)} {operations}"
            f" --{acl.resource} {shlex.quote(acl.name)}{pattern}"
        )
