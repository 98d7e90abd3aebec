"""What an exported folder says about itself: of which topics it is, what it holds up to where, and which files that is.

The manifest is written last and at once, so what it names is whole; what it does not name is what a run that was ended
left behind, and is not looked at.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from app.errors import UserError
from app.replay.source import Source

NAME = "manifest.json"
Format = Literal["jsonl", "parquet", "csv", "duckdb"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class File(_Model):
    """A file of records of one topic and one partition."""

    name: str
    """Within the folder."""
    first: int
    """Offsets from here on, …"""
    next: int
    """… up to here, not included."""
    records: int
    bytes: int
    sha256: str


class Part(_Model):
    """What the folder holds of a topic and one partition."""

    start: int
    """The topic's first offset when the export began: above 0 what was before had been deleted."""
    next: int
    """The next export goes on here."""
    files: list[File]


class TableFile(_Model):
    """A file with rows of a table."""

    name: str
    """Within the folder."""
    rows: int
    bytes: int
    sha256: str


class Place(_Model):
    """Where the worker of a partition stood: `source.PartitionLog`."""

    taken: dict[str, int] | None
    settled: dict[str, int]


class Manifest(_Model):
    """An exported folder."""

    what: Literal["position-sizer export"] = "position-sizer export"
    version: Literal[1] = 1
    format: Format
    partition_count: int
    partitioner: str
    topics: dict[str, str]
    """Real names by logical name."""
    topic_ids: dict[str, str]
    parts: dict[str, list[Part]] = {}
    """Of raw records: by topic, one for each partition."""
    schemas: dict[str, str] = {}
    """Of raw records: the registry's schemas that they are numbered by, as texts by number."""
    places: list[Place] = []
    """Of raw records: one for each partition."""
    runs: int = 0
    """Of tables: how many exports have written to them."""
    offsets: list[dict[str, int]] = []
    """Of tables: up to where they have the topics, for each partition."""
    tables: dict[str, list[TableFile]] = {}
    """The files of each table."""
    state: str | None = None
    """Of tables: the file with the state that the next export goes on from."""


def read_manifest(folder: Path) -> Manifest | None:
    """Return the manifest of a folder, None if it has none. Raises UserError if it cannot be read."""
    path = folder / NAME
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "it"
        raise UserError(f"{path}: is no manifest of an export: {place}: {first['msg']}") from None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace a folder's manifest at once."""
    replace_file(folder / NAME, manifest.model_dump_json(indent=1).encode())


def check_same_topics(manifest: Manifest, source: Source, path: Path) -> None:
    """Check that an export, or a state, is of a source. Raises UserError that names the first difference."""
    for name, known, found in (
        ("partitions", manifest.partition_count, source.partition_count),
        ("partitioner", manifest.partitioner, source.partitioner),
        *((f"topic {topic}", name, source.topic_names[topic]) for topic, name in manifest.topics.items()),
    ):
        if known != found:
            raise UserError(f"{path}: is of {name} {known}, not {found}: take another folder, or the same settings")
    ids = source.topic_ids
    for topic, known in manifest.topic_ids.items():
        if ids.get(topic, known) != known:
            raise UserError(
                f"{path}: is of topic {manifest.topics[topic]} with Kafka's id {known}, which is now {ids[topic]}: the "
                "topic was created again; take another folder"
            )


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that it is there as a whole or not at all."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    put_in_place(part, path)


def put_in_place(part: Path, path: Path) -> None:
    """Give a written file its name, for good."""
    part.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other exports out of a folder. Raises UserError if one is under way, or the folder cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written to ({error.strerror})") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise UserError(f"{folder}: another export writes to it; wait for its end") from None
    try:
        yield
    finally:
        os.close(lock)
