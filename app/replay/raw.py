"""A folder of exported raw records as a source: `sizer export --format jsonl` writes it, everything reads it offline.

One file for each topic, partition and run; `raw_lines` has the lines, `manifest` what is checked.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from app.codecs import WriterSchemas
from app.errors import UserError
from app.processor import Record
from app.replay.history import TOPICS
from app.replay.manifest import NAME, File, Manifest, Part, read_manifest
from app.replay.raw_lines import decode_line
from app.replay.schemas import KeptSchemas
from app.replay.source import BrokenSourceError, Give, Offsets

_BLOCK = 1 << 20


class RawFolder:
    """Exported raw records. Files are checked while they are read: length, checksum, count and order of the records."""

    def __init__(self, folder: Path) -> None:
        """Read the manifest. Raises UserError if the folder is no export of raw records."""
        manifest = read_manifest(folder)
        if manifest is None:
            raise UserError(f"{folder}: has no {NAME}; expected a folder written by `sizer export --format jsonl`")
        if manifest.format != "jsonl":
            raise UserError(
                f"{folder}: has tables as {manifest.format}, which are not loss-free; expected a folder written by "
                "`sizer export --format jsonl`"
            )
        counts = {len(manifest.parts.get(topic, ())) for topic in TOPICS} | {len(manifest.places)}
        if counts != {manifest.partition_count} or set(TOPICS) - set(manifest.topics):
            raise UserError(f"{folder / NAME}: does not name all topics and partitions: it is not as it was written")
        self.where = str(folder)
        self.partition_count = manifest.partition_count
        self.partitioner = manifest.partitioner
        self.topic_names: Mapping[str, str] = manifest.topics
        self.topic_ids: Mapping[str, str] = manifest.topic_ids
        self.schemas: WriterSchemas | None = KeptSchemas(manifest.schemas) if manifest.schemas else None
        self._folder = folder
        self._manifest = manifest

    def schema_text(self, schema_id: int) -> str | None:
        """Return the text of a schema that was kept, None if it was not."""
        return self._manifest.schemas.get(str(schema_id))

    @contextmanager
    def open(self, partition: int) -> Iterator["RawLog"]:
        """Open a partition for reading. Raises UserError."""
        yield RawLog(self._folder, self._manifest, partition)


class RawLog:
    """One partition of exported records."""

    def __init__(self, folder: Path, manifest: Manifest, partition: int) -> None:
        self.partition = partition
        self._folder = folder
        self._parts = {topic: manifest.parts[topic][partition] for topic in TOPICS}
        self.starts: Offsets = {topic: part.start for topic, part in self._parts.items()}
        self.ends: Offsets = {topic: part.next for topic, part in self._parts.items()}
        self.taken: Offsets | None = manifest.places[partition].taken
        self.settled: Offsets = manifest.places[partition].settled

    def pull(self, starts: Offsets) -> Give:
        """Begin to read from these offsets, or from the topics' starts."""
        reading = {
            topic: self._blocks(topic, part, max(part.start, starts.get(topic, 0)))
            for topic, part in self._parts.items()
        }
        return lambda topic: next(reading[topic], [])

    def _blocks(self, topic: str, part: Part, start: int) -> Iterator[list[Record]]:
        expected = part.start
        for file in part.files:
            if file.first != expected or file.next < file.first:
                raise BrokenSourceError(
                    f"{self._folder / NAME}: {topic}, partition {self.partition}: offsets from {expected:,} on are "
                    f"missing before {file.name}: nothing from there on is proved"
                )
            expected = file.next
            if file.next > start:
                yield from self._file(topic, file, start)
        if expected != part.next:
            raise BrokenSourceError(
                f"{self._folder / NAME}: {topic}, partition {self.partition}: offsets from {expected:,} on are "
                "missing: nothing from there on is proved"
            )

    def _file(self, topic: str, file: File, start: int) -> Iterator[list[Record]]:
        path = self._folder / file.name
        checksum, rest, last, count, length = hashlib.sha256(), b"", file.first - 1, 0, 0
        try:
            with path.open("rb") as opened:
                while block := opened.read(_BLOCK):
                    checksum.update(block)
                    length += len(block)
                    *lines, rest = (rest + block).split(b"\n")
                    records, last = self._records(topic, path, lines, last)
                    count += len(lines)
                    if records and last >= start:
                        if records[0].offset < start:
                            records = [record for record in records if record.offset >= start]
                        yield records
        except OSError as error:
            raise BrokenSourceError(
                f"{path}: cannot be read ({error.strerror}): nothing from offset {last + 1:,} on is proved"
            ) from None
        if length < file.bytes or rest:
            raise BrokenSourceError(
                f"{path}: is cut short, it has {length:,} of {file.bytes:,} bytes: nothing from offset {last + 1:,} on "
                "is proved"
            )
        if checksum.hexdigest() != file.sha256 or count != file.records or last >= file.next:
            raise BrokenSourceError(
                f"{path}: was changed after it was written, its checksum is another: nothing from offset "
                f"{file.first:,} on is proved"
            )

    def _records(self, topic: str, path: Path, lines: list[bytes], last: int) -> tuple[list[Record], int]:
        records = []
        for line in lines:
            try:
                record = decode_line(line)
                is_here = record.topic == topic and record.partition == self.partition and record.offset > last
            except (ValueError, LookupError, TypeError, AttributeError):
                is_here = False
            if not is_here:
                raise BrokenSourceError(
                    f"{path}: behind offset {last} there is no record of {topic}, partition {self.partition}: it was "
                    "changed after it was written; nothing from there on is proved"
                )
            last = record.offset
            records.append(record)
        return records, last
