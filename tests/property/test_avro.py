"""Avro and JSON say the same: whatever the message, whoever writes or reads it (avro-python3 shares nothing with us).

Messages are made from a seed, which is what hypothesis tells of one that fails: so ten thousand of each are quick.
"""

import io
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import fastavro
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.codecs import JSON_OUTPUT, BadRecord, Decoder, decode_fill, decode_signal, encoders
from app.codecs.avro_schema import avro_schema, crc_64
from app.codecs.framing import OutputFormat, confluent_header, single_object_header
from app.codecs.output import in_format_of, read_output
from app.codecs.records import FILL, PHASE_EVENT, RECORDS, SIGNAL, SIZED_ORDER, Field, Kind, Limit, Record
from app.codecs.writer_schema import accept_schema
from app.core.exact import plain
from app.core.messages import LAST_TIME, PhaseEvent, SizedOrder
from app.processor.processor import digest
from tests import avro_peer

EXAMPLES = 10_000
SCHEMAS = {record: avro_schema(record) for record in RECORDS}
HEADS = {record: single_object_header(crc_64(schema)) for record, schema in SCHEMAS.items()}
PARSED = {record: fastavro.parse_schema(schema) for record, schema in SCHEMAS.items()}
LARGEST = Decimal(10**38 - 1).scaleb(-12, avro_peer.EXACT)
ALPHABET = "aZ09 -_.'\"\\/éß漢字😀\u00ad\u200b\ufeff\U0010ffff"
EDGES = [0, 1, 2, 63, 64, 127, 128, 129, 8191, 8192, 2**15, 2**31 - 1, 10**12, 10**13 - 1, 2**53, 2**62, 2**63 - 1]

seeds = st.integers(0, 2**64)


def number(rng: random.Random, low: int, high: int) -> int:
    """Make a number: any, or one at an edge."""
    chosen = rng.choice((-1, 1)) * rng.choice(EDGES) if rng.random() < 0.3 else rng.randint(low, high)
    return chosen if low <= chosen <= high else rng.choice((low, high))


def amount(units: int) -> Decimal:
    return Decimal(units).scaleb(-12, avro_peer.EXACT)


def value(rng: random.Random, field: Field, *, is_input: bool) -> Any:  # noqa: PLR0911 - one for each kind
    """Make a value of a field, within its limits."""
    if field.nullable and rng.random() < 0.3:
        return None
    match field.kind:
        case Kind.STRING:
            return "".join(rng.choices(ALPHABET, k=rng.choice((1, 2, 17, 63, 64, 127, 128))))
        case Kind.ENUM:
            return rng.choice(list(field.symbols or ()))
        case Kind.DOUBLE:
            return rng.choice((0.0, -0.0, 1.0, 5e-324, 0.1 + 0.2, rng.random()))
        case Kind.BOOLEAN:
            return rng.random() < 0.5
        case Kind.TIME:
            return number(rng, 0, LAST_TIME)
        case Kind.DECIMAL:
            limit = 10 ** rng.randint(1, 27 if is_input else 38) - 1
            lowest = {Limit.NONE: -limit, Limit.NOT_NEGATIVE: 0, Limit.POSITIVE: 1}[field.limit]
            return amount(number(rng, lowest, limit))
        case _:
            lowest = {Limit.PHASE: 1, Limit.SEQUENCE: 1, Limit.OFFSET: -1}.get(field.limit, 0)
            highest = 3 if field.limit is Limit.PHASE else 2**31 - 1 if field.kind is Kind.INT else 2**63 - 1
            return number(rng, lowest, highest)


def document(seed: int, record: Record, *, is_input: bool) -> dict[str, Any]:
    rng = random.Random(seed)
    made = {field.name: value(rng, field, is_input=is_input) for field in record.fields}
    if record is FILL:
        is_trade = made["exec_type"] == "TRADE"
        for name in ("last_qty", "last_px"):
            made[name] = (made[name] or amount(1)) if is_trade else Decimal(0)
    return made


def as_json(made: dict[str, Any]) -> bytes:
    return orjson.dumps({name: plain(given) if isinstance(given, Decimal) else given for name, given in made.items()})


