"""`sizer export --format parquet|csv|duckdb`: typed tables of the topics, and of trades; each run adds what is new.

A run walks over the history from where the last one ended, in a state that is kept with the tables. Its files get
their names when all are written, and the manifest comes last: a run that was ended before has written nothing that
counts.
"""

import gc
import hashlib
import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from app.errors import UserError
from app.processor import Record
from app.replay import duck
from app.replay.manifest import (
    Format,
    Manifest,
    TableFile,
    check_same_topics,
    locked,
    put_in_place,
    read_manifest,
    write_manifest,
)
from app.replay.parallel import each_partition
from app.replay.published import Item
from app.replay.raw_export import Exported, check_reach
from app.replay.replaying import PartitionReplay, Progress
from app.replay.source import Source
from app.replay.staging import Staging
from app.replay.state_file import check_state, head_of, join_parts, read_head, read_snapshot, write_part
from app.replay.tables import SCHEMAS
from app.topics import OUTPUTS

DATABASE = "sizer.duckdb"
_MANIFEST_TABLE = "export_manifest"


class _Job(NamedTuple):
    source: Source
    folder: Path
    unfinished: Path
    format: Format
    before: Manifest | None


class _Done(NamedTuple):
    """What a partition's process has written."""

    offsets: dict[str, int]
    rows: dict[str, int]
    notes: tuple[str, ...]


def export_tables(
    source: Source, folder: Path, table_format: Format, progress: Progress, processes: int | None = None
) -> Exported:
    """Write what is new in the topics to a folder of tables, and make it if it is not there.

    Raises UserError if the folder is of other topics or of another format, if the topics do not reach back to where it
    ends, or if DuckDB is not installed; BrokenSourceError if the source cannot be read to its end. Then nothing is
    written.
    """
    duck.connect().close()
    with locked(folder):
        before = _read_manifest(folder, table_format)
        if before is not None:
            check_same_topics(before, source, folder)
            _check_files(folder, before)
            if before.state is not None:
                check_state(folder / before.state, read_head(folder / before.state), source)
        unfinished = folder / ".unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        job = _Job(source, folder, unfinished, table_format, before)
        numbers = range(source.partition_count)
        found = dict(each_partition(partial(_export_partition, job), numbers, progress, processes))
        done = [found[number] for number in numbers]
        _finish(job, done)
    rows = {table: sum(one.rows[table] for one in done) for table in SCHEMAS}
    return Exported(rows, tuple(note for one in done for note in one.notes))


def _read_manifest(folder: Path, table_format: Format) -> Manifest | None:
    """Return the folder's manifest; of a database the one that was written together with its rows."""
    manifest = read_manifest(folder)
    if manifest is not None and manifest.format != table_format:
        raise UserError(f"{folder}: has an export as {manifest.format}: take another folder for {table_format}")
    path = folder / DATABASE
    if table_format != "duckdb" or not path.exists():
        return manifest
    with duck.connect(str(path)) as connection:
        connection.execute(f"CREATE TABLE IF NOT EXISTS {_MANIFEST_TABLE} (manifest VARCHAR)")
        row = connection.execute(f"SELECT manifest FROM {_MANIFEST_TABLE}").fetchone()  # noqa: S608 - our name
    return None if row is None else Manifest.model_validate_json(row[0])


def _check_files(folder: Path, manifest: Manifest) -> None:
    """Check that what the manifest names is there, and remove what a run that was ended has left."""
    known = set()
    for file in (file for files in manifest.tables.values() for file in files):
        path = folder / file.name
        known.add(path)
        if not path.exists() or path.stat().st_size != file.bytes:
            raise UserError(f"{path}: is missing or is not as it was written: begin another export in a new folder")
    for table in SCHEMAS:
        for path in (folder / table).glob("run-*"):
            if path not in known:
                path.unlink()


def _export_partition(job: _Job, number: int, progress: Progress) -> _Done:
    with Staging(job.unfinished, number) as staging:
        offsets, notes = _stage(job, number, staging, progress)
    gc.collect()  # the walk's memory, which goes in circles, before DuckDB asks for some
    return _Done(offsets, staging.counts, (*notes, *_write_files(job, number, staging)))


