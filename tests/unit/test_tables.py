"""Exported tables: types and sums right, incremental, and documented as they are."""

import random
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

from app.codecs import decode_fill, decode_signal
from app.errors import UserError
from app.processor import Record
from app.replay import export, open_tables, replay, steps
from app.replay.manifest import Format, read_manifest
from app.replay.tables import AMOUNT, SCHEMAS, TIME, describe
from app.topics import FILLS, FILLS_DLQ, OUTPUTS, PHASE_EVENTS, SIGNALS, SIGNALS_DLQ, SIZED_ORDERS
from tests.history import Day, MemorySource

SEED = 5
FORMATS: tuple[Format, ...] = ("parquet", "csv", "duckdb")
PAGE = Path(__file__).parents[2] / "docs" / "tables.md"
Logs = dict[str, list[Record]]


def made(seed: int = SEED) -> Logs:
    print(f"seed {seed}")
    return {topic: list(log) for topic, log in Day(seed).records.items()}


def rows(folder: Path, table: str) -> list[tuple[Any, ...]]:
    connection = open_tables(folder)
    found = connection.execute(f"SELECT * FROM {table} ORDER BY ALL").fetchall()
    connection.close()
    return found


def documents(log: list[Record]) -> list[dict[str, Any]]:
    return [orjson.loads(record.value or b"") for record in log]


def total(log: list[Record], field: str) -> Decimal:
    return sum((Decimal(document[field]) for document in documents(log) if document[field] is not None), Decimal(0))


@pytest.mark.parametrize("table_format", FORMATS)
def test_sums_are_those_of_the_records(table_format: Format, tmp_path: Path) -> None:
    logs = made()
    exported = export(MemorySource(logs), tmp_path, table_format)
    trades = [trade for step in steps(MemorySource(logs), trades=True) for trade in step.trades]
    signals = [step.message for step in steps(MemorySource(logs)) if step.record.topic == SIGNALS]
    tables = open_tables(tmp_path)

    def one(query: str) -> Any:
        found = tables.execute(query).fetchone()
        assert found is not None
        return found if len(found) > 1 else found[0]

    for field in ("notional", "quantity", "exposure_after", "exposure_limit", "signal_offset"):
        assert one(f"SELECT sum({field}) FROM sized_orders") == total(logs[SIZED_ORDERS], field)
    assert one("SELECT sum(exposure) FROM phase_events") == total(logs[PHASE_EVENTS], "exposure")
    assert one("SELECT sum(result), sum(holding_seconds) FROM trades") == (
        sum(trade.result for trade in trades),
        Decimal(sum(trade.holding_time for trade in trades)) / 1_000_000,
    )
    assert one("SELECT count(*), max(kafka_offset) FROM dlq WHERE topic = 'fills.dlq'") == (
        len(logs[FILLS_DLQ]),
        logs[FILLS_DLQ][-1].offset,
    )
    good = [signal for signal in signals if hasattr(signal, "signal_id")]
    assert one("SELECT count(*) FROM signals") == len(good) == exported.records[SIGNALS]
    outcomes = dict(tables.execute("SELECT outcome, count(*) FROM signals GROUP BY ALL").fetchall())
    reasons = Counter(order["skip_reason"] or order["decision"] for order in documents(logs[SIZED_ORDERS]))
    assert {name: count for name, count in outcomes.items() if name in reasons} == reasons
    assert outcomes["DUPLICATE_SIGNAL"] > 5
    applied = one("SELECT count(*) FROM fills WHERE outcome = 'APPLIED'")
    assert 50 < applied < exported.records[FILLS] < len(logs[FILLS])


@pytest.mark.parametrize("table_format", FORMATS)
def test_types_are_as_documented(table_format: Format, tmp_path: Path) -> None:
    export(MemorySource(made()), tmp_path, table_format)
    tables = open_tables(tmp_path)
    for table, schema in SCHEMAS.items():
        found = tables.execute(f"SELECT column_name, column_type FROM (DESCRIBE {table})").fetchall()
        kinds = {"TIMESTAMP WITH TIME ZONE": TIME}
        assert [(name, kinds.get(kind, kind)) for name, kind in found] == [(c.name, c.kind) for c in schema.columns]


