"""`sizer replay` on histories in memory: identical where they are, each difference named, what is not proved told."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from app.core.policy import Policy
from app.errors import UserError
from app.processor import Record
from app.replay import Report, Span, replay
from app.replay.parallel import each_partition
from app.replay.replaying import Progress
from app.replay.state_file import read_snapshot
from app.topics import FILLS, FILLS_DLQ, PHASE_EVENTS, SIGNALS, SIGNALS_DLQ, SIZED_ORDERS
from tests.history import NAMES, NOON, Day, MemorySource, Recorder

SEED = 5
Logs = dict[str, list[Record]]


def made(seed: int = SEED) -> Logs:
    print(f"seed {seed}")
    return {topic: list(records) for topic, records in Day(seed).records.items()}


def run(logs: Logs, **options: object) -> Report:
    return replay(MemorySource(logs), **options)  # type: ignore[arg-type]  # by name


def changed(record: Record, **fields: object) -> Record:
    return record._replace(value=orjson.dumps(orjson.loads(record.value or b"") | fields))


@pytest.mark.parametrize("seed", range(4))
def test_a_day_at_the_desk_is_identical(seed: int) -> None:
    logs = made(seed)
    found = run(logs)
    assert found.is_identical
    assert found.is_complete
    assert found.inputs == len(logs[SIGNALS]) + len(logs[FILLS])
    assert found.answers == len(logs[SIZED_ORDERS])
    assert found.events == len(logs[PHASE_EVENTS])
    assert found.dead_letters == len(logs[SIGNALS_DLQ]) + len(logs[FILLS_DLQ])
    assert (found.different, found.waiting, found.outside, found.notes) == (0, 0, 0, ())
    assert [(replayed.topic, replayed.first, replayed.end) for replayed in found.replayed] == [
        (NAMES[topic], 0, logs[topic][-1].offset + 1) for topic in (SIGNALS, FILLS)
    ]


PLANTED: dict[str, tuple[str, Callable[[Record], Record], str]] = {
    "a field of an order": (SIZED_ORDERS, lambda record: changed(record, consecutive_wins=77), "consecutive_wins"),
    "a byte of an order": (
        SIZED_ORDERS,
        lambda record: record._replace(value=(record.value or b"").replace(b'"ESH6"', b'"ESH7"')),
        "symbol",
    ),
    "a field of an event": (PHASE_EVENTS, lambda record: changed(record, exposure="1"), "exposure"),
    "a header of a dead letter": (
        SIGNALS_DLQ,
        lambda record: record._replace(headers=(*record.headers, ("__streams.errors.message", b"?"))),
        "header __streams.errors.message",
    ),
    "the value of a dead letter": (FILLS_DLQ, lambda record: record._replace(value=b"{}"), "value"),
    "a key": (SIZED_ORDERS, lambda record: record._replace(key=b"PF-9"), "key"),
}


@pytest.mark.parametrize("case", PLANTED)
def test_what_was_planted_is_named(case: str) -> None:
    topic, plant, field = PLANTED[case]
    logs = made()
    place = len(logs[topic]) // 2
    logs[topic][place] = plant(logs[topic][place])
    found = run(logs)
    assert found.different == 1
    (finding,) = found.findings
    assert (finding.topic, finding.offset) == (NAMES[topic], logs[topic][place].offset)
    (difference,) = finding.differences
    assert difference.field == field
    assert difference.published != difference.recomputed
    assert f"{field} is {difference.published}, recomputed {difference.recomputed}" in finding.text


def test_a_changed_input_shows_in_what_was_published_for_it() -> None:
    logs = made()
    place = next(index for index, record in enumerate(logs[SIGNALS]) if b'"confidence":0.9' in (record.value or b""))
    logs[SIGNALS][place] = changed(logs[SIGNALS][place], confidence=0.61)
    found = run(logs)
    assert not found.is_identical
    fields = {difference.field for finding in found.findings for difference in finding.differences}
    assert {"confidence", "confidence_multiplier", "notional"} <= fields


def test_what_is_missing_is_lost_and_what_has_no_cause_is_told() -> None:
    logs = made()
    gone = logs[SIZED_ORDERS].pop(20)
    foreign = changed(logs[SIZED_ORDERS][-1], order_id="foreign", signal_id="foreign")
    logs[SIZED_ORDERS].append(foreign._replace(offset=foreign.offset + 1))
    logs[PHASE_EVENTS].append(logs[PHASE_EVENTS][-1]._replace(offset=logs[PHASE_EVENTS][-1].offset + 1, value=b"?"))
    found = run(logs)
    texts = [finding.text for finding in found.findings]
    assert any(orjson.loads(gone.value or b"")["order_id"] in text and "is not" in text for text in texts)
    assert any("order foreign" in text and "nothing in signals and fills causes it" in text for text in texts)
    assert any("this is no phase event" in text for text in texts)


@pytest.mark.parametrize("portfolio", ["PF-0", "PF-1", "PF-2"])
def test_one_portfolio_is_replayed_alone(portfolio: str) -> None:
    logs = made()
    of_it = {topic: [record for record in log if record.key == portfolio.encode()] for topic, log in logs.items()}
    found = run(logs, portfolio=portfolio)
    assert found.is_identical
    assert found.answers == len(of_it[SIZED_ORDERS])
    assert found.events == len(of_it[PHASE_EVENTS])
    assert found.inputs == len(of_it[SIGNALS]) + len(of_it[FILLS])
    mine = logs[SIZED_ORDERS].index(of_it[SIZED_ORDERS][3])
    logs[SIZED_ORDERS][mine] = changed(of_it[SIZED_ORDERS][3], phase=3)
    assert [finding.differences[0].field for finding in run(logs, portfolio=portfolio).findings] == ["phase"]
    other = next(name for name in ("PF-0", "PF-1") if name != portfolio)
    assert run(logs, portfolio=other).is_identical


def test_a_portfolio_that_is_nowhere_is_an_error() -> None:
    with pytest.raises(UserError, match="portfolio PF-77 has no record in memory"):
        run(made(), portfolio="PF-77")


def test_a_span_limits_what_is_compared() -> None:
    logs = made()
    orders = [orjson.loads(record.value or b"") for record in logs[SIZED_ORDERS]]
    logs[SIZED_ORDERS][50] = changed(logs[SIZED_ORDERS][50], symbol="NQH6")
    first, end = orders[51]["signal_offset"], orders[101]["signal_offset"]
    found = run(logs, span=Span(from_offset=first, to_offset=end))
    assert found.is_identical
    assert found.answers == 50
    assert found.outside > 50
    found = run(logs, span=Span(from_offset=orders[50]["signal_offset"], to_offset=end))
    assert (found.different, found.answers) == (1, 51)
    seconds = [NOON // 1_000_000 * 1_000_000 + minutes * 60_000_000 for minutes in (0, 60)]
    found = run(logs, span=Span(since=seconds[0], until=seconds[1]))
    assert found.answers == sum(order["decided_at"] < "2026-01-05T13:00:00.000000Z" for order in orders)
    assert found.is_identical == (orders[50]["decided_at"] >= "2026-01-05T13:00:00.000000Z")


@pytest.mark.parametrize("place", [1, 30, 100])
@pytest.mark.parametrize("seed", range(3))
def test_deleted_beginnings_are_told_with_the_offset_from_which_on_it_is_proved(seed: int, place: int) -> None:
    logs = made(seed)
    cut = logs[SIGNALS][place].offset
    cut_orders = next(
        record.offset for record in logs[SIZED_ORDERS] if orjson.loads(record.value or b"")["signal_offset"] >= cut
    )
    starts = {SIGNALS: cut, SIZED_ORDERS: cut_orders}
    found = replay(MemorySource(logs, starts=starts))
    assert found.is_identical
    assert not found.is_complete
    assert found.unproved >= 100
    assert any(f"{NAMES[SIGNALS]}, partition 0: records before offset {cut:,} were deleted" in n for n in found.notes)


def test_inputs_that_no_worker_took_up_wait() -> None:
    logs = made()
    last = logs[SIGNALS][-1]
    for number in range(3):
        new = changed(last, signal_id=f"new-{number}", generated_at=NOON)
        logs[SIGNALS].append(new._replace(offset=last.offset + 1 + number))
    for taken in (None, {SIGNALS: last.offset + 1, FILLS: logs[FILLS][-1].offset + 1}):
        found = replay(MemorySource(logs, taken=taken))
        assert found.is_identical
        assert found.is_complete
        assert found.waiting >= 3
        assert found.answers == len(logs[SIZED_ORDERS])
    lost = replay(MemorySource(logs))
    assert not lost.is_identical
    assert len(lost.findings) == 3


def test_where_the_worker_stands_is_not_needed_to_find_what_is_lost_before() -> None:
    logs = made()
    gone = logs[SIZED_ORDERS].pop(100)
    found = replay(MemorySource(logs, taken=None))
    assert any(orjson.loads(gone.value or b"")["order_id"] in finding.text for finding in found.findings)


def test_a_policy_that_nobody_announced_is_a_difference() -> None:
    tighter = Policy({"reservation_ttl": 300})
    recorder = Recorder(tighter)
    signal = {"signal_id": "S-1", "portfolio_id": "PF", "symbol": "ES", "side": "BUY", "confidence": 0.9}
    recorder.take(SIGNALS, b"PF", signal | {"portfolio_value": "100000", "generated_at": NOON})
    logs = {topic: list(records) for topic, records in recorder.records.items()}
    assert run(logs).is_identical
    logs[PHASE_EVENTS].clear()
    found = run(logs)
    assert {difference.field for finding in found.findings for difference in finding.differences} >= {"policy_id"}


def halves(logs: Logs, signals: int = 120) -> Logs:
    """Return the history as it was when so many signals had come and a worker had taken all that was there."""
    cut = {topic: list[Record]() for topic in logs}
    orders = [record for record in logs[SIZED_ORDERS] if orjson.loads(record.value or b"")["signal_offset"] < signals]
    last = orjson.loads(orders[-1].value or b"")
    cut[SIZED_ORDERS] = orders
    cut[SIGNALS] = [record for record in logs[SIGNALS] if record.offset <= last["signal_offset"]]
    cut[FILLS] = [record for record in logs[FILLS] if record.offset <= last["fills_offset"]]
    found = run({**logs, SIGNALS: cut[SIGNALS], FILLS: cut[FILLS], SIZED_ORDERS: orders})
    foreign = {finding.offset for finding in found.findings if finding.topic == NAMES[PHASE_EVENTS]}
    cut[PHASE_EVENTS] = [record for record in logs[PHASE_EVENTS] if record.offset not in foreign]
    for topic in (SIGNALS_DLQ, FILLS_DLQ):
        headers = ((record, dict(record.headers)) for record in logs[topic])
        ends = cut[topic.removesuffix(".dlq")][-1].offset
        cut[topic] = [record for record, held in headers if int(held["__streams.errors.offset"] or b"") <= ends]
    assert run(cut).is_identical
    return cut


def test_a_saved_state_is_gone_on_from(tmp_path: Path) -> None:
    logs = made()
    first, state, end = halves(logs), tmp_path / "half.state", tmp_path / "end.state"
    assert run(first, save_state=state).is_identical
    rest = run(logs, state=state, save_state=end)
    assert rest.is_identical
    whole = tmp_path / "whole.state"
    assert rest.answers == run(logs, save_state=whole).answers - len(first[SIZED_ORDERS])
    assert [replayed.first for replayed in rest.replayed] == [first[t][-1].offset + 1 for t in (SIGNALS, FILLS)]
    parts = [read_snapshot(path, 0) for path in (end, whole)]
    # Forgotten orders may be there or not.
    portfolios = [[row for row in part.rows if row.table == "portfolios"] for part in parts]
    assert portfolios[0] == portfolios[1]
    assert sorted(parts[0].trades or ()) == sorted(parts[1].trades or ())
    assert (parts[0].offsets, parts[0].policies) == (parts[1].offsets, parts[1].policies)


def test_a_planted_change_behind_a_state_is_found(tmp_path: Path) -> None:
    logs = made()
    state = tmp_path / "half.state"
    run(halves(logs), save_state=state)
    logs[SIZED_ORDERS][-3] = changed(logs[SIZED_ORDERS][-3], exposure_before="1")
    found = run(logs, state=state)
    assert [finding.differences[0].field for finding in found.findings] == ["exposure_before"]


def test_a_state_of_something_else_is_refused(tmp_path: Path) -> None:
    logs = made()
    state = tmp_path / "state"
    run(halves(logs), save_state=state)
    with pytest.raises(UserError, match="its partition count is 1, here it is 2"):
        replay(MemorySource(logs, logs), state=state)
    other = MemorySource(logs)
    other.topic_ids[FILLS] = "another"
    with pytest.raises(UserError, match=r"its id of topic desk\.fills is id-of-fills, here it is another"):
        replay(other, state=state)
    with pytest.raises(UserError, match=r"goes on at offset .*, but records before 9,999 were deleted"):
        replay(MemorySource(logs, starts={SIGNALS: 9_999}), state=state)
    short = {topic: records[:5] for topic, records in logs.items()}
    with pytest.raises(UserError, match="the state is of another topic, or of a later time"):
        replay(MemorySource(short), state=state)
    content = state.read_bytes()
    for wrong in (content[:-30], content.replace(b"PF-0", b"PF-1", 1), b"{}\n", b""):
        state.write_bytes(wrong)
        with pytest.raises(UserError, match=r"state"):
            run(logs, state=state)
    with pytest.raises(UserError, match="cannot be read"):
        run(logs, state=tmp_path / "nowhere")


def test_no_state_is_saved_of_what_is_not_proved(tmp_path: Path) -> None:
    logs = made()
    logs[SIZED_ORDERS][9] = changed(logs[SIZED_ORDERS][9], symbol="?")
    run(logs, save_state=tmp_path / "state")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="without --portfolio"):
        run(logs, portfolio="PF-1", save_state=tmp_path / "state")


def killed(partition: int, progress: Progress) -> None:
    progress(1)
    os.kill(os.getpid(), signal.SIGKILL if partition else signal.SIGCONT)


def counted(partition: int, progress: Progress) -> int:
    progress(10)
    progress(partition)
    return partition


def refused(partition: int, _: Progress) -> None:
    raise UserError(f"partition {partition} is refused")


def test_partitions_in_processes_tell_how_far_they_are_and_what_went_wrong() -> None:
    told: list[int] = []
    assert dict(each_partition(counted, range(4), told.append, 2)) == {0: 0, 1: 1, 2: 2, 3: 3}
    assert sum(told) == 46
    with pytest.raises(UserError, match=r"partition [01] is refused"):
        list(each_partition(refused, range(2), told.append, 2))
    with pytest.raises(UserError, match="was killed, perhaps for want of memory"):
        list(each_partition(killed, range(2), told.append, 2))
