"""The auditor: it finds nothing in what a worker makes, and each corruption of it, under the right invariant."""

import random
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from app.core.policy import Policy
from app.processor import Record
from app.processor.simulation import Simulation
from app.replay.audit import Audit, audit
from app.replay.history import History
from app.topics import FILLS, FILLS_DLQ, OUTPUTS, PHASE_EVENTS, SIGNALS, SIGNALS_DLQ, SIZED_ORDERS
from tests.history import NAMES, Day, Recorder
from tests.model.generate import generate

SEED = 5
Logs = dict[str, list[Record]]
Rows = dict[str, dict[bytes, bytes]]


def judge(logs: Logs, kept: Rows | None = None) -> Audit:
    return audit(History(0, logs), 1, "any", NAMES, kept)


def made(seed: int = SEED) -> tuple[Logs, Rows]:
    print(f"seed {seed}")
    day = Day(seed)
    return {topic: list(records) for topic, records in day.records.items()}, day.rows


def document(record: Record) -> dict[str, Any]:
    value: dict[str, Any] = orjson.loads(record.value or b"")
    return value


def changed(record: Record, **fields: Any) -> Record:
    return record._replace(value=orjson.dumps(document(record) | fields))


def number(records: list[Record], is_wanted: Callable[[dict[str, Any]], bool], nth: int = 3) -> int:
    """Return the index of the nth record that is wanted."""
    return [index for index, record in enumerate(records) if is_wanted(document(record))][nth]


def renumbered(records: list[Record]) -> list[Record]:
    return [record._replace(offset=offset) for offset, record in enumerate(records)]


def is_sized(order: dict[str, Any]) -> bool:
    return bool(order["decision"] == "SIZED")


@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_found_in_a_day_at_the_desk(seed: int) -> None:
    logs, kept = made(seed)
    found = judge(logs, kept)
    assert found.findings == ()
    assert found.is_proved
    assert found.signals == found.orders == found.recomputed == len(logs[SIZED_ORDERS]) == 240
    assert found.states == 1
    kinds = {document(record)["type"] for record in logs[PHASE_EVENTS]}
    if seed == SEED:
        assert kinds >= {"EXPOSURE_BREACHED", "RESERVATION_EXPIRED", "DRAWDOWN_ENTERED", "POLICY_CHANGED"}
        assert len(logs[SIGNALS]) > 240 + len(logs[SIGNALS_DLQ])  # some are repeats
        assert min(len(logs[SIGNALS_DLQ]), len(logs[FILLS_DLQ])) > 5


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_found_in_adversarial_input(seed: int) -> None:
    recorder, reader = Recorder(now=None), Simulation(Policy())
    print(f"seed {seed}")
    for count, line in enumerate(filter(bytes.strip, generate(seed, 300))):
        given = orjson.loads(line)
        if "policy" in given:
            recorder.restart(Policy(given["policy"]))
            continue
        record, now = reader._record(given)
        recorder.now = recorder.now if now is None else now
        recorder.take(record.topic, record.key, record.value, record.headers)
        if count % 7 == 0:
            recorder.commit()
    recorder.commit()
    found = judge(recorder.records, recorder.rows)
    assert found.findings == ()
    assert found.is_proved


def lose_an_order(logs: Logs) -> str:
    orders = logs[SIZED_ORDERS]
    lost = orders.pop(number(orders, is_sized))
    return f"order {document(lost)['order_id']}"


def double_an_order(logs: Logs) -> str:
    orders = logs[SIZED_ORDERS]
    double = orders[number(orders, is_sized)]
    orders.append(double._replace(offset=orders[-1].offset + 1))
    return f"desk.sized_orders, partition 0, offset {orders[-1].offset}: order {document(double)['order_id']}"


def contradict_an_order(logs: Logs) -> str:
    orders = logs[SIZED_ORDERS]
    other = changed(orders[number(orders, is_sized)], notional="1")
    orders.append(other._replace(offset=orders[-1].offset + 1))
    return "published again, with another content"


