"""The examples: producers and services in three languages at a real broker, and the output that the pages show."""

import random
import re
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from textwrap import dedent

import orjson
import pytest
from confluent_kafka import Producer

from app.broker import Broker, Registry
from app.broker.jars import KAFKA
from app.core.policy import TABLE_POLICY
from app.processor.partitioners import partitioner
from app.processor.simulation import Simulation
from app.stream.formats import register_schemas
from app.topics import FILLS, FILLS_DLQ, SIGNALS, SIGNALS_DLQ, SIZED_ORDERS
from tests.integration.cluster import Deployment
from tests.integration.neighbours import EXAMPLES, LANGUAGES, Document, Neighbours, Program, command, load
from tests.integration.traffic import Input

ROOT = EXAMPLES.parent
PARTITIONS = 2
KILLS = 2


def new_deployment(broker: Broker, folder: Path) -> Deployment:
    deployment = Deployment(broker.bootstrap_servers, f"examples-{uuid.uuid4().hex[:8]}", folder, PARTITIONS)
    deployment.create_topics()
    return deployment


@pytest.fixture(scope="module", params=LANGUAGES)
def neighbours(
    broker: Broker, registry: Registry, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Neighbours]:
    """Give a language's neighbours at a deployment that its tests share; its worker answers in Avro."""
    deployment = new_deployment(broker, tmp_path_factory.mktemp(request.param))
    deployment.settings = deployment.settings.model_copy(update={"schema_registry_url": registry.url})
    register_schemas(deployment.settings)
    formats = {"SIZER_SCHEMA_REGISTRY_URL": registry.url, "SIZER_OUTPUT_FORMAT": "sized_orders=avro"}
    deployment.start(**formats).wait_for("ready")
    yield Neighbours(request.param, deployment)
    deployment.prove()
    deployment.close()


@pytest.fixture(params=LANGUAGES)
def lonely(broker: Broker, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Neighbours]:
    """Give the neighbours of a language at topics that no worker reads: the test itself is the sizer."""
    deployment = new_deployment(broker, tmp_path)
    yield Neighbours(request.param, deployment)
    deployment.close()


def ask(neighbours: Neighbours, portfolio_id: str, signal_id: str) -> None:
    """Send a signal that is skipped: its answer shows where the portfolio stands."""
    signal = {"signal_id": signal_id, "portfolio_id": portfolio_id, "symbol": "ESZ6", "side": "BUY", "confidence": 0}
    value = orjson.dumps(signal | {"generated_at": datetime.now(UTC)})
    neighbours.deployment.send([Input(SIGNALS, portfolio_id.encode(), value)])


@pytest.mark.parametrize(("wire_format", "portfolio"), [("json", "PF-2"), ("avro", "PF-8")])
def test_an_order_goes_round(neighbours: Neighbours, wire_format: str, portfolio: str) -> None:
    # The two hashes put it on different partitions: a producer with librdkafka's default would be refused.
    assert [partitioner(name, PARTITIONS)(portfolio.encode()) for name in ("murmur2", "crc32")] == [0, 1]
    with neighbours.service() as service:
        wanted = ("--portfolio-value=100000", "--price=5000", "--good-for=900", f"--format={wire_format}")
        neighbours.send_signals(f"--portfolio={portfolio}", "--signal-id=S-1", *wanted)
        order = neighbours.answer_to(portfolio, "S-1")
        assert (order["decision"], order["notional"], order["quantity"]) == ("SIZED", "100", "0.02")
        fills = neighbours.fills_of(order, 3 if neighbours.language == "python" else 2)
        assert [fill.get("position_effect", "OPEN") for fill in fills][-2:] == ["OPEN", "CLOSE"]

        # The closed trade shows in what is answered from now on: at once, or when the worker has fetched the fills.
        for number in range(2, 100):
            ask(neighbours, portfolio, f"S-{number}")
            order = neighbours.answer_to(portfolio, f"S-{number}")
            if order["consecutive_wins"]:
                break
        assert order["consecutive_wins"] == 1
        assert order["exposure_before"] == "0"
        assert service.stop() == (128 + signal.SIGTERM if neighbours.language == "java" else 0), service.said
    assert not [
        message
        for log in neighbours.deployment.read(SIGNALS_DLQ, FILLS_DLQ)
        for found in log.values()
        for message in found
    ]


