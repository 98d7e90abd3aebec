"""The topics: what they must be like, creating them, checking them."""

from collections.abc import Collection, Mapping
from enum import Enum
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # exported, but its stubs do not say so
    AclOperation,
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
    TopicDescription,
)

from app.errors import UserError
from app.processor import TABLES
from app.settings import Settings
from app.stream.clients import REQUEST_SECONDS, BrokerUnavailableError, connect_admin
from app.stream.refusals import NOT_ALLOWED, lacking
from app.topics import FILLS_DLQ, INPUTS, OUTPUTS, SIGNALS, SIGNALS_DLQ

DEFAULT_PARTITIONS = 4
"""The number cannot change later without moving portfolios between states, so it is the most workers there can ever
be; each partition costs its worker three small databases and two producers."""

_DAY_MS = 24 * 60 * 60 * 1000
_WEEK_MS = 7 * _DAY_MS
_REPLICAS = 3
_DEAD_LETTER_BYTES = 16 * 1024 * 1024
_HEADERS_BYTES = 10_000
"""Room for the headers of a dead letter."""
_COMPACT = frozenset({"compact"})
_COMPACT_DELETE = frozenset({"compact", "delete"})
_EXPIRING_TABLES = frozenset({"signal_ids"})
"""Tables whose rows expire by themselves, within 48 hours: only their changelogs may also delete by age."""


class TopicKind(Enum):
    """What a topic is for."""

    INPUT = "input"
    OUTPUT = "output"
    CHANGELOG = "changelog"


class TopicSpec(NamedTuple):
    """A topic by its real name, and the settings to create it with."""

    name: str
    kind: TopicKind
    config: Mapping[str, str]
    table: str | None = None
    """Of a changelog: whose."""


class TopicFacts(NamedTuple):
    """What the worker needs to know about the topics that it found in order."""

    partition_count: int
    changelog_ids: Mapping[str, str]
    """By table: Kafka's own id of its changelog, fit for a file name. A topic created again has another one."""
    tombstone_seconds: Mapping[str, float]
    """By table: how long its changelog keeps deletions (`delete.retention.ms`)."""


def changelog_topic(settings: Settings, table: str) -> str:
    """Return the real name of a table's changelog."""
    return settings.topic(f"{settings.app_id}-{table}-changelog")


def topic_specs(settings: Settings) -> list[TopicSpec]:
    """Return all topics of the sizer (rules: topics)."""
    append_time = {"message.timestamp.type": "LogAppendTime"}
    return [
        *(TopicSpec(settings.topic(topic), TopicKind.INPUT, {"cleanup.policy": "delete"}) for topic in INPUTS),
        *(
            TopicSpec(
                settings.topic(topic), TopicKind.OUTPUT, {"cleanup.policy": "delete", **append_time, **_room(topic)}
            )
            for topic in OUTPUTS
        ),
        *(
            TopicSpec(
                changelog_topic(settings, table),
                TopicKind.CHANGELOG,
                {**append_time, **_changelog_config(table)},
                table,
            )
            for table in TABLES
        ),
    ]


def _room(topic: str) -> dict[str, str]:
    """Return a dead letter's limit: it is its original plus headers, and must fit what fitted into the input topic."""
    return {"max.message.bytes": str(_DEAD_LETTER_BYTES)} if topic in (SIGNALS_DLQ, FILLS_DLQ) else {}


def _changelog_config(table: str) -> dict[str, str]:
    config = {
        "cleanup.policy": "compact",
        # A worker that was away for less than half of this goes on from its local state; later it restores afresh.
        "delete.retention.ms": str(_WEEK_MS),
        # Only closed segments are compacted, and restoring reads what is not: keep the open one small and young.
        "segment.bytes": str(64 * 1024 * 1024),
        "segment.ms": str(_DAY_MS),
    }
    if table in _EXPIRING_TABLES:
        config |= {"cleanup.policy": "compact,delete", "retention.ms": str(_WEEK_MS)}
    return config


