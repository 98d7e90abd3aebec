"""What a record may be: each code of the dead letter queue, and the types of fields."""

from typing import Any

import pytest

from tests.desk import Answer, Desk

GOOD_SIGNAL = {
    "signal_id": "S",
    "portfolio_id": "PF-1",
    "symbol": "ESH6",
    "side": "BUY",
    "confidence": 0.9,
    "generated_at": "2026-01-05T12:00:00Z",
}


def raw(desk: Desk, text: str, topic: str = "signals", key: str | None = "PF-1") -> Answer:
    return desk.feed({"topic": topic, "key": key, "value_text": text})


@pytest.mark.parametrize(
    "text",
    ["", " {}", "[]", "x", '{"a":NaN}', '{"a":1e999}', '{"a":"\\ud800"}', "{", '{"a":1,}', "\x00abc", "{}\x00"],
)
def test_what_is_not_json_is_undecodable(text: str) -> None:
    assert raw(Desk(), text).code == "UNDECODABLE"


@pytest.mark.parametrize("value_base64", ["/////w==", "AAAAAA==", "wwEBAgMEBQYH", "e/8="])
def test_bytes_that_are_no_format_are_undecodable(value_base64: str) -> None:
    answer = Desk().feed({"topic": "signals", "key": "PF-1", "value_base64": value_base64})
    assert answer.code == "UNDECODABLE"


def test_no_value_is_undecodable_and_stays_none() -> None:
    answer = Desk().feed({"topic": "fills", "key": None, "value": None})
    assert answer.code == "UNDECODABLE"
    assert answer.dead_letter is not None
    assert (answer.dead_letter["topic"], answer.dead_letter["key"], answer.dead_letter["value"]) == (
        "fills.dlq",
        None,
        None,
    )


@pytest.mark.parametrize("value_base64", ["AAAAAAE=", "wwEBAgMEBQYHCA=="])
def test_avro_of_an_unknown_schema(value_base64: str) -> None:
    answer = Desk().feed({"topic": "signals", "key": "PF-1", "value_base64": value_base64})
    assert answer.code == "UNKNOWN_SCHEMA"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("signal_id", None),
        ("signal_id", ""),
        ("signal_id", "x" * 129),
        ("signal_id", 5),
        ("signal_id", "tab\t"),
        ("signal_id", "del\x7f"),
        ("side", "buy"),
        ("side", ["BUY"]),
        ("confidence", "0.9"),
        ("confidence", True),
        ("confidence", 1.0000000000000002),
        ("confidence", -1e-9),
        ("confidence", None),
        ("price", "0"),
        ("price", "-1"),
        ("price", 1e-13),
        ("price", "1e3"),
        ("price", "+1"),
        ("price", ".5"),
        ("price", "1."),
        ("price", "1.0000000000001"),
        ("price", "1\n"),
        ("price", "1000000000000000"),
        ("price", True),
        ("price", 1e15),
        ("price", [1]),
        ("portfolio_value", "-1000000000000000"),
        ("portfolio_value", 10**18),
        ("generated_at", "2026-01-05 12:00:00Z"),
        ("generated_at", "2026-01-05T12:00:00"),
        ("generated_at", "2026-02-30T12:00:00Z"),
        ("generated_at", "2026-01-05T24:00:00Z"),
        ("generated_at", "2026-01-05T23:59:60Z"),
        ("generated_at", "2026-01-05T12:00:00+24:00"),
        ("generated_at", "1969-12-31T23:59:59Z"),
        ("generated_at", "9999-12-31T23:59:59-00:01"),
        ("generated_at", "0000-01-01T00:00:00Z"),
        ("generated_at", "2026-01-05T12:00:00.Z"),
        ("generated_at", -1),
        ("generated_at", 1.0),
        ("generated_at", True),
        ("generated_at", 253402300800000000),
        ("generated_at", "1767614400000000"),
    ],
)
def test_a_field_that_breaks_its_type_is_invalid(name: str, value: Any) -> None:
    answer = Desk().send("signals", GOOD_SIGNAL | {name: value})
    assert answer.code == "INVALID"
    assert answer.dead_letter is not None
    assert answer.dead_letter["headers"]["__streams.errors.message"].startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("name", "given", "published"),
    [
        ("price", 5000, "5000"),
        ("price", "005000.10", "5000.1"),
        ("price", 0.1, "0.1"),
        ("price", 1e-12, "0.000000000001"),
        ("price", 0.12345678901249999, "0.123456789012"),
        ("price", "999999999999999.999999999999", "999999999999999.999999999999"),
        ("portfolio_value", "-0.0", "0"),
        ("portfolio_value", -0.0, "0"),
        ("symbol", "ÄÖ \u2028 \U0001f600", "ÄÖ \u2028 \U0001f600"),
        ("symbol", 'q"\\/', 'q"\\/'),
        ("strategy_id", "x" * 128, "x" * 128),
        ("confidence", 1, 1.0),
    ],
)
def test_values_are_published_canonically(name: str, given: Any, published: Any) -> None:
    order = Desk().send("signals", GOOD_SIGNAL | {name: given}).order
    assert order is not None
    assert order[name] == published