def test_a_signal_sent_twice_is_answered_once(neighbours: Neighbours) -> None:
    neighbours.send_signals("--portfolio=PF-3", "--signal-id=S-42", "--count=2")
    neighbours.send_signals("--portfolio=PF-3", "--signal-id=S-43")
    neighbours.answer_to("PF-3", "S-43")
    orders = [order for order in neighbours.documents(SIZED_ORDERS) if order["portfolio_id"] == "PF-3"]
    assert [order["signal_id"] for order in orders] == ["S-42", "S-43"]


def test_a_fill_that_the_sizer_refuses_is_told(neighbours: Neighbours) -> None:
    lost = {"exec_id": "E-1", "order_id": "O-unheard-of", "portfolio_id": "PF-5", "exec_type": "CANCELED"}
    value = orjson.dumps(lost | {"transact_time": canonical(datetime.now(UTC))})
    with neighbours.service() as service:
        neighbours.deployment.send([Input(FILLS, b"PF-5", value)])
        service.wait_for(lambda lines: any("O-unheard-of" in line for line in lines))
    (told,) = [line for line in service.lines if "O-unheard-of" in line]
    assert told.startswith("REFUSED UNKNOWN_ORDER: ")


def test_a_producer_tells_what_may_not_have_arrived(broker: Broker) -> None:
    where = (f"--bootstrap-servers={broker.bootstrap_servers}", "--prefix=nowhere.")
    what = ("--portfolio=PF-1", "--signal-id=S-lost", "--timeout=1")
    producers = [Program((*command(language, "producer"), *where, *what)) for language in LANGUAGES]
    for producer in producers:
        assert producer.wait() == 1, producer.said
        assert "signals may not have arrived" in producer.lines[-1]
        assert broker.bootstrap_servers in producer.lines[-1]


@pytest.mark.parametrize("partitions", [1, 7, 12, 1_000])
def test_java_puts_keys_where_the_sizer_expects_them(partitions: int) -> None:
    lots = random.Random(partitions)
    letters = "PF-0123456789 .äßéЖ日本𝄞"
    keys = ["", " ", "P", "PF-1", "日本", "x" * 128]
    keys += ["".join(lots.choices(letters, k=lots.randrange(1, 129))) for _ in range(400)]
    run = load(EXAMPLES / "java" / "run.py")
    java = run.command(run.compiled([Path(__file__).with_name("Partitions.java")]), "Partitions", str(partitions))
    asked = "\n".join(key.encode().hex() for key in keys)
    said = subprocess.run(java, input=asked, stdout=subprocess.PIPE, encoding="ascii", check=True).stdout
    partition_of = partitioner("murmur2", partitions)
    assert partition_of is not None
    assert [int(line) for line in said.splitlines()] == [partition_of(key.encode()) for key in keys]


def test_the_examples_in_java_name_the_jars_that_they_are_run_with() -> None:
    run = load(EXAMPLES / "java" / "run.py")
    locked = {jar.coordinate for jar in (*KAFKA.artifacts, *run.TOOLS.artifacts)}
    for source in run.SOURCES:
        named = {line.removeprefix("//DEPS ") for line in source.read_text().splitlines() if line.startswith("//DEPS ")}
        assert named
        assert named <= locked


def canonical(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%S.%fZ}"


def order(order_id: str, **fields: object) -> Document:
    """Make a sized order that a service should fill, but for what is said otherwise."""
    now = datetime.now(UTC)
    common = {"order_id": order_id, "portfolio_id": "PF-1", "decision": "SIZED"}
    money = {"notional": "100", "quantity": "0.02", "price": "5000"}
    times = {
        "send_before": canonical(now + timedelta(minutes=10)),
        "expires_at": canonical(now + timedelta(minutes=15)),
    }
    return common | money | times | fields


