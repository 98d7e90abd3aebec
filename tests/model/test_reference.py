"""The reference model against the contract's worked examples and its tricky sentences, each asserted by hand."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.model.policies import PolicyError, make_policy
from tests.model.reading import InvalidError, read_decimal, read_message, read_time
from tests.model.reference import LineError, Simulator, murmur2, simulate, time_text

START = 1_700_000_000_000_000
SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
Fields = dict[str, Any]


class Desk:
    """One portfolio, PF, worth 100 000, and what comes out for it."""

    def __init__(self, policy: Fields | None = None) -> None:
        self.model = Simulator(policy=policy)
        self.serial = 0
        self.clock = START
        self.events: list[Fields] = []

    def send(self, topic: str, value: Fields | bytes, key: str | None = "PF", **extra: Any) -> list[Fields]:
        """Send one record at the desk's clock; give the output lines, the events among them also kept."""
        record: Fields = {"topic": topic, "key": key, "now": time_text(self.clock), **extra}
        record |= {"value": value} if isinstance(value, dict) else {"value_text": value.decode()}
        outputs = [orjson.loads(line) for line in self.model.feed(orjson.dumps(record))]
        self.events = [orjson.loads(one["value"]) for one in outputs if one.get("topic") == "phase_events"]
        return outputs

    def outcome(self, topic: str, value: Fields, **extra: Any) -> str:
        """Send one record; give its DLQ code, its ignored kind, or the types of what it caused."""
        outputs = self.send(topic, value, **extra)
        last = outputs[-1]
        if "ignored" in last or "applied" in last:
            return str(last.get("ignored", "applied"))
        if str(last["topic"]).endswith(".dlq"):
            return str(last["headers"]["__streams.errors.exception"])
        names = [orjson.loads(one["value"]) for one in outputs]
        return " ".join(one.get("type") or one.get("skip_reason") or one["decision"] for one in names)

    def signal(self, confidence: float = 0.9, **changes: Any) -> Fields:
        """Send a signal; give its SizedOrder."""
        return dict(orjson.loads(self.send("signals", self.signal_message(confidence, **changes))[-1]["value"]))

    def signal_message(self, confidence: float = 0.9, **changes: Any) -> Fields:
        """Make a signal of a new id."""
        self.serial += 1
        return {
            "signal_id": f"s{self.serial}",
            "portfolio_id": "PF",
            "symbol": "X",
            "side": "BUY",
            "confidence": confidence,
            "portfolio_value": 100000,
            "generated_at": self.clock,
            **changes,
        }

    def fill(self, order: Fields, kind: str = "TRADE", quantity: Any = 0, price: Any = 0, **changes: Any) -> str:
        """Send a fill; give its outcome."""
        self.serial += 1
        message = {
            "exec_id": f"e{self.serial}",
            "order_id": order["order_id"],
            "portfolio_id": "PF",
            "exec_type": kind,
            "last_qty": quantity,
            "last_px": price,
            "transact_time": self.clock,
            **changes,
        }
        return self.outcome("fills", message)

    def close(self, order: Fields, quantity: Any, price: Any, **changes: Any) -> str:
        """Send a closing trade."""
        return self.fill(order, quantity=quantity, price=price, position_effect="CLOSE", **changes)

    def trade(self, *results: int) -> str:
        """Make round trips with these results, opened and closed completely; give the last close's outcome."""
        outcome = ""
        for result in results:
            order = self.signal()
            assert order["decision"] == "SIZED"
            self.fill(order, quantity=1, price=order["notional"], leaves_qty=0)
            outcome = self.close(order, 1, str(float(order["notional"]) + result))
        return outcome


WIN, LOSS = 30, -10


