"""What is Avro of ours and what is not: cut, spoilt, hostile, and by whose schema."""

import copy
import random
import time
import tracemalloc
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import orjson
import pytest

from app.codecs import BadRecord, Decoder, SchemaPending, decode_fill, decode_signal
from app.codecs.avro_binary import Layout
from app.codecs.avro_schema import avro_schema, crc_64, schema_text
from app.codecs.framing import confluent_header, single_object_header
from app.codecs.records import FILL, SIGNAL, Record
from app.codecs.writer_schema import accept
from app.core.policy import TABLE_POLICY
from app.processor import MemoryStore, Processor
from app.processor import Record as Input
from tests import avro_peer

SCHEMA = avro_schema(SIGNAL)
GOOD: dict[str, Any] = {
    "signal_id": "S-1",
    "portfolio_id": "PF-1",
    "symbol": "ESZ6",
    "side": "SELL",
    "confidence": 0.9,
    "price": Decimal("5000.25"),
    "portfolio_value": Decimal("-0.000000000001"),
    "strategy_id": "ß",
    "generated_at": 1_769_860_800_000_000,
    "expires_at": None,
}
HEAD = single_object_header(crc_64(SCHEMA))


class Schemas:
    """A registry that has what it is given."""

    def __init__(self, schema: Any) -> None:
        self._text = schema if isinstance(schema, str) else orjson.dumps(schema).decode()

    def layout(self, schema_id: int, record: Record) -> Layout:
        return accept(self._text, record)


def code(data: bytes | None, decode: Callable[[bytes | None], Any] = decode_signal) -> tuple[str, str]:
    with pytest.raises(BadRecord) as refused:
        decode(data)
    assert refused.value.message.isprintable()
    assert len(refused.value.message) < 600
    return refused.value.code, refused.value.message


def body(**changed: Any) -> bytes:
    return avro_peer.encode(SCHEMA, GOOD | changed)


def test_a_signal_in_single_object_encoding() -> None:
    signal = decode_signal(HEAD + body())
    assert signal._asdict() == GOOD
    assert str(signal.price) == "5000.25"


def test_defaults_of_a_fill_that_has_nothing_else() -> None:
    least = {"exec_id": "E", "order_id": "O", "portfolio_id": "P", "exec_type": "CANCELED", "transact_time": 0}
    data = single_object_header(crc_64(avro_schema(FILL))) + avro_peer.encode(avro_schema(FILL), least)
    assert decode_fill(data) == decode_fill(orjson.dumps(least))
    assert decode_fill(data).position_effect == "OPEN"


def test_cut_anywhere_it_is_undecodable_and_says_where() -> None:
    data = HEAD + body()
    messages = set()
    for length in range(len(HEAD), len(data)):
        told, message = code(data[:length])
        assert told == "UNDECODABLE"
        messages.add(message)
    for name in GOOD:
        assert any(name in message for message in messages), name
    for length in range(1, len(HEAD)):
        assert code(data[:length])[0] == "UNDECODABLE"


@pytest.mark.parametrize("tail", [b"\x00", b"abc", HEAD])
def test_bytes_behind_the_record_are_undecodable(tail: bytes) -> None:
    assert code(HEAD + body() + tail) == (
        "UNDECODABLE",
        f"not Avro of its schema: {len(tail)} bytes follow the last field; send one record, in the schema's order",
    )


FIRST = body().index(b"ESZ6") - 1
"""Where the symbol's length stands; side and confidence follow it, then price."""