def create_topics(settings: Settings, partitions: int | None = None) -> list[str]:
    """Create the topics that are missing and return their names; what exists is not touched.

    `partitions`: of all topics; None: what the existing ones have, else DEFAULT_PARTITIONS. On three or more brokers
    each topic gets three replicas, of which two must have a record before it counts as written.

    Raises UserError if existing topics have another number of partitions than was asked for.
    """
    admin = connect_admin(settings)
    specs = topic_specs(settings)
    existing = _describe(settings, admin, [spec.name for spec in specs])
    if existing:
        name, found = next((name, len(topic.partitions)) for name, topic in existing.items())
        if partitions not in (None, found):
            raise UserError(
                f"topic {name} exists with {found} partitions, not {partitions}: all topics must have the same number;"
                f" create with --partitions {found}"
            )
        partitions = found
    missing = [spec for spec in specs if spec.name not in existing]
    if missing:
        brokers = len(admin.list_topics(timeout=REQUEST_SECONDS).brokers)
        _create(settings, admin, missing, partitions or DEFAULT_PARTITIONS, min(_REPLICAS, brokers))
    return [spec.name for spec in missing]


def _create(
    settings: Settings, admin: AdminClient, specs: Collection[TopicSpec], partitions: int, replicas: int
) -> None:
    durable = {"min.insync.replicas": "2"} if replicas >= _REPLICAS else {}
    topics = [
        NewTopic(spec.name, num_partitions=partitions, replication_factor=replicas, config={**spec.config, **durable})
        for spec in specs
    ]
    for name, future in admin.create_topics(topics, operation_timeout=REQUEST_SECONDS).items():
        try:
            future.result()
        except KafkaException as error:
            code = error.args[0].code()
            if code in NOT_ALLOWED:
                raise lacking(settings, "admin", f"Create on topic {name}") from None
            if code != KafkaError.TOPIC_ALREADY_EXISTS:  # else another `create` at the same time did it
                raise UserError(f"topic {name} could not be created: {error.args[0].str()}") from None


def check_topics(settings: Settings) -> TopicFacts:
    """Check that the topics are as the guarantees need them, and return what the worker has to know about them.

    Raises UserError, naming the topic and the cure (rules: "the worker refuses to start"), or BrokerUnavailableError.
    """
    admin = connect_admin(settings)
    specs = topic_specs(settings)
    topics = _describe(settings, admin, [spec.name for spec in specs])
    for spec in specs:
        if spec.name not in topics:
            raise UserError(f"topic {spec.name} does not exist: create it with `sizer topics create`")
    count = check_partition_counts(settings, {spec.name: len(topics[spec.name].partitions) for spec in specs})
    configs = _configs(settings, admin, [spec.name for spec in specs])
    for spec in specs:
        _check_cleanup(spec, configs[spec.name])
    for topic in INPUTS:
        _check_room(settings.topic(topic), settings.topic(f"{topic}.dlq"), configs)
    changelogs = {spec.table: spec.name for spec in specs if spec.table is not None}
    return TopicFacts(
        count,
        {table: str(topics[name].topic_id).replace("/", "_") for table, name in changelogs.items()},
        {table: int(configs[name]["delete.retention.ms"]) / 1000 for table, name in changelogs.items()},
    )


def check_partition_counts(settings: Settings, counts: Mapping[str, int]) -> int:
    """Check that topics, by real name, have as many partitions as `signals`; return how many. Raises UserError."""
    signals = settings.topic(SIGNALS)
    for name, found in counts.items():
        if found != counts[signals]:
            raise UserError(
                f"topic {name} has {found} partitions but {signals} has {counts[signals]}: all must have the same"
                " number; create the wrong one again"
            )
    return counts[signals]


def _check_room(topic: str, letters: str, configs: Mapping[str, Mapping[str, str]]) -> None:
    """Check that a dead letter, an input record with headers, fits: else one would stop its partition for ever."""
    size, room = (int(configs[name]["max.message.bytes"]) for name in (topic, letters))
    if room < size + _HEADERS_BYTES:
        raise UserError(
            f"topic {letters} has max.message.bytes={room} but {topic} takes records of {size}: dead letters would not"
            f" fit; set it to {size + _HEADERS_BYTES} or more"
        )