def _stage(job: _Job, number: int, staging: Staging, progress: Progress) -> tuple[dict[str, int], list[str]]:
    """Stage a partition's new rows, and write its state; return up to where, and what is to be noted."""
    before = job.before
    known = {} if before is None else before.offsets[number]
    resume = None if before is None or before.state is None else read_snapshot(job.folder / before.state, number)
    with job.source.open(number) as log:
        for topic in OUTPUTS if known else ():
            check_reach(log, job.source.topic_names[topic], topic, known[topic], job.folder)

        def see(item: Item) -> None:
            record: Record = item.record
            if record.offset >= known.get(record.topic, 0):
                staging.take_output(item)

        walk = PartitionReplay(job.source, log, resume=resume, trades=True, progress=progress, seen=see)
        for step in walk.steps():
            staging.take_step(step)
        write_part(_state_part(job.unfinished, number), walk.snapshot())
        offsets = {**walk.offsets, **{topic: walk.read[topic] for topic in OUTPUTS}}
        audit = walk.audit()
    notes = list(audit.notes)
    if audit.unprovable:
        notes.append(f"partition {number}: {audit.unprovable:,} records could not be recomputed: no trades of these")
    if audit.findings:
        notes.append(f"partition {number}: what is published is not as recomputed: see `sizer replay`")
    return offsets, notes


def _write_files(job: _Job, number: int, staging: Staging) -> Iterator[str]:
    """Write the staged rows as files; of a first run also where there are none, so that each table can be read."""
    as_file: duck.TableFormat = "csv" if job.format == "csv" else "parquet"
    with duck.connect() as connection:
        for table, schema in SCHEMAS.items():
            if staging.counts[table] or (job.before is None and number == 0):
                path = job.unfinished / f"{table}-{number}.{as_file}"
                lost = duck.write_table(connection, schema, staging.paths[table], path, as_file)
                if lost:
                    yield f"partition {number}, table {table}: {lost:,} values did not fit their type and are null"
            staging.paths[table].unlink()


def _finish(job: _Job, done: list[_Done]) -> None:
    """Put all that the partitions' processes wrote in place, the manifest last."""
    folder, before, source = job.folder, job.before, job.source
    run = 1 + (0 if before is None else before.runs)
    state = f"state-{run:06}"
    numbers = range(source.partition_count)
    join_parts(folder / state, head_of(source, numbers), [_state_part(job.unfinished, number) for number in numbers])
    manifest = Manifest(
        format=job.format,
        partition_count=source.partition_count,
        partitioner=source.partitioner,
        topics=dict(source.topic_names),
        topic_ids=dict(source.topic_ids),
        runs=run,
        offsets=[one.offsets for one in done],
        tables={} if before is None else before.tables,
        state=state,
    )
    if job.format == "duckdb":
        _insert(job, manifest)
    else:
        _put_files(job, run, done, manifest)
    write_manifest(folder, manifest)
    shutil.rmtree(job.unfinished)
    for path in folder.glob("state-*"):
        if path.name != state:
            path.unlink()


def _put_files(job: _Job, run: int, done: list[_Done], manifest: Manifest) -> None:
    for table in SCHEMAS:
        (job.folder / table).mkdir(exist_ok=True)
        files = manifest.tables.setdefault(table, [])
        for number, one in enumerate(done):
            part = job.unfinished / f"{table}-{number}.{job.format}"
            if not part.exists():
                continue
            name = f"{table}/run-{run:06}-partition-{number}.{job.format}"
            with part.open("r+b") as written:
                os.fsync(written.fileno())
                checksum = hashlib.file_digest(written, "sha256").hexdigest()
            size = part.stat().st_size
            put_in_place(part, job.folder / name)
            files.append(TableFile(name=name, rows=one.rows[table], bytes=size, sha256=checksum))


def _insert(job: _Job, manifest: Manifest) -> None:
    """Add the rows to the database, and the manifest that says so, in one transaction."""
    with duck.connect(str(job.folder / DATABASE)) as connection:
        connection.begin()
        for table, schema in SCHEMAS.items():
            connection.execute(duck.create(schema))
            paths = sorted(job.unfinished.glob(f"{table}-*.parquet"))
            if paths:
                connection.execute(f"INSERT INTO {table} {duck.reader(schema, paths, 'parquet')}")
        connection.execute(f"CREATE OR REPLACE TABLE {_MANIFEST_TABLE} (manifest VARCHAR)")
        connection.execute(f"INSERT INTO {_MANIFEST_TABLE} VALUES (?)", [manifest.model_dump_json()])  # noqa: S608 - ours
        connection.commit()


def _state_part(folder: Path, number: int) -> Path:
    return folder / f"state-{number}"