def by_fastavro(record: Record, made: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    plain_words = {name: str(given) if isinstance(given, str) else given for name, given in made.items()}
    fastavro.schemaless_writer(out, PARSED[record], plain_words)
    return out.getvalue()


def check_input(seed: int, record: Record, decode: Callable[[bytes], Any]) -> Any:
    made = document(seed, record, is_input=True)
    expected = decode(as_json(made))
    read = decode(HEADS[record] + avro_peer.encode(SCHEMAS[record], made))
    assert read == expected == decode(HEADS[record] + by_fastavro(record, made))
    # Not only equal, but written alike wherever they go: 5 is not 5.000000000000.
    assert list(map(str, read)) == list(map(str, expected))
    return read, expected


@settings(max_examples=EXAMPLES)
@given(seeds)
def test_a_signal_is_the_same_in_avro_and_in_json(seed: int) -> None:
    read, expected = check_input(seed, SIGNAL, decode_signal)
    assert digest(read) == digest(expected)


@settings(max_examples=EXAMPLES)
@given(seeds)
def test_a_fill_is_the_same_in_avro_and_in_json(seed: int) -> None:
    check_input(seed, FILL, decode_fill)


def since_1970(given: Any) -> Any:
    """Return microseconds in place of a datetime."""
    return (
        (given - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        if isinstance(given, datetime)
        else given
    )


ANSWERS = (SIZED_ORDER, PHASE_EVENT)
SINGLE = encoders(dict.fromkeys(ANSWERS, OutputFormat.AVRO_SINGLE_OBJECT), {})
FRAMED = encoders(dict.fromkeys(ANSWERS, OutputFormat.AVRO), {SIZED_ORDER: 7, PHASE_EVENT: 2**31 - 1})


def check_output(seed: int, record: Record, kind: type[SizedOrder | PhaseEvent]) -> None:
    message = kind(**document(seed, record, is_input=False))
    which = ANSWERS.index(record)
    in_json, single, framed = (made[which](message) for made in (JSON_OUTPUT, SINGLE, FRAMED))  # type: ignore[operator]
    head, body = single[:10], single[10:]
    assert head == HEADS[record]
    assert framed == confluent_header((7, 2**31 - 1)[which]) + body
    expected = {name: str(given) if isinstance(given, str) else given for name, given in message._asdict().items()}
    assert avro_peer.decode(SCHEMAS[record], body) == expected
    if seed % 10:
        return  # what follows takes as long as all before
    by_fastavro = fastavro.schemaless_reader(io.BytesIO(body), PARSED[record])
    assert {name: since_1970(given) for name, given in by_fastavro.items()} == expected
    assert read_output(single, record) == read_output(framed, record) == read_output(in_json, record)
    assert in_format_of(single, in_json, record, None) == single
    assert in_format_of(framed, in_json, record, None) == framed


@settings(max_examples=EXAMPLES)
@given(seeds)
def test_a_sized_order_is_read_by_others_as_it_was_written(seed: int) -> None:
    check_output(seed, SIZED_ORDER, SizedOrder)


@settings(max_examples=EXAMPLES)
@given(seeds)
def test_a_phase_event_is_read_by_others_as_it_was_written(seed: int) -> None:
    check_output(seed, PHASE_EVENT, PhaseEvent)


@pytest.mark.parametrize("units", [10**38 - 1, 10**38, 10**50])
def test_a_profit_factor_beyond_the_largest_decimal_is_the_largest_in_avro_and_exact_in_json(units: int) -> None:
    made = document(1, PHASE_EVENT, is_input=False) | {"profit_factor": amount(units)}
    event = PhaseEvent(**made)
    read = avro_peer.decode(SCHEMAS[PHASE_EVENT], SINGLE.phase_event(event)[10:])
    assert read["profit_factor"] == LARGEST
    assert read_output(JSON_OUTPUT.phase_event(event), PHASE_EVENT)["profit_factor"] == plain(amount(units))
    in_json = JSON_OUTPUT.phase_event(event)
    assert in_format_of(SINGLE.phase_event(event), in_json, PHASE_EVENT, None) == SINGLE.phase_event(event)


@settings(max_examples=500)
@given(seeds, st.integers(0, 30), st.integers(-(10**60), 10**60))
def test_a_decimal_of_another_scale_is_taken_exactly_or_refused(seed: int, scale: int, units: int) -> None:
    schema = orjson.loads(orjson.dumps(SCHEMAS[SIGNAL]))
    for field in schema["fields"]:
        if field["name"] == "portfolio_value":
            field["type"][1] |= {"precision": 70, "scale": scale}

    class Schemas:
        def layout(self, schema_id: int, record: Record) -> Any:
            return accept_schema(schema, record)

    exact = Decimal(units).scaleb(-scale, avro_peer.EXACT)
    made = document(seed, SIGNAL, is_input=True) | {"portfolio_value": exact}
    data = confluent_header(1) + avro_peer.encode(schema, made)
    is_fit = exact == round(exact, 12) if abs(exact) < 10**15 else False
    if is_fit:
        assert Decoder(Schemas()).signal(data).portfolio_value == exact
    else:
        with pytest.raises(BadRecord, match="portfolio_value: ") as refused:
            Decoder(Schemas()).signal(data)
        assert refused.value.code == "INVALID"
