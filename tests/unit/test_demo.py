"""The demo's neighbours, without Kafka: prices, strategies, desk and venue, and the whole story with the processor."""

import heapq
import io
import itertools
import os
import random
import signal
from collections import Counter, defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from rich.console import Console

from app.codecs import JSON_OUTPUT, BadRecord, Decoder, Encoders, encoders
from app.codecs.avro_binary import Layout
from app.codecs.avro_schema import schema_text
from app.codecs.framing import OutputFormat
from app.codecs.output import read_output
from app.codecs.records import FILL, PHASE_EVENT, SIGNAL, SIZED_ORDER
from app.codecs.records import Record as RecordSchema
from app.codecs.writer_schema import accept
from app.core.messages import ErrorCode
from app.core.policy import TABLE_POLICY
from app.demo.accounts import ACCOUNTS, PARTITIONS, SEED
from app.demo.board import Board, Seen
from app.demo.children import Child, ChildDied
from app.demo.desk import Desk, Outgoing, rfc3339
from app.demo.execution import Execution
from app.demo.market import FILE_END, SECOND, WINDOW_END, WINDOW_START, MarketClock, Prices, exchange_time, read_prices
from app.demo.strategies import Bars, all_intents
from app.demo.table import Situation, picture, plain_line
from app.demo.venue import Venue, microseconds
from app.demo.wire import encoder, sized_order_reader
from app.processor import MemoryStore, Processor, Produced, Record
from app.processor.partitioners import partitioner
from app.topics import FILLS, FILLS_DLQ, PHASE_EVENTS, SIGNALS, SIGNALS_DLQ, SIZED_ORDERS

SPEED = 300
WALL_START = 1_760_000_000_000_000
CLOCK = MarketClock(WALL_START, SPEED)
ZERO = Decimal(0)


def partition_of(key: bytes) -> int:
    compute = partitioner("murmur2", PARTITIONS)
    assert compute is not None
    return compute(key)


@pytest.fixture(scope="module")
def prices() -> Prices:
    return read_prices()


def sized_order(**changed: object) -> dict[str, Any]:
    """Return a SIZED order, decided when the market opens."""
    order: dict[str, Any] = {
        "order_id": "8c0c2bdf-0f5d-5b51-9f4b-3a5b0d1a6d11",
        "signal_id": "momentum-60m-1",
        "portfolio_id": "momentum-60m",
        "side": "BUY",
        "decision": "SIZED",
        "notional": "10000",
        "quantity": "6.09756097",
        "portfolio_value": "10000000",
        "send_before": rfc3339(WALL_START + 5 * SECOND),
        "expires_at": rfc3339(WALL_START + 900 * SECOND),
    }
    return order | changed


def many_orders() -> Iterator[dict[str, Any]]:
    """Yield orders of all shapes: each side, with and without quantity, from a cent to millions."""
    shapes = itertools.product(("BUY", "SELL"), ("0.01", "75", "123456.78", "5000000"), (True, False), range(12))
    for number, (side, notional, priced, _) in enumerate(shapes):
        quantity = (Decimal(notional) / Decimal("1636.25")).quantize(Decimal("0.00000001"), "ROUND_DOWN")
        yield sized_order(
            order_id=f"order-{number}",
            signal_id=f"signal-{number}",
            side=side,
            notional=notional,
            quantity=f"{quantity:f}" if priced else None,
        )


def fills_of(venue: Venue) -> list[dict[str, Any]]:
    """Let all time pass, and return the good fills."""
    return [fill for fill in map(decoded, venue.due(FILE_END * 2)) if fill is not None]


def decoded(record: Outgoing) -> dict[str, Any] | None:
    try:
        document: dict[str, Any] = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError:
        return None
    return document


def test_prices_are_the_real_ones() -> None:
    prices = read_prices(exchange_time("2013-09-03 13:51:44"), FILE_END)
    assert (prices.times[-1], prices.price(len(prices.ticks) - 1)) == (
        exchange_time("2013-09-03 13:51:44.578"),
        Decimal("1631.25"),
    )


