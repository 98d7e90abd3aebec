"""How a worker reads and writes values: with a registry or without, and by which numbers it writes."""

import asyncio
from typing import NamedTuple

import structlog
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from app.codecs import JSON_OUTPUT, Decoder, Encoders, encoders
from app.codecs.avro_schema import schema_text
from app.codecs.framing import OutputFormat
from app.codecs.records import TOPIC_RECORDS, Record
from app.errors import UserError
from app.registry_settings import CONFLUENT_FRAMING
from app.settings import Settings
from app.stream.registry import Registry, RegistryUnavailableError, asking, connect_registry, wait_for_registry

COMPATIBILITY = "BACKWARD"
_GOOD_LEVELS = (COMPATIBILITY, "BACKWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE")

_log = structlog.get_logger("sizer")


class Formats(NamedTuple):
    """What a worker's tasks read and write by."""

    registry: Registry | None
    decoder: Decoder
    encoders: Encoders


PLAIN = Formats(None, Decoder(), JSON_OUTPUT)
"""Without a registry, and JSON out."""


class Registered(NamedTuple):
    """A schema of ours in the registry."""

    subject: str
    record: str
    schema_id: int
    compatibility: str


async def await_formats(settings: Settings) -> Formats:
    """Return how to read and write; waits for the registry if answers need its numbers, said once.

    Raises UserError if the schemas of answers are not registered.
    """
    registry = None if settings.schema_registry_url is None else Registry(settings)
    topics = [topic for topic, chosen in settings.output_formats.items() if chosen == CONFLUENT_FRAMING]
    schema_ids = await _await_schema_ids(settings, topics) if topics else {}
    formats = {TOPIC_RECORDS[topic]: OutputFormat(chosen) for topic, chosen in settings.output_formats.items()}
    return Formats(registry, Decoder(registry), encoders(formats, schema_ids))


async def _await_schema_ids(settings: Settings, topics: list[str]) -> dict[Record, int]:
    client = connect_registry(settings)
    told: set[str] = set()

    def ask() -> dict[Record, int]:
        return {TOPIC_RECORDS[topic]: _find(client, settings, topic) for topic in topics}

    def tell(error: RegistryUnavailableError) -> None:
        if error.kind not in told:
            told.add(error.kind)
            _log.warning("waiting for the schema registry", reason=str(error))

    try:
        found = await wait_for_registry(lambda: asyncio.to_thread(ask), tell)
    finally:
        client.close()
    if told:
        _log.info("the schema registry answers", url=settings.schema_registry_url)
    return found


def check_schemas(settings: Settings) -> list[Registered]:
    """Return where our schemas are registered. Raises UserError if one is not, or if the registry does not answer."""
    with connect_registry(settings) as client:
        found = []
        for topic, record in TOPIC_RECORDS.items():
            schema_id = _find(client, settings, topic)
            subject = _subject(settings, topic)
            level = _compatibility(client, settings, subject)
            if level not in _GOOD_LEVELS:
                raise UserError(
                    f"subject {subject} has the compatibility {level}: a later schema might not read what was written;"
                    " call `sizer schemas register`, or set BACKWARD or FULL"
                )
            found.append(Registered(subject, record.name, schema_id, level))
        return found


def register_schemas(settings: Settings) -> list[Registered]:
    """Register our schemas, and that new versions must read what older ones wrote; doing it again is no error.

    Raises UserError if the registry takes one not, or does not answer.
    """
    with connect_registry(settings) as client:
        for topic, record in TOPIC_RECORDS.items():
            subject = _subject(settings, topic)
            try:
                with asking(settings.schema_registry_url):
                    client.set_compatibility(subject, COMPATIBILITY)
                    client.register_schema(subject, Schema(schema_text(record), "AVRO"))
            except SchemaRegistryError as error:
                raise UserError(
                    f"subject {subject}: the schema registry does not take {record.name}: {error.error_message}; delete"
                    " what somebody else has registered there, or set another SIZER_TOPIC_PREFIX"
                ) from None
    return check_schemas(settings)


def _subject(settings: Settings, topic: str) -> str:
    return f"{settings.topic(topic)}-value"


def _find(client: SchemaRegistryClient, settings: Settings, topic: str) -> int:
    """Return the number that a topic's schema is registered by; blocks."""
    record, subject = TOPIC_RECORDS[topic], _subject(settings, topic)
    try:
        with asking(settings.schema_registry_url):
            found = client.lookup_schema(subject, Schema(schema_text(record), "AVRO"))
    except SchemaRegistryError:
        raise UserError(
            f"subject {subject}: this release's schema of {record.name} is not registered at"
            f" {settings.schema_registry_url}; call `sizer schemas register`"
        ) from None
    assert found.schema_id is not None
    return found.schema_id


def _compatibility(client: SchemaRegistryClient, settings: Settings, subject: str) -> str:
    """Return the level of a subject, or of the registry where it has none of its own."""
    for name in (subject, None):
        try:
            with asking(settings.schema_registry_url):
                return str(client.get_compatibility(name))
        except SchemaRegistryError:
            continue
    return "unknown"
