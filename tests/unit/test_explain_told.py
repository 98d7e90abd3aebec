"""`explain`: which records an id leads to, and how what is found is told, as text and as a document."""

import io
import json
from contextlib import redirect_stdout
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from rich.console import Console

from app.codecs.avro_schema import avro_schema, crc_64
from app.codecs.framing import OutputFormat, single_object_header
from app.codecs.output import encoders
from app.codecs.records import SIGNAL, SIZED_ORDER
from app.core.policy import TABLE_POLICY
from app.processor.partitioners import partitioner
from app.replay.documents import as_json
from app.replay.explain_command import run_explain
from app.replay.explaining import Explained, explain
from app.replay.explanation import Explanation, Outcome
from app.replay.history import TOPICS
from app.replay.library import export
from app.replay.telling import show, tell
from app.report.page import order_anchor
from app.topics import FILLS, SIGNALS, SIZED_ORDERS
from tests import avro_peer
from tests.account import Account
from tests.history import MINUTE, NOON, MemorySource


def one(account: Account, wanted: str, **options: Any) -> Explanation:
    (found,) = explain(account.source, wanted, **options).explanations
    assert found.is_identical
    return found


def test_repeats_dead_letters_and_several_portfolios() -> None:
    account = Account()
    order = account.order(signal_id="A")
    account.order(signal_id="A", generated_at=NOON)
    account.order(signal_id="A", confidence=0.7)
    account.order(signal_id="A", generated_at=NOON - 25 * 60 * MINUTE)
    account.order(signal_id="B", side="LONG")
    account.order(signal_id="C", generated_at=NOON - 25 * 60 * MINUTE)
    account.name = "OTHER"
    account.order(signal_id="A")
    explained = explain(account.source, "A")
    assert [(found.outcome, found.portfolio_id) for found in explained.explanations] == [
        (Outcome.SIZED, "PF"),
        (Outcome.DUPLICATE, "PF"),
        (Outcome.DUPLICATE, "PF"),
        (Outcome.DUPLICATE, "PF"),
        (Outcome.SIZED, "OTHER"),
    ]
    same, different = explained.explanations[1:3]
    assert same.order_id == different.order_id == order["order_id"]
    assert not same.text.endswith("differs from that one's")
    assert different.text.endswith("its content differs from that one's")
    (invalid,) = explain(account.source, "B").explanations
    assert (invalid.outcome, invalid.code, invalid.is_identical) == (Outcome.DEAD_LETTER, "INVALID", True)
    assert "'LONG' is none of BUY, SELL" in invalid.text
    (stale,) = explain(account.source, "C", portfolio="PF").explanations
    assert (stale.code, stale.now) == ("STALE_SIGNAL", NOON)
    assert [found.portfolio_id for found in explain(account.source, "A", portfolio="OTHER").explanations] == ["OTHER"]


def test_of_a_known_portfolio_only_its_partition_is_opened() -> None:
    account = Account(name="PF-1")
    account.order()
    opened: list[int] = []

    class Two(MemorySource):
        partitioner = "murmur2"

        def open(self, partition: int) -> Any:
            opened.append(partition)
            return super().open(partition)

    own = partitioner("murmur2", 2)
    assert own is not None
    logs = [{topic: list[Any]() for topic in TOPICS}, {topic: list[Any]() for topic in TOPICS}]
    logs[own(b"PF-1")] = {
        topic: [record._replace(partition=own(b"PF-1")) for record in log] for topic, log in account.records.items()
    }
    assert len(explain(Two(*logs), "S-1", portfolio="PF-1").explanations) == 1
    assert set(opened) == {own(b"PF-1")}
    opened.clear()
    assert len(explain(Two(*logs), "S-1").explanations) == 1
    assert set(opened) == {0, 1}


def test_the_command_and_its_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    account = Account()
    order = account.order()
    raw = tmp_path / "raw"
    export(account.source, raw, "jsonl", processes=1)
    assert run_explain("S-1", raw, None, is_json=False) == 0
    assert "sized: notional 100, quantity 2" in capsys.readouterr().out
    assert run_explain("S-1", raw, "PF", is_json=True) == 0
    assert json.loads(capsys.readouterr().out)["identical"] is True
    page = Path("january.html")
    place = f"january.html#{order_anchor(order['order_id'])}"
    assert run_explain("S-1", raw, None, page, is_json=True) == 0
    assert json.loads(capsys.readouterr().out)["report"] == [place]
    assert run_explain("S-1", raw, None, page, is_json=False) == 0
    assert f"in the report: {place}" in capsys.readouterr().out
    assert run_explain("S-2", raw, None, is_json=False) == 1
    assert "S-2: no signal and no order has this id. Looked through:" in capsys.readouterr().out
    next(path for path in raw.rglob("*signals-*") if path.is_file()).write_bytes(b"{")
    assert run_explain("S-1", raw, None, is_json=False) == 2
    assert "cannot be read on: partition 0" in capsys.readouterr().out