def alter_a_notional(logs: Logs) -> str:
    orders = logs[SIZED_ORDERS]
    index = number(orders, is_sized)
    value = orders[index].value or b""
    at = value.index(b'"notional":"') + len(b'"notional":"')
    digit = b"1" if value[at : at + 1] != b"1" else b"2"
    orders[index] = orders[index]._replace(value=value[:at] + digit + value[at + 1 :])
    return f"offset {orders[index].offset}: order {document(orders[index])['order_id']}"


def swap_two_orders(logs: Logs) -> str:
    orders = logs[SIZED_ORDERS]
    index = next(
        i for i in range(50, 200) if document(orders[i])["portfolio_id"] == document(orders[i + 1])["portfolio_id"]
    )
    orders[index], orders[index + 1] = (
        orders[index + 1]._replace(offset=orders[index].offset),
        orders[index]._replace(offset=orders[index + 1].offset),
    )
    return f"order {document(orders[index])['order_id']}"


def swap_orders_of_two_portfolios(logs: Logs) -> str:
    orders = logs[SIZED_ORDERS]
    index = next(
        i for i in range(50, 200) if document(orders[i])["portfolio_id"] != document(orders[i + 1])["portfolio_id"]
    )
    orders[index], orders[index + 1] = (
        orders[index + 1]._replace(offset=orders[index].offset),
        orders[index]._replace(offset=orders[index + 1].offset),
    )
    return f"offset {orders[index].offset}: order {document(orders[index])['order_id']}"


def plant_a_foreign_order(logs: Logs) -> str:
    orders = logs[SIZED_ORDERS]
    theirs = changed(orders[-1], order_id="4ab1", signal_id="not-ours", sequence=document(orders[-1])["sequence"] + 1)
    orders.append(theirs._replace(offset=orders[-1].offset + 1))
    return "order 4ab1"


def plant_nonsense(logs: Logs) -> str:
    orders = logs[SIZED_ORDERS]
    for value in (b"{", b"[]", None, b"{}", b'{"order_id":5}', changed(orders[0], decided_at="now").value):
        orders.append(orders[-1]._replace(offset=orders[-1].offset + 1, value=value))
    return "this is no sized order"


def write_fields_in_another_order(logs: Logs) -> str:
    orders = logs[SIZED_ORDERS]
    value = dict(reversed(document(orders[7]).items()))
    orders[7] = orders[7]._replace(value=orjson.dumps(value))
    return f"offset {orders[7].offset}: order"


def give_an_order_another_id(logs: Logs) -> str:
    orders = logs[SIZED_ORDERS]
    theirs = document(orders[9])["order_id"]
    orders[9] = changed(orders[9], order_id=theirs[:-1] + ("0" if theirs[-1] != "0" else "1"))
    return f"should have the order_id {theirs}"


def alter_decided_at(logs: Logs) -> str:
    orders = logs[SIZED_ORDERS]
    index = number(orders, is_sized)
    at = document(orders[index])["decided_at"]
    orders[index] = changed(orders[index], decided_at=at[:-2] + ("1Z" if at[-2] != "1" else "2Z"))
    return f"offset {orders[index].offset}: order {document(orders[index])['order_id']}"


def leave_a_gap(logs: Logs) -> str:
    orders = logs[SIZED_ORDERS]
    orders[40] = changed(orders[40], sequence=document(orders[40])["sequence"] + 5)
    return f"has sequence {document(orders[40])['sequence']}, expected"


def lose_a_phase_event(logs: Logs) -> str:
    events = logs[PHASE_EVENTS]
    lost = events.pop(number(events, lambda event: event["type"] == "EXPOSURE_BREACHED", 1))
    return f"EXPOSURE_BREACHED of portfolio {document(lost)['portfolio_id']}"


def alter_a_phase_event(logs: Logs) -> str:
    events = logs[PHASE_EVENTS]
    index = number(events, lambda event: event["type"] == "EXPOSURE_BREACHED" and event["order_id"] is not None, 1)
    events[index] = changed(events[index], exposure="1")
    return f"offset {events[index].offset}: EXPOSURE_BREACHED"


