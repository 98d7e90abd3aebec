"""schemas/: what is committed is what is made, says what the codecs do, and reads what was written before."""

import copy
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import fastavro
import orjson
import pytest
from fastavro.schema import to_parsing_canonical_form
from jsonschema import Draft202012Validator

from app.codecs import decode_fill, decode_signal
from app.codecs.avro_schema import avro_schema, crc_64, schema_text, shipped_schemas
from app.codecs.errors import BadRecord
from app.codecs.records import FILL, PHASE_EVENT, RECORDS, SIGNAL, SIZED_ORDER, TOPIC_RECORDS, Record
from app.core import messages
from app.topics import FILLS, SIGNALS
from schemas import generate
from tests.compatibility import incompatibilities
from tests.golden.test_golden import FOLDER as GOLDEN
from tests.model.generate import generate as generate_lines
from tests.model.variants import generate_variants

RELEASED = generate.FOLDER / "released"
VALIDATORS = {
    topic: Draft202012Validator(json.loads((generate.FOLDER / f"json/{record.name}.schema.json").read_text("utf-8")))
    for topic, record in TOPIC_RECORDS.items()
}
NOT_SAID = ("1970 to 9999", "no date and time that exists", ".0 is not a time")
"""Whether a day exists, in which year a time lies, and how a whole number is written is beyond JSON Schema."""


def test_the_committed_files_are_those_that_are_made() -> None:
    made = generate.files()
    for name, text in made.items():
        assert (generate.FOLDER / name).read_text("utf-8") == text, f"{name}: call `make schemas`"
    kept = {
        f"{path.parent.name}/{path.name}" for kind in ("avro", "json") for path in (generate.FOLDER / kind).iterdir()
    }
    assert kept | {"asyncapi.yaml"} == set(made)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
def test_a_record_has_the_fields_of_its_message_in_their_order_and_each_is_explained(record: Record) -> None:
    assert tuple(field.name for field in record.fields) == getattr(messages, record.name)._fields
    for field in avro_schema(record)["fields"]:
        assert len(field["doc"]) > 5
    fastavro.parse_schema(avro_schema(record))


def crc_64_by_the_specification(data: bytes) -> bytes:
    """Compute it as the Avro specification has it ("Schema Fingerprints"), in the byte order of the framing."""
    empty = 0xC15D213AA4D7A795
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (empty if value & 1 else 0)  # noqa: PLW2901 - as the specification has it
        table.append(value)
    result = empty
    for byte in data:
        result = result >> 8 ^ table[(result ^ byte) & 0xFF]
    return result.to_bytes(8, "little")


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
def test_fingerprints_are_those_of_the_specification_and_of_the_page_for_neighbours(record: Record) -> None:
    schema = avro_schema(record)
    fingerprint = crc_64(schema)
    assert fingerprint == crc_64_by_the_specification(to_parsing_canonical_form(schema).encode())
    page = (generate.FOLDER / "README.md").read_text("utf-8")
    assert f"| {record.name} | `c3 01 {fingerprint.hex(' ')}` |" in page
    assert shipped_schemas()[fingerprint][0] == record.name


def test_the_asyncapi_document_points_at_files_and_at_itself() -> None:
    document = json.loads((generate.FOLDER / "asyncapi.yaml").read_text("utf-8").partition("\n")[2])
    assert document["asyncapi"] == "3.0.0"
    assert {channel["address"] for channel in document["channels"].values()} == {
        "signals", "fills", "sized_orders", "phase_events", "signals.dlq", "fills.dlq",
    }  # fmt: skip
    references = [part.split('"')[0] for part in json.dumps(document).split('"$ref": "')[1:]]
    assert len(references) > 10
    for reference in references:
        if reference.startswith("#"):
            node: Any = document
            for name in reference.removeprefix("#/").split("/"):
                node = node[name]
        else:
            assert (generate.FOLDER / reference).is_file()


# JSON


@pytest.mark.parametrize("topic", VALIDATORS)
def test_json_schemas_are_json_schemas(topic: str) -> None:
    Draft202012Validator.check_schema(VALIDATORS[topic].schema)


def golden_lines(name: str) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (GOLDEN / name).read_bytes().splitlines()]


def test_golden_answers_are_valid_and_have_no_other_fields() -> None:
    seen = set()
    for line in golden_lines("a_day.expected.jsonl"):
        if (topic := line.get("topic")) in VALIDATORS:
            document = orjson.loads(line["value"])
            VALIDATORS[topic].validate(document)
            assert list(document) == list(VALIDATORS[topic].schema["properties"])
            seen.add(topic)
    assert seen == {"sized_orders", "phase_events"}


