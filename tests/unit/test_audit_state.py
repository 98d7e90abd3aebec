"""The auditor on state (I4), on a core that counts wrongly (I3, I5), on histories that begin or end somewhere."""

import random
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from app.processor import Record, rows
from app.replay.auditor import Auditor
from app.replay.walk import Desk
from app.topics import FILLS, INPUTS, OUTPUTS, PHASE_EVENTS, SIGNALS, SIGNALS_DLQ, SIZED_ORDERS
from tests.history import HOUR, NAMES, Day
from tests.unit.test_audit import Logs, Rows, changed, document, is_sized, judge, made

PATCHES: dict[str, tuple[str, Callable[..., Any], str, list[str]]] = {
    "forgets reservations": (
        "app.core.exposure.reserved",
        lambda _: Decimal(0),
        "I3",
        ["exposure_before is"],
    ),
    "sees a breach too late": (
        "app.core.exposure.exposure_limit",
        lambda portfolio, policy: portfolio.value and portfolio.value * policy.exposure_limit * 2,
        "I3",
        ["EXPOSURE_BREACHED was published, expected 1"],
    ),
    "sizes beyond the limit": (
        "app.core.decision.exposure_limit",
        lambda portfolio, policy: portfolio.value and portfolio.value * policy.exposure_limit * 2,
        "I3",
        ["exposure_limit is ", "it was sized beyond the limit"],
    ),
    "keeps breaches to itself": (
        "app.core.events.is_breached",
        lambda *_: False,
        "I3",
        ["no EXPOSURE_BREACHED was published"],
    ),
    "takes any value": (
        "app.core.decision.with_value",
        lambda portfolio, value, at: portfolio._replace(value=value, value_time=at) if value else portfolio,
        "I3",
        ["portfolio_value is"],
    ),
    "ends reservations early": (
        "app.processor.working.is_lapsing",
        lambda expires_at, now: expires_at - 100_000_000 < now,
        "I3",
        ["expired within a minute of its expires_at, or before"],
    ),
    "makes up ids": (
        "app.core.decision.order_id_of",
        lambda signal: f"{signal.signal_id}!",
        "I5",
        ["should have the order_id"],
    ),
}