def test_next_trade_is_after_and_last_trade_is_not(prices: Prices) -> None:
    for time in range(WINDOW_START, WINDOW_END, 977 * SECOND):
        assert prices.times[prices.last(time)] <= time < prices.times[prices.next(time)]
    at_a_trade = prices.times[1000]
    assert prices.times[prices.last(at_a_trade)] == at_a_trade
    assert prices.times[prices.next(at_a_trade)] > at_a_trade


def test_market_clock_goes_both_ways() -> None:
    assert CLOCK.market(WALL_START) == WINDOW_START
    assert CLOCK.market(WALL_START + SECOND) == WINDOW_START + SPEED * SECOND
    assert CLOCK.wall(CLOCK.market(WALL_START + 12_345_678)) == WALL_START + 12_345_678


def test_momentum_and_reversion_take_opposite_sides(prices: Prices) -> None:
    bars = Bars(prices)
    momentum, reversion = (
        list(all_intents([account._replace(look_back=600, every=60)], prices)) for account in (ACCOUNTS[0], ACCOUNTS[6])
    )
    assert len(momentum) == len(reversion) > 100
    for follows, opposes in zip(momentum, reversion, strict=True):
        strength = bars.strength(follows.time, 600)
        assert follows.confidence == opposes.confidence >= 0.5
        assert follows.side == ("BUY" if strength >= 0 else "SELL")
        assert strength == 0 or follows.side != opposes.side


def test_confidence_grows_with_strength(prices: Prices) -> None:
    bars = Bars(prices)
    intents = list(all_intents(ACCOUNTS, prices))
    by_strength = sorted((abs(bars.strength(each.time, each.account.look_back)), each.confidence) for each in intents)
    assert [confidence for _, confidence in by_strength] == sorted(confidence for _, confidence in by_strength)


def test_look_back_beyond_the_prices_is_refused(prices: Prices) -> None:
    with pytest.raises(ValueError, match="begin too late"):
        Bars(prices).strength(prices.times[0] + 60 * SECOND, 600)


def test_desk_sends_every_intent_once_in_whatever_steps_it_is_asked(prices: Prices) -> None:
    def sent(step: int) -> list[Outgoing]:
        desk = Desk(ACCOUNTS, prices, CLOCK)
        times = itertools.chain(range(WINDOW_START, WINDOW_END, step), [WINDOW_END])
        records = [record for time in times for record in desk.due(time)]
        assert desk.next_time is None
        return records

    assert sent(1000 * SECOND) == sent(7 * SECOND)


def test_value_is_told_once_and_not_before_it_is_known(prices: Prices) -> None:
    records = Desk(ACCOUNTS, prices, CLOCK).due(WINDOW_END)
    told = [signal for signal in map(decoded, records) if signal is not None and signal.get("portfolio_value")]
    originals = {signal["signal_id"]: signal for signal in told}
    assert Counter(signal["portfolio_id"] for signal in originals.values()) == {a.portfolio_id: 1 for a in ACCOUNTS}
    newcomer = next(signal for signal in told if signal["portfolio_id"] == "new-client")
    assert CLOCK.market(microseconds(newcomer["generated_at"])) >= WINDOW_START + (WINDOW_END - WINDOW_START) // 4


def test_venue_keeps_the_cost_within_the_notional(prices: Prices) -> None:
    notional = {}
    venue = Venue(ACCOUNTS, prices, CLOCK, SEED)
    for order in many_orders():
        assert venue.accept(order, WALL_START)
        notional[order["order_id"]] = Decimal(order["notional"])
    cost: defaultdict[str, Decimal] = defaultdict(Decimal)
    for fill in fills_of(venue):
        if fill["exec_type"] == "TRADE" and fill["position_effect"] == "OPEN":
            cost[fill["order_id"]] += Decimal(fill["last_qty"]) * Decimal(fill["last_px"])
    assert len(cost) > len(notional) * 0.7
    assert all(cost[order_id] <= notional[order_id] for order_id in cost)


def test_every_order_ends_and_every_position_is_closed(prices: Prices) -> None:
    for order in many_orders():
        reports = Execution(order, WINDOW_START, FILE_END, prices, SEED).reports
        opens = [report for report in reports if report.position_effect == "OPEN"]
        assert any(report.leaves_qty == 0 for report in opens), order
        bought = sum((report.last_qty for report in opens), ZERO)
        sold = sum((report.last_qty for report in reports if report.position_effect == "CLOSE"), ZERO)
        assert bought == sold
        assert [report.time for report in reports] == sorted(report.time for report in reports)