def test_values_are_those_of_the_records(tmp_path: Path) -> None:
    logs = made()
    export(MemorySource(logs), tmp_path)
    tables = open_tables(tmp_path)
    names = [column.name for column in SCHEMAS[SIZED_ORDERS].columns]
    found = tables.execute("SELECT * FROM sized_orders ORDER BY kafka_offset").fetchall()
    for row, record in zip(found, logs[SIZED_ORDERS], strict=True):
        values, document = dict(zip(names, row, strict=True)), orjson.loads(record.value or b"")
        assert values["kafka_offset"] == record.offset
        assert values["kafka_timestamp"].timestamp() == record.timestamp / 1000
        for name, expected in document.items():
            value = values[name]
            if isinstance(value, Decimal):
                assert value == Decimal(expected), name
            elif hasattr(value, "isoformat"):
                assert value.strftime("%Y-%m-%dT%H:%M:%S.%fZ") == expected, name
            else:
                assert value == expected, name
    letter = tables.execute("SELECT kafka_offset, key, value, code FROM dlq WHERE topic = 'signals.dlq'").fetchall()
    for (offset, key, value, code), record in zip(sorted(letter), logs[SIGNALS_DLQ], strict=True):
        headers = dict(record.headers)
        assert (offset, key, value) == (record.offset, record.key, record.value)
        assert code.encode() == headers["__streams.errors.exception"]


def test_polars_opens_them_with_types_right(tmp_path: Path) -> None:
    export(MemorySource(made()), tmp_path)
    kinds = {AMOUNT: pl.Decimal(38, 12), TIME: pl.Datetime("us", "UTC")}
    for table, schema in SCHEMAS.items():
        frame = pl.read_parquet(tmp_path / table)
        assert frame.columns == [column.name for column in schema.columns]
        for column in schema.columns:
            assert frame.schema[column.name] == kinds.get(column.kind, frame.schema[column.name])
    results = pl.read_parquet(tmp_path / "trades")["result"]
    assert results.sum() == open_tables(tmp_path).execute("SELECT sum(result) FROM trades").fetchall()[0][0]


def parts(logs: Logs, seed: int) -> list[Logs]:
    """Return the history as it was at some moments, the last one the whole; a worker had taken what was there."""
    rng, found = random.Random(seed), []
    for signals in sorted(rng.sample(range(20, len(logs[SIGNALS])), 4)):
        order = next(
            one for one in documents(logs[SIZED_ORDERS]) if one["signal_offset"] >= logs[SIGNALS][signals].offset
        )
        ends = {SIGNALS: order["signal_offset"], FILLS: order["fills_offset"]}
        cut = {topic: [record for record in logs[topic] if record.offset <= ends[topic]] for topic in ends}
        walk = steps(MemorySource({**logs, **cut}, taken=None))
        caused = {
            (match.item.record.topic, match.item.record.offset) for s in walk for match in s.matches if match.item
        }
        for topic in OUTPUTS:
            cut[topic] = [record for record in logs[topic] if (topic, record.offset) in caused]
        found.append(cut)
    return [*found, logs]


@pytest.mark.parametrize("table_format", FORMATS)
@pytest.mark.parametrize("seed", range(2))
def test_runs_add_up_to_one(seed: int, table_format: Format, tmp_path: Path) -> None:
    logs = made(seed)
    export(MemorySource(logs), tmp_path / "whole", table_format)
    for part in parts(logs, seed):
        export(MemorySource(part), tmp_path / "parts", table_format)
    for table in SCHEMAS:
        assert rows(tmp_path / "parts", table) == rows(tmp_path / "whole", table), table
    again = export(MemorySource(logs), tmp_path / "parts", table_format)
    assert not any(again.records.values())
    assert len(list((tmp_path / "parts").glob("state-*"))) == 1


@pytest.mark.parametrize("table_format", FORMATS)
def test_runs_beside_a_worker_add_up_to_one(table_format: Format, tmp_path: Path) -> None:
    logs = made()
    export(MemorySource(logs), tmp_path / "whole", table_format)
    for part in parts(logs, SEED)[:-1]:
        # What it has published was all there to be read, but its state was looked at some time before.
        ends = {topic: (log[-1].offset + 1 if log else 0) for topic, log in part.items()}
        behind = MemorySource(logs, taken=ends, settled=ends)
        assert replay(behind).is_identical
        export(behind, tmp_path / "parts", table_format)
    export(MemorySource(logs), tmp_path / "parts", table_format)
    for table in SCHEMAS:
        assert rows(tmp_path / "parts", table) == rows(tmp_path / "whole", table), table


def test_a_file_that_an_ended_run_has_left_goes(tmp_path: Path) -> None:
    logs = made()
    export(MemorySource(logs), tmp_path)
    left = tmp_path / SIGNALS / "run-000002-partition-0.parquet"
    left.write_bytes((tmp_path / SIGNALS / "run-000001-partition-0.parquet").read_bytes())
    export(MemorySource(logs), tmp_path)
    assert len(pl.read_parquet(tmp_path / SIGNALS)) == len(rows(tmp_path, SIGNALS))
    assert not left.exists()