def inputs() -> list[tuple[str, dict[str, Any]]]:
    lines = (GOLDEN / "a_day.input.jsonl").read_bytes().splitlines()
    lines += [line for seed in range(1, 9) for line in generate_lines(seed, 400, None, None)]
    lines += generate_variants()
    found = []
    for line in lines:
        with suppress(orjson.JSONDecodeError, TypeError):  # what cannot be written as JSON is nested too deep
            record = orjson.loads(line)
            value = orjson.loads(record["value_text"]) if "value_text" in record else record.get("value")
            if isinstance(value, dict) and orjson.dumps(value):
                found.append((record["topic"], value))
    return found


def refusal(topic: str, document: dict[str, Any]) -> str | None:
    try:
        (decode_signal if topic == SIGNALS else decode_fill)(orjson.dumps(document))
    except BadRecord as bad:
        return bad.message
    return None


def test_json_schemas_take_what_the_codec_takes() -> None:
    counts = {True: 0, False: 0}
    for topic, document in inputs():
        message = refusal(topic, document)
        errors = [error.message for error in VALIDATORS[topic].iter_errors(document)]
        if message is not None and any(words in message for words in NOT_SAID):
            continue
        assert (message is None) == (not errors), f"{topic} {document}: codec {message}, schema {errors[:2]}"
        counts[message is None] += 1
    assert min(counts.values()) > 200, counts


# Compatibility


@pytest.mark.parametrize("path", sorted(RELEASED.glob("*/*.avsc")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_what_was_written_by_a_released_schema_is_read_by_todays(path: Path) -> None:
    released = json.loads(path.read_text("utf-8"))
    today = next(avro_schema(record) for record in RECORDS if record.name == released["name"])
    assert incompatibilities(reader=today, writer=released) == []
    assert crc_64(released) in shipped_schemas(), "single-object encoding by it is not known to the program"


def test_each_record_is_released() -> None:
    newest = max(RELEASED.iterdir(), key=lambda folder: tuple(map(int, folder.name.split("."))))
    assert {path.stem for path in newest.iterdir()} == {record.name for record in RECORDS}


def field(schema: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(field for field in schema["fields"] if field["name"] == name)
    return found


def planted(change: Callable[[dict[str, Any]], Any], record: Record = FILL) -> list[str]:
    today = avro_schema(record)
    changed = copy.deepcopy(orjson.loads(schema_text(record)))
    change(changed)
    return incompatibilities(reader=changed, writer=today)


@pytest.mark.parametrize(
    ("record", "change"),
    [
        (FILL, lambda schema: schema["fields"].append({"name": "venue", "type": "string", "doc": "Where."})),
        (FILL, lambda schema: field(schema, "exec_id").update(type="long")),
        (FILL, lambda schema: field(schema, "exec_id").update(name="execution_id")),
        (FILL, lambda schema: field(schema, "exec_type")["type"]["symbols"].remove("EXPIRED")),
        (FILL, lambda schema: field(schema, "exec_type")["type"].update(name="ExecutionType")),
        (FILL, lambda schema: field(schema, "position_effect").pop("default")),
        (FILL, lambda schema: field(schema, "leaves_qty").update(type=field(schema, "leaves_qty")["type"][1])),
        (FILL, lambda schema: field(schema, "last_px")["type"].update(scale=9)),
        (FILL, lambda schema: field(schema, "last_px")["type"].update(precision=30)),
        (FILL, lambda schema: field(schema, "last_px")["type"].pop("logicalType")),
        (FILL, lambda schema: field(schema, "transact_time")["type"].update(logicalType="timestamp-millis")),
        (FILL, lambda schema: schema.update(namespace="position_sizer.v2")),
        (FILL, lambda schema: schema.update(name="ExecutionReport")),
        (SIGNAL, lambda schema: field(schema, "confidence").update(type="float")),
        (SIGNAL, lambda schema: field(schema, "strategy_id").pop("default")),
        (SIZED_ORDER, lambda schema: field(schema, "skip_reason")["type"][1]["symbols"].remove("TRADING_HALTED")),
        (PHASE_EVENT, lambda schema: field(schema, "sequence").update(type="int")),
        (PHASE_EVENT, lambda schema: schema["fields"].remove(field(schema, "policy"))),
    ],
)
def test_an_incompatible_change_is_found(record: Record, change: Callable[[dict[str, Any]], Any]) -> None:
    assert planted(change, record), "nobody would have noticed"


@pytest.mark.parametrize(
    "change",
    [
        lambda schema: schema["fields"].append(
            {"name": "venue", "type": ["null", "string"], "doc": "?", "default": None}
        ),
        lambda schema: field(schema, "exec_type")["type"]["symbols"].append("RESTATED"),
        lambda schema: field(schema, "exec_id").update(doc="Another text."),
        lambda schema: schema["fields"].reverse(),
    ],
)
def test_a_compatible_change_is_none(change: Callable[[dict[str, Any]], Any]) -> None:
    assert planted(change) == []


def test_the_topics_have_the_records_that_the_codecs_read() -> None:
    assert (TOPIC_RECORDS[SIGNALS], TOPIC_RECORDS[FILLS]) == (SIGNAL, FILL)
