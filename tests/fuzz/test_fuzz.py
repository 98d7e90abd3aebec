"""No input makes the program crash, hang or grow: kept inputs are replayed, and hypothesis spoils them further.

`python -m tests.fuzz --minutes 10` looks for longer.
"""

import gc
import json
import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.policy import TABLE_POLICY
from app.processor import MemoryStore, Processor, Record, rows
from app.processor.state import ORDER_CAPACITY, PORTFOLIO_CAPACITY
from tests.fuzz import corpus
from tests.fuzz.coverage import Coverage
from tests.fuzz.mutation import LONG, elongate, mutate
from tests.fuzz.processor_target import NOON, check_dead_letter
from tests.fuzz.runner import Run
from tests.fuzz.targets import TARGETS, Target

EXAMPLES = {
    "signal": 250, "fill": 250, "avro-signal": 250, "avro-fill": 250, "avro-schema": 250, "processor": 100,
    "simulate": 200, "policy": 200, "row": 200, "settings": 50,
}  # fmt: skip
KEPT = [(target, name) for target in TARGETS for name in corpus.names(target)]
HOSTILE_RECORDS = 20_000
GOOD: dict[str, Any] = orjson.loads(corpus.read("signal", "valid")) | orjson.loads(corpus.read("fill", "valid"))


def spoilt(target: str) -> st.SearchStrategy[bytes]:
    """Kept inputs spoilt, and now and then just any bytes."""
    kept = corpus.inputs(target)
    mutants = st.builds(mutate, st.randoms(use_true_random=False), st.sampled_from(kept), st.just(kept))
    return st.one_of(mutants, mutants, mutants, st.binary(max_size=200))


def documents(names: tuple[str, ...]) -> st.SearchStrategy[bytes]:
    """JSON objects with a message's names and any values: surrogates, NaN, integers of any size."""
    texts = st.text(st.characters(exclude_categories=()), max_size=130)
    scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts)
    values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5)
    chosen = st.dictionaries(st.sampled_from(names), values)
    return st.builds(lambda document, kept: json.dumps(kept | document).encode(), chosen, st.sampled_from([{}, GOOD]))


@pytest.mark.parametrize(("target", "name"), KEPT)
def test_kept_inputs_have_a_documented_answer(target: str, name: str) -> None:
    TARGETS[target](corpus.read(target, name))


@pytest.mark.parametrize("target", TARGETS)
def test_spoilt_inputs_have_a_documented_answer(target: str) -> None:
    @settings(max_examples=EXAMPLES[target], derandomize=True, database=None)
    @given(spoilt(target))
    def run(data: bytes) -> None:
        TARGETS[target](data)

    run()


@pytest.mark.parametrize("target", ["signal", "fill"])
def test_fields_of_any_type_have_a_documented_answer(target: str) -> None:
    @settings(max_examples=100, derandomize=True, database=None)
    @given(documents(tuple(GOOD)))
    def run(data: bytes) -> None:
        TARGETS[target](data)

    run()


@pytest.mark.parametrize("target", ["signal", "fill", "processor", "simulate"])
@pytest.mark.parametrize("at", range(0, 14, 3))
def test_a_megabyte_in_place_of_any_value_is_no_more_work(target: str, at: int) -> None:
    name = {"processor": "size-fill-close", "simulate": "signal-and-fill"}.get(target, "valid")
    data = corpus.read(target, name)
    coverage = Coverage()
    coverage.run(TARGETS[target], data)
    usual = coverage.steps
    coverage.run(TARGETS[target], elongate(data, at))
    assert coverage.steps <= 2 * usual + 200


