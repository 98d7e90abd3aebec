"""What has to hold before the worker starts, and before it takes up a partition (rules: "refuses to start")."""

import asyncio
import time
from collections.abc import Mapping
from typing import NamedTuple

import structlog
from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # its stubs do not say so

from app.codecs import BadRecord
from app.codecs.output import read_output
from app.codecs.records import SIZED_ORDER
from app.errors import Doubt, UserError
from app.processor import TABLES, Processor
from app.settings import Settings
from app.stream.acls import Role, check_acls
from app.stream.clients import (
    REQUEST_SECONDS,
    BrokerErrors,
    BrokerUnavailableError,
    client_config,
    committed_reader,
    partition_offsets,
)
from app.stream.topics import TopicFacts, changelog_topic, check_topics, session_limits, topic_ids
from app.topics import INPUTS, SIGNALS, SIZED_ORDERS

_BACKOFF_SECONDS = 0.25
_BACKOFF_LIMIT_SECONDS = 4.0
_SECOND_LOOK_SECONDS = 1.0
_TAIL_RECORDS = 16
"""Offsets looked at for the last record, at first."""

_log = structlog.get_logger("sizer")


class InputState(NamedTuple):
    """Where the input topics of a partition stand, by logical name."""

    positions: Mapping[str, int]
    ends: Mapping[str, int]


async def await_topics(settings: Settings) -> TopicFacts:
    """Wait for a broker, however long it takes, and check the topics; said once, not at each try.

    Raises UserError if the topics are not in order. A broker that has just started may know of old ones or none, so
    that is looked at twice.
    """
    backoff = _BACKOFF_SECONDS
    is_told = is_doubtful = False
    while True:
        try:
            facts = await asyncio.to_thread(_check_cluster, settings)
        except BrokerUnavailableError as error:
            if not is_told:
                _log.warning("waiting for a broker", reason=str(error))
                is_told = True
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, _BACKOFF_LIMIT_SECONDS)
        except UserError:
            if is_doubtful:
                raise
            is_doubtful = True
            await asyncio.sleep(_SECOND_LOOK_SECONDS)
        else:
            if is_told:
                _log.info("a broker answers", bootstrap_servers=settings.bootstrap_servers)
            return facts


def _check_cluster(settings: Settings) -> TopicFacts:
    check_acls(settings, Role.WORKER)
    facts = check_topics(settings)
    limits = session_limits(settings)
    if limits is not None and not limits[0] <= settings.session_timeout <= limits[1]:
        raise UserError(
            f"SIZER_SESSION_TIMEOUT={settings.session_timeout:g}: the brokers take {limits[0]:g} to {limits[1]:g}"
            " seconds (group.min.session.timeout.ms, group.max.session.timeout.ms)"
        )
    return facts


def check_partition(
    settings: Settings, partition: int, processor: Processor, changelog_ends: Mapping[str, int]
) -> InputState:
    """Check a partition's restored state against its topics, and return where its input goes on; blocks.

    `changelog_ends`: where each table's changelog ends, as `check_changelogs` found it.

    Raises UserError if the state is not that of these topics: an input topic is another one than the state was made
    from, or its log does not have the next offset; a changelog was longer once; there are answers but no state, or
    answers to signals that the state has not seen.
    """
    _check_changelog_ends(settings, partition, processor, changelog_ends)
    errors = BrokerErrors()
    admin = AdminClient(client_config(settings, errors))
    try:
        inputs, answers = [settings.topic(topic) for topic in INPUTS], settings.topic(SIZED_ORDERS)
        names = [*inputs, answers]
        starts = partition_offsets(admin, names, partition, OffsetSpec.earliest())  # type: ignore[no-untyped-call]  # no types
        ends = partition_offsets(admin, names, partition, OffsetSpec.latest())  # type: ignore[no-untyped-call]  # no types
        ids = topic_ids(admin, inputs)
    except KafkaException as error:
        raise Doubt(f"partition {partition}: its topics could not be checked: {errors.explain(error)}") from None
    _check_answers(
        settings, partition, processor, _last_record(settings, answers, partition, starts[answers], ends[answers])
    )
    _check_input_ids(settings, partition, processor, {topic: ids[settings.topic(topic)] for topic in INPUTS})
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


def _check_changelog_ends(
    settings: Settings, partition: int, processor: Processor, changelog_ends: Mapping[str, int]
) -> None:
    for table, end in processor.changelog_ends.items():
        if changelog_ends[table] < end:
            raise UserError(
                f"topic {changelog_topic(settings, table)} ends at offset {changelog_ends[table]} in partition"
                f" {partition} but was written up to {end}: it was created again or has lost committed records, and a"
                " state without them would be a wrong one; bring them back from a backup or another worker's disk, or"
                " set another SIZER_APP_ID and SIZER_TOPIC_PREFIX to begin anew"
            )


