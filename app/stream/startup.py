"""What has to hold before the worker starts, and before it takes up a partition (rules: "refuses to start")."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import structlog
from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # its stubs do not say so

from app.errors import Doubt, UserError
from app.processor import TABLES, Processor
from app.settings import Settings
from app.stream.clients import REQUEST_SECONDS, BrokerErrors, BrokerUnavailableError, client_config, committed_reader
from app.stream.topics import TopicFacts, changelog_topic, check_topics, session_limits
from app.topics import INPUTS, SIZED_ORDERS

_BACKOFF_SECONDS = 0.25
_BACKOFF_LIMIT_SECONDS = 4.0

_log = structlog.get_logger("sizer")


class InputState(NamedTuple):
    """Where the input topics of a partition stand, by logical name."""

    positions: Mapping[str, int]
    ends: Mapping[str, int]


async def await_topics(settings: Settings) -> TopicFacts:
    """Wait for a broker, however long it takes, and check the topics; said once, not at each try. Raises UserError."""
    backoff = _BACKOFF_SECONDS
    is_told = False
    while True:
        try:
            facts = await asyncio.to_thread(_check_cluster, settings)
        except BrokerUnavailableError as error:
            if not is_told:
                _log.warning("waiting for a broker", reason=str(error))
                is_told = True
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, _BACKOFF_LIMIT_SECONDS)
        else:
            if is_told:
                _log.info("a broker answers", bootstrap_servers=settings.bootstrap_servers)
            return facts


def _check_cluster(settings: Settings) -> TopicFacts:
    facts = check_topics(settings)
    limits = session_limits(settings)
    if limits is not None and not limits[0] <= settings.session_timeout <= limits[1]:
        raise UserError(
            f"SIZER_SESSION_TIMEOUT={settings.session_timeout:g}: the brokers take {limits[0]:g} to {limits[1]:g}"
            " seconds (group.min.session.timeout.ms, group.max.session.timeout.ms)"
        )
    return facts


def check_partition(settings: Settings, partition: int, processor: Processor) -> InputState:
    """Check a partition's restored state against its topics, and return where its input goes on; blocks.

    Raises UserError if the next offset of an input topic lies outside its log, or if there are answers but no state.
    """
    errors = BrokerErrors()
    admin = AdminClient(client_config(settings, errors))
    try:
        inputs = [settings.topic(topic) for topic in INPUTS]
        starts = _offsets(admin, inputs, partition, OffsetSpec.earliest())  # type: ignore[no-untyped-call]  # no types
        ends = _offsets(admin, inputs, partition, OffsetSpec.latest())  # type: ignore[no-untyped-call]  # no types
        if processor.is_new and _has_records(settings, settings.topic(SIZED_ORDERS), partition):
            raise UserError(
                f"topic {settings.topic(SIZED_ORDERS)} has records in partition {partition} but there is no state in"
                f" {changelog_topic(settings, 'portfolios')}: signals would be answered twice; set SIZER_APP_ID to the"
                " one that wrote them, or SIZER_TOPIC_PREFIX to begin with new topics"
            )
    except KafkaException as error:
        raise Doubt(f"partition {partition}: its topics could not be checked: {errors.explain(error)}") from None
    for topic in INPUTS:
        name = settings.topic(topic)
        start, end = starts[name], ends[name]
        position = processor.positions.get(topic)
        if position is None:
            processor.advance(topic, start)  # a first start reads from the earliest offset
        elif not start <= position <= end:
            raise UserError(
                f"topic {name}, partition {partition}: the next offset to process is {position} but the log has"
                f" {start} to {end}: records were deleted before they were processed, or the topic was created again;"
                " bring the records back, or set another SIZER_APP_ID and SIZER_TOPIC_PREFIX to begin without them"
            )
    positions = {topic: processor.positions[topic] for topic in INPUTS}
    return InputState(positions, {topic: ends[settings.topic(topic)] for topic in INPUTS})


def check_changelogs(settings: Settings, partition: int) -> None:
    """Check that nothing is pending in a partition's changelogs once its former owners are fenced; blocks.

    Raises Doubt if a transaction is still open: it is not ours, or a broker that was killed within milliseconds of a
    commit has forgotten to finish it (seen on one node). Committed rows behind it cannot be read, so state restored
    now would be an old one.
    """
    errors = BrokerErrors()
    admin = AdminClient(client_config(settings, errors))
    names = [changelog_topic(settings, table) for table in TABLES]
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # no types
    try:
        readable = _offsets(admin, names, partition, latest)
        written = _offsets(admin, names, partition, latest, IsolationLevel.READ_UNCOMMITTED)
    except KafkaException as error:
        raise Doubt(f"partition {partition}: its changelogs could not be checked: {errors.explain(error)}") from None
    for name in names:
        if readable[name] != written[name]:
            raise Doubt(
                f"topic {name}, partition {partition}: a transaction is open from offset {readable[name]} on, though"
                " ours are all fenced: find it with `kafka-transactions.sh find-hanging` and abort it"
            )


def _offsets(
    admin: AdminClient,
    names: Sequence[str],
    partition: int,
    spec: OffsetSpec,
    isolation: IsolationLevel = IsolationLevel.READ_COMMITTED,
) -> dict[str, int]:
    """Return an offset of each topic by real name; the latest one is where what the isolation lets through ends."""
    wanted = {TopicPartition(name, partition): spec for name in names}
    futures = admin.list_offsets(wanted, isolation_level=isolation, request_timeout=REQUEST_SECONDS)
    return {where.topic: future.result().offset for where, future in futures.items()}


def _has_records(settings: Settings, topic: str, partition: int) -> bool:
    """Tell whether there is any committed record: markers and what was aborted take up offsets too."""
    deadline = time.monotonic() + REQUEST_SECONDS
    with committed_reader(settings, f"topic {topic}, partition {partition}, could not be read") as consumer:
        consumer.assign([TopicPartition(topic, partition, 0)])
        while time.monotonic() < deadline:
            message = consumer.poll(1.0)
            if message is None:
                continue
            error = message.error()
            if error is None:
                return True
            if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the name of the code
                return False
            raise KafkaException(error)
    raise Doubt(f"partition {partition}: topic {topic} could not be read within {REQUEST_SECONDS:.0f} s")
