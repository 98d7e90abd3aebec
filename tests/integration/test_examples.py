"""The examples of the documentation, run as their readers run them, and the output that the pages show."""

import importlib.util
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.broker import Broker
from app.core.policy import TABLE_POLICY
from app.processor.simulation import Simulation
from app.topics import FILLS, FILLS_DLQ, SIGNALS_DLQ, SIZED_ORDERS
from tests.integration.cluster import PATIENCE, Deployment

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
PRODUCER = EXAMPLES / "signal_producer.py"
EXECUTION = EXAMPLES / "execution_service.py"
Document = dict[str, Any]


def load(script: Path) -> Any:
    """Import a script."""
    specification = importlib.util.spec_from_file_location(script.stem, script)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def deployment(broker: Broker, tmp_path: Path) -> Iterator[Deployment]:
    name = f"examples-{uuid.uuid4().hex[:8]}"
    deployment = Deployment(broker.bootstrap_servers, name, tmp_path, partitions=2)
    deployment.create_topics()
    yield deployment
    deployment.close()


def send_signals(deployment: Deployment, *arguments: str) -> None:
    servers = ("--bootstrap-servers", deployment.settings.bootstrap_servers)
    topic = ("--topic", deployment.settings.topic("signals"))
    subprocess.run([sys.executable, PRODUCER, *servers, *topic, *arguments], check=True, timeout=PATIENCE)