@pytest.mark.parametrize(
    "generated_at",
    [
        "2026-01-05T12:00:00Z",
        "2026-01-05t12:00:00.0000009z",
        "2026-01-05T14:30:00+02:30",
        "2026-01-05T11:00:00.00-01:00",
        1767614400000000,
    ],
)
def test_the_same_instant_makes_the_same_order_id(generated_at: Any) -> None:
    order = Desk().send("signals", GOOD_SIGNAL | {"generated_at": generated_at}).order
    plain = Desk().send("signals", GOOD_SIGNAL).order
    assert order is not None
    assert plain is not None
    assert order["order_id"] == plain["order_id"]


def test_unknown_fields_are_ignored_and_of_a_repeated_key_the_last_counts() -> None:
    desk = Desk()
    text = (
        '{"signal_id":"A","signal_id":"B","portfolio_id":"PF-1","symbol":"X","side":"BUY","confidence":0.5,'
        '"generated_at":1767614400000000,"unknown":{"deep":[1]}}'
    )
    order = raw(desk, text).order
    assert order is not None
    assert order["signal_id"] == "B"


@pytest.mark.parametrize("key", [None, "PF-2", "pf-1"])
def test_the_key_must_be_the_portfolio(key: str | None) -> None:
    answer = Desk().feed({"topic": "signals", "key": key, "value": GOOD_SIGNAL})
    assert answer.code == "KEY_MISMATCH"


@pytest.mark.parametrize(
    ("fields", "valid"),
    [
        ({"exec_type": "TRADE", "last_qty": "1", "last_px": "1"}, True),
        ({"exec_type": "TRADE", "last_qty": "1"}, False),
        ({"exec_type": "TRADE", "last_px": "1"}, False),
        ({"exec_type": "TRADE", "last_qty": "-1", "last_px": "1"}, False),
        ({"exec_type": "CANCELED", "last_qty": "1"}, False),
        ({"exec_type": "CANCELED", "last_px": "1"}, False),
        ({"exec_type": "CANCELED", "last_qty": None, "commission": None, "position_effect": None}, True),
        ({"exec_type": "CANCELED", "leaves_qty": "-1"}, False),
        ({"exec_type": "FILLED"}, False),
        ({"exec_type": "CANCELED", "position_effect": "FLAT"}, False),
    ],
)
def test_a_fill_has_a_quantity_and_a_price_on_a_trade_only(fields: dict[str, Any], *, valid: bool) -> None:
    desk = Desk()
    answer = desk.fill(desk.sized(), **fields)
    assert answer.code == (None if valid else "INVALID")


def test_a_dead_letter_keeps_the_original_and_says_where_it_came_from() -> None:
    answer = Desk().feed(
        {
            "topic": "fills",
            "key": "ключ",
            "value_text": "nonsense é",
            "headers": {"trace": "1", "__streams.errors.exception": "older"},
            "offset": 41,
            "partition": 3,
        }
    )
    assert answer.dead_letter is not None
    headers = answer.dead_letter["headers"]
    message = headers.pop("__streams.errors.message")
    assert message.isascii()
    assert len(message) <= 1000
    assert answer.dead_letter == {
        "topic": "fills.dlq",
        "key": "ключ",
        "value": "nonsense é",
        "headers": {
            "trace": "1",
            "__streams.errors.exception": "UNDECODABLE",
            "__streams.errors.topic": "fills",
            "__streams.errors.partition": "3",
            "__streams.errors.offset": "41",
        },
    }


def test_a_megabyte_of_digits_is_refused_at_once() -> None:
    answer = Desk().send("signals", GOOD_SIGNAL | {"price": "9" * 1_200_000})
    assert answer.code == "INVALID"
