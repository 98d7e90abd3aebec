"""Raw records in files: nothing is lost on the way, and whatever is not as it was written is told."""

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.policy import TABLE_POLICY
from app.errors import UserError
from app.processor import Record
from app.processor.simulation import Simulation
from app.replay import BrokenSourceError, export, open_source, replay
from app.replay.raw_lines import decode_line, encode_line
from app.topics import FILLS, INPUTS, SIGNALS, SIZED_ORDERS
from tests.history import NAMES, TOPICS, Day, MemorySource

SEED = 3
Logs = dict[str, list[Record]]
contents = st.none() | st.binary(max_size=20) | st.text(max_size=20).map(lambda text: text.encode("utf-8", "ignore"))
records = st.builds(
    Record,
    st.sampled_from(TOPICS),
    st.integers(0, 9),
    st.integers(0, 2**63 - 1),
    contents,
    contents,
    st.lists(st.tuples(st.text(st.characters(codec="utf-8"), max_size=5), contents), max_size=3).map(tuple),
    st.integers(-1, 2**53),
)


def made(seed: int = SEED) -> Logs:
    print(f"seed {seed}")
    return {topic: list(log) for topic, log in Day(seed, signals=60).records.items()}


def read(folder: Path, count: int = 1) -> list[Logs]:
    source = open_source(folder)
    logs = []
    for partition in range(count):
        with source.open(partition) as log:
            give = log.pull({})
            logs.append({topic: list(iter_records(give, topic)) for topic in TOPICS})
    return logs


def iter_records(give: Callable[[str], list[Record]], topic: str) -> list[Record]:
    found: list[Record] = []
    while some := give(topic):
        found += some
    return found


@given(records)
def test_a_record_is_the_same_after_a_line(record: Record) -> None:
    line = encode_line(record)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode_line(line) == record


def test_a_folder_has_what_the_topics_had_and_replays_as_they_do(tmp_path: Path) -> None:
    logs = made()
    exported = export(MemorySource(logs, logs), tmp_path, "jsonl", processes=1)
    assert exported.records == {topic: 2 * len(log) for topic, log in logs.items()}
    for partition, found in enumerate(read(tmp_path, 2)):
        for topic, log in logs.items():
            assert found[topic] == [record._replace(partition=partition) for record in log]
    assert {topic: open_source(tmp_path).topic_names[topic] for topic in TOPICS} == NAMES


def test_a_folder_replays_identically_and_in_processes(tmp_path: Path) -> None:
    export(MemorySource(made()), tmp_path, "jsonl")
    found = replay(open_source(tmp_path))
    assert found.is_identical
    assert found.is_complete


def test_signals_of_a_folder_are_input_for_simulate(tmp_path: Path) -> None:
    logs = made()
    export(MemorySource(logs), tmp_path, "jsonl")
    lines = next(tmp_path.glob("signals-0-*")).read_bytes().splitlines()
    answers = list(Simulation(TABLE_POLICY).run(lines))
    assert len(lines) == len(logs[SIGNALS])
    assert any(b"sized_orders" in answer for answer in answers)


