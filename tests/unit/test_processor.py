"""The processor over a store: what it writes is all it needs to go on."""

from collections import Counter
from collections.abc import Iterator

import orjson
import pytest

from app.core.policy import TABLE_POLICY
from app.errors import Doubt, UserError
from app.processor import Change, MemoryStore, Processor, Record
from app.processor.partitioners import partitioner
from tests.desk import Desk
from tests.model.generate import generate

HOUR = 3_600_000_000
NOON = 1_767_614_400_000_000


def start(store: MemoryStore, **options: object) -> Processor:
    options = {"partition_count": 1, "partition_of": None} | options
    return Processor(0, store, TABLE_POLICY, **options)  # type: ignore[arg-type]  # any option


def signal(number: int, offset: int, at: int = NOON, confidence: float = 0.9, portfolio: str = "PF-1") -> Record:
    value = {
        "signal_id": f"S-{number}",
        "portfolio_id": portfolio,
        "symbol": "X",
        "side": "BUY",
        "confidence": confidence,
        "portfolio_value": "100000",
        "generated_at": at,
    }
    return Record("signals", 0, offset, portfolio.encode(), orjson.dumps(value))


def cancel(order_id: str, offset: int, at: int, portfolio: str = "PF-1") -> Record:
    value = {
        "exec_id": "E",
        "order_id": order_id,
        "portfolio_id": portfolio,
        "exec_type": "CANCELED",
        "transact_time": at,
    }
    return Record("fills", 0, offset, portfolio.encode(), orjson.dumps(value))


def commit(processor: Processor, store: MemoryStore) -> list[Change]:
    changes = processor.changes()
    store.write(changes)
    processor.committed()
    return changes


@pytest.mark.parametrize("seed", range(3))
def test_a_restart_after_every_record_changes_no_answer(seed: int) -> None:
    lines = generate(seed, 300)
    straight, restarted = Desk(), Desk()
    for line in filter(bytes.strip, lines):
        document = orjson.loads(line)
        straight.feed(document)
        restarted.feed(document)
        restarted.simulation.restart(None)
    assert restarted.lines == straight.lines


@pytest.mark.parametrize("seed", range(3))
def test_portfolios_of_the_first_layout_are_answered_the_same(seed: int) -> None:
    present, first = Desk(), Desk()
    for line in filter(bytes.strip, generate(seed, 300)):
        document = orjson.loads(line)
        present.feed(document)
        first.feed(document)
        first.simulation.restart(None)
        for store in first.simulation._stores.values():
            store.write(list(of_the_first_layout(store)))
    assert first.lines == present.lines
    assert any(b"RESERVATION_EXPIRED" in line for line in present.lines)


def of_the_first_layout(store: MemoryStore) -> Iterator[Change]:
    """Yield the portfolios of a store as they were without a time in front of them."""
    for key, row in store.scan("portfolios", b""):
        if b"\x1f" not in key and row.startswith(b"\x02"):
            yield Change("portfolios", key, b"\x01" + row[9:])


def test_a_portfolio_is_looked_up_for_working_orders_only_when_some_may_lapse() -> None:
    store = WatchedStore()
    minute = HOUR // 60
    for number in range(10):
        at = NOON + number * minute
        processor = start(store)  # knows nothing that is not in the store
        processor.process(signal(number, number, at), at)
        commit(processor, store)
    assert store.scans["portfolios"] == 0
    processor = start(store)
    outcome = processor.process(signal(10, 10, NOON + 24 * HOUR), NOON + 24 * HOUR)
    assert store.scans["portfolios"] == 1
    assert b"".join(produced.value or b"" for produced in outcome.produced).count(b"RESERVATION_EXPIRED") == 10