def test_fills_are_at_real_prices(prices: Prices) -> None:
    real = set(zip(prices.times, prices.ticks, strict=True))
    for order in many_orders():
        for report in Execution(order, WINDOW_START + 1800 * SECOND, FILE_END, prices, SEED).reports:
            assert report.exec_type != "TRADE" or (report.time, int(report.last_px * 4)) in real


@pytest.mark.parametrize("late", [0, 1, 60 * SECOND])
def test_order_seen_at_send_before_or_later_is_not_sent(prices: Prices, late: int) -> None:
    venue = Venue(ACCOUNTS, prices, CLOCK, SEED)
    order = sized_order()
    assert venue.accept(order, microseconds(order["send_before"]) + late)
    (fill,) = fills_of(venue)
    assert (fill["exec_type"], fill["position_effect"], fill["last_qty"]) == ("EXPIRED", "OPEN", "0")


def test_nothing_opens_after_expires_at(prices: Prices) -> None:
    cancel_at = WINDOW_START + 10 * SECOND
    for order in many_orders():
        reports = Execution(order, WINDOW_START, cancel_at, prices, SEED).reports
        end = next(report.time for report in reports if report.leaves_qty == 0)
        assert end <= cancel_at


def test_venue_takes_an_order_once_and_a_skipped_one_never(prices: Prices) -> None:
    venue = Venue(ACCOUNTS, prices, CLOCK, SEED)
    assert venue.accept(sized_order(), WALL_START)
    assert not venue.accept(sized_order(), WALL_START)
    assert not venue.accept(sized_order(order_id="another", decision="SKIPPED", send_before=None), WALL_START)
    exec_ids = Counter(fill["exec_id"] for fill in fills_of(venue))
    assert set(exec_ids.values()) == {1}


def test_same_seed_same_fills_and_another_seed_others(prices: Prices) -> None:
    def fills(seed: int) -> list[dict[str, Any]]:
        venue = Venue(ACCOUNTS, prices, CLOCK, seed)
        for order in many_orders():
            venue.accept(order, WALL_START)
        return fills_of(venue)

    assert fills(1) == fills(1)
    assert fills(1) != fills(2)


class MockedRegistry:
    """Confluent's mock of a registry, with the four schemas, as the neighbours and as the processor see it."""

    def __init__(self) -> None:
        self.client = SchemaRegistryClient.new_client({"url": "mock://demo"})
        topics = {SIGNAL: SIGNALS, FILL: FILLS, SIZED_ORDER: SIZED_ORDERS, PHASE_EVENT: PHASE_EVENTS}
        self.ids = {
            record: self.client.register_schema(f"{topic}-value", Schema(schema_text(record), "AVRO"))
            for record, topic in topics.items()
        }

    def layout(self, schema_id: int, record: RecordSchema) -> Layout:
        if schema_id not in self.ids.values():
            raise BadRecord(ErrorCode.UNKNOWN_SCHEMA, "no such schema")
        return accept(str(self.client.get_schema(schema_id).schema_str), record)

    @property
    def encoders(self) -> Encoders:
        return encoders({SIZED_ORDER: OutputFormat.AVRO, PHASE_EVENT: OutputFormat.AVRO}, self.ids)


