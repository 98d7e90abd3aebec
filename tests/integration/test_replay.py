"""`sizer replay` and `sizer export` on a real broker, as analysts call them."""

import os
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path

import orjson
from confluent_kafka import Message, TopicPartition
from confluent_kafka.admin import AdminClient

from app.codecs.avro_schema import schema_text
from app.codecs.framing import confluent_header
from app.codecs.records import SIGNAL
from app.processor.partitioners import partitioner
from app.replay import open_tables
from app.replay.kafka import KafkaSource
from app.topics import FILLS, INPUTS, SIGNALS, SIZED_ORDERS
from tests.integration.cluster import PATIENCE, Deployment
from tests.integration.test_formats import in_avro
from tests.integration.test_verify import plant
from tests.integration.traffic import Input, Traffic
from tests.registry_stub import RegistryStub

SEED = 20261126


def sizer(deployment: Deployment, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", *arguments],
        env=os.environ | deployment.environment | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    print(done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done


def is_taken(deployment: Deployment) -> bool:
    """Tell whether the state in the changelogs stands behind all inputs."""
    source = KafkaSource(deployment.settings)
    for partition in range(deployment.partitions):
        with source.open(partition) as log:
            if any((log.taken or {}).get(topic, 0) < log.ends[topic] for topic in INPUTS):
                return False
    return True


def work(deployment: Deployment, *lots: list[Input]) -> None:
    """Have a worker take up lots of records, one after the other."""
    worker = deployment.started()
    for lot in lots:
        deployment.send(lot)
        worker.wait_until(lambda: is_taken(deployment))
    assert worker.stop() == 0


def lots(traffic: Traffic, count: int) -> tuple[list[Input], list[Input]]:
    """Return signals, and the fills of their orders."""
    signals = traffic.signals(count)
    return signals, [fill for signal in signals[::2] for fill in traffic.round_trip(signal)]


def history(deployment: Deployment, traffic: Traffic, count: int = 100) -> list[Input]:
    """Have a worker make a short history; return its inputs, two bad records and a repeat among them."""
    signals, fills = lots(traffic, count)
    rest = [*traffic.signals(count // 5), Input(SIGNALS, b"PF", b"?"), Input(FILLS, b"PF", b"{}"), signals[0]]
    work(deployment, signals, fills, rest)
    return [*signals, *fills, *rest]


def test_a_history_is_identical_and_what_is_planted_is_named(deployment: Deployment, tmp_path: Path) -> None:
    sent = history(deployment, Traffic(SEED))
    found = sizer(deployment, "replay")
    assert found.returncode == 0
    assert found.stdout.splitlines()[-1] == "identical"
    said = orjson.loads(sizer(deployment, "replay", "--json").stdout)
    assert (said["identical"], said["complete"], said["findings"], said["waiting"]) == (True, True, [], 0)
    assert said["inputs"] == len(sent)
    kinds = Counter(record.topic for record in sent)
    assert said["answers"] == kinds[SIGNALS] - 2
    assert said["dead_letters"] >= 2
    assert said["ignored"] >= 1
    assert len(said["replayed"]) == 2 * deployment.partitions

    raw = str(tmp_path / "raw")
    assert sizer(deployment, "export", "--format", "jsonl", "--out", raw).returncode == 0
    offline = orjson.loads(sizer(deployment, "replay", "--from", raw, "--json").stdout)
    assert offline == said

    log = deployment.read(SIZED_ORDERS)[0][SIZED_ORDERS]
    order = orjson.loads(log[5].value() or b"")
    changed = (log[5].value() or b"").replace(b'"symbol":"ESH6"', b'"symbol":"ESH7"')
    offset = plant(deployment, deployment.settings.topic(SIZED_ORDERS), log[5].key() or b"", changed)  # type: ignore[arg-type]  # stubs allow str
    found = sizer(deployment, "replay")
    assert found.returncode == 1
    named = f"{deployment.settings.topic(SIZED_ORDERS)}, partition 0, offset {offset}: order {order['order_id']}"
    assert any(line.startswith(named) for line in found.stdout.splitlines())
    assert found.stdout.splitlines()[-1] == "DIFFERENT"


def test_one_portfolio_a_span_and_a_state(deployment: Deployment, tmp_path: Path) -> None:
    traffic = Traffic(SEED)
    sent = history(deployment, traffic)
    partition_of = partitioner("murmur2", deployment.partitions)
    assert partition_of is not None
    key = next(record.key for record in sent if record.topic == SIGNALS and record.key)
    said = orjson.loads(sizer(deployment, "replay", "--portfolio", key.decode(), "--json").stdout)
    assert said["identical"]
    orders = [
        orjson.loads(message.value() or b"")
        for message in deployment.read(SIZED_ORDERS)[partition_of(key)][SIZED_ORDERS]
        if message.key() == key
    ]
    assert said["answers"] == len(orders)
    assert {replayed["partition"] for replayed in said["replayed"]} == {partition_of(key)}
    at = orders[len(orders) // 2]["decided_at"]
    said = orjson.loads(sizer(deployment, "replay", "--portfolio", key.decode(), "--since", at, "--json").stdout)
    assert said["answers"] == sum(order["decided_at"] >= at for order in orders)
    state = str(tmp_path / "state")
    assert sizer(deployment, "replay", "--save-state", state).returncode == 0
    more = traffic.signals(30)
    work(deployment, more)
    said = orjson.loads(sizer(deployment, "replay", "--state", state, "--json").stdout)
    assert said["identical"]
    assert said["answers"] == len(more)
    refused = sizer(deployment, "replay", "--state", state, "--from", "nowhere")
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].startswith("sizer: nowhere: has no manifest.json")


def test_deleted_records_are_told_and_the_status_says_so(deployment: Deployment) -> None:
    history(deployment, Traffic(SEED))
    admin = AdminClient({"bootstrap.servers": deployment.settings.bootstrap_servers})
    places = [TopicPartition(deployment.settings.topic(SIGNALS), partition, 10) for partition in range(2)]
    for future in admin.delete_records(places).values():
        future.result()
    found = sizer(deployment, "replay")
    assert found.returncode == 2
    name = deployment.settings.topic(SIGNALS)
    assert f"note: {name}, partition 1: records before offset 10 were deleted" in found.stdout
    assert "records cannot be recomputed: the beginning of their portfolio's history was deleted" in found.stdout
    assert found.stdout.splitlines()[-1] == "identical, but INCOMPLETE: see above what was not replayed"


def test_a_worker_that_is_behind_is_no_difference(deployment: Deployment) -> None:
    traffic = Traffic(SEED)
    history(deployment, traffic, 60)
    deployment.send(traffic.signals(5))
    said = orjson.loads(sizer(deployment, "replay", "--json").stdout)
    assert (said["identical"], said["waiting"]) == (True, 5)
    # Without the changelogs nobody knows where the worker stands; what is behind the last answer waits all the same.
    done = sizer(deployment, "replay", "--json", SIZER_APP_ID="another")
    said = orjson.loads(done.stdout)
    assert (said["identical"], done.returncode) == (True, 0)
    assert said["waiting"] >= 5


def test_tables_have_the_sums_of_the_topics_run_after_run(deployment: Deployment, tmp_path: Path) -> None:
    traffic, out = Traffic(SEED), tmp_path / "tables"
    history(deployment, traffic)
    assert sizer(deployment, "export", "--out", str(out)).returncode == 0
    more = traffic.signals(30)
    work(deployment, more)
    added = sizer(deployment, "export", "--out", str(out))
    assert f"sized_orders: {len(more)} new" in added.stdout.splitlines()
    messages: list[Message] = [
        message for log in deployment.read(SIZED_ORDERS) for messages in log.values() for message in messages
    ]
    orders = [orjson.loads(message.value() or b"") for message in messages]
    tables = open_tables(out)
    expected = (len(orders), sum(Decimal(order["notional"]) for order in orders))
    assert tables.execute("SELECT count(*), sum(notional) FROM sized_orders").fetchone() == expected
    stamps = tables.execute("SELECT epoch_ms(kafka_timestamp) FROM sized_orders ORDER BY kafka_partition, kafka_offset")
    assert [row[0] for row in stamps.fetchall()] == [message.timestamp()[1] for message in messages]
    trades = tables.execute("SELECT count(*), count(DISTINCT order_id), min(entry_quantity) FROM trades").fetchone()
    assert trades is not None
    assert trades[0] == trades[1] > 5
    assert trades[2] == 1
    missing = sizer(deployment, "export", "--from", str(tmp_path), "--out", str(out))
    assert missing.returncode == 2


def test_avro_is_replayed_also_when_the_registry_is_gone(deployment: Deployment, tmp_path: Path) -> None:
    stub = RegistryStub()
    stub.start()
    stub.schemas[7] = schema_text(SIGNAL)
    registry = {"SIZER_SCHEMA_REGISTRY_URL": stub.url}
    signals = Traffic(SEED).signals(30)
    framed = [in_avro(signal, confluent_header(7 if number % 5 else 8)) for number, signal in enumerate(signals)]
    worker = deployment.start(SIZER_OUTPUT_FORMAT="avro-single-object", **registry)
    worker.wait_for("ready")
    deployment.send(framed)
    worker.wait_until(lambda: is_taken(deployment))
    assert worker.stop() == 0
    raw, out = str(tmp_path / "raw"), tmp_path / "tables"
    online = orjson.loads(sizer(deployment, "replay", "--json", **registry).stdout)
    assert (online["identical"], online["answers"], online["dead_letters"]) == (True, 24, 6)
    assert sizer(deployment, "export", "--format", "jsonl", "--out", raw, **registry).returncode == 0
    stub.stop()
    assert orjson.loads(sizer(deployment, "replay", "--from", raw, "--json").stdout) == online
    assert sizer(deployment, "export", "--from", raw, "--out", str(out)).returncode == 0
    found = open_tables(out).execute("SELECT count(*), count(notional), count(decided_at) FROM sized_orders").fetchone()
    assert found == (24, 24, 24)