@pytest.mark.parametrize(
    ("at", "instead", "told"),
    [
        (0, b"\x05", "signal_id is said to have -3 bytes"),
        (0, b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", "signal_id is said to have 9223372036854775807 bytes"),
        (0, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "signal_id is said to have -9223372036854775808 bytes"),
        (0, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", "a number of signal_id has more than 64 bits"),
        (0, b"\xff" * 30, "a number of signal_id has more than 64 bits"),
        (1, b"\xff", "signal_id is not UTF-8"),
        (1, b"\xed\xa0\x80"[:1], "signal_id is not UTF-8"),
        (FIRST + 5, b"\x04", "side is said to be symbol 2 of 2"),
        (FIRST + 5, b"\x01", "side is said to be symbol -1 of 2"),
        (FIRST + 5, b"\x03", "side is said to be symbol -2 of 2"),
        (FIRST + 14, b"\x01", "price is neither null nor a value"),
        (FIRST + 14, b"\x03", "price is neither null nor a value"),
        (FIRST + 14, b"\x04", "price is neither null nor a value"),
    ],
)
def test_what_no_writer_writes_is_undecodable(at: int, instead: bytes, told: str) -> None:
    good = body()
    found, message = code(HEAD + good[:at] + instead + good[at + 1 :])
    assert found == "UNDECODABLE"
    assert told in message


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("signal_id", "", "signal_id: has 0 characters"),
        ("signal_id", "x" * 129, "signal_id: has 129 characters"),
        ("symbol", "a\x00b", "symbol: 'a\\x00b' has a control character"),
        ("confidence", 1.5, "confidence: 1.5 is out of range"),
        ("confidence", float("nan"), "confidence: nan is out of range"),
        ("confidence", float("inf"), "confidence: inf is out of range"),
        ("price", Decimal(0), "price: 0 must be greater than 0"),
        ("price", Decimal("-1.50"), "price: -1.5 must be greater than 0"),
        ("portfolio_value", Decimal(10**15), "portfolio_value: 1000000000000000 is too large"),
        ("generated_at", -1, "generated_at: -1 is out of range"),
        ("generated_at", 253_402_300_800_000_000, "generated_at: 253402300800000000 is out of range"),
    ],
)
def test_fields_are_held_to_what_they_are_in_json(field: str, value: Any, told: str) -> None:
    found, message = code(HEAD + body(**{field: value}))
    assert (found, message[: len(told)]) == ("INVALID", told)


def test_a_decimal_without_bytes_or_with_far_too_many_is_invalid_not_work() -> None:
    good, price = body(), avro_peer.twos_complement(5_000_250_000_000_000)
    at = good.index(price)
    assert code(HEAD + good[: at - 1] + b"\x00" + good[at + len(price) :]) == (
        "INVALID",
        "price: has no bytes; a decimal has at least one, 0 is one byte of 0",
    )
    size = 10_000_000
    huge = good[: at - 1] + avro_number(size) + b"\x7f" * size + good[at + len(price) :]
    started = time.process_time()
    found, message = code(HEAD + huge)
    assert (found, message[:32]) == ("INVALID", f"price: is a decimal of {size} bytes"[:32])
    assert time.process_time() - started < 5


def test_what_is_undecodable_is_told_before_what_is_invalid() -> None:
    assert code(HEAD + body(signal_id="")[:-1])[0] == "UNDECODABLE"


def avro_number(number: int) -> bytes:
    import io

    import avro.io

    out = io.BytesIO()
    avro.io.BinaryEncoder(out).write_long(number)
    return out.getvalue()


@pytest.mark.parametrize("byte", [b"\x00", b"\x02", b"\x7f", b"\x80", b"\xff"])
def test_ten_megabytes_of_anything_are_refused_within_their_own_memory(byte: bytes) -> None:
    data = HEAD + byte * 10_000_000
    tracemalloc.start()
    try:
        assert code(data)[0] == "UNDECODABLE"
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 25_000_000


def test_noise_is_never_more_than_refused() -> None:
    rng = random.Random(20_260_131)
    for _ in range(20_000):
        data = HEAD + rng.randbytes(rng.randint(0, 80))
        assert code(data)[0] in {"UNDECODABLE", "INVALID"}


# Whose schema