class TestWorkedExamples:
    """The ten rows of the contract's table (portfolio value 100 000, phase 1)."""

    @pytest.mark.parametrize(("confidence", "notional"), [(0.9, "100"), (0.85, "75"), (0.7, "75"), (0.6, "75")])
    def test_confidence_sets_the_notional(self, confidence: float, notional: str) -> None:
        order = Desk().signal(confidence)
        assert (order["decision"], order["notional"]) == ("SIZED", notional)

    def test_low_confidence_is_skipped(self) -> None:
        order = Desk().signal(0.59)
        assert (order["skip_reason"], order["notional"], order["confidence_multiplier"]) == ("LOW_CONFIDENCE", "0", "0")

    @pytest.mark.parametrize(
        ("results", "confidence", "notional"),
        [
            ((LOSS, LOSS), 0.9, "50"),
            ((LOSS, LOSS), 0.7, "37.5"),
            ((LOSS, LOSS, WIN), 0.9, "50"),
            ((LOSS, LOSS, WIN, LOSS, WIN, WIN), 0.9, "100"),
        ],
    )
    def test_drawdown_protection(self, results: tuple[int, ...], confidence: float, notional: str) -> None:
        desk = Desk()
        desk.trade(*results)
        assert desk.signal(confidence)["notional"] == notional

    def test_eleventh_order_exceeds_the_limit(self) -> None:
        desk = Desk()
        orders = [desk.signal() for _ in range(10)]
        desk.fill(orders[0], quantity=1, price=100, leaves_qty=0)  # open instead of reserved: the same exposure
        assert orders[-1]["exposure_after"] == orders[-1]["exposure_limit"] == "1000"
        eleventh = desk.signal()
        assert (eleventh["skip_reason"], eleventh["exposure_after"]) == ("EXPOSURE_LIMIT", "1000")

    def test_twelve_of_twenty_wins_promote(self) -> None:
        desk = Desk()
        last = desk.trade(*(WIN, LOSS) * 8, *(WIN,) * 4)
        assert last == "PHASE_UPGRADED"
        event = desk.events[-1]
        assert (event["phase"], event["previous_phase"], event["trades"], event["wins"]) == (2, 1, 20, 12)
        assert (event["win_rate"], event["profit_factor"]) == ("0.6", "4.5")
        order = desk.signal()
        assert (order["phase"], order["notional"]) == (2, "250")

    def test_eleven_of_twenty_wins_do_not(self) -> None:
        desk = Desk()
        desk.trade(*(WIN, LOSS) * 9, WIN, WIN)
        assert (desk.signal()["phase"], desk.signal()["notional"]) == (1, "100")