@contextmanager
def execution_service(deployment: Deployment, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    servers = ("--bootstrap-servers", deployment.settings.bootstrap_servers)
    prefix = ("--prefix", deployment.settings.topic_prefix)
    journal = ("--journal", str(deployment.folder / "execution.db"))
    process = subprocess.Popen([sys.executable, EXECUTION, *servers, *prefix, *journal, *arguments])
    try:
        yield process
    finally:
        process.kill()
        process.wait(PATIENCE)


def documents(deployment: Deployment, topic: str) -> list[Document]:
    """Every committed record of a topic, partition by partition."""
    return [orjson.loads(message.value() or b"") for log in deployment.read(topic) for message in log[topic]]


def wait_for(deployment: Deployment, topic: str, is_enough: Callable[[list[Document]], bool]) -> list[Document]:
    """Read a topic again and again until it has what is expected."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = documents(deployment, topic)
        if is_enough(found):
            return found
    pytest.fail(f"{topic}: {documents(deployment, topic)}")


def answer_to(deployment: Deployment, signal_id: str) -> Document:
    """Wait for the answer to a signal."""
    found = wait_for(deployment, SIZED_ORDERS, lambda orders: any(order["signal_id"] == signal_id for order in orders))
    return next(order for order in found if order["signal_id"] == signal_id)


def test_an_order_goes_round(deployment: Deployment) -> None:
    deployment.started()
    with execution_service(deployment) as service:
        send_signals(
            deployment,
            "--portfolio=PF-1",
            "--portfolio-value=100000",
            "--price=5000",
            "--signal-id=S-1",
            "--good-for=900",
        )
        order = answer_to(deployment, "S-1")
        assert (order["decision"], order["notional"], order["quantity"]) == ("SIZED", "100", "0.02")
        fills = wait_for(deployment, FILLS, lambda fills: len(fills) >= 3)
        assert {fill["order_id"] for fill in fills} == {order["order_id"]}
        assert [fill.get("position_effect", "OPEN") for fill in fills] == ["OPEN", "OPEN", "CLOSE"]

        # The closed trade shows in what is answered from now on: at once, or when the worker has fetched the fills.
        deadline = time.monotonic() + PATIENCE
        number = 1
        while not order["consecutive_wins"] and time.monotonic() < deadline:
            number += 1
            send_signals(deployment, "--portfolio=PF-1", "--confidence=0.5", f"--signal-id=S-{number}")
            order = answer_to(deployment, f"S-{number}")
        assert order["consecutive_wins"] == 1
        assert order["exposure_before"] == "0"

        service.send_signal(signal.SIGTERM)
        assert service.wait(PATIENCE) == 0
    assert documents(deployment, FILLS_DLQ) == documents(deployment, SIGNALS_DLQ) == []
    assert deployment.prove() == number


def test_a_killed_execution_service_reports_nothing_twice(deployment: Deployment) -> None:
    deployment.started()
    send_signals(deployment, "--portfolio=PF-1", "--portfolio-value=100000", "--price=5000", "--count=5")
    with execution_service(deployment, "--move=-0.01"):
        wait_for(deployment, FILLS, lambda fills: len(fills) >= 6)
    with execution_service(deployment, "--move=-0.01"):
        fills = wait_for(deployment, FILLS, lambda fills: len({fill["exec_id"] for fill in fills}) == 15)
        send_signals(deployment, "--portfolio=PF-1", "--price=5000", "--signal-id=S-6")
        order = answer_to(deployment, "S-6")
        fills = wait_for(deployment, FILLS, lambda fills: any(fill["order_id"] == order["order_id"] for fill in fills))
    contents = {(fill["exec_id"], orjson.dumps(fill)) for fill in fills}
    assert len(contents) == len({exec_id for exec_id, _ in contents}), "an exec_id was sent with two contents"
    assert documents(deployment, FILLS_DLQ) == []


def test_a_signal_sent_twice_is_answered_once(deployment: Deployment) -> None:
    deployment.started()
    for signal_id in ("S-42", "S-42", "S-43"):
        send_signals(deployment, "--portfolio=PF-1", f"--signal-id={signal_id}")
    answer_to(deployment, "S-43")
    assert [order["signal_id"] for order in documents(deployment, SIZED_ORDERS)] == ["S-42", "S-43"]


def test_the_producer_returns_what_may_not_have_arrived(monkeypatch: pytest.MonkeyPatch) -> None:
    producer = load(PRODUCER)
    monkeypatch.setattr(producer, "DELIVERY_SECONDS", 1)
    signals = [{"signal_id": "S-1", "portfolio_id": "PF-1"}, {"signal_id": "S-2", "portfolio_id": "PF-1"}]
    assert producer.send("127.0.0.1:1", "signals", signals) == signals


ORDER: Document = {
    "order_id": "O-1",
    "portfolio_id": "PF-1",
    "decision": "SIZED",
    "notional": "100",
    "quantity": "0.02",
    "price": "5000",
    "send_before": "2026-01-31T12:10:00.000000Z",
    "expires_at": "2026-01-31T12:15:00.000000Z",
}
NOON = "2026-01-31T12:00:00.000000Z"


class Service:
    """The example's service without Kafka."""

    def __init__(self) -> None:
        self._journal = sqlite3.connect(":memory:")
        self._service = load(EXECUTION).ExecutionService(self._journal, Decimal("0.01"))

    def take(self, now: str = NOON, **fields: object) -> None:
        self._service.take(ORDER | fields, now)

    def cancel_overdue(self, now: str) -> None:
        self._service.cancel_overdue(now)

    @property
    def fills(self) -> list[Document]:
        return [orjson.loads(fill) for (fill,) in self._journal.execute("SELECT fill FROM reports ORDER BY number")]

    @property
    def types(self) -> list[str]:
        return [fill["exec_type"] for fill in self.fills]


def test_only_what_is_sized_is_sent_and_once() -> None:
    service = Service()
    service.take(decision="SKIPPED", notional="0", quantity=None, send_before=None, expires_at=None)
    assert service.types == []
    service.take()
    service.take()
    assert service.types == ["TRADE", "TRADE", "TRADE"]


def test_nothing_is_sent_from_send_before_on() -> None:
    service = Service()
    service.take(ORDER["send_before"])
    service.cancel_overdue(ORDER["expires_at"])
    assert service.types == ["EXPIRED"]


def test_what_works_is_canceled_at_expires_at() -> None:
    service = Service()
    service.take(price=None, quantity=None)
    service.cancel_overdue("2026-01-31T12:14:59.999999Z")
    assert service.types == []
    service.cancel_overdue(ORDER["expires_at"])
    service.cancel_overdue(ORDER["expires_at"])
    assert service.types == ["CANCELED"]


@pytest.mark.parametrize(
    ("notional", "price"),
    [("100", "5000"), ("92.59", "4999.75"), ("0.01", "1000000"), ("75", "0.000000000001"), ("5000000000000", "3")],
)
def test_the_cost_stays_within_the_notional(notional: str, price: str) -> None:
    service = Service()
    service.take(notional=notional, price=price, quantity="1e30")
    opening = [fill for fill in service.fills if "position_effect" not in fill]
    cost = sum(Decimal(fill["last_qty"]) * Decimal(fill["last_px"]) for fill in opening)
    assert 0 < cost <= Decimal(notional)
    assert not Decimal(opening[-1]["leaves_qty"])
    service.cancel_overdue(ORDER["expires_at"])
    assert "CANCELED" not in service.types


def simulated(example: str) -> list[Document]:
    """Return what `sizer simulate` answers to a file of examples, the values of records as objects."""
    answers = []
    for line in Simulation(TABLE_POLICY).run((EXAMPLES / example).read_bytes().splitlines()):
        answer = orjson.loads(line)
        answers.append(orjson.loads(answer["value"]) if "decision" in answer.get("value", "") else answer)
    return answers


def test_the_readme_shows_what_simulate_answers() -> None:
    readme = (ROOT / "README.md").read_text()
    fields = ("signal_id", "decision", "skip_reason", "notional", "quantity", "exposure_after")
    orders = [answer for answer in simulated("first_try.jsonl") if "decision" in answer]
    assert len(orders) == 3
    for order in orders:
        assert orjson.dumps({field: order[field] for field in fields}).decode() in readme


def test_the_life_of_an_order_is_as_the_contract_shows_it() -> None:
    orders = [answer for answer in simulated("order_life.jsonl") if "decision" in answer]
    exposures = [(order["signal_id"], order["exposure_before"], order["exposure_after"]) for order in orders]
    assert exposures == [
        ("S-1", "0", "100"),
        ("ASK-1", "100", "100"),
        ("ASK-2", "59.88", "59.88"),
        ("ASK-3", "34.93", "34.93"),
        ("S-2", "0", "92.59"),
        ("ASK-4", "92.59", "92.59"),
        ("ASK-5", "0", "0"),
        ("S-3", "0", "123.45"),
    ]
    assert orders[0]["order_id"] in (ROOT / "docs" / "contract.md").read_text()