def test_single_object_encoding_by_another_schema_is_unknown() -> None:
    found, message = code(single_object_header(b"12345678") + body())
    assert found == "UNKNOWN_SCHEMA"
    assert message == (
        "the schema's fingerprint 3132333435363738 is of none of the sizer's schemas; use schemas/avro/Signal.avsc or"
        " send JSON"
    )
    found, message = code(HEAD + body(), decode_fill)
    assert found == "UNKNOWN_SCHEMA"
    assert "is that of Signal; use schemas/avro/Fill.avsc" in message


def test_confluent_framing_without_a_registry_is_unknown() -> None:
    found, message = code(confluent_header(7) + body())
    assert found == "UNKNOWN_SCHEMA"
    assert "SIZER_SCHEMA_REGISTRY_URL" in message


def changed(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    schema: dict[str, Any] = copy.deepcopy(orjson.loads(schema_text(SIGNAL)))
    change(schema)
    return schema


def field(schema: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(field for field in schema["fields"] if field["name"] == name)
    return found


@pytest.mark.parametrize(
    "change",
    [
        lambda schema: schema["fields"].reverse(),
        lambda schema: schema.pop("doc"),
        lambda schema: schema.update(name="position_sizer.v1.Signal", namespace="ignored.of.a.dotted.name"),
        lambda schema: schema["fields"].remove(field(schema, "expires_at")),
        lambda schema: field(schema, "signal_id").update(type={"type": "string", "avro.java.string": "String"}),
        lambda schema: field(schema, "side")["type"].update(symbols=["SELL", "BUY"]),
        lambda schema: field(schema, "side")["type"].update(symbols=["SELL"]),
        lambda schema: field(schema, "side")["type"].update(name="position_sizer.v1.Side"),
        lambda schema: field(schema, "price")["type"][1].update(precision=20, scale=2),
        lambda schema: field(schema, "signal_id").update(aliases=["id"], order="descending"),
    ],
)
def test_a_schema_that_differs_in_nothing_that_matters_is_taken(change: Callable[[dict[str, Any]], Any]) -> None:
    schema = changed(change)
    data = confluent_header(7) + avro_peer.encode(schema, GOOD)
    assert Decoder(Schemas(schema)).signal(data)._asdict() == GOOD


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda schema: schema.update(name="Fill"), "the schema is that of 'position_sizer.v1.Fill'"),
        (lambda schema: schema.update(namespace="other"), "the schema is that of 'other.Signal'"),
        (lambda schema: schema.pop("namespace"), "the schema is that of 'Signal'"),
        (lambda schema: schema.update(type="enum"), "not that of a record"),
        (lambda schema: schema.update(fields={}), "has no fields"),
        (lambda schema: schema["fields"].append({"name": "x", "type": "string"}), "field 'x' is none of ours"),
        (
            lambda schema: schema["fields"].append(schema["fields"][0]),
            "field 'signal_id' is none of ours, or comes twice",
        ),
        (lambda schema: schema["fields"].append("x"), "field 'x' is none of ours"),
        (lambda schema: schema["fields"].remove(field(schema, "symbol")), "no field symbol, which has no default"),
        (lambda schema: field(schema, "symbol").update(type="bytes"), "field symbol has the type 'bytes'"),
        (lambda schema: field(schema, "symbol").update(type=None), "field symbol has the type None"),
        (lambda schema: field(schema, "symbol").update(type={"type": "array", "items": "string"}), "field symbol"),
        (lambda schema: field(schema, "symbol").update(type={"type": "string", "logicalType": "uuid"}), "field symbol"),
        (lambda schema: field(schema, "confidence").update(type="float"), "field confidence has the type 'float'"),
        (lambda schema: field(schema, "price").update(type=["null", "string"]), "field price"),
        (lambda schema: field(schema, "price")["type"].reverse(), "field price must be a union of null and its type"),
        (lambda schema: field(schema, "price")["type"].append("string"), "field price must be a union"),
        (lambda schema: field(schema, "price")["type"][1].update(logicalType="money"), "field price"),
        (lambda schema: field(schema, "price")["type"][1].update(scale=39), "field price"),
        (lambda schema: field(schema, "price")["type"][1].update(scale=-1), "field price"),
        (lambda schema: field(schema, "price")["type"][1].update(scale="12"), "field price"),
        (lambda schema: field(schema, "price")["type"][1].update(precision=10**9, scale=10**8), "field price"),
        (lambda schema: field(schema, "price")["type"][1].pop("precision"), "field price"),
        (lambda schema: field(schema, "generated_at")["type"].update(logicalType="timestamp-millis"), "generated_at"),
        (lambda schema: field(schema, "generated_at").update(type="long"), "field generated_at"),
        (lambda schema: field(schema, "side")["type"].update(name="Direction"), "field side"),
        (lambda schema: field(schema, "side")["type"].update(namespace="other"), "field side"),
        (lambda schema: field(schema, "side")["type"]["symbols"].append("SHORT"), "field side"),
        (lambda schema: field(schema, "side")["type"]["symbols"].append("BUY"), "field side"),
        (lambda schema: field(schema, "side")["type"].update(symbols=[]), "field side"),
        (lambda schema: field(schema, "side")["type"].update(symbols=[["BUY"]]), "field side"),
        (lambda schema: field(schema, "side").update(type="string"), "field side"),
    ],
)
def test_any_other_schema_is_unknown(change: Callable[[dict[str, Any]], Any], told: str) -> None:
    found, message = code(confluent_header(7) + body(), Decoder(Schemas(changed(change))).signal)
    assert found == "UNKNOWN_SCHEMA"
    assert told in message
    assert message.endswith("(schemas/avro/Signal.avsc), or send JSON")