class Story:
    """A whole demo in one process: desk, venue, processor and onlooker, with delays between them drawn by `seed`.

    `registry`: all is Avro; None: JSON.
    """

    def __init__(self, prices: Prices, seed: int, registry: MockedRegistry | None = None) -> None:
        print(f"seed {seed}")
        client = None if registry is None else registry.client
        self.board = Board()
        self.seen: list[Seen] = []
        self._dice = random.Random(seed)
        self._desk = Desk(ACCOUNTS, prices, CLOCK, encoder(client, SIGNALS, SIGNAL))
        self._venue = Venue(ACCOUNTS, prices, CLOCK, SEED, encoder(client, FILLS, FILL))
        self._read_order = sized_order_reader(client, SIZED_ORDERS)
        self._stores = [MemoryStore() for _ in range(PARTITIONS)]
        self._processors = [
            Processor(
                number,
                store,
                TABLE_POLICY,
                partition_count=PARTITIONS,
                partition_of=partition_of,
                decoder=Decoder(registry),
                encoders=JSON_OUTPUT if registry is None else registry.encoders,
            )
            for number, store in enumerate(self._stores)
        ]
        self._offsets: Counter[tuple[str, int]] = Counter()
        self._arrivals: list[tuple[int, int, str, int, Outgoing]] = []
        self._latest: defaultdict[tuple[str, int], int] = defaultdict(int)
        self._numbers = itertools.count()
        self._play()

    @property
    def counters(self) -> Counter[str]:
        return sum((processor.counters for processor in self._processors), Counter())

    def _play(self) -> None:
        now = WALL_START
        while True:
            for topic, source in ((SIGNALS, self._desk), (FILLS, self._venue)):
                for record in source.due(CLOCK.market(now)):
                    own = 0 if record.key is None else partition_of(record.key)
                    self._send(topic, (own + record.turn) % PARTITIONS, record, now)
            times = [source.next_time for source in (self._desk, self._venue)]
            moments = [CLOCK.wall(time) + 1 for time in times if time is not None]
            moments += [self._arrivals[0][0]] if self._arrivals else []
            if not moments:
                return
            now = max(now, min(moments))
            while self._arrivals and self._arrivals[0][0] <= now:
                self._arrive(*heapq.heappop(self._arrivals))

    def _send(self, topic: str, partition: int, record: Outgoing, now: int) -> None:
        arrival = max(now + self._dice.randint(2_000, 15_000), self._latest[topic, partition])
        self._latest[topic, partition] = arrival
        heapq.heappush(self._arrivals, (arrival, next(self._numbers), topic, partition, record))

    def _arrive(self, time: int, _number: int, topic: str, partition: int, record: Outgoing) -> None:
        if topic == SIZED_ORDERS:
            self._venue.accept(self._read_order(record.value), time)
            return
        offset = self._see(topic, partition, time, record)
        processor = self._processors[partition]
        outcome = processor.process(Record(topic, partition, offset, record.key, record.value), time)
        self._stores[partition].write(processor.changes())
        processor.committed()
        for answer in outcome.produced:
            self._see(answer.topic, partition, time, answer)
            if answer.topic == SIZED_ORDERS:
                self._send(SIZED_ORDERS, partition, Outgoing(answer.key, answer.value), time)

    def _see(self, topic: str, partition: int, now: int, record: Produced | Outgoing) -> int:
        offset = self._offsets[topic, partition]
        self._offsets[topic, partition] += 1
        headers = record.headers if isinstance(record, Produced) else ()
        seen = Seen(topic, partition, offset, now // 1000, record.key, record.value, headers)
        self.seen.append(seen)
        self.board.take(seen)
        return offset


@pytest.fixture(scope="module")
def story(prices: Prices) -> Story:
    return Story(prices, seed=1)


def test_story_has_something_of_everything(story: Story) -> None:
    phases = Counter(line.phase for line in story.board.lines.values())
    assert phases[1] >= 3
    assert phases[2] + phases[3] >= 3
    reasons = {"LOW_CONFIDENCE", "EXPOSURE_LIMIT", "SIGNAL_EXPIRED", "NO_PORTFOLIO_VALUE", "BELOW_MINIMUM_SIZE"}
    assert set(story.board.skipped) == reasons
    assert {code for _, code in story.board.dead_letters} == {
        *("UNDECODABLE", "UNKNOWN_SCHEMA", "INVALID", "KEY_MISMATCH", "WRONG_PARTITION", "STALE_SIGNAL"),
        *("FUTURE_SIGNAL", "UNKNOWN_ORDER", "CLOSE_EXCEEDS_OPEN"),
    }
    for counted in ("DRAWDOWN_ENTERED", "DRAWDOWN_EXITED", "EXPOSURE_BREACHED", "IGNORED.REPEATED_EXEC_ID"):
        assert story.counters[counted] > 0
    profits = [line.profit for line in story.board.lines.values()]
    assert min(profits) < 0 < max(profits)


def test_story_is_the_same_in_avro(prices: Prices, story: Story) -> None:
    """Confluent's serializers write what the sizer reads and read what it writes; what is bad stays so."""
    in_avro = Story(prices, 1, MockedRegistry())
    assert in_avro.counters == story.counters
    for topic, record in ((SIZED_ORDERS, SIZED_ORDER), (PHASE_EVENTS, PHASE_EVENT)):
        by_json, by_avro = ([seen for seen in each.seen if seen.topic == topic] for each in (story, in_avro))
        assert all(str(seen.value)[2] == "{" for seen in by_json)
        assert not any(str(seen.value)[2] == "{" for seen in by_avro)
        assert [read_output(seen.value, record) for seen in by_avro] == [
            read_output(seen.value, record) for seen in by_json
        ]
    # Somebody types JSON where Avro knows no such word.
    framed = [seen.value is not None and seen.value[0] == 0 for seen in in_avro.seen if seen.topic in (SIGNALS, FILLS)]
    assert framed.count(False) == 3
    assert in_avro.board.lines == story.board.lines
    assert in_avro.board.dead_letters == story.board.dead_letters


def test_story_ends_flat_with_every_signal_answered(story: Story) -> None:
    board = story.board
    assert not board.waiting
    assert board.unfinished_orders == 0
    assert all(line.exposure == 0 for line in board.lines.values())
    assert board.taken[SIGNALS] == board.taken[SIZED_ORDERS] + board.taken["signals.dlq"] + board.duplicates


def test_board_agrees_with_the_sizer(story: Story) -> None:
    board, counters = story.board, story.counters
    assert board.sized == counters["SIZED"]
    assert board.duplicates == counters["IGNORED.DUPLICATE_SIGNAL"]
    assert {f"DLQ.{topic}.{code}": n for (topic, code), n in board.dead_letters.items()} == {
        name: count for name, count in counters.items() if name.startswith("DLQ.")
    }


def test_board_does_not_mind_the_order_of_topics(story: Story) -> None:
    """An onlooker may see a fill before its order, and an answer before its signal."""
    late = Board()
    for topic in (FILLS, PHASE_EVENTS, SIGNALS_DLQ, FILLS_DLQ, SIZED_ORDERS, SIGNALS):
        for seen in story.seen:
            if seen.topic == topic:
                late.take(seen)
    assert (late.sized, late.skipped, late.duplicates) == (
        story.board.sized,
        story.board.skipped,
        story.board.duplicates,
    )
    assert (late.waiting, late.unfinished_orders) == ({}, 0)
    assert {name: line.profit for name, line in late.lines.items()} == {
        name: line.profit for name, line in story.board.lines.items()
    }


def test_unexpected_end_of_a_child_is_told_with_its_last_lines(tmp_path: Path) -> None:
    child = Child("venue", ["no_such_module"], os.environ, tmp_path)
    child.await_end()
    with pytest.raises(ChildDied, match=r"venue ended unexpectedly with status 1(.|\n)*No module named no_such_module"):
        child.check()


def test_child_killed_on_purpose_can_be_started_again(tmp_path: Path) -> None:
    child = Child("worker", ["code"], os.environ, tmp_path)  # reads its standard input until it ends
    first = child.pid
    child.kill()
    assert child.status == -signal.SIGKILL
    child.check()
    child.restart()
    assert child.status is None
    assert child.pid != first
    child.kill()


def test_picture_fits_the_terminal(story: Story) -> None:
    situation = Situation(24.0, 37.6, WINDOW_END, SPEED, [("worker-1", None), ("worker-2", 4711)], 312.0, 0.0)
    news = [(1.0, item) for item in story.board.news]
    for width, height in ((80, 24), (100, 40), (160, 60)):
        console = Console(width=width, height=height, record=True, file=io.StringIO())
        console.print(picture(story.board, situation, news, width=width, height=height))
        lines = console.export_text().splitlines()
        assert len(lines) <= height
        assert max(map(len, lines)) <= width
        assert all(any(account.portfolio_id in line for line in lines) for account in ACCOUNTS)
    assert len(plain_line(story.board, situation)) <= 100
