"""Avro through a real worker: every format in and out, a registry that is down, and the audit over all of it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Message

from app.broker import Registry
from app.codecs import decode_fill, decode_signal
from app.codecs.avro_schema import avro_schema, crc_64, schema_text
from app.codecs.framing import confluent_header, single_object_header
from app.codecs.records import FILL, PHASE_EVENT, SIGNAL, SIZED_ORDER, TOPIC_RECORDS, Record
from app.replay import verify_topics
from app.settings import Settings
from app.topics import PHASE_EVENTS, SIGNALS, SIGNALS_DLQ, SIZED_ORDERS
from tests import avro_peer
from tests.integration.cluster import Deployment, Worker
from tests.integration.test_verify import plant, verify
from tests.integration.traffic import Input, Traffic
from tests.registry_stub import RegistryStub

SEED = 20260131
SCHEMAS = {record.name: avro_schema(record) for record in (SIGNAL, FILL, SIZED_ORDER, PHASE_EVENT)}


@pytest.fixture
def stub() -> Iterator[RegistryStub]:
    made = RegistryStub()
    made.start()
    yield made
    made.stop()


def in_avro(record: Input, head: bytes) -> Input:
    """Return a record of JSON in Avro, behind these bytes; written by avro-python3."""
    message = decode_signal(record.value) if record.topic == SIGNALS else decode_fill(record.value)
    schema = SCHEMAS[TOPIC_RECORDS[record.topic].name]
    return record._replace(value=head + avro_peer.encode(schema, message._asdict()))


def in_formats(records: Iterable[Input], ids: dict[str, int]) -> list[Input]:
    """Return records in JSON, Confluent framing and single-object encoding in turn."""
    found = []
    for record, turn in zip(records, cycle(range(3)), strict=False):
        name = TOPIC_RECORDS[record.topic].name
        head = (b"", confluent_header(ids[name]), single_object_header(crc_64(SCHEMAS[name])))[turn]
        found.append(in_avro(record, head) if head else record)
    return found


def sizer(deployment: Deployment, *command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "app.cli", *command],
        env=os.environ | deployment.environment | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def ready(worker: Worker) -> Worker:
    worker.wait_for("ready")
    return worker


def with_registry(deployment: Deployment, url: str) -> Settings:
    return deployment.settings.model_copy(update={"schema_registry_url": url})


def read(message: Message, record: Record, head: bytes) -> dict[str, object]:
    """Read an answer by avro-python3."""
    value = message.value() or b""
    assert isinstance(value, bytes)
    assert value.startswith(head)
    assert message.headers() is None
    return avro_peer.decode(SCHEMAS[record.name], value[len(head) :])


def test_every_format_goes_in_and_out_and_is_proved(deployment: Deployment, registry: Registry) -> None:
    environment = {"SIZER_SCHEMA_REGISTRY_URL": registry.url}
    formats = {"SIZER_OUTPUT_FORMAT": "sized_orders=avro,phase_events=avro-single-object"}
    refused = deployment.start(**environment, **formats)
    assert refused.wait() == 2
    assert "call `sizer schemas register`" in refused.said
    done = sizer(deployment, "schemas", "register", **environment)
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    ids = {
        line.split(": ")[1].split(",")[0]: int(line.split("id ")[1].split(",")[0]) for line in done.stdout.splitlines()
    }
    assert done.stdout.replace("registered ", "") == sizer(deployment, "schemas", "check", **environment).stdout
    worker = ready(deployment.start(**environment, **formats))
    traffic = Traffic(SEED)
    signals = traffic.signals(300)
    deployment.send(in_formats(signals, ids))
    deployment.wait_for_answers(300)
    fills = [fill for signal in signals for fill in traffic.round_trip(signal)]
    deployment.send(in_formats(fills, ids))
    deployment.send(more := in_formats(traffic.signals(100), ids))
    deployment.wait_for_answers(400)
    answers = [message for log in deployment.read(SIZED_ORDERS) for message in log[SIZED_ORDERS]]
    assert len(answers) == 400
    documents = [read(message, SIZED_ORDER, confluent_header(ids["SizedOrder"])) for message in answers]
    assert {document["decision"] for document in documents} == {"SIZED", "SKIPPED"}
    events = [message for log in deployment.read(PHASE_EVENTS) for message in log[PHASE_EVENTS]]
    head = single_object_header(crc_64(SCHEMAS["PhaseEvent"]))
    assert {read(message, PHASE_EVENT, head)["type"] for message in events} >= {"PORTFOLIO_OPENED"}
    assert worker.stop() == 0
    # What was written in one format is gone on from in another, and both are read together.
    worker = ready(deployment.start(**environment))
    deployment.send(more)
    deployment.send(in_formats(traffic.signals(50), ids))
    deployment.wait_for_answers(450)
    audit = verify_topics(with_registry(deployment, registry.url))
    assert audit.is_proved, audit.findings
    assert audit.orders == 450
    # An answer in a schema that is none of the sizer's is found, though its bytes could be read.
    forged = bytes(answers[0].value() or b"")
    topic = deployment.settings.topic(SIZED_ORDERS)
    plant(deployment, topic, bytes(answers[0].key() or b""), confluent_header(ids["Signal"]) + forged[5:])
    done = verify(deployment, "--json", **environment)
    assert done.returncode == 1
    (finding,) = orjson.loads(done.stdout)["findings"]
    assert "this is no sized order: schema" in finding["text"]
    assert "the schema is that of 'position_sizer.v1.Signal'" in finding["text"]


def test_the_smallest_signal_of_the_page_for_neighbours_is_taken(deployment: Deployment) -> None:
    page = Path(__file__).parents[2] / "schemas" / "README.md"
    (smallest,) = re.findall(r"```json\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    deployment.send([Input(SIGNALS, b"PF-1", smallest.replace("2026-01-31T12:00:00Z", now()).encode())])
    ready(deployment.start())
    deployment.wait_for_answers(1)
    (answer,) = [
        orjson.loads(message.value() or b"") for log in deployment.read(SIZED_ORDERS) for message in log[SIZED_ORDERS]
    ]
    assert answer["decision"] == "SIZED"


def now() -> str:
    return datetime.now(UTC).isoformat()


def test_a_record_waits_while_the_registry_is_down_and_nothing_is_lost(
    deployment: Deployment, stub: RegistryStub
) -> None:
    stub.schemas[1] = schema_text(SIGNAL)
    environment = {"SIZER_SCHEMA_REGISTRY_URL": stub.url}
    stub.stop()
    first = ready(deployment.start("a", **environment))
    traffic = Traffic(SEED, portfolios=8)
    in_json, framed, behind = traffic.signals(40), traffic.signals(40), traffic.signals(40)
    deployment.send(in_json)
    deployment.wait_for_answers(40)
    deployment.send([in_avro(record, confluent_header(1)) for record in framed])
    deployment.send(behind)
    first.wait_for("waiting for the schema registry")
    # Partitions go to another worker meanwhile, which waits as well; and one is killed.
    second = ready(deployment.start("b", **environment))
    second.wait_for("waiting for the schema registry")
    first.kill()
    second.wait_for("assigned", 2)
    assert not deployment.is_answered([*in_json, *framed, *behind])
    assert sum(len(log[SIZED_ORDERS]) for log in deployment.read(SIZED_ORDERS)) == 40
    stub.start()
    deployment.wait_for_answers(120)
    assert second.said.count("the schema registry answers") >= 1
    assert deployment.read(SIGNALS_DLQ) == [{SIGNALS_DLQ: []}] * deployment.partitions
    audit = verify_topics(with_registry(deployment, stub.url))
    assert audit.is_proved, audit.findings
    assert audit.orders == 120


def test_a_worker_that_waits_for_the_registry_ends_cleanly(deployment: Deployment, stub: RegistryStub) -> None:
    stub.status = 503
    worker = ready(deployment.start(SIZER_SCHEMA_REGISTRY_URL=stub.url))
    deployment.send([in_avro(Traffic(SEED).signal(), confluent_header(1))])
    worker.wait_for("waiting for the schema registry")
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0, worker.said
    assert worker.said.count("waiting for the schema registry") == 1


def test_a_worker_waits_for_the_registry_that_numbers_its_answers(deployment: Deployment, stub: RegistryStub) -> None:
    stub.stop()
    stub.schemas[9] = schema_text(SIZED_ORDER)
    stub.subjects[f"{deployment.settings.topic(SIZED_ORDERS)}-value"] = 9
    worker = deployment.start(SIZER_SCHEMA_REGISTRY_URL=stub.url, SIZER_OUTPUT_FORMAT="sized_orders=avro")
    worker.wait_for("waiting for the schema registry")
    stub.start()
    worker.wait_for("ready")
    deployment.send(Traffic(SEED).signals(1))
    deployment.wait_for_answers(1)
    (answer,) = [message for log in deployment.read(SIZED_ORDERS) for message in log[SIZED_ORDERS]]
    read(answer, SIZED_ORDER, confluent_header(9))


def test_a_schema_that_the_registry_does_not_know_is_bad_input_until_it_does(
    deployment: Deployment, stub: RegistryStub
) -> None:
    worker = ready(deployment.start(SIZER_SCHEMA_REGISTRY_URL=stub.url))
    early, late = Traffic(SEED, portfolios=1).signals(2)
    deployment.send([in_avro(early, confluent_header(5))])
    deployment.wait_for_answers(1)
    (letter,) = [message for log in deployment.read(SIGNALS_DLQ) for message in log[SIGNALS_DLQ]]
    headers = dict(letter.headers() or [])
    assert headers["__streams.errors.exception"] == b"UNKNOWN_SCHEMA"
    assert b"the schema registry has no schema 5: register it" in headers["__streams.errors.message"]
    stub.schemas[6] = schema_text(SIGNAL)
    stub.schemas[5] = schema_text(SIGNAL)
    deployment.send([in_avro(late, confluent_header(6))])
    deployment.wait_for_answers(2)
    assert not [line for line in worker.lines if "HTTP" in line or "the schema registry" in line]
    # By now the registry has it: what it did not know then is in the dead letter, and the audit goes by that.
    audit = verify_topics(with_registry(deployment, stub.url))
    assert audit.is_proved, audit.findings
    assert audit.orders == 1
    # Without a registry the audit says what it would need.
    done = verify(deployment)
    assert done.returncode == 1
    assert "SIZER_SCHEMA_REGISTRY_URL" in done.stdout
