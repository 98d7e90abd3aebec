"""The registry's schemas, as an audit needs them: waited for, and as they were when a record was taken."""

import threading
import time
from collections.abc import Mapping

from confluent_kafka.schema_registry.error import SchemaRegistryError

from app.codecs import BadRecord, SchemaPending, WriterSchemas
from app.codecs.avro_binary import Layout
from app.codecs.records import Record
from app.codecs.writer_schema import accept
from app.core.messages import ErrorCode
from app.replay.published import DeadLetter
from app.settings import Settings
from app.stream.registry import Registry, RegistryUnavailableError, asking, connect_registry

_PATIENCE_SECONDS = 60.0
_PAUSE_SECONDS = 1.0


class FetchedSchemas:
    """Asks the registry where a number is not known yet, and waits for the answer."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def layout(self, schema_id: int, record: Record) -> Layout:
        """Return how a record is laid out; blocks. Raises BadRecord, or UserError if the registry does not answer."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        pause = threading.Event()
        while True:
            try:
                return self._registry.layout(schema_id, record)
            except SchemaPending:
                pass
            try:
                self._registry.fetch(schema_id)
            except RegistryUnavailableError:
                if time.monotonic() > deadline:
                    raise
                pause.wait(_PAUSE_SECONDS)


class RecordedSchemas:
    """Whether the registry knew a schema when a record was taken is in no topic but in the record's dead letter."""

    def __init__(self, schemas: WriterSchemas) -> None:
        self._schemas = schemas
        self._refusal: str | None = None

    def recall(self, letter: DeadLetter | None) -> None:
        """Take note of what was published for the record that is read next."""
        self._refusal = None if letter is None else letter.unknown_schema

    def layout(self, schema_id: int, record: Record) -> Layout:
        """Return how a record is laid out, or raise what was raised then."""
        if self._refusal is not None:
            raise BadRecord(ErrorCode.UNKNOWN_SCHEMA, self._refusal)
        return self._schemas.layout(schema_id, record)


def schemas_of(settings: Settings) -> WriterSchemas | None:
    """Return the schemas of the configured registry; None if there is none. Raises UserError."""
    return None if settings.schema_registry_url is None else FetchedSchemas(Registry(settings))


class KeptSchemas:
    """A registry's schemas that were kept with raw records, so that these can be read without the registry."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        """`texts`: by number."""
        self._texts = texts
        self._layouts: dict[tuple[int, Record], Layout] = {}

    def layout(self, schema_id: int, record: Record) -> Layout:
        """Return how a record is laid out. Raises BadRecord."""
        known = self._layouts.get((schema_id, record))
        if known is None:
            text = self._texts.get(str(schema_id))
            if text is None:
                raise BadRecord(ErrorCode.UNKNOWN_SCHEMA, f"schema {schema_id} was not kept with the records")
            known = self._layouts[schema_id, record] = accept(text, record)
        return known


def schema_text(settings: Settings, schema_id: int) -> str | None:
    """Return the text of a schema, None if there is none, or no registry. Raises UserError if that does not answer."""
    if settings.schema_registry_url is None:
        return None
    with connect_registry(settings) as client:
        try:
            with asking(settings.schema_registry_url):
                text: str | None = client.get_schema(schema_id).schema_str
                return text
        except SchemaRegistryError:
            return None
