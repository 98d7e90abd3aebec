"""DuckDB, as exports are written and read by it: the one place that knows it, and says what to do where it is not."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from app.errors import UserError
from app.replay.tables import BYTES, PLACE_TIME, Column, TableSchema

if TYPE_CHECKING:
    import duckdb

_LEAN: dict[str, str | bool | int | float | list[str]] = {"threads": 1, "memory_limit": "192MB"}
_WRITERS = {
    "parquet": "FORMAT parquet, COMPRESSION zstd",
    "csv": "FORMAT csv, HEADER true",
}
TableFormat = Literal["parquet", "csv"]


def connect(
    database: str = ":memory:", *, is_lean: bool = True, read_only: bool = False
) -> "duckdb.DuckDBPyConnection":
    """Return a connection that counts in UTC. `is_lean`: one thread and little memory, as one of many processes.

    Raises UserError if DuckDB is not installed or the file is none of its.
    """
    try:
        import duckdb
    except ImportError:
        raise UserError(
            "tables need DuckDB, which is not installed: run `make analysts`, or install position-sizer[analysts]"
        ) from None
    try:
        connection = duckdb.connect(database, read_only=read_only, config=_LEAN if is_lean else {})
    except duckdb.Error as error:
        raise UserError(f"{database}: cannot be opened as a DuckDB database: {str(error).splitlines()[0]}") from None
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_progress_bar = false")  # it would be drawn into what a command prints
    return connection


def write_table(
    connection: "duckdb.DuckDBPyConnection", schema: TableSchema, staged: Path, path: Path, table_format: TableFormat
) -> int:
    """Write staged lines as a table's file; return how many values did not fit their type and became null.

    `staged`: JSON lines, one object a row; columns that are not in it are null.
    """
    import duckdb

    options = _WRITERS[table_format]
    try:
        connection.execute(f"COPY ({_rows(schema, staged, 'CAST')}) TO {literal(path)} ({options})")
    except duckdb.ConversionException:
        connection.execute(f"COPY ({_rows(schema, staged, 'TRY_CAST')}) TO {literal(path)} ({options})")
        lost = " + ".join(
            f"count(*) FILTER ({quoted(column)} IS NOT NULL AND {_typed(column, 'TRY_CAST')} IS NULL)"
            for column in schema.columns
        )
        found = connection.execute(f"SELECT {lost} FROM {_lines(schema, staged)}").fetchone()  # noqa: S608 - our names
        return int(found[0]) if found else 0
    return 0


def reader(schema: TableSchema, paths: Sequence[Path], table_format: TableFormat) -> str:
    """Return the query for the rows of a table's files."""
    files = f"[{', '.join(map(literal, paths))}]"
    if table_format == "parquet":
        return f"SELECT * FROM read_parquet({files})"  # noqa: S608 - paths are quoted
    types = ", ".join(f"{literal(column.name)}: {literal(column.kind)}" for column in schema.columns)
    return f"SELECT * FROM read_csv({files}, header = true, columns = {{{types}}})"  # noqa: S608 - as above


def create(schema: TableSchema) -> str:
    """Return the statement that makes a table if it is not there."""
    columns = ", ".join(f"{quoted(column)} {column.kind}" for column in schema.columns)
    return f"CREATE TABLE IF NOT EXISTS {schema.name} ({columns})"


def quoted(column: Column) -> str:
    """Return a column's name as SQL has it: some are words of SQL."""
    return f'"{column.name}"'


def literal(text: object) -> str:
    """Return a text as SQL has it."""
    return "'" + str(text).replace("'", "''") + "'"


def _rows(schema: TableSchema, staged: Path, cast: str) -> str:
    values = ", ".join(f"{_typed(column, cast)} AS {quoted(column)}" for column in schema.columns)
    return f"SELECT {values} FROM {_lines(schema, staged)}"  # noqa: S608 - names are ours


def _lines(schema: TableSchema, staged: Path) -> str:
    columns = ", ".join(f"{quoted(column)}: 'VARCHAR'" for column in schema.columns)
    return f"read_json({literal(staged)}, format = 'newline_delimited', columns = {{{columns}}})"


def _typed(column: Column, cast: str) -> str:
    name = quoted(column)
    if column.kind == BYTES:
        return f"from_base64({name})"
    if column == PLACE_TIME:
        return f"make_timestamptz(NULLIF({cast}({name} AS BIGINT), -1) * 1000)"
    return f"{cast}({name} AS {column.kind})"