def publish(neighbours: Neighbours, orders: Iterable[Document]) -> None:
    neighbours.deployment.send(
        Input(SIZED_ORDERS, str(order["portfolio_id"]).encode(), orjson.dumps(order)) for order in orders
    )


def publish_in_vain(neighbours: Neighbours, document: Document) -> None:
    """Produce an order in a transaction that is aborted."""
    settings = neighbours.deployment.settings
    producer = Producer(
        {"bootstrap.servers": settings.bootstrap_servers, "transactional.id": f"{settings.app_id}-vain"}
    )
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(settings.topic(SIZED_ORDERS), orjson.dumps(document), document["portfolio_id"], partition=1)
    producer.flush(30)
    producer.abort_transaction(30)


COSTLY = [("92.59", "4999.75"), ("0.01", "1000000"), ("75", "0.000000000001"), ("5000000000000", "3")]


def test_a_service_keeps_the_rules(lonely: Neighbours) -> None:
    now = datetime.now(UTC)
    soon = canonical(now + timedelta(seconds=2))
    skipped = {"decision": "SKIPPED", "notional": "0", "quantity": None, "send_before": None, "expires_at": None}
    publish_in_vain(lonely, order("aborted"))
    publish(lonely, [order("skipped", **skipped), order("plain"), order("plain")])
    publish(
        lonely,
        [order("late", send_before=canonical(now)), order("unpriced", price=None, quantity=None, expires_at=soon)],
    )
    publish(
        lonely,
        [order(f"costly-{i}", notional=cost, price=price, quantity="1e30") for i, (cost, price) in enumerate(COSTLY)],
    )
    publish(lonely, [order("last")])

    def is_enough(fills: list[Document]) -> bool:
        return {"last", "unpriced"} <= {fill["order_id"] for fill in fills}

    with lonely.service():
        fills = lonely.wait_for(FILLS, is_enough)
    of: dict[str, list[Document]] = defaultdict(list)
    for fill in fills:
        assert fill["portfolio_id"] == "PF-1"
        of[fill["order_id"]].append(fill)

    assert set(of) == {"plain", "late", "unpriced", "last", *(f"costly-{i}" for i in range(len(COSTLY)))}
    assert [fill["exec_type"] for fill in of["late"]] == ["EXPIRED"]
    assert [fill["exec_type"] for fill in of["unpriced"]] == ["CANCELED"]
    assert of["unpriced"][0]["transact_time"] >= soon
    for name, limit in (
        ("plain", "100"),
        ("last", "100"),
        *((f"costly-{i}", cost) for i, (cost, _) in enumerate(COSTLY)),
    ):
        assert_is_filled_and_closed(of[name])
        assert 0 < sum(quantity(fill) * Decimal(fill["last_px"]) for fill in openings(of[name])) <= Decimal(limit)


def openings(fills: list[Document]) -> list[Document]:
    return [fill for fill in fills if "position_effect" not in fill]


def quantity(fill: Document) -> Decimal:
    return Decimal(fill["last_qty"])


def assert_is_filled_and_closed(fills: list[Document]) -> None:
    """Assert that these are of one execution: opened until nothing is left, then closed."""
    *opened, closed = fills
    assert opened == openings(fills)
    assert {fill["exec_type"] for fill in fills} == {"TRADE"}
    assert [Decimal(fill["leaves_qty"]) for fill in opened] == [
        sum(map(quantity, opened[i:])) for i in range(1, len(opened) + 1)
    ]
    assert closed["position_effect"] == "CLOSE"
    assert quantity(closed) == sum(map(quantity, opened))
    assert len({fill["exec_id"] for fill in fills}) == len(fills)


