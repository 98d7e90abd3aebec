"""`sizer export --format jsonl`: the records of the six topics, raw and loss-free, for all that is done offline."""

import hashlib
import os
from functools import partial
from pathlib import Path
from typing import NamedTuple

from app.errors import UserError
from app.replay.history import TOPICS
from app.replay.manifest import (
    File,
    Manifest,
    Part,
    Place,
    check_same_topics,
    locked,
    put_in_place,
    read_manifest,
    write_manifest,
)
from app.replay.parallel import each_partition
from app.replay.raw_lines import encode_line
from app.replay.replaying import Progress
from app.replay.source import Give, PartitionLog, Source
from app.replay.walk import CONFLUENT_FRAME

_FRAME_HEADER = 5


class Exported(NamedTuple):
    """What a run has written."""

    records: dict[str, int]
    """New rows by topic or table."""
    notes: tuple[str, ...] = ()
    """What is not in it and why."""


class _Job(NamedTuple):
    source: Source
    folder: Path
    manifest: Manifest | None


def export_raw(source: Source, folder: Path, progress: Progress, processes: int | None = None) -> Exported:
    """Write what is new in the topics to a folder of raw records, and make it if it is not there.

    Raises UserError if the folder is of other topics, or the topics do not reach back to where it ends.
    """
    with locked(folder):
        before = read_manifest(folder)
        if before is not None:
            if before.format != "jsonl":
                raise UserError(f"{folder}: has tables as {before.format}: take another folder for raw records")
            check_same_topics(before, source, folder)
        job = _Job(source, folder, before)
        numbers = range(source.partition_count)
        done = dict(each_partition(partial(_export_partition, job), numbers, progress, processes))
        manifest = Manifest(
            format="jsonl",
            partition_count=source.partition_count,
            partitioner=source.partitioner,
            topics=dict(source.topic_names),
            topic_ids=dict(source.topic_ids),
            parts={topic: [done[number][0][topic] for number in numbers] for topic in TOPICS},
            places=[done[number][1] for number in numbers],
            schemas=_schemas(source, before, set[int]().union(*(done[number][2] for number in numbers))),
        )
        write_manifest(folder, manifest)
    new = dict.fromkeys(TOPICS, 0)
    for number in numbers:
        for topic in TOPICS:
            known = 0 if before is None else len(before.parts[topic][number].files)
            new[topic] += sum(file.records for file in done[number][0][topic].files[known:])
    notes = tuple(
        f"{source.topic_names[topic]}, partition {number}: records before offset {part.start:,} had been deleted"
        for topic in TOPICS
        for number, part in enumerate(manifest.parts[topic])
        if part.start
    )
    return Exported(new, notes)


def check_reach(log: PartitionLog, name: str, topic: str, position: int, folder: Path) -> None:
    """Check that a topic still has what an export goes on with. `name`: its real one. Raises UserError."""
    start, end = log.starts[topic], log.ends[topic]
    if not start <= position <= end:
        what = f"records before {start:,} were deleted" if position < start else f"it ends at {end:,}"
        raise UserError(
            f"topic {name}, partition {log.partition}: the export in {folder} goes on at offset {position:,}, but "
            f"{what}: begin another one in a new folder"
        )


def _schemas(source: Source, before: Manifest | None, numbers: set[int]) -> dict[str, str]:
    """Return the texts of the registry's schemas that records are numbered by, as far as it has them."""
    texts = {} if before is None else dict(before.schemas)
    for number in sorted(numbers):
        text = None if str(number) in texts else source.schema_text(number)
        if text is not None:
            texts[str(number)] = text
    return texts


def _export_partition(job: _Job, number: int, progress: Progress) -> tuple[dict[str, Part], Place, set[int]]:
    with job.source.open(number) as log:
        parts = {}
        for topic in TOPICS:
            if job.manifest is None:
                parts[topic] = Part(start=log.starts[topic], next=log.starts[topic], files=[])
            else:
                parts[topic] = job.manifest.parts[topic][number].model_copy(deep=True)
            check_reach(log, job.source.topic_names[topic], topic, parts[topic].next, job.folder)
        give = log.pull({topic: part.next for topic, part in parts.items()})
        numbers: set[int] = set()
        for topic, part in parts.items():
            numbers |= _export_topic(job.folder, log, topic, part, give, progress)
        taken = None if log.taken is None else dict(log.taken)
        return parts, Place(taken=taken, settled=dict(log.settled)), numbers


def _export_topic(folder: Path, log: PartitionLog, topic: str, part: Part, give: Give, progress: Progress) -> set[int]:
    """Write a topic's new records to a file, if there are any, and add it to the part.

    Return the numbers of a registry's schemas that the records name.
    """
    numbers: set[int] = set()
    name = f"{topic}-{log.partition}-{part.next:020}.jsonl"
    unfinished = folder / f"{name}.part"
    checksum, count, length = hashlib.sha256(), 0, 0
    with unfinished.open("wb") as file:
        while records := give(topic):
            block = b"".join(map(encode_line, records))
            checksum.update(block)
            file.write(block)
            count += len(records)
            length += len(block)
            progress(len(records))
            numbers |= {
                int.from_bytes(value[1:_FRAME_HEADER], "big")
                for value in (record.value for record in records)
                if value is not None and value.startswith(CONFLUENT_FRAME) and len(value) >= _FRAME_HEADER
            }
        file.flush()
        os.fsync(file.fileno())
    end = log.ends[topic]
    if count or not part.files:
        put_in_place(unfinished, folder / name)
        part.files.append(
            File(name=name, first=part.next, next=end, records=count, bytes=length, sha256=checksum.hexdigest())
        )
    else:
        # Nothing but markers of transactions is new.
        unfinished.unlink()
        part.files[-1].next = end
    part.next = end
    return numbers