def blame_another_order(logs: Logs) -> str:
    events = logs[PHASE_EVENTS]
    index = number(events, lambda event: event["type"] == "EXPOSURE_BREACHED" and event["order_id"] is not None, 1)
    events[index] = changed(events[index], order_id="another")
    return "but tells of another"


def lapse_another_order(logs: Logs) -> str:
    events = logs[PHASE_EVENTS]
    index = number(events, lambda event: event["type"] == "RESERVATION_EXPIRED", 1)
    events[index] = changed(events[index], order_id="another")
    return "with it the reservation of order another expired, which had none"


def pass_over_a_signal(logs: Logs) -> str:
    signals = logs[SIGNALS]
    index = next(i for i in range(80, 120) if signals[i + 1].offset == signals[i].offset + 2)
    skipped = changed(signals[index], signal_id="S-skipped")._replace(offset=signals[index].offset + 1)
    signals.insert(index + 1, skipped)
    return f"desk.signals, partition 0, offset {skipped.offset}: signal S-skipped"


def plant_a_phase_event(logs: Logs) -> str:
    events = logs[PHASE_EVENTS]
    theirs = changed(events[-1], sequence=document(events[-1])["sequence"] + 1)
    events.append(theirs._replace(offset=events[-1].offset + 1))
    return f"offset {events[-1].offset}"


def lose_a_dead_letter(logs: Logs) -> str:
    lost = logs[SIGNALS_DLQ].pop(4)
    return f"offset {dict(lost.headers)['__streams.errors.offset'].decode()}: "


def lose_a_dead_letter_of_a_fill(logs: Logs) -> str:
    lost = logs[FILLS_DLQ].pop(4)
    return f"offset {dict(lost.headers)['__streams.errors.offset'].decode()}: "


def plant_a_dead_letter(logs: Logs) -> str:
    letter = logs[SIGNALS_DLQ][-1]
    good = logs[SIGNALS][60]
    headers = dict(letter.headers) | {"__streams.errors.offset": str(good.offset).encode()}
    planted = good._replace(topic=SIGNALS_DLQ, offset=letter.offset + 1, headers=tuple(headers.items()))
    logs[SIGNALS_DLQ].append(planted)
    return f"dead letter of offset {good.offset}"


def blame_another_reason(logs: Logs) -> str:
    letter = logs[FILLS_DLQ][3]
    headers = dict(letter.headers) | {"__streams.errors.exception": b"OUT_OF_RANGE"}
    logs[FILLS_DLQ][3] = letter._replace(headers=tuple(headers.items()))
    return "__streams.errors.exception is OUT_OF_RANGE"


def remove_a_fill(logs: Logs) -> str:
    logs[FILLS].pop(_effective_fill(logs))
    return "is not as recomputed: "


def insert_a_fill(logs: Logs) -> str:
    index = _effective_fill(logs)
    fill = changed(logs[FILLS][index], exec_id="E-inserted")
    logs[FILLS] = renumbered_around(logs[FILLS], index, fill)
    return "exposure_before is"


def _effective_fill(logs: Logs) -> int:
    """Return the index of an opening trade, of about a third of the way, that was not refused."""
    refused = {dict(letter.headers)["__streams.errors.offset"] for letter in logs[FILLS_DLQ]}
    return next(
        index
        for index, record in enumerate(logs[FILLS])
        if index > 20
        and str(record.offset).encode() not in refused
        and document(record)["exec_type"] == "TRADE"
        and "position_effect" not in document(record)
        and any(other.offset == record.offset + 2 for other in logs[FILLS][index + 1 : index + 2])
    )


def renumbered_around(fills: list[Record], index: int, fill: Record) -> list[Record]:
    """Put a fill into the gap that a transaction's marker left behind the one at `index`."""
    return [*fills[: index + 1], fill._replace(offset=fills[index].offset + 1), *fills[index + 1 :]]