@pytest.mark.parametrize("case", PATCHES)
def test_a_core_that_is_wrong_is_found_though_it_agrees_with_itself(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, wrong, invariant, said = PATCHES[case]
    monkeypatch.setattr(name, wrong)
    logs, kept = made()
    found = judge(logs, kept)
    assert found.recomputed == found.orders
    assert {finding.invariant for finding in found.findings} == {invariant}
    for text in said:
        assert any(text in finding.text for finding in found.findings), text
    assert not found.is_proved


def an_order(kept: Rows, *, is_finished: bool = False) -> bytes:
    return next(
        key
        for key, row in kept["orders"].items()
        if key.count(b"\x1f") == 1 and (rows.finished_at_of(row) is not None) == is_finished
    )


def alter_a_portfolio(kept: Rows) -> str:
    kept["portfolios"][b"PF-1"] = kept["portfolios"][b"PF-1"][:-3] + b"0" + kept["portfolios"][b"PF-1"][-2:]
    return "row PF-1 of portfolios is "


def lose_a_portfolio(kept: Rows) -> str:
    del kept["portfolios"][b"PF-2"]
    return "row PF-2 of portfolios is missing"


def plant_a_portfolio(kept: Rows) -> str:
    kept["portfolios"][b"PF-9"] = kept["portfolios"][b"PF-1"]
    return "row PF-9 of portfolios is"


def lose_an_open_order(kept: Rows) -> str:
    key = an_order(kept)
    del kept["orders"][key]
    return f"row {key.decode().replace(chr(0x1F), ' / ')} of orders is missing"


def plant_an_order(kept: Rows) -> str:
    kept["orders"][b"PF-1\x1fnot-ours"] = kept["orders"][an_order(kept)]
    return "row PF-1 / not-ours of orders is"


def lose_an_exec_id(kept: Rows) -> str:
    order = an_order(kept)
    key = next(key for key in kept["orders"] if key.startswith(b"PF") and key.rpartition(b"\x1f")[0] == order)
    del kept["orders"][key]
    return "of orders is missing"


def plant_an_exec_id_of_an_order_to_come(kept: Rows) -> str:
    kept["orders"][rows.exec_id_key(rows.order_key("PF-1", "0" * 36), "E-1")] = rows.EXEC_ID_ROW
    return f"row PF-1 / {'0' * 36} / E-1 of orders is "


def lose_a_signal_id(kept: Rows) -> str:
    key = max(kept["signal_ids"], key=lambda key: rows.decode_decided_signal(kept["signal_ids"][key]).decided_at)
    del kept["signal_ids"][key]
    return "of signal_ids is missing"


def plant_a_working_order(kept: Rows) -> str:
    kept["portfolios"][rows.working_key("PF-1", 5, 6)] = b"x"
    return "of portfolios is x"


def plant_a_policy(kept: Rows) -> str:
    kept["portfolios"][rows.POLICY_PREFIX + b"x"] = b"\x01{}"
    return "policy / x of portfolios is"


def forget_a_fill(kept: Rows) -> str:
    row = rows.decode_partition(kept["portfolios"][rows.PARTITION_KEY])
    kept["portfolios"][rows.PARTITION_KEY] = rows.encode_partition(row._replace(last_fills_offset=3))
    return "the partition's row is"


def spoil_the_positions(kept: Rows) -> str:
    kept["portfolios"][rows.PARTITION_KEY] = b"\x01[]"
    return "cannot be read"


def lose_all(kept: Rows) -> str:
    for table in kept.values():
        table.clear()
    return "there is no state, though answers were published"


@pytest.mark.parametrize(
    "corrupt",
    [
        lose_all,
        alter_a_portfolio,
        lose_a_portfolio,
        plant_a_portfolio,
        lose_an_open_order,
        plant_an_order,
        lose_an_exec_id,
        plant_an_exec_id_of_an_order_to_come,
        lose_a_signal_id,
        plant_a_working_order,
        plant_a_policy,
        forget_a_fill,
        spoil_the_positions,
    ],
)
def test_a_row_that_is_not_as_it_should_be_is_found(corrupt: Callable[[Rows], str]) -> None:
    logs, kept = made()
    said = corrupt(kept)
    found = judge(logs, kept)
    assert {finding.invariant for finding in found.findings} == {"I4"}
    assert len(found.findings) == 1
    assert said in found.findings[0].text
    assert not found.is_proved


def test_rows_that_count_as_absent_may_be_there_or_not() -> None:
    """Pruning deletes forgotten orders sooner or later, and a changelog may delete expired signal ids by age."""
    day = Day(3)
    before = day.rows["orders"]
    order = finished_order(day.rows, day.now - HOUR)
    portfolio = order.partition(b"\x1f")[0]
    forgotten = [key for key in before if key.startswith(order)]
    assert len(forgotten) > 1

    def judged(orders: dict[bytes, bytes]) -> list[str]:
        return [finding.text for finding in judge(day.records, day.rows | {"orders": orders}).findings]

    remembered = {key: row for key, row in before.items() if key not in forgotten}
    assert len(judged(remembered)) == len(forgotten)
    day.now += 25 * HOUR
    day.take(SIGNALS, portfolio, day.signal(portfolio.decode()))
    day.commit()
    assert judged(day.rows["orders"] | {key: before[key] for key in forgotten}) == []
    assert judged({key: row for key, row in day.rows["orders"].items() if key not in forgotten}) == []


def test_a_portfolio_that_a_former_release_wrote_is_as_it_should_be() -> None:
    logs, kept = made()
    portfolios = dict(kept["portfolios"])
    for key, row in portfolios.items():
        if b"\x1f" not in key:
            portfolios[key] = b"\x01" + row[9:]
    assert judge(logs, kept | {"portfolios": portfolios}).findings == ()


def test_an_expired_signal_id_may_be_gone() -> None:
    day = Day(3)
    ids = day.rows["signal_ids"]
    day.now += 49 * HOUR
    day.take(SIGNALS, b"PF-1", day.signal("PF-1"))
    day.commit()
    young = {key: row for key, row in day.rows["signal_ids"].items() if key not in ids}
    assert len(young) == 1
    assert judge(day.records, day.rows | {"signal_ids": young}).findings == ()
    assert len(judge(day.records, day.rows | {"signal_ids": {}}).findings) == 1


def finished_order(kept: Rows, since: int) -> bytes:
    """Return the key of an order that finished since then and has exec ids."""
    finished = (
        key
        for key, row in kept["orders"].items()
        if key.count(b"\x1f") == 1 and (rows.finished_at_of(row) or 0) > since
    )
    return next(key for key in finished if any(other.startswith(key + b"\x1f") for other in kept["orders"]))


def moments(seed: int) -> tuple[Day, list[Rows]]:
    """Return a day and its rows at each commit of its second half."""
    taken: list[Rows] = []

    class Watched(Day):
        def commit(self) -> None:
            super().commit()
            taken.append(self.rows)

    day = Watched(seed)
    return day, taken[len(taken) // 2 :]


def test_state_is_compared_where_it_stands() -> None:
    day, taken = moments(7)
    for kept in taken[:5]:
        found = judge(day.records, kept)
        assert found.findings == ()
        assert found.states == 1
    kept = taken[0] | {"orders": taken[5]["orders"]}
    assert {finding.invariant for finding in judge(day.records, kept).findings} == {"I4"}


def test_a_portfolio_whose_working_order_would_be_overlooked_is_found() -> None:
    day, taken = moments(7)
    kept, key = next((kept, key) for kept in taken for key in kept["portfolios"] if re.match(rb"[^\x1f]+\x1f", key))
    portfolio = key.partition(b"\x1f")[0]
    row = rows.decode_portfolio(kept["portfolios"][portfolio])

    def findings(first_expiry: int | None) -> int:
        altered = {portfolio: rows.encode_portfolio(row._replace(first_expiry=first_expiry))}
        return len(judge(day.records, kept | {"portfolios": kept["portfolios"] | altered}).findings)

    expires_at = min(rows.working_from_key(key)[0] for key in kept["portfolios"] if key.startswith(portfolio + b"\x1f"))
    assert (findings(0), findings(expires_at)) == (0, 0)
    assert (findings(expires_at + 1), findings(None)) == (1, 1)


def test_state_that_was_read_while_a_worker_wrote_is_judged_all_the_same() -> None:
    day, taken = moments(7)
    first, last = taken[0], taken[-1]
    # Some order is then as it was neither at the beginning nor at the end of the reading.
    between = next(kept for kept in taken if passing(first, kept, last))
    torn = {"orders": between["orders"], "signal_ids": between["signal_ids"], "portfolios": last["portfolios"]}
    since = rows.decode_partition(first["portfolios"][rows.PARTITION_KEY]).positions

    def findings(kept: Rows) -> list[str]:
        auditor = fed(day.records)
        auditor.judge_state(kept, since)
        auditor.run(conclude=True)
        return [finding.text for finding in auditor.audit().findings]

    assert findings(torn) == []
    key = passing(first, between, last)[0]
    torn["orders"] = torn["orders"] | {key: torn["orders"][key][:-1] + b" ]"}
    assert len(findings(torn)) == 1


def passing(first: Rows, kept: Rows, last: Rows) -> list[bytes]:
    """Return the keys of orders whose row is neither what it was nor what it became."""
    return [
        key
        for key, row in kept["orders"].items()
        if row != first["orders"].get(key) and row != last["orders"].get(key, row)
    ]


def fed(logs: Logs, starts: dict[str, int] | None = None) -> Auditor:
    auditor = Auditor(Desk(0, 1, "any", NAMES), starts)
    for topic in (*OUTPUTS, *INPUTS):
        for record in logs[topic]:
            if record.offset >= (starts or {}).get(topic, 0):
                auditor.feed(record)
    return auditor


def test_record_by_record_nothing_is_judged_too_early() -> None:
    """As they come in: events and dead letters, then answers with the inputs, in any order of the three."""
    logs, _ = made()
    dice = random.Random(5)
    auditor = Auditor(Desk(0, 1, "any", NAMES))
    for topic in OUTPUTS[1:]:
        for record in logs[topic]:
            auditor.feed(record)
    queues = {topic: list(reversed(logs[topic])) for topic in (SIZED_ORDERS, *INPUTS)}
    most = 0
    while any(queues.values()):
        auditor.feed(queues[dice.choice([topic for topic in queues if queues[topic]])].pop())
        auditor.run()
        assert auditor.audit().findings == ()
        most = max(most, auditor.audit().waiting)
    auditor.run(conclude=True)
    auditor.end_round(is_last=True)
    found = auditor.audit()
    assert most > found.waiting == 0
    assert found.is_proved


def test_an_input_without_an_outcome_waits_until_its_outcome_is_due() -> None:
    logs, _ = made()
    late = logs[SIZED_ORDERS].pop()
    offset = document(late)["signal_offset"]
    auditor = fed(logs)
    auditor.run({SIGNALS: offset, FILLS: 0}, conclude=True)
    auditor.run()
    assert auditor.waiting[0].offset == offset
    assert auditor.audit().findings == ()
    auditor.feed(late)
    auditor.run(conclude=True)
    auditor.end_round(is_last=True)
    assert auditor.audit().is_proved


def test_a_bad_record_without_its_dead_letter_waits_for_it_too() -> None:
    auditor = Auditor(Desk(0, 1, "any", NAMES))
    auditor.feed(Record(SIGNALS, 0, 7, b"PF-1", b"{"))
    auditor.run()
    assert auditor.audit().findings == ()
    assert auditor.audit().waiting == 1
    auditor.run({SIGNALS: 8}, conclude=True)
    assert [finding.invariant for finding in auditor.audit().findings] == ["I1"]
    assert "desk.signals, partition 0, offset 7: dead letter" in auditor.audit().findings[0].text


def test_little_waits_while_a_long_history_is_read() -> None:
    logs, _ = made()
    auditor = Auditor(Desk(0, 1, "any", NAMES))
    for topic in OUTPUTS:
        for record in logs[topic]:
            auditor.feed(record)
    for record in logs[FILLS]:
        auditor.feed(record)
    most = 0
    for record in logs[SIGNALS]:  # every tenth is a repeat or bad, and has no answer
        auditor.feed(record)
        auditor.run()
        most = max(most, sum(waiting.topic == SIGNALS for waiting in auditor.waiting))
    assert most < 10


@pytest.mark.parametrize("topic", [SIGNALS, FILLS, SIZED_ORDERS, PHASE_EVENTS, SIGNALS_DLQ])
def test_what_began_before_a_topic_does_cannot_be_proved_and_is_not_accused(topic: str) -> None:
    day = Day(3)
    cut = {name: records[len(records) // 2].offset for name, records in day.records.items()}
    cut[FILLS] = day.records[FILLS][-1].offset + 1  # all, so that the next answers tell of one that is gone
    for _ in range(60):
        day.now += 60_000_000
        (order,) = day.take(SIGNALS, b"PF-late", day.signal("PF-late"))
        if is_sized(order):
            day.report(order, last_qty="1", last_px="10", leaves_qty="0")
    day.commit()
    starts = {topic: cut[topic]}

    def audited(logs: Logs) -> Any:
        auditor = fed(logs, starts)
        auditor.judge_state(day.rows)
        auditor.run(conclude=True)
        auditor.end_round(is_last=True)
        return auditor.audit()

    found = audited(day.records)
    assert found.findings == ()
    assert found.unprovable > 0
    assert not found.is_proved
    assert found.recomputed >= 60
    logs = {name: list(records) for name, records in day.records.items()}
    late = logs[SIZED_ORDERS][-20]
    assert document(late)["portfolio_id"] == "PF-late"
    logs[SIZED_ORDERS][-20] = changed(late, symbol="?")
    assert [finding.invariant for finding in audited(logs).findings] == ["I4"]