class TestDecisions:
    """Signals: times, duplicates, values, lapses."""

    def test_duplicate_for_48_hours_to_the_microsecond(self) -> None:
        desk = Desk()
        first = desk.signal_message()
        assert desk.outcome("signals", first) == "PORTFOLIO_OPENED SIZED"
        desk.clock += 48 * HOUR
        assert desk.outcome("signals", first | {"confidence": 0.1}) == "DUPLICATE_SIGNAL"
        desk.clock += 1
        assert desk.outcome("signals", first) == "STALE_SIGNAL"
        again = first | {"generated_at": desk.clock}
        assert desk.outcome("signals", again) == "RESERVATION_EXPIRED SIZED"

    def test_stale_and_future_are_strict_and_change_nothing(self) -> None:
        desk = Desk()
        stale = desk.signal_message(generated_at=START - 24 * HOUR - 1)
        (letter,) = desk.send("signals", stale)
        assert letter["headers"]["sizer.now"] == "2023-11-14T22:13:20.000000Z"
        assert desk.outcome("signals", desk.signal_message(generated_at=START + 24 * HOUR + 1)) == "FUTURE_SIGNAL"
        assert desk.signal(generated_at=START - 24 * HOUR)["sequence"] == 1
        assert desk.signal(generated_at=START + 24 * HOUR)["decided_at"] == time_text(START)

    def test_clock_before_portfolio_time_is_lifted(self) -> None:
        desk = Desk()
        desk.signal()
        desk.clock -= HOUR
        assert desk.signal()["decided_at"] == time_text(START)

    def test_signal_expiry_is_strict_and_caps_send_before(self) -> None:
        desk = Desk()
        assert desk.signal(expires_at=START - 1)["skip_reason"] == "SIGNAL_EXPIRED"
        order = desk.signal(expires_at=START)
        assert (order["send_before"], order["expires_at"]) == (time_text(START), time_text(START + 15 * MINUTE))

    def test_first_reason_that_holds_is_given(self) -> None:
        desk = Desk()
        assert desk.signal(0.1, expires_at=0, portfolio_value=0)["skip_reason"] == "SIGNAL_EXPIRED"
        assert desk.signal(0.1, portfolio_value=-1)["skip_reason"] == "LOW_CONFIDENCE"
        order = desk.signal(portfolio_value=-1)
        assert (order["skip_reason"], order["exposure_limit"]) == ("NO_PORTFOLIO_VALUE", "0")
        assert desk.signal(portfolio_value="9.99")["skip_reason"] == "BELOW_MINIMUM_SIZE"

    def test_value_of_an_older_event_time_is_not_taken(self) -> None:
        desk = Desk()
        desk.signal(0.1, portfolio_value=200000, generated_at=START + HOUR)  # in the future: counts as now
        assert desk.signal(portfolio_value=300000, generated_at=START - 1)["portfolio_value"] == "200000"
        assert desk.signal(portfolio_value=400000)["portfolio_value"] == "400000"

    def test_quantity_is_rounded_down_to_8_decimals(self) -> None:
        desk = Desk()
        assert desk.signal(price=3)["quantity"] == "33.33333333"
        assert desk.signal(price="10000000000")["quantity"] == "0.00000001"
        assert desk.signal(price="10000000001")["skip_reason"] == "BELOW_MINIMUM_SIZE"
        assert desk.signal()["quantity"] is None

    def test_lapse_60_seconds_after_expiry_strictly(self) -> None:
        desk = Desk()
        order = desk.signal()
        desk.clock += 16 * MINUTE
        assert desk.signal()["exposure_before"] == "100"
        desk.clock += 1
        assert desk.outcome("signals", desk.signal_message()) == "RESERVATION_EXPIRED SIZED"
        assert desk.events[0]["order_id"] == order["order_id"]
        assert desk.events[0]["exposure"] == "100"  # the second order's

    def test_lapse_that_closes_a_trade_shows_its_result_before_the_drawdown(self) -> None:
        desk = Desk()
        desk.trade(LOSS)
        order = desk.signal()
        desk.fill(order, quantity=1, price=50, leaves_qty=1)
        assert desk.close(order, 1, 40) == "applied"  # works still: no trade closes yet
        desk.clock += HOUR
        assert desk.outcome("signals", desk.signal_message()) == "RESERVATION_EXPIRED DRAWDOWN_ENTERED SIZED"
        expired, entered = desk.events
        assert (expired["consecutive_losses"], expired["drawdown_active"], expired["trades"]) == (2, False, 2)
        assert (entered["consecutive_losses"], entered["drawdown_active"]) == (2, True)

    def test_policy_is_taken_first_at_the_next_decision(self) -> None:
        desk = Desk()
        for _ in range(10):
            desk.signal()
        desk.model.feed(b'{"policy":{"exposure_limit":"0.009","reservation_ttl":60}}')
        assert desk.outcome("signals", desk.signal_message(0.1)) == "POLICY_CHANGED EXPOSURE_BREACHED LOW_CONFIDENCE"
        changed, breached = desk.events
        assert changed["policy"] == make_policy({"exposure_limit": 0.009, "reservation_ttl": "60"})["text"]
        assert (breached["order_id"], breached["policy"], breached["exposure"]) == (None, None, "1000")