@pytest.mark.parametrize("piece", [b"[", b'{"a":', b'"a":1,', b'"a":"', b"9", b"-", b"\\u0000", b"\xff", b" ", b"\n"])
def test_a_megabyte_of_anything_is_no_more_work(piece: bytes) -> None:
    for target, start in (("signal", b"{"), ("fill", b"{"), ("processor", b"|a\n{"), ("simulate", b"{")):
        coverage = Coverage()
        coverage.run(TARGETS[target], start + piece * (LONG // len(piece)))
        # A line of `simulate` is read as such, an empty one too.
        assert coverage.steps <= 300 + (LONG * 5 if (target, piece) == ("simulate", b"\n") else 0)


@pytest.mark.parametrize("kind", ["portfolio-2", "order-2", "signal_id-2", "partition-2", "policy-2"])
def test_a_row_that_was_cut_is_never_taken(kind: str) -> None:
    data = corpus.read("row", kind)
    assert TARGETS["row"](data) == "taken"
    for length in range(data.index(b"\n") + 1, len(data)):
        assert TARGETS["row"](data[:length]).startswith("stopped"), data[:length]


def hostile(rng: random.Random) -> Iterator[Record]:
    """Make records that are all refused, no two alike: new keys, ids, portfolios, headers and codes."""
    good_signal, good_fill = (orjson.loads(corpus.read(target, "valid")) for target in ("signal", "fill"))
    kept = [*corpus.inputs("signal"), *corpus.inputs("fill")]
    for number in range(HOSTILE_RECORDS):
        name = f"HOSTILE-{number}"
        topic = rng.choice(("signals", "fills"))
        if rng.randrange(2):
            value = b"\x00" + mutate(rng, rng.choice(kept), ())
        elif topic == "signals":
            value = orjson.dumps(good_signal | {"portfolio_id": name, "signal_id": name, "generated_at": number})
        else:
            value = orjson.dumps(good_fill | {"portfolio_id": name, "order_id": name, "exec_id": name, name: name})
        key = rng.choice((name, name, name, f"other {number}")).encode()
        yield Record(topic, 0, number, key, value, ((name, key),))


def test_hostile_records_leave_nothing_behind() -> None:
    store = MemoryStore()
    processor = Processor(0, store, TABLE_POLICY, partition_count=2, partition_of=lambda key: len(key) % 2)
    try:
        for number, record in enumerate(hostile(random.Random(1)), start=1):
            (letter,) = processor.process(record, NOON).produced
            check_dead_letter(record, letter)
            if number % 500 == 0:
                store.write(processor.changes())
                processor.committed()
            if number == HOSTILE_RECORDS // 2:
                tracemalloc.start()
        del record, letter
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [key for table in ("portfolios", "orders", "signal_ids") for key, _ in store.scan(table, b"")] == [
        rows.PARTITION_KEY
    ]
    assert len(processor.counters) <= 2 + 2 * 6
    # Not even a name of each of the 10,000 records is held.
    assert held < 200_000, f"{held:,} bytes are held"


def test_what_is_held_in_memory_is_bounded_however_many_portfolios_there_are() -> None:
    store = MemoryStore()
    processor = Processor(0, store, TABLE_POLICY, partition_count=4, partition_of=None)
    signal = orjson.loads(corpus.read("signal", "valid")) | {"generated_at": NOON, "expires_at": None}
    for number in range(PORTFOLIO_CAPACITY // 4 + 1_000):
        name = f"PF-{number}"
        record = Record("signals", 0, number, name.encode(), orjson.dumps(signal | {"portfolio_id": name}))
        assert processor.process(record, NOON).produced[-1].topic == "sized_orders"
        if number % 500 == 499:
            store.write(processor.changes())
            processor.committed()
    state = processor._state
    assert len(state._portfolios._rows) <= PORTFOLIO_CAPACITY // 4
    assert len(state._working._portfolios) <= PORTFOLIO_CAPACITY // 4
    assert len(state._orders._rows) <= ORDER_CAPACITY // 4
    assert len(state._signal_ids._rows) == 0
    assert len(state._exec_ids._rows) == 0
    assert len(processor.counters) == 3


def fails_when_long(data: bytes) -> str:
    if len(data) >= 20:
        raise KeyError(data)
    return "short"


def hangs_when_long(data: bytes) -> str:
    while len(data) >= 20:
        pass
    return "short"


@pytest.mark.parametrize(("mistake", "told"), [(fails_when_long, "KeyError at "), (hangs_when_long, "Hang at ")])
def test_the_long_run_tells_and_keeps_the_smallest_input_that_fails(
    mistake: Target, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "FOLDER", tmp_path)
    monkeypatch.setattr("tests.fuzz.coverage.FOLDERS", (__file__,))
    monkeypatch.setattr("tests.fuzz.coverage.STEPS", 1_000)
    monkeypatch.setattr("tests.fuzz.runner.TARGETS", {"signal": mistake})
    corpus.keep("signal", b"ab")
    run = Run("signal", random.Random(1))
    run.go(0)
    assert not run.failures
    while not run.failures:
        run.spoil()
    ((failure, path),) = run.failures.items()
    assert failure.startswith(told)
    assert path.name.startswith("failure-")
    assert len(path.read_bytes()) == 20
    again = Run("signal", random.Random(2))
    again.go(0)
    assert again.failures == run.failures
