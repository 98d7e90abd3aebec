"""The same events, as JSON and as Avro, have the same outcomes: decisions, events and dead letters."""

import base64
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.codecs import BadRecord, decode_fill, decode_signal
from app.codecs.avro_schema import avro_schema, crc_64
from app.codecs.framing import single_object_header
from app.codecs.records import FILL, SIGNAL
from app.core.policy import TABLE_POLICY
from app.processor.simulation import LineError, Simulation
from app.topics import SIGNALS
from tests import avro_peer
from tests.golden.test_golden import FOLDER
from tests.model.generate import generate
from tests.model.stories import stories

SCHEMAS = {"signals": avro_schema(SIGNAL), "fills": avro_schema(FILL)}


def in_avro(line: bytes) -> bytes:
    """Return a line with its value in Avro, if it is a valid record in JSON; else the line itself."""
    try:
        document = orjson.loads(line)
        value = document["value"]
        message = (decode_signal if document["topic"] == SIGNALS else decode_fill)(orjson.dumps(value))
    except (orjson.JSONDecodeError, TypeError, KeyError, BadRecord):
        return line
    schema = SCHEMAS[document.pop("topic")]
    body = single_object_header(crc_64(schema)) + avro_peer.encode(schema, message._asdict())
    del document["value"]
    topic = "signals" if schema is SCHEMAS["signals"] else "fills"
    return orjson.dumps(document | {"topic": topic, "value_base64": base64.b64encode(body).decode()})


def outcomes(lines: list[bytes]) -> tuple[list[Any], int]:
    """Return what comes of the lines, but for the values of dead letters, which are the original ones."""
    simulation = Simulation(TABLE_POLICY)
    found: list[Any] = []
    for line in lines:
        try:
            answers = [orjson.loads(answer) for answer in simulation.feed(line)]
        except LineError:
            continue
        for answer in answers:
            if str(answer.get("topic", "")).endswith(".dlq"):
                answer.pop("value", None)
                answer.pop("value_base64", None)
        found += answers
    processors = simulation._processors.values()
    return found, sum(processor.counters["IGNORED.DUPLICATE_SIGNAL.DIFFERENT"] for processor in processors)


@pytest.mark.parametrize("seed", range(1, 9))
def test_generated_events_have_the_same_outcomes(seed: int) -> None:
    lines = [line for line in generate(seed, 400, None, None) if b'"policy":' not in line[:12]]
    converted = [in_avro(line) for line in lines]
    assert sum(line != other for line, other in zip(lines, converted, strict=True)) > len(lines) / 3
    assert outcomes(converted) == outcomes(lines)


def test_the_golden_day_and_the_stories_have_the_same_outcomes() -> None:
    day = (Path(FOLDER) / "a_day.input.jsonl").read_bytes().splitlines()
    for lines in (day, *stories().values()):
        assert outcomes([in_avro(line) for line in lines]) == outcomes(lines)


@pytest.mark.parametrize("value", ['"5000"', '"5000.000"', "5000", "5000.0", "5e3"])
def test_a_repeat_is_the_same_signal_in_whatever_format_it_comes_again(value: str) -> None:
    text = (
        '{"signal_id":"S","portfolio_id":"P","symbol":"X","side":"BUY","confidence":0.9,"price":%s,'
        '"generated_at":1767614400000000}'
    )
    first = b'{"topic":"signals","key":"P","value":' + (text % '"5000"').encode() + b"}"
    again = orjson.dumps({"topic": "signals", "key": "P", "value_text": text % value})
    for line in (again, in_avro(first)):
        found, different = outcomes([first, line])
        assert found[-1] == {"ignored": "DUPLICATE_SIGNAL"}
        assert different == 0