class TestFills:
    """Fills: ends, late fills, closes, commissions, memory."""

    def test_leaves_decide_else_the_quantity_does(self) -> None:
        desk = Desk()
        order = desk.signal(price=10)
        desk.fill(order, quantity=10, price=5, leaves_qty="0.1")  # the whole quantity, but more is said to come
        assert desk.signal(0.1)["exposure_before"] == "100"
        desk.fill(order, quantity="0.1", price=5)  # no word: filled 10.1 >= 10
        assert desk.signal(0.1)["exposure_before"] == "50.5"

    def test_late_fill_on_a_finished_order_starts_a_further_trade(self) -> None:
        desk = Desk()
        order = desk.signal()
        desk.fill(order, "CANCELED", commission=7)
        assert desk.fill(order, "EXPIRED") == "ORDER_FINISHED"
        assert desk.close(order, 1, 1) == "CLOSE_EXCEEDS_OPEN"
        assert desk.fill(order, quantity=1, price=2000) == "EXPOSURE_BREACHED"
        assert desk.close(order, 1, 2001) == "applied"  # a win: the 7 belonged to no trade
        assert desk.signal(0.1)["consecutive_wins"] == 1

    def test_repeat_is_seen_before_everything_but_unknown_order(self) -> None:
        desk = Desk()
        order = desk.signal()
        desk.fill(order, quantity=1, price=100, exec_id="e", leaves_qty=0)
        assert desk.close(order, 5, 1, exec_id="e") == "REPEATED_EXEC_ID"
        assert desk.close(order, 5, 1, exec_id="f") == "CLOSE_EXCEEDS_OPEN"
        assert desk.close(order, 1, 1, exec_id="f") == "applied"  # only applied fills are remembered

    def test_finished_order_is_forgotten_after_24_hours_of_portfolio_time(self) -> None:
        desk = Desk()
        order, other = desk.signal(), desk.signal()
        desk.fill(other, quantity=1, price=100)  # stays open: never forgotten
        desk.fill(order, "REJECTED", exec_id="e")
        desk.clock += 24 * HOUR
        desk.signal()
        assert desk.fill(order, "REJECTED", exec_id="e") == "REPEATED_EXEC_ID"
        desk.clock += 1
        assert desk.fill(order, "REJECTED") == "ORDER_FINISHED"  # a fill reads no clock
        desk.signal(0.1)
        assert desk.fill(order, quantity=1, price=1) == "UNKNOWN_ORDER"
        assert desk.close(other, 1, 101) == "applied"

    def test_open_cost_goes_by_share_and_ends_at_zero(self) -> None:
        desk = Desk()
        order = desk.signal(side="SELL")
        desk.fill(order, quantity=3, price="33.333333333333", leaves_qty=0)  # 99.999999999999
        desk.close(order, 1, 30)
        assert desk.signal(0.1)["exposure_before"] == "66.666666666666"
        desk.close(order, 2, 30)
        sized = desk.signal()
        assert (sized["exposure_before"], sized["consecutive_wins"]) == ("0", 1)

    def test_commissions_of_exit_orders_count_and_a_scratch_changes_no_streak(self) -> None:
        desk = Desk()
        desk.trade(LOSS)
        order = desk.signal()
        desk.fill(order, quantity=1, price=100, leaves_qty=0, commission="-2")
        desk.fill(order, "CANCELED", position_effect="CLOSE", commission=12)
        assert desk.close(order, 1, 110) == "applied"
        sized = desk.signal(0.1)
        assert (sized["consecutive_losses"], sized["drawdown_multiplier"]) == (1, "1")

    def test_out_of_range_leaves_no_trace(self) -> None:
        desk = Desk()
        order = desk.signal()
        assert desk.fill(order, quantity=10**14, price=10**12, exec_id="e") == "OUT_OF_RANGE"
        assert desk.fill(order, quantity=10**14, price="999999999999.9", exec_id="e") == "EXPOSURE_BREACHED"
        assert desk.close(order, 10**14, "999999999999.9") == "applied"

    def test_trade_counts_for_the_phase_it_was_sized_in(self) -> None:
        desk = Desk()
        early = desk.signal()
        desk.fill(early, quantity=1, price=100, leaves_qty=0)
        desk.trade(*(WIN, LOSS) * 8, *(WIN,) * 4)
        desk.close(early, 1, 90)
        desk.trade(LOSS)
        assert desk.events[0]["type"] == "DRAWDOWN_ENTERED"
        assert (desk.events[0]["trades"], desk.events[0]["losses"]) == (1, 1)  # of phase 2, although two in a row