BOMB = '{"type":"array","items":' * 5_000 + '"string"' + "}" * 5_000
DEEP = '{"type":"record","name":"position_sizer.v1.Signal","fields":[{"name":"symbol","type":%s}]}'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        '"string"',
        "{",
        "1e999",
        "[" * 100_000,
        BOMB,
        DEEP % BOMB,
        DEEP % ("[" * 900 + "]" * 900),
        DEEP % ('{"type":' * 500 + '"string"' + "}" * 500),
        DEEP % orjson.dumps([f"T{number}" for number in range(5_000)]).decode(),
        schema_text(SIGNAL).replace('"doc":"', '"doc":"' + "x" * 100_000, 1),
        '{"type":"record","name":"\\ud800","fields":[]}',
        '{"type":"record","name":["position_sizer.v1.Signal"],"fields":[{}]}',
        '{"type":"record","name":"position_sizer.v1.Signal","fields":[{"name":["symbol"],"type":"string"}]}',
    ],
    ids=range(16),
)
def test_a_schema_that_is_a_bomb_is_unknown_and_no_work(text: str) -> None:
    started = time.process_time()
    assert code(confluent_header(7) + body(), Decoder(Schemas(text)).signal)[0] == "UNKNOWN_SCHEMA"
    assert time.process_time() - started < 2


def test_nothing_has_happened_to_a_record_whose_schema_is_pending() -> None:
    class Pending(Schemas):
        is_pending = True

        def layout(self, schema_id: int, record: Record) -> Layout:
            if self.is_pending:
                raise SchemaPending(schema_id)
            return super().layout(schema_id, record)

    schemas = Pending(SCHEMA)
    processor = Processor(
        0, MemoryStore(), TABLE_POLICY, partition_count=1, partition_of=None, decoder=Decoder(schemas)
    )
    record = Input("signals", 0, 5, b"PF-1", confluent_header(9) + body())
    with pytest.raises(SchemaPending) as pending:
        processor.process(record, None)
    assert pending.value.schema_id == 9
    assert (processor.positions, processor.changes(), processor.counters) == ({}, [], {})
    schemas.is_pending = False
    assert [produced.topic for produced in processor.process(record, None).produced] == ["phase_events", "sized_orders"]
    assert processor.positions == {"signals": 6}