CORRUPTIONS: list[tuple[Callable[[Logs], str], set[str], set[str]]] = [
    # what is done, the invariants that must be told broken, others that may be
    (lose_an_order, {"I1", "I5"}, {"I4"}),
    (double_an_order, {"I2"}, set()),
    (contradict_an_order, {"I2"}, set()),
    (alter_a_notional, {"I4", "I3"}, set()),
    (swap_two_orders, {"I4", "I5"}, set()),
    (swap_orders_of_two_portfolios, {"I4"}, set()),
    (plant_a_foreign_order, {"I1"}, set()),
    (plant_nonsense, {"I1"}, set()),
    (write_fields_in_another_order, {"I4"}, set()),
    (give_an_order_another_id, {"I4", "I5"}, {"I3"}),
    (alter_decided_at, {"I4"}, set()),
    (leave_a_gap, {"I4", "I5"}, set()),
    (lose_a_phase_event, {"I1", "I5"}, set()),
    (alter_a_phase_event, {"I4", "I3"}, set()),
    (blame_another_order, {"I4", "I3"}, set()),
    (lapse_another_order, {"I4", "I3"}, set()),
    (pass_over_a_signal, {"I1"}, set()),
    (plant_a_phase_event, {"I1", "I5"}, set()),
    (lose_a_dead_letter, {"I1"}, set()),
    (lose_a_dead_letter_of_a_fill, {"I1"}, set()),
    (plant_a_dead_letter, {"I1"}, set()),
    (blame_another_reason, {"I4"}, set()),
    (remove_a_fill, {"I4"}, {"I1", "I3"}),
    (insert_a_fill, {"I3", "I4"}, {"I1"}),
]


@pytest.mark.parametrize(("corrupt", "broken", "maybe"), CORRUPTIONS, ids=[row[0].__name__ for row in CORRUPTIONS])
def test_a_corruption_is_found(corrupt: Callable[[Logs], str], broken: set[str], maybe: set[str]) -> None:
    logs, _ = made()
    said = corrupt(logs)
    found = judge(logs)
    texts = [f"{finding.invariant} {finding.text}" for finding in found.findings]
    print(*texts, sep="\n")
    told = {finding.invariant for finding in found.findings}
    assert broken <= told <= broken | maybe
    assert any(said in text for text in texts), said
    assert not found.is_proved


def test_what_is_wrong_is_counted() -> None:
    logs, _ = made()
    lose_an_order(logs)
    double_an_order(logs)
    contradict_an_order(logs)
    contradict_an_order(logs)
    lose_a_dead_letter(logs)
    found = judge(logs)
    assert (found.signals, found.orders, found.recomputed) == (240, 242, 239)
    assert (found.lost, found.doubled, found.contradicted) == (2, 1, 1)


def test_any_changed_byte_is_found() -> None:
    logs, _ = made()
    dice = random.Random(SEED)
    for _ in range(60):
        topic = dice.choice(OUTPUTS)
        index = dice.randrange(len(logs[topic]))
        spoiled = dict(logs) | {topic: list(logs[topic])}
        spoiled[topic][index] = with_a_changed_byte(logs[topic][index], dice)
        found = judge(spoiled)
        assert found.findings, spoiled[topic][index]
        assert not found.is_proved


def with_a_changed_byte(record: Record, dice: random.Random) -> Record:
    """Change one byte of a record's key, value or headers."""
    part = dice.choice(("key", "value", "value", "value", "headers"))
    if part == "headers" and record.headers:
        name, value = dice.choice(record.headers)
        changed_one = [(name, other(value or b"", dice)) if pair == (name, value) else pair for pair in record.headers]
        return record._replace(headers=tuple(changed_one))
    if part == "key":
        return record._replace(key=other(record.key or b"", dice))
    return record._replace(value=other(record.value or b"", dice))


def other(value: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(value)) if value else 0
    return value[:at] + bytes([(value[at] if value else 0) ^ dice.randrange(1, 256)]) + value[at + 1 :]
