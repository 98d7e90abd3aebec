"""A published record beside the recomputed one, as text."""

from collections.abc import Sequence
from typing import Any

import orjson

from app.codecs import BadRecord, WriterSchemas
from app.codecs.output import read_output
from app.codecs.records import TOPIC_RECORDS
from app.processor import Produced, Record
from app.replay.matching import Match
from app.replay.source import Source


def comparison(matches: Sequence[Match], source: Source) -> dict[str, Any]:
    """Return the fields of an explanation that compare: all that a record caused, and the texts of the last."""
    if not matches:
        return {}
    match = matches[-1]
    missing = [match for match in matches if match.item is None]
    compared: dict[str, Any] = {
        "recomputed": as_text(match.produced, source.schemas),
        "is_identical": all(match.is_identical for match in matches),
        "differences": (
            *(str(difference) for match in matches for difference in match.differences),
            *(f"nothing was published for it in {source.topic_names[match.produced.topic]}" for match in missing),
        ),
    }
    if match.item is not None:
        record = match.item.record
        compared |= {"published": as_text(record, source.schemas), "published_offset": record.offset}
    return compared


def as_text(record: Produced | Record, schemas: WriterSchemas | None) -> str | None:
    """Return an answer's value: JSON as it is, Avro as the JSON that says the same."""
    value = record.value
    if value is None:
        return None
    if record.topic in TOPIC_RECORDS and not value.startswith(b"{"):
        try:
            return orjson.dumps(read_output(value, TOPIC_RECORDS[record.topic], schemas)).decode()
        except BadRecord:
            pass
    return value.decode("utf-8", "backslashreplace")