def _check_cleanup(spec: TopicSpec, config: Mapping[str, str]) -> None:
    policy = config["cleanup.policy"]
    policies = {part.strip() for part in policy.split(",")}
    if spec.kind is not TopicKind.CHANGELOG:
        if "compact" in policies:
            raise UserError(
                f"{spec.kind.value} topic {spec.name} has cleanup.policy={policy}: compaction would drop all but the"
                " last record of a portfolio; set cleanup.policy=delete"
            )
        return
    wanted = spec.config["cleanup.policy"]
    if policies == _COMPACT:
        return
    if policies != _COMPACT_DELETE or spec.table not in _EXPIRING_TABLES:
        raise UserError(
            f"changelog topic {spec.name} has cleanup.policy={policy}: state would be lost by age; set"
            f" cleanup.policy={wanted}"
        )
    retention = int(config["retention.ms"])
    if 0 <= retention < _WEEK_MS:
        raise UserError(
            f"changelog topic {spec.name} has retention.ms={retention}: signal ids must be kept for 7 days; set"
            f" retention.ms={_WEEK_MS} or more"
        )


def _describe(settings: Settings, admin: AdminClient, names: Collection[str]) -> dict[str, TopicDescription]:
    """Return the topics that exist, in the order of `names`."""
    found = {}
    for name, future in admin.describe_topics(TopicCollection(list(names)), request_timeout=REQUEST_SECONDS).items():
        try:
            found[name] = future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise _failure(settings, "Describe", name, error) from None
    return {name: found[name] for name in names if name in found}


def find_allowed(settings: Settings, names: Collection[str]) -> dict[str, Collection[AclOperation]]:
    """Return what we may do with each topic that exists; one of which the brokers do not tell is left out.

    Raises BrokerUnavailableError, or UserError as `connect_admin` does.
    """
    found: dict[str, Collection[AclOperation]] = {}
    admin = connect_admin(settings)
    topics = TopicCollection(list(names))
    futures = admin.describe_topics(topics, include_authorized_operations=True, request_timeout=REQUEST_SECONDS)
    for name, future in futures.items():
        try:
            operations = future.result().authorized_operations
        except KafkaException as error:
            code = error.args[0].code()
            if code == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                found[name] = ()
            elif code != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise _failure(settings, "Describe", name, error) from None
        else:
            if operations:  # who may describe it may at least do that
                found[name] = operations
    return found


def topic_ids(admin: AdminClient, names: Collection[str]) -> dict[str, str]:
    """Return by name what the cluster identifies topics by; one that is created again has another id.

    Raises KafkaException.
    """
    topics = admin.describe_topics(TopicCollection(list(names)), request_timeout=REQUEST_SECONDS)
    return {name: str(future.result().topic_id) for name, future in topics.items()}


def session_limits(settings: Settings) -> tuple[float, float] | None:
    """Return which session time-outs the brokers take, in seconds; None if this client may not know."""
    admin = connect_admin(settings)
    try:
        broker = next(iter(admin.list_topics(timeout=REQUEST_SECONDS).brokers))
        resource = ConfigResource(ResourceType.BROKER, str(broker))
        config = admin.describe_configs([resource], request_timeout=REQUEST_SECONDS)[resource].result()
    except KafkaException:
        return None
    low, high = (int(str(config[f"group.{end}.session.timeout.ms"].value)) / 1000 for end in ("min", "max"))
    return low, high


def _failure(settings: Settings, operation: str, topic: str, error: KafkaException) -> UserError:
    """Return what it means that a request failed: something that the user must mend, or a broker that is not there."""
    kafka_error = error.args[0]
    if kafka_error.code() in NOT_ALLOWED:
        return lacking(settings, "admin", f"{operation} on topic {topic}")
    kind = UserError if kafka_error.code() == KafkaError.TOPIC_EXCEPTION else BrokerUnavailableError
    return kind(f"{operation} of topic {topic} failed: {kafka_error.str()}")


def _configs(settings: Settings, admin: AdminClient, names: Collection[str]) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    configs = {}
    for resource, future in admin.describe_configs(resources, request_timeout=REQUEST_SECONDS).items():
        try:
            entries = future.result()
        except KafkaException as error:
            raise _failure(settings, "DescribeConfigs", resource.name, error) from None
        configs[resource.name] = {name: str(entry.value) for name, entry in entries.items()}
    return configs