def test_a_killed_service_loses_and_doubles_nothing(lonely: Neighbours) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    lots = random.Random(seed)
    ids = [f"order-{number}" for number in range(600)]
    orders = [order(name, portfolio_id=f"PF-{i % 20}") for i, name in enumerate(ids)]
    publish(lonely, orders[:200])
    with lonely.service():
        lonely.wait_for(FILLS, bool)  # it is killed when some is delivered
    publish(lonely, orders[200:])
    for _ in range(KILLS):
        with lonely.service() as service:
            lines = lots.randrange(1, 200)
            service.wait_for(lambda said, lines=lines: len(said) >= lines)  # while, or soon after, it takes orders
    with lonely.service():
        lonely.wait_for(FILLS, lambda fills: {fill["order_id"] for fill in fills} >= set(ids))
    publish(lonely, orders)  # as after a crash between a delivery and the commit of the offsets
    with lonely.service():
        last = {"PF-0": "last-0", "PF-2": "last-2"}
        publish(lonely, [order(name, portfolio_id=portfolio) for portfolio, name in last.items()])
        ids += last.values()
        fills = lonely.wait_for(FILLS, lambda fills: {fill["order_id"] for fill in fills} >= set(ids))

    reports: dict[str, Document] = {}  # by exec_id: the sizer, too, takes the first and ignores the same again
    for fill in fills:
        assert reports.setdefault(fill["exec_id"], fill) == fill, "an exec_id was sent with two contents"
    of: dict[str, list[Document]] = defaultdict(list)
    for fill in reports.values():
        of[fill["order_id"]].append(fill)
    assert set(of) == set(ids)
    for found in of.values():
        assert_is_filled_and_closed(found)


NOON = "2026-01-31T12:00:00.000000Z"
ORDER = order("O-1", send_before="2026-01-31T12:10:00.000000Z", expires_at="2026-01-31T12:15:00.000000Z")


class Service:
    """The service in Python without Kafka, at a clock that the test sets."""

    def __init__(self) -> None:
        self._journal = sqlite3.connect(":memory:")
        self._service = load(EXAMPLES / "python" / "execution_service.py").ExecutionService(
            self._journal, Decimal("0.01")
        )

    def take(self, now: str = NOON, **fields: object) -> None:
        self._service.take(ORDER | fields, now)

    def cancel_overdue(self, now: str) -> None:
        self._service.cancel_overdue(now)

    @property
    def types(self) -> list[str]:
        rows = self._journal.execute("SELECT fill FROM reports ORDER BY number")
        return [orjson.loads(fill)["exec_type"] for (fill,) in rows]


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


@pytest.mark.parametrize("neighbours", ["python"], indirect=True)
def test_what_newcomers_are_told_to_paste_sends_signals(neighbours: Neighbours, registry: Registry) -> None:
    settings = neighbours.deployment.settings
    page = (ROOT / "schemas" / "README.md").read_text()
    pasted = [dedent(block) for block in re.findall(r"<<'END'\n(.*?)^ *END$", page, re.DOTALL | re.MULTILINE)]
    senders = [program for program in pasted if ".produce(" in program]
    assert len(senders) == 3
    for program in senders:
        here = program.replace("localhost:9092", settings.bootstrap_servers).replace("PF-1", "PF-new")
        here = here.replace("http://127.0.0.1:8081/apis/ccompat/v7", registry.url)
        here = here.replace('"signals"', f'"{settings.topic(SIGNALS)}"')
        assert subprocess.check_output([sys.executable, "-"], input=here, cwd=ROOT, text=True) == "it has arrived\n"

    def are_sized(orders: list[Document]) -> bool:
        return [order["decision"] for order in orders if order["portfolio_id"] == "PF-new"] == ["SIZED"] * 3

    neighbours.wait_for(SIZED_ORDERS, are_sized)


@pytest.mark.parametrize("page", ["producer.md", "execution-service.md"])
def test_the_pages_show_what_is_in_the_examples(page: str) -> None:
    sources = [path.read_text() for path in EXAMPLES.glob("*/*") if path.suffix in (".py", ".java")]
    programs = ["\n".join(line.strip() for line in source.splitlines()) for source in sources]
    shown = re.findall(r"```(?:python|java)\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)
    assert shown
    for block in shown:
        text = "\n".join(line.strip() for line in block.splitlines())
        assert any(text in program for program in programs), f"{page} shows what no example has:\n{block}"


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
