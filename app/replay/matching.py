"""A recomputed record beside the published one, and in what they differ."""

from collections.abc import Iterator
from typing import NamedTuple

from app.codecs import WriterSchemas
from app.codecs.output import read_output
from app.codecs.records import TOPIC_RECORDS
from app.processor import Produced, Record
from app.replay.findings import FieldDifference
from app.replay.published import Item, shown


class Match(NamedTuple):
    """A recomputed record beside the published one."""

    produced: Produced
    """As recomputed."""
    item: Item | None
    """The published one, read; its `record` has offset, bytes and the topic's timestamp. None: it is missing."""
    differences: tuple[FieldDifference, ...] = ()
    """In what the published one is not as recomputed."""

    @property
    def is_identical(self) -> bool:
        """The record was published, and is to the byte as recomputed."""
        return self.item is not None and not self.differences


def made(produced: Produced, cause: Record) -> Record:
    """Return a recomputed record in the place of one that was not published."""
    return Record(produced.topic, cause.partition, cause.offset, produced.key, produced.value, produced.headers)


def differences_of(produced: Produced, record: Record, schemas: WriterSchemas | None) -> Iterator[FieldDifference]:
    """Say in what a published record differs from the recomputed one; nothing if it is identical."""
    if produced.key != record.key:
        yield _difference("key", record.key, produced.key)
    if produced.value != record.value:
        yield from _value_differences(produced, record, schemas)
    made, found = dict(produced.headers), dict(record.headers)
    for name in [name for name in {**made, **found} if made.get(name) != found.get(name)]:
        yield _difference(f"header {name}", found.get(name), made.get(name))
    if made == found and list(produced.headers) != list(record.headers):
        orders = ([name for name, _ in headers] for headers in (record.headers, produced.headers))
        yield _difference("order of the headers", *orders)


def _value_differences(produced: Produced, record: Record, schemas: WriterSchemas | None) -> Iterator[FieldDifference]:
    if record.topic in TOPIC_RECORDS:
        kind = TOPIC_RECORDS[record.topic]
        made, found = (read_output(value, kind, schemas) for value in (produced.value, record.value))
        names = [name for name in {**made, **found} if made.get(name) != found.get(name)]
        for name in names:
            yield _difference(name, found.get(name), made.get(name))
        if names:
            return
    yield _difference("value", record.value, produced.value)


def _difference(field: str, found: object, made: object) -> FieldDifference:
    return FieldDifference(field, *(None if value is None else shown(value) for value in (found, made)))
