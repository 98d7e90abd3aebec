"""Notional and quantity: the worked examples of the contract, and what stands between a signal and an order."""

import pytest

from tests.desk import Desk


@pytest.mark.parametrize(
    ("confidence", "notional"),
    [(0.9, "100"), (0.85, "75"), (0.7, "75"), (0.6, "75"), (0.8500000000000001, "100"), (1, "100")],
)
def test_confidence_scales_the_notional(confidence: float, notional: str) -> None:
    assert Desk().sized(confidence)["notional"] == notional


@pytest.mark.parametrize("confidence", [0.59, 0.5999999999999999, 0, 1e-7])
def test_low_confidence_is_skipped(confidence: float) -> None:
    order = Desk().signal(confidence).order
    assert order is not None
    assert (order["decision"], order["skip_reason"], order["notional"]) == ("SKIPPED", "LOW_CONFIDENCE", "0")
    assert order["confidence_multiplier"] == "0"
    assert order["quantity"] is order["send_before"] is order["expires_at"] is None


@pytest.mark.parametrize(
    ("results", "confidence", "notional"),
    [
        ("LL", 0.9, "50"),
        ("LL", 0.7, "37.5"),
        ("LLW", 0.9, "50"),
        ("LLWLWW", 0.9, "100"),
        ("LWL", 0.9, "100"),
        ("LSL", 0.9, "50"),
    ],
)
def test_two_losses_halve_until_two_wins(results: str, confidence: float, notional: str) -> None:
    desk = Desk()
    for result in results:
        desk.trade({"L": "-1", "W": "1", "S": "0"}[result])
    assert desk.sized(confidence)["notional"] == notional


def test_the_eleventh_order_is_beyond_the_limit() -> None:
    desk = Desk()
    for _ in range(10):
        desk.sized()
    order = desk.signal().order
    assert order is not None
    assert order["skip_reason"] == "EXPOSURE_LIMIT"
    assert order["exposure_before"] == order["exposure_after"] == order["exposure_limit"] == "1000"


def test_notional_and_quantity_are_rounded_down() -> None:
    order = Desk(value="123456.789").sized(0.7, price="7")
    assert order["notional"] == "92.59"  # 92.59259175
    assert order["quantity"] == "13.22714285"  # 13.227142857…


def test_quantity_is_unknown_without_a_price() -> None:
    assert Desk().sized(price=None)["quantity"] is None


@pytest.mark.parametrize(
    ("value", "fields", "reason"),
    [
        (None, {}, "NO_PORTFOLIO_VALUE"),
        ("0", {}, "NO_PORTFOLIO_VALUE"),
        ("-5", {}, "NO_PORTFOLIO_VALUE"),
        ("9.99", {}, "BELOW_MINIMUM_SIZE"),
        ("100000", {"price": "10000000000"}, None),
        ("100000", {"price": "10000000001"}, "BELOW_MINIMUM_SIZE"),
        ("100000", {"expires_at": "2026-01-05T11:59:59.999999Z"}, "SIGNAL_EXPIRED"),
        ("100000", {"expires_at": "2026-01-05T12:00:00Z"}, None),
        (None, {"confidence": 0.5, "expires_at": "2026-01-05T11:00:00Z"}, "SIGNAL_EXPIRED"),
        (None, {"confidence": 0.5}, "LOW_CONFIDENCE"),
    ],
)
def test_the_first_reason_that_holds_is_told(value: str | None, fields: dict[str, object], reason: str | None) -> None:
    order = Desk(value=value).signal(**fields).order  # type: ignore[arg-type]  # any field
    assert order is not None
    assert order["skip_reason"] == reason


def test_send_before_is_the_earlier_end() -> None:
    desk = Desk()
    assert desk.sized()["send_before"] == "2026-01-05T12:15:00.000000Z"
    order = desk.sized(expires_at="2026-01-05T12:01:00Z")
    assert (order["send_before"], order["expires_at"]) == ("2026-01-05T12:01:00.000000Z", "2026-01-05T12:15:00.000000Z")


def test_a_tiny_confidence_is_published_plain_and_a_negative_zero_kept() -> None:
    desk = Desk()
    desk.signal(5e-7)
    assert '\\"confidence\\":0.0000005,' in desk.lines[-1].decode()
    desk.signal(-0.0)
    assert '\\"confidence\\":-0.0,' in desk.lines[-1].decode()


def test_an_older_portfolio_value_is_not_taken() -> None:
    desk = Desk()
    desk.sized()
    older = desk.sized(portfolio_value="500000", generated_at="2026-01-05T11:59:59Z")
    assert older["portfolio_value"] == "100000"
    same_time = desk.sized(portfolio_value="200000")
    assert (same_time["portfolio_value"], same_time["notional"]) == ("200000", "200")


def test_a_future_event_time_counts_as_now() -> None:
    desk = Desk()
    desk.sized(portfolio_value="200000", generated_at="2026-01-05T13:00:00Z")
    assert desk.sized(portfolio_value="300000")["portfolio_value"] == "300000"
