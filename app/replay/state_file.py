"""A saved state: the snapshots of all partitions in one file, so that a replay need not begin at the beginning.

JSON lines: a head, which says of what the state is; for each partition its offsets and policies, then its rows in the
encoding of `app.processor.rows` and, if trades were kept, those of the trade book, which are longer; and a last line
with the checksum of all before.
"""

import base64
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from app.errors import UserError
from app.processor import TABLES, Change
from app.replay.manifest import put_in_place
from app.replay.replaying import Snapshot
from app.replay.source import Source

AS_RECORDED = "as recorded"
"""The policy of a state that the history itself made; a what-if has another."""


class StateHead(BaseModel):
    """Of what a state is."""

    model_config = ConfigDict(extra="forbid", strict=True)

    what: Literal["position-sizer state"] = "position-sizer state"
    version: Literal[1] = 1
    partition_count: int
    partitioner: str
    topics: dict[str, str]
    topic_ids: dict[str, str]
    policy: str = AS_RECORDED
    partitions: list[int]


def head_of(source: Source, partitions: Iterable[int]) -> StateHead:
    """Return the head of a state that was made from a source."""
    return StateHead(
        partition_count=source.partition_count,
        partitioner=source.partitioner,
        topics=dict(source.topic_names),
        topic_ids=dict(source.topic_ids),
        partitions=sorted(partitions),
    )


def write_part(path: Path, snapshot: Snapshot) -> None:
    """Write one partition's snapshot as lines; `join_parts` makes a state of them."""
    with path.open("wb") as file:
        file.writelines(_lines(snapshot))


def join_parts(path: Path, head: StateHead, parts: Iterable[Path]) -> None:
    """Write a state, at once, from its partitions' parts in the order of the head, and remove those."""
    part_path = path.with_name(path.name + ".part")
    checksum = hashlib.sha256()
    with part_path.open("wb") as file:

        def put(block: bytes) -> None:
            checksum.update(block)
            file.write(block)

        put(head.model_dump_json().encode() + b"\n")
        for part in parts:
            with part.open("rb") as lines:
                while block := lines.read(1 << 20):
                    put(block)
            part.unlink()
        file.write(orjson.dumps({"sha256": checksum.hexdigest()}, option=orjson.OPT_APPEND_NEWLINE))
        file.flush()
        os.fsync(file.fileno())
    put_in_place(part_path, path)


def read_head(path: Path) -> StateHead:
    """Return of what a state is, once it is known to be whole. Raises UserError."""
    checksum, last = hashlib.sha256(), b""
    try:
        with path.open("rb") as file:
            first = file.readline()
            checksum.update(first)
            for line in file:
                checksum.update(last)
                last = line
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        head = StateHead.model_validate_json(first)
    except ValidationError as error:
        told = error.errors()[0]
        raise UserError(
            f"{path}: is no state of a replay that this release knows: "
            f"{'.'.join(map(str, told['loc'])) or 'its head'}: {told['msg']}; expected a file written by "
            "`sizer replay --save-state`"
        ) from None
    if last != orjson.dumps({"sha256": checksum.hexdigest()}, option=orjson.OPT_APPEND_NEWLINE):
        raise UserError(f"{path}: is cut short or was changed after it was written, its checksum is another")
    return head


def check_state(path: Path, head: StateHead, source: Source, policy: str = AS_RECORDED) -> None:
    """Check that a state is of a source's topics and of a policy. Raises UserError that names the first difference."""
    told = [
        ("policy", head.policy, policy),
        ("partition count", head.partition_count, source.partition_count),
        ("partitioner", head.partitioner, source.partitioner),
    ]
    told += [(f"topic {topic}", name, source.topic_names[topic]) for topic, name in head.topics.items()]
    told += [
        (f"id of topic {head.topics[topic]}", known, source.topic_ids.get(topic, known))
        for topic, known in head.topic_ids.items()
    ]
    for name, known, found in told:
        if known != found:
            raise UserError(f"{path}: cannot go on from this state: its {name} is {known}, here it is {found}")


def read_snapshot(path: Path, partition: int) -> Snapshot:
    """Return one partition's snapshot of a state that `read_head` found whole. Raises UserError if it has none."""
    with path.open("rb") as file:
        file.readline()
        for line in file:
            part = orjson.loads(line)
            if not isinstance(part, dict) or part.get("partition") != partition:
                continue
            rows, trades = [], []
            for row in file:
                if row.startswith(b"{"):
                    break
                first, key, value, *rest = orjson.loads(row)
                if rest:
                    trades.append(row)
                else:
                    rows.append(Change(TABLES[first], base64.b64decode(key), base64.b64decode(value)))
            policies = tuple(part["policies"])
            return Snapshot(partition, part["offsets"], rows, policies, trades if part["has_trades"] else None)
    raise UserError(f"{path}: has no state of partition {partition}: it was saved of others only")


def _lines(snapshot: Snapshot) -> Iterator[bytes]:
    head = {
        "partition": snapshot.partition,
        "offsets": dict(snapshot.offsets),
        "policies": snapshot.policies,
        "has_trades": snapshot.trades is not None,
    }
    yield orjson.dumps(head, option=orjson.OPT_APPEND_NEWLINE)
    for table, key, row in snapshot.rows:
        assert row is not None, "a store has no deleted rows"
        encoded = (TABLES.index(table), base64.b64encode(key).decode(), base64.b64encode(row).decode())
        yield orjson.dumps(encoded, option=orjson.OPT_APPEND_NEWLINE)
    for trade in snapshot.trades or ():
        yield trade + b"\n"