def _check_input_ids(settings: Settings, partition: int, processor: Processor, ids: Mapping[str, str]) -> None:
    for topic, known in processor.input_ids.items():
        if known == ids[topic]:
            continue
        if settings.adopt_topics:
            _log.warning("adopting a topic", topic=settings.topic(topic), partition=partition, instead_of=known)
        else:
            raise UserError(
                f"topic {settings.topic(topic)} was created again since partition {partition} was last processed: its"
                " offsets are not those that the state knows; set another SIZER_APP_ID and SIZER_TOPIC_PREFIX to begin"
                " anew, or, if it was moved here with its offsets, SIZER_ADOPT_TOPICS=true for one start"
            )
    processor.input_ids.update(ids)


def _check_answers(settings: Settings, partition: int, processor: Processor, last: Message | None) -> None:
    """Check that the state is not older than the last answer that was published from it."""
    name = settings.topic(SIZED_ORDERS)
    if last is None:
        return
    if processor.is_new:
        raise UserError(
            f"topic {name} has records in partition {partition} but there is no state in"
            f" {changelog_topic(settings, 'portfolios')}: signals would be answered twice; set SIZER_APP_ID to the"
            " one that wrote them, or SIZER_TOPIC_PREFIX to begin with new topics"
        )
    try:
        answered = int(read_output(last.value(), SIZED_ORDER)["signal_offset"])
    except (BadRecord, ValueError, TypeError, KeyError):
        _log.warning("the last record is none of ours: somebody else writes there", topic=name, partition=partition)
        return
    position = processor.positions.get(SIGNALS, 0)
    if answered >= position:
        raise UserError(
            f"topic {name}, partition {partition}, has an answer to the signal at offset {answered} but the state in"
            f" {changelog_topic(settings, 'portfolios')} stands at {position}: the changelogs have lost committed"
            " records, and signals would be answered twice; bring them back from a backup, or set another SIZER_APP_ID"
            " and SIZER_TOPIC_PREFIX to begin anew"
        )


def check_changelogs(settings: Settings, partition: int) -> dict[str, int]:
    """Check that nothing is pending in a partition's changelogs once its former owners are fenced; blocks.

    Returns where each one ends, by table.

    Raises Doubt if a transaction is still open: it is not ours, or a broker that was killed within milliseconds of a
    commit has forgotten to finish it (seen on one node). Committed rows behind it cannot be read, so state restored
    now would be an old one.
    """
    readable = find_changelog_ends(settings, partition)
    written = find_changelog_ends(settings, partition, IsolationLevel.READ_UNCOMMITTED)
    for table, end in readable.items():
        if end != written[table]:
            raise Doubt(
                f"topic {changelog_topic(settings, table)}, partition {partition}: a transaction is open from offset"
                f" {end} on, though ours are all fenced: a broker has not written its marker; find it with"
                " `kafka-transactions.sh find-hanging`, and see docs/operations.md before you abort it"
            )
    return readable


def find_changelog_ends(
    settings: Settings, partition: int, isolation: IsolationLevel = IsolationLevel.READ_COMMITTED
) -> dict[str, int]:
    """Return up to where each table's changelog can be read now; blocks. Raises Doubt.

    Not by a consumer's watermarks: while a leader is new and does not know the end yet, librdkafka gives 0 for it.
    """
    errors = BrokerErrors()
    admin = AdminClient(client_config(settings, errors))
    names = {changelog_topic(settings, table): table for table in TABLES}
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # no types
    try:
        ends = partition_offsets(admin, list(names), partition, latest, isolation)
    except KafkaException as error:
        raise Doubt(f"partition {partition}: its changelogs could not be checked: {errors.explain(error)}") from None
    return {table: ends[name] for name, table in names.items()}


def _last_record(settings: Settings, topic: str, partition: int, start: int, end: int) -> Message | None:
    """Return the last committed record from offset `start` to `end`, None if there is none: markers are no records."""
    with committed_reader(settings, f"topic {topic}, partition {partition}, could not be read") as consumer:
        found, at, distance = None, end, _TAIL_RECORDS
        while found is None and at > start:
            at, distance = max(start, end - distance), distance * 8
            found = _last_between(consumer, topic, partition, at, end)
    return found


def _last_between(consumer: Consumer, topic: str, partition: int, start: int, end: int) -> Message | None:
    consumer.assign([TopicPartition(topic, partition, start)])
    deadline = time.monotonic() + REQUEST_SECONDS
    last = None
    while time.monotonic() < deadline:
        message = consumer.poll(1.0)
        if message is None:
            continue
        error = message.error()
        if error is None:
            last = message
        elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - the name of the code
            raise KafkaException(error)
        elif (message.offset() or 0) >= end:
            return last
    raise Doubt(f"partition {partition}: topic {topic} could not be read within {REQUEST_SECONDS:.0f} s")
