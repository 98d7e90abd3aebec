"""A history as a worker would have made it, written as exported raw records: to try replay and export on, at any size.

python -m bench.history FOLDER [--events N] [--partitions N] [--portfolios N]
"""

import argparse
import hashlib
import itertools
from functools import partial
from pathlib import Path

from app.processor import MemoryStore, Processor, Record
from app.processor.partitioners import partitioner
from app.replay.history import TOPICS
from app.replay.manifest import File, Manifest, Part, Place, write_manifest
from app.replay.parallel import each_partition
from app.replay.raw_lines import encode_line
from app.replay.replaying import Progress
from app.topics import INPUTS, OUTPUTS
from bench.workload import POLICY, Event, Workload

_NOW = 1_767_225_600_000_000  # 2026-01-01
_GAP = 200_000
"""Microseconds between the events of a partition."""
_LOT = 20_000
_BATCH = 1_000


def write_history(
    folder: Path, seed: int, events: int, partitions: int, portfolios: int, progress: Progress = lambda _: None
) -> int:
    """Write about so many inputs and all that they cause; return the number of inputs."""
    folder.mkdir(parents=True, exist_ok=True)
    task = partial(_write_partition, folder, seed, events // partitions, partitions, portfolios)
    done = dict(each_partition(task, range(partitions), progress))
    manifest = Manifest(
        format="jsonl",
        partition_count=partitions,
        partitioner="murmur2",
        topics={topic: topic for topic in TOPICS},
        topic_ids={},
        parts={topic: [done[number][topic] for number in range(partitions)] for topic in TOPICS},
        places=[
            Place(
                taken={topic: done[number][topic].next for topic in INPUTS},
                settled={topic: done[number][topic].next for topic in OUTPUTS},
            )
            for number in range(partitions)
        ],
    )
    write_manifest(folder, manifest)
    return sum(part.files[0].records for topic in INPUTS for part in manifest.parts[topic])


def _write_partition(
    folder: Path, seed: int, events: int, partitions: int, portfolios: int, number: int, progress: Progress
) -> dict[str, Part]:
    store = MemoryStore()
    processor = Processor(
        number,
        store,
        POLICY,
        partition_count=partitions,
        partition_of=partitioner("murmur2", partitions),
    )
    now, done = _NOW, 0
    offsets = {topic: itertools.count() for topic in TOPICS}
    files = {topic: (folder / f"{topic}-{number}.jsonl").open("wb") for topic in TOPICS}

    def put(record: Record) -> None:
        files[record.topic].write(encode_line(record))

    for lot in itertools.count():
        if done >= events:
            break
        mine = _lot(seed, lot, now, partitions, portfolios, number)
        for event in mine:
            now += _GAP
            record = Record(event.topic, number, next(offsets[event.topic]), event.key, event.value, (), now // 1000)
            put(record)
            for made in processor.process(record, now).produced:
                offset = next(offsets[made.topic])
                put(Record(made.topic, number, offset, made.key, made.value, tuple(made.headers), now // 1000))
            done += 1
            if done % _BATCH == 0:
                store.write(processor.changes())
                processor.committed()
                progress(_BATCH)
    parts = {}
    for topic, file in files.items():
        file.close()
        path = Path(file.name)
        end = next(offsets[topic])
        with path.open("rb") as whole:
            checksum = hashlib.file_digest(whole, "sha256").hexdigest()
        parts[topic] = Part(
            start=0,
            next=end,
            files=[File(name=path.name, first=0, next=end, records=end, bytes=path.stat().st_size, sha256=checksum)],
        )
    return parts


def _lot(seed: int, lot: int, now: int, partitions: int, portfolios: int, number: int) -> list[Event]:
    workload = Workload(seed * 1_000_000 + lot, partitions, now, portfolios, first_serial=lot * _LOT * 2)
    opening, mixed = workload.lots(_LOT)
    return [event for event in (*opening, *mixed) if event.partition == number]


def main() -> None:
    """Write a history."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--portfolios", type=int, default=1_000)
    given = parser.parse_args()
    print(write_history(given.folder, given.seed, given.events, given.partitions, given.portfolios), "inputs")


if __name__ == "__main__":
    main()