class TestBytes:
    """Types, bad input, canonical output and the lines themselves."""

    def test_numbers(self) -> None:
        assert read_decimal(("double", "5e-13")) == 0
        assert read_decimal("0" * 5000 + "1.50") == read_decimal(("double", "1.5"))
        for bad in ("1.1234567890123", "1e3", "+1", ".5", "\u0661", "1" + "0" * 15, ("double", "1e15"), True, None):
            with pytest.raises(InvalidError):
                read_decimal(bad)

    def test_times(self) -> None:
        assert read_time("1970-01-01t00:00:01.2345678z") == 1_234_567
        assert read_time("1969-12-31T23:30:00-01:00") == 30 * MINUTE
        for bad in ("2016-12-31T23:59:60Z", "1970-01-01 00:00:00Z", "1970-01-01T00:00:00+00:01", ("double", "1e9"), -1):
            with pytest.raises(InvalidError):
                read_time(bad)

    def test_first_code_that_holds_is_given(self) -> None:
        assert read_message("signals", None) == "UNDECODABLE"
        assert read_message("signals", b"\x00\x00\x00\x00") == "UNDECODABLE"
        assert read_message("signals", b"\x00\x00\x00\x00\x01") == "UNKNOWN_SCHEMA"
        assert read_message("fills", b"\xc3\x01" + b"\x00" * 7) == "UNDECODABLE"
        assert read_message("fills", b"\xc3\x01" + b"\x00" * 8) == "UNKNOWN_SCHEMA"
        assert read_message("signals", b" {}") == "UNDECODABLE"
        assert read_message("signals", b'{"a":1e400}') == "UNDECODABLE"
        assert read_message("signals", b"{}") == "INVALID"
        desk = Desk()
        assert desk.outcome("signals", desk.signal_message(side="buy"), key=None) == "INVALID"
        assert desk.outcome("signals", desk.signal_message(), key=None) == "KEY_MISMATCH"

    def test_partition_is_checked_as_java_hashes(self) -> None:
        assert murmur2(b"foobar") == 2**32 - 790332482  # the value of Kafka's own test
        line = orjson.dumps({"topic": "signals", "key": "PF", "partition": 1, "value": Desk().signal_message()})
        codes = [
            orjson.loads(next(simulate([line], partitions=count)))["headers"].get("__streams.errors.exception")
            for count in (2, 3, 4, 5)
        ]
        right = [(murmur2(b"PF") & 0x7FFFFFFF) % count == 1 for count in (2, 3, 4, 5)]
        assert [code is None for code in codes] == right

    def test_offsets_of_the_fills_count_whatever_became_of_them(self) -> None:
        desk = Desk()
        assert desk.signal()["fills_offset"] == -1
        desk.send("fills", b"garbage", offset=41)
        desk.send("fills", b"garbage")
        desk.send("fills", b"garbage", partition=7)
        order = desk.signal()
        assert (order["fills_offset"], order["signal_offset"]) == (42, 1)

    def test_headers_are_kept_and_the_last_wins(self) -> None:
        desk = Desk()
        (letter,) = desk.send("fills", b"{", headers={"a": None, "__streams.errors.topic": "x"})
        assert letter["value"] == "{"
        assert letter["headers"]["a"] is None
        assert letter["headers"]["__streams.errors.topic"] == "fills"

    def test_canonical_sized_order(self) -> None:
        value = r'{"signal_id":"\u00e9/","portfolio_id":"P\"","symbol":"X","side":"SELL","confidence":1e-7,"price":1e1,'
        line = orjson.dumps({"topic": "signals", "key": 'P"', "value_text": value + '"generated_at":0}'})
        last = list(simulate([line]))[-1]
        assert orjson.loads(last)["value"] == (
            '{"order_id":"2dd561d2-6c81-5a1c-8fbe-ad5867546ee5","signal_id":"é/","portfolio_id":"P\\"","symbol":"X",'
            '"side":"SELL","strategy_id":null,"decision":"SKIPPED","skip_reason":"LOW_CONFIDENCE","notional":"0",'
            '"quantity":null,"price":"10","portfolio_value":null,"phase":1,"base_fraction":"0.001",'
            '"confidence":0.0000001,"confidence_multiplier":"0","drawdown_multiplier":"1","exposure_before":"0",'
            '"exposure_after":"0","exposure_limit":null,"consecutive_wins":0,"consecutive_losses":0,"sequence":1,'
            '"signal_offset":0,"fills_offset":-1,"decided_at":"1970-01-01T00:00:00.000000Z","send_before":null,'
            '"expires_at":null,"policy_id":"d66c3bc987b08424"}'
        )

    def test_policies(self) -> None:
        assert make_policy({})["id"] == "d66c3bc987b08424"
        for bad in ({"exposure_limit": "0.02"}, {"phase_2_trades": 19}, {"reservation_ttl": 59}, {"unknown": 1}):
            with pytest.raises(PolicyError, match=next(iter(bad))):
                make_policy(bad)

    def test_line_that_is_no_record_is_named(self) -> None:
        with pytest.raises(LineError, match="line 3"):
            list(simulate([b"", b'{"policy":{}}', b'{"topic":"orders","key":"a","value":{}}']))