@pytest.mark.parametrize("table_format", FORMATS)
def test_a_run_that_was_ended_has_written_nothing_that_counts(table_format: Format, tmp_path: Path) -> None:
    logs = made()
    first, whole = parts(logs, 1)[0], tmp_path / "whole"
    out = tmp_path / "out"
    export(MemorySource(logs), whole, table_format)
    export(MemorySource(first), out, table_format)
    kept = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    export(MemorySource(logs), out, table_format)
    # As if it had been ended before the manifest was written: of a database that is before the commit.
    counted = {out / "manifest.json", *(path for path in kept if path.name.startswith(("state-", "sizer.duckdb")))}
    for path in counted:
        path.write_bytes(kept[path])
    (out / ".unfinished").mkdir()
    (out / ".unfinished" / "signals-0.ndjson").write_bytes(b"half")
    export(MemorySource(logs), out, table_format)
    for table in SCHEMAS:
        assert rows(out, table) == rows(whole, table), table
    if table_format == "parquet":
        found = pl.read_parquet(out / SIGNALS)
        assert len(found) == len(rows(whole, SIGNALS))


def test_a_database_whose_manifest_was_not_written_is_not_added_to_twice(tmp_path: Path) -> None:
    logs = made()
    export(MemorySource(parts(logs, 1)[0]), tmp_path, "duckdb")
    manifest = (tmp_path / "manifest.json").read_bytes()
    export(MemorySource(logs), tmp_path, "duckdb")
    before = {table: rows(tmp_path, table) for table in SCHEMAS}
    (tmp_path / "manifest.json").write_bytes(manifest)
    assert not any(export(MemorySource(logs), tmp_path, "duckdb").records.values())
    assert {table: rows(tmp_path, table) for table in SCHEMAS} == before


def test_a_folder_is_added_to_only_as_it_was_written(tmp_path: Path) -> None:
    logs = made()
    export(MemorySource(logs), tmp_path)
    with pytest.raises(UserError, match="has an export as parquet: take another folder for csv"):
        export(MemorySource(logs), tmp_path, "csv")
    next((tmp_path / SIGNALS).iterdir()).write_bytes(b"")
    with pytest.raises(UserError, match="is missing or is not as it was written"):
        export(MemorySource(logs), tmp_path)
    with pytest.raises(UserError, match="has no export"):
        open_tables(tmp_path / "nowhere")


def test_what_does_not_fit_its_type_is_null_and_told(tmp_path: Path) -> None:
    logs = made()
    wrong = orjson.loads(logs[SIZED_ORDERS][7].value or b"") | {"notional": "many", "price": "1" * 30}
    logs[SIZED_ORDERS][7] = logs[SIZED_ORDERS][7]._replace(value=orjson.dumps(wrong, option=orjson.OPT_INDENT_2))
    exported = export(MemorySource(logs), tmp_path)
    assert "partition 0, table sized_orders: 2 values did not fit their type and are null" in exported.notes
    assert any("not as recomputed: see `sizer replay`" in note for note in exported.notes)
    tables = open_tables(tmp_path)
    offset = logs[SIZED_ORDERS][7].offset
    found = tables.execute(f"SELECT notional, price, symbol FROM sized_orders WHERE kafka_offset = {offset}").fetchall()
    assert found == [(None, None, "ESH6")]


def test_amounts_of_all_sizes_are_exact(tmp_path: Path) -> None:
    day = Day(SEED, signals=3)
    big = "999999999999999.999999999999"
    signal = day.signal("PF-0", price=big, portfolio_value="-" + big, expires_at=253_402_300_799_999_999)
    day.take(SIGNALS, b"PF-0", signal)
    decode_signal(day.records[SIGNALS][-1].value)
    day.take(FILLS, b"PF-0", {"exec_id": "x", "order_id": "y", "portfolio_id": "PF-0", "exec_type": "TRADE"} | {
        "last_qty": "0.000000000001", "last_px": big, "transact_time": 0, "commission": "-0.000000000001"})  # fmt: skip
    decode_fill(day.records[FILLS][-1].value)
    export(MemorySource(dict(day.records)), tmp_path)
    tables = open_tables(tmp_path)
    found = tables.execute("SELECT price, portfolio_value, year(expires_at) FROM signals ORDER BY kafka_offset DESC")
    assert found.fetchone() == (Decimal(big), -Decimal(big), 9999)
    found = tables.execute(
        "SELECT last_qty, last_px, commission, epoch_us(transact_time) FROM fills WHERE exec_id = 'x'"
    )
    assert found.fetchone() == (Decimal("0.000000000001"), Decimal(big), Decimal("-0.000000000001"), 0)


def test_the_manifest_names_all_files(tmp_path: Path) -> None:
    export(MemorySource(made(), made()), tmp_path, processes=1)
    manifest = read_manifest(tmp_path)
    assert manifest is not None
    named = {file.name for files in manifest.tables.values() for file in files}
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.parquet")} == named
    assert {file.name.split("/")[0] for files in manifest.tables.values() for file in files} == set(SCHEMAS)


def test_the_page_of_tables_is_as_the_code_is() -> None:
    page = PAGE.read_text()
    assert "\n".join(describe()) in page
    assert all(column.name.isidentifier() for schema in SCHEMAS.values() for column in schema.columns)