def test_a_second_export_adds_what_is_new(tmp_path: Path) -> None:
    logs = made()
    first = {topic: log[: len(log) // 2] for topic, log in logs.items()}
    export(MemorySource(first), tmp_path, "jsonl")
    added = export(MemorySource(logs), tmp_path, "jsonl")
    assert added.records == {topic: len(logs[topic]) - len(first[topic]) for topic in TOPICS}
    assert read(tmp_path) == [logs]
    assert replay(open_source(tmp_path)).is_identical
    before = sorted(path.name for path in tmp_path.iterdir())
    assert not any(export(MemorySource(logs), tmp_path, "jsonl").records.values())
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_an_export_is_gone_on_with_only_from_the_same_topics(tmp_path: Path) -> None:
    logs = made()
    export(MemorySource(logs), tmp_path, "jsonl")
    other = MemorySource(logs)
    other.topic_ids[SIGNALS] = "another"
    with pytest.raises(UserError, match="the topic was created again"):
        export(other, tmp_path, "jsonl")
    with pytest.raises(UserError, match="is of partitions 1, not 2"):
        export(MemorySource(logs, logs), tmp_path, "jsonl")
    with pytest.raises(UserError, match=r"goes on at offset [\d,]+, but records before 99,999 were deleted"):
        export(MemorySource(logs, starts={SIGNALS: 99_999}), tmp_path, "jsonl")
    with pytest.raises(UserError, match="but it ends at"):
        export(MemorySource({topic: log[:3] for topic, log in logs.items()}), tmp_path, "jsonl")
    with pytest.raises(UserError, match="take another folder for parquet"):
        export(MemorySource(logs), tmp_path, "parquet")


def test_what_was_deleted_before_the_export_is_told(tmp_path: Path) -> None:
    exported = export(MemorySource(made(), starts={SIGNALS: 30}), tmp_path, "jsonl")
    assert exported.notes == ("desk.signals, partition 0: records before offset 30 had been deleted",)
    found = replay(open_source(tmp_path))
    assert not found.is_complete
    assert any("desk.signals, partition 0: records before offset 30 were deleted" in note for note in found.notes)


def spoil(folder: Path, topic: str, change: Callable[[bytes], bytes]) -> Path:
    path = next(folder.glob(f"{topic}-0-*"))
    path.write_bytes(change(path.read_bytes()))
    return path


def test_a_changed_byte_in_a_file_is_found_and_named(tmp_path: Path) -> None:
    export(MemorySource(made()), tmp_path, "jsonl")
    path = spoil(tmp_path, SIZED_ORDERS, lambda content: content.replace(b"ESH6", b"ESH7", 1))
    found = replay(open_source(tmp_path))
    (finding,) = found.findings
    assert finding.topic == NAMES[SIZED_ORDERS]
    assert [str(difference) for difference in finding.differences] == ["symbol is ESH7, recomputed ESH6"]
    (problem,) = found.problems
    assert f"{path}: was changed after it was written, its checksum is another: nothing from offset 0 on" in problem
    assert not found.is_complete


@pytest.mark.parametrize("topic", [SIGNALS, FILLS, SIZED_ORDERS])
def test_a_file_that_is_cut_short_is_told_with_the_offset(topic: str, tmp_path: Path) -> None:
    logs = made()
    export(MemorySource(logs), tmp_path, "jsonl")
    path = spoil(tmp_path, topic, lambda content: b"".join(content.splitlines(keepends=True)[:20]) + b'{"topic":')
    found = replay(open_source(tmp_path))
    assert found.is_identical
    assert not found.is_complete
    (problem,) = found.problems
    assert f"{path}: is cut short" in problem
    assert f"nothing from offset {logs[topic][19].offset + 1:,} on is proved" in problem
    assert 0 < found.inputs < len(logs[SIGNALS]) + len(logs[FILLS])
    for replayed in found.replayed:
        assert replayed.end <= next(log[-1].offset for name, log in logs.items() if NAMES[name] == replayed.topic) + 1


SPOILED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a foreign record": (lambda content: content.replace(b'"topic":"signals"', b'"topic":"others"', 1), "no record of"),
    "another partition": (lambda content: content.replace(b'"partition":0', b'"partition":1', 1), "no record of"),
    "no JSON": (lambda content: b"?" + content, "no record of"),
    "a line twice": (lambda content: content.splitlines(keepends=True)[0] + content, "no record of"),
    "a line less": (lambda content: b"".join(content.splitlines(keepends=True)[1:]), "is cut short"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_a_file_that_is_not_as_it_was_written_is_told(case: str, tmp_path: Path) -> None:
    change, said = SPOILED[case]
    export(MemorySource(made()), tmp_path, "jsonl")
    spoil(tmp_path, SIGNALS, change)
    found = replay(open_source(tmp_path))
    assert not found.is_complete
    assert any(said in problem for problem in found.problems)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    export(MemorySource(made()), tmp_path, "jsonl")
    next(tmp_path.glob("fills-0-*")).unlink()
    assert any("cannot be read (No such file" in problem for problem in replay(open_source(tmp_path)).problems)


def test_a_manifest_that_is_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no manifest\.json"):
        open_source(tmp_path)
    export(MemorySource(made()), tmp_path, "jsonl")
    manifest = tmp_path / "manifest.json"
    content = manifest.read_bytes()
    manifest.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="is no manifest of an export"):
        open_source(tmp_path)
    document = orjson.loads(content)
    del document["parts"]["fills.dlq"]
    manifest.write_bytes(orjson.dumps(document))
    with pytest.raises(UserError, match="does not name all topics"):
        open_source(tmp_path)
    document = orjson.loads(content)
    del document["parts"][SIGNALS][0]["files"][0]
    manifest.write_bytes(orjson.dumps(document))
    with pytest.raises(BrokenSourceError, match="offsets from 0 on are missing"):
        read(tmp_path)


def test_a_run_that_was_ended_has_written_nothing_that_counts(tmp_path: Path) -> None:
    logs = made()
    export(MemorySource({topic: log[:10] for topic, log in logs.items()}), tmp_path, "jsonl")
    manifest = (tmp_path / "manifest.json").read_bytes()
    export(MemorySource(logs), tmp_path, "jsonl")
    (tmp_path / "manifest.json").write_bytes(manifest)  # as if it had been ended before the last write
    (tmp_path / "signals-0-x.jsonl.part").write_bytes(b"half")
    export(MemorySource(logs), tmp_path, "jsonl")
    assert read(tmp_path) == [logs]
    assert {topic: len(read(tmp_path)[0][topic]) for topic in INPUTS} == {topic: len(logs[topic]) for topic in INPUTS}