def test_avro_in_and_out_is_told_as_json() -> None:
    account = Account()
    account._options["encoders"] = encoders({SIZED_ORDER: OutputFormat.AVRO_SINGLE_OBJECT}, {})
    account.restart(TABLE_POLICY)
    signal = {
        "signal_id": "S-\u00fc",
        "portfolio_id": "PF",
        "symbol": "ES",
        "side": "BUY",
        "confidence": 0.9,
        "price": Decimal(50),
        "portfolio_value": Decimal(100_000),
        "strategy_id": None,
        "generated_at": NOON,
        "expires_at": None,
    }
    head = single_object_header(crc_64(avro_schema(SIGNAL)))
    record = account._append(SIGNALS, b"PF", head + avro_peer.encode(avro_schema(SIGNAL), signal), ())
    for made in account.processor.process(record, NOON).produced:
        account._append(made.topic, made.key, made.value, made.headers)
    assert not (account.records[SIZED_ORDERS][0].value or b"{").startswith(b"{")
    found = one(account, "S-\u00fc")
    assert found.text == "sized: notional 100, quantity 2"
    assert found.published == found.recomputed
    assert json.loads(found.published or "")["notional"] == "100"
    assert one(account, found.order_id or "") == found


def test_an_id_that_is_nowhere() -> None:
    account = Account()
    account.order()
    explained = explain(account.source, "S-11")
    assert explained.explanations == ()
    assert not explained.is_identical
    assert explained.searched == (
        "desk.signals, partition 0: offsets from 0 up to 1",
        "desk.sized_orders, partition 0: offsets from 0 up to 1",
    )


def test_a_published_record_that_is_not_as_recomputed() -> None:
    account = Account()
    account.order()
    log = account.records[SIZED_ORDERS]
    log[0] = log[0]._replace(value=orjson.dumps(json.loads(log[0].value or b"") | {"notional": "101"}))
    (found,) = (explained := explain(account.source, "S-1")).explanations
    assert found.is_identical is False
    assert found.differences == ("notional is 101, recomputed 100",)
    assert not explained.is_identical
    assert "NOT as recomputed" in text(explained)


def test_what_is_not_there_from_its_beginning_is_told_from_what_was_published() -> None:
    account = Account()
    for _ in range(4):
        account.order()
    logs = {topic: [record for record in log if record.offset > 1] for topic, log in account.records.items()}
    starts = dict.fromkeys((SIGNALS, SIZED_ORDERS), 2)
    explained = explain(MemorySource(logs, starts=starts), "S-3")
    (found,) = explained.explanations
    assert (found.outcome, found.is_identical) == (Outcome.UNPROVED, None)
    assert found.order_id == account.orders["S-3"]["order_id"]
    assert json.loads(found.published or "")["notional"] == "100"
    assert not explained.is_complete


def test_a_signal_that_waits() -> None:
    account = Account()
    account.order()
    account.order()
    logs = {topic: list(log) for topic, log in account.records.items()}
    del logs[SIZED_ORDERS][1:]
    source = MemorySource(logs, taken={SIGNALS: logs[SIGNALS][1].offset, FILLS: 0})
    assert [found.outcome for found in explain(source, "S-2").explanations] == [Outcome.WAITING]


def text(explained: Explained) -> str:
    out = io.StringIO()
    with redirect_stdout(out):
        show(tell(explained))
    return out.getvalue()


def test_the_text_fits_and_says_it_all() -> None:
    account = Account()
    account.trade("-1")
    for _ in range(11):
        account.order(symbol="[bold]" + "W" * 100)
    explained = explain(account.source, account.orders["S-14"]["signal_id"])
    told = text(explained)
    assert max(map(len, told.splitlines())) <= 120
    assert "\x1b" not in told
    assert "[bold]" in told.replace("\n", "").replace(" ", "")
    for order in explained.explanations[0].orders:
        assert order.signal_id in told


def test_a_narrow_terminal_has_no_folded_ids() -> None:
    account = Account()
    account.trade("-1")
    for _ in range(3):
        account.order()
    explained = explain(account.source, "S-5")
    out = io.StringIO()
    Console(file=out, width=64, color_system=None).print(tell(explained, narrow=True))
    for order in explained.explanations[0].orders:
        assert order.order_id in out.getvalue()
    assert explained.explanations[0].streak[0].order_id in out.getvalue()
    assert max(len(line.rstrip()) for line in out.getvalue().splitlines()) <= 64


def test_the_document_has_canonical_numbers_and_times() -> None:
    account = Account()
    account.order(0.7)
    document = json.loads(as_json(explain(account.source, "S-1")))
    (found,) = document["explanations"]
    assert found["now"] == "2026-01-05T12:00:00.000000Z"
    assert found["points"][-1]["numbers"]["expires_at"] == "2026-01-05T12:15:00.000000Z"
    assert found["proof"]["gross_profit"] == "0"
    assert found["alternatives"][0] == {
        "change": "confidence",
        "to": "0.6",
        "relation": "below",
        "decision": "SKIPPED",
        "skip_reason": "LOW_CONFIDENCE",
        "notional": "0",
        "quantity": None,
        "seconds": None,
        "because": None,
    }
