"""Replay from a program or a notebook: what `app.replay` offers beside its commands. docs/analysts.md shows how."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from app.errors import UserError
from app.replay import duck
from app.replay.kafka import KafkaSource
from app.replay.manifest import Format, read_manifest
from app.replay.raw import RawFolder
from app.replay.raw_export import Exported, export_raw
from app.replay.replaying import PartitionReplay, Progress, no_progress
from app.replay.source import Source
from app.replay.step import Step
from app.replay.table_export import DATABASE, export_tables
from app.replay.tables import SCHEMAS
from app.settings import load_settings

if TYPE_CHECKING:
    import duckdb


def open_source(folder: Path | str | None = None) -> Source:
    """Return a folder of raw records as a source; without one, the topics that the settings name (`SIZER_…`).

    Raises UserError if there is no such folder, no broker or no such topic.
    """
    return KafkaSource(load_settings()) if folder is None else RawFolder(Path(folder))


def steps(
    source: Source,
    *,
    portfolio: str | None = None,
    partitions: Iterable[int] | None = None,
    trades: bool = False,
) -> Iterator[Step]:
    """Yield the steps of a history, partition after partition, in the order of the worker.

    `portfolio`: of this one only. `partitions`: all if None. `trades`: put closed trades together. What cannot be
    recomputed has its status; whether all is identical tells `replay`. Raises UserError.
    """
    for partition in range(source.partition_count) if partitions is None else partitions:
        with source.open(partition) as log:
            yield from PartitionReplay(source, log, portfolio=portfolio, trades=trades).steps()


def export(
    source: Source,
    out: Path | str,
    table_format: Format = "parquet",
    *,
    progress: Progress = no_progress,
    processes: int | None = None,
) -> Exported:
    """Write what is new to a folder, as `sizer export` does; `jsonl`: raw records. Raises UserError.

    `processes`: at most so many at a time; None: one for each processor.
    """
    if table_format == "jsonl":
        return export_raw(source, Path(out), progress, processes)
    return export_tables(source, Path(out), table_format, progress, processes)


def open_tables(folder: Path | str) -> "duckdb.DuckDBPyConnection":
    """Return a DuckDB connection in which the exported tables are: `signals`, `fills`, … by their names.

    `open_tables(folder).sql("SELECT * FROM trades")` has `.pl()`, `.df()` and `.arrow()`, each with the library of that
    name; decimals stay exact in the first and the last. Raises UserError if the folder has no tables.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    if manifest is None or manifest.format == "jsonl":
        what = "no export" if manifest is None else "raw records, no tables"
        raise UserError(f"{folder}: has {what}; expected a folder written by `sizer export --format parquet`")
    if manifest.format == "duckdb":
        return duck.connect(str(folder / DATABASE), is_lean=False, read_only=True)
    connection = duck.connect(is_lean=False)
    for table, schema in SCHEMAS.items():
        paths = [folder / file.name for file in manifest.tables[table]]
        connection.execute(f"CREATE VIEW {table} AS {duck.reader(schema, paths, manifest.format)}")
    return connection