class WatchedStore(MemoryStore):
    """Counts how often each table is scanned."""

    def __init__(self) -> None:
        super().__init__()
        self.scans: Counter[str] = Counter()

    def scan(self, table: str, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        self.scans[table] += 1
        return super().scan(table, start)


def test_positions_are_part_of_the_changes() -> None:
    store = MemoryStore()
    processor = start(store)
    assert processor.is_new
    processor.process(signal(1, 7), NOON)
    processor.advance("fills", 5)
    commit(processor, store)
    again = start(store)
    assert not again.is_new
    assert dict(again.positions) == {"signals": 8, "fills": 5}
    assert again.changes() == []


def test_another_partition_count_is_refused() -> None:
    store = MemoryStore()
    processor = start(store)
    processor.process(signal(1, 0), NOON)
    commit(processor, store)
    with pytest.raises(UserError, match="2 partitions but the state was written with 1"):
        start(store, partition_count=2)


@pytest.mark.parametrize("table_and_key", [("portfolios", b"PF-1"), ("portfolios", b"\x1fpartition")])
def test_a_row_of_an_unknown_version_is_no_guess(table_and_key: tuple[str, bytes]) -> None:
    store = MemoryStore()
    processor = start(store)
    processor.process(signal(1, 0), NOON)
    commit(processor, store)
    table, key = table_and_key
    row = store.get(table, key)
    assert row is not None
    store.write([Change(table, key, b"\x03" + row[1:])])
    with pytest.raises(Doubt, match="version 3"):
        start(store).process(signal(2, 1), NOON)


def test_forgotten_orders_leave_the_store() -> None:
    store = MemoryStore()
    processor = start(store)
    most = 0
    for day in range(60):
        for number in range(10):
            at = NOON + day * 24 * HOUR + number * HOUR
            outcome = processor.process(signal(day * 10 + number, day * 10 + number, at), at)
            order_id = orjson.loads(outcome.produced[-1].value or b"")["order_id"]
            processor.process(cancel(order_id, day * 10 + number, at), at)
            commit(processor, store)
        most = max(most, sum(1 for _ in store.scan("orders", b"")))
    assert most <= 80  # 20 rows a day are remembered for up to a day; without pruning it would be 1,200


def test_forgotten_orders_of_a_quiet_portfolio_leave_the_store_too() -> None:
    store = MemoryStore()
    processor = start(store)
    outcome = processor.process(signal(0, 0, portfolio="quiet"), NOON)
    order_id = orjson.loads(outcome.produced[-1].value or b"")["order_id"]
    processor.process(cancel(order_id, 0, NOON, "quiet"), NOON)
    later = NOON + 25 * HOUR
    processor.process(signal(1, 1, later, confidence=0.1, portfolio="quiet"), later)
    commit(processor, store)
    processor = start(store)  # knows nothing of it that is not in the store
    for number in range(2, 10):
        processor.process(signal(number, number, later), later)
        commit(processor, store)
    assert {key.partition(b"\x1f")[0] for key, _ in store.scan("orders", b"")} == {b"PF-1"}


def test_an_event_changes_a_handful_of_rows_however_long_the_history() -> None:
    store = MemoryStore()
    processor = start(store)
    counts = []
    for number in range(500):
        processor.process(signal(number, number, NOON + number, confidence=0.1), NOON + number)
        counts.append(len(commit(processor, store)))
    assert counts[-1] == counts[1]


@pytest.mark.parametrize(
    ("name", "key", "hashed"),
    [
        # From the Java client's own tests of murmur2, and CRC-32's check value.
        ("murmur2", b"21", -973932308),
        ("murmur2", b"foobar", -790332482),
        ("murmur2", b"abc", 479470107),
        ("murmur2", b"a-little-bit-longer-string", -1486304829),
        ("crc32", b"123456789", 0xCBF43926 % 2**31),
    ],
)
def test_partitioners_agree_with_the_clients(name: str, key: bytes, hashed: int) -> None:
    partition_of = partitioner(name, 2**31)
    assert partition_of is not None
    assert partition_of(key) == hashed & 0x7FFFFFFF


@pytest.mark.parametrize(
    ("name", "setting"), [("murmur2", "partitioner=murmur2_random"), ("crc32", "partitioner=consistent_random")]
)
def test_a_record_in_the_wrong_partition_names_the_producers_setting(name: str, setting: str) -> None:
    processor = start(MemoryStore(), partition_count=8, partition_of=partitioner(name, 8), partitioner_name=name)
    produced = processor.process(signal(1, 0), NOON).produced[0]
    headers = dict(produced.headers)
    assert headers["__streams.errors.exception"] == b"WRONG_PARTITION"
    assert setting in (headers["__streams.errors.message"] or b"").decode()


def test_a_duplicate_with_other_content_is_counted_apart() -> None:
    processor = start(MemoryStore())
    for offset, confidence in enumerate((0.9, 0.9, 0.8)):
        processor.process(signal(1, offset, confidence=confidence), NOON)
    assert processor.counters["IGNORED.DUPLICATE_SIGNAL"] == 2
    assert processor.counters["IGNORED.DUPLICATE_SIGNAL.DIFFERENT"] == 1
