"""Workers on a real broker: whatever is done to them, each signal has one answer, the one that the rules make."""

import shutil
import signal
from pathlib import Path

import orjson
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from app.broker import Broker
from app.processor import TABLES
from app.replay import verify_topics
from app.stream.clients import LogEnds
from app.stream.store import LocalTable
from app.stream.topics import changelog_topic
from app.topics import FILLS, FILLS_DLQ, INPUTS, OUTPUTS, SIGNALS, SIGNALS_DLQ, SIZED_ORDERS
from tests.integration.cluster import PATIENCE, Deployment, load, refuse
from tests.integration.traffic import Input, Traffic

SEED = 20260106


def prove(deployment: Deployment, sent: list[Input]) -> None:
    """Assert that every signal is answered, once, and everything published is right."""
    signals = sum(record.topic == SIGNALS for record in sent)
    deployment.wait_for_answers(signals)
    assert deployment.prove() == signals


def test_every_signal_is_answered_once_and_a_restart_goes_on(deployment: Deployment) -> None:
    traffic = Traffic(SEED)
    sent = list(traffic.mixed(600))
    deployment.send(sent)
    worker = deployment.started()
    deployment.wait_for_answers(sum(record.topic == SIGNALS for record in sent))
    assert worker.stop() == 0
    more = list(traffic.mixed(200))
    deployment.send(more)
    worker = deployment.started()
    prove(deployment, sent + more)
    assert worker.stop() == 0
    for log in deployment.read(*OUTPUTS):
        for topic, messages in log.items():
            for message in messages:
                assert message.timestamp()[0] == TIMESTAMP_LOG_APPEND_TIME
                assert not message.headers() or topic in (SIGNALS_DLQ, FILLS_DLQ)


def test_fills_that_wait_come_before_signals_that_wait(deployment: Deployment) -> None:
    traffic = Traffic(SEED, portfolios=1)
    opening = traffic.signal(confidence=0.9, portfolio_value="1000000")
    worker = deployment.started()
    deployment.send([opening])
    deployment.wait_for_answers(1)
    assert worker.stop() == 0
    later = [traffic.signal() for _ in range(50)]
    deployment.send(later)
    fills = traffic.round_trip(opening) * 100
    deployment.send(fills)
    deployment.started()
    deployment.wait_for_answers(51)
    answers = [orjson.loads(m.value() or b"") for log in deployment.read(SIZED_ORDERS) for m in log[SIZED_ORDERS]]
    assert {answer["fills_offset"] for answer in answers[1:]} == {len(fills) - 1}
    assert deployment.prove() == 51


def test_kill_and_restart(deployment: Deployment) -> None:
    worker = deployment.started()
    with load(deployment, Traffic(SEED)) as sent:
        for _ in range(3):
            deployment.wait_for_answers(sum(record.topic == SIGNALS for record in sent) + 50)
            worker.kill()
            worker = deployment.started()
    prove(deployment, sent)
    assert worker.stop() == 0


def test_loss_of_the_local_disk(deployment: Deployment) -> None:
    worker = deployment.started()
    with load(deployment, Traffic(SEED)) as sent:
        deployment.wait_for_answers(200)
        worker.kill()
        shutil.rmtree(deployment.folder / "a")
        worker = deployment.started()
    prove(deployment, sent)
    assert worker.stop() == 0


def test_partitions_move_and_standbys_follow(deployment: Deployment) -> None:
    with load(deployment, Traffic(SEED)) as sent:
        first = deployment.started("a")
        second = deployment.started("b")
        first.wait_for("assigned", 2)
        deployment.wait_for_answers(200)
        assert first.stop() == 0
        second.wait_for("partitions=[0, 1]")
        first = deployment.started("a")
        second.wait_for("assigned", 3)
    prove(deployment, sent)
    assert "standby=[0]" in first.said or "standby=[1]" in first.said
    assert (first.stop(), second.stop()) == (0, 0)
    check_local_tables(deployment)


def test_a_changelog_may_have_lost_what_expired(deployment: Deployment) -> None:
    traffic = Traffic(SEED)
    sent = traffic.signals(200)
    owner = deployment.started("a")
    deployment.send(sent)
    deployment.wait_for_answers(200)
    ids = changelog_topic(deployment.settings, "signal_ids")
    admin = AdminClient({"bootstrap.servers": deployment.settings.bootstrap_servers})
    ends = [TopicPartition(ids, partition, -1) for partition in range(2)]
    for future in admin.delete_records(ends).values():
        future.result()
    other = deployment.started("b")  # takes up one partition as its owner, the other one as a standby
    owner.wait_for("assigned", 2)
    more = traffic.signals(200)
    deployment.send(more)
    deployment.wait_for_answers(400)
    audit = verify_topics(deployment.settings)
    # These have not really expired, and an auditor sees that they are gone; all else is as it must be.
    assert audit.signals == audit.orders == audit.recomputed == 400
    assert len(audit.findings) == 200
    assert all(" of signal_ids is missing, recomputed " in finding.text for finding in audit.findings)
    assert owner.stop() == 0
    other.wait_for("partitions=[0, 1]")
    assert other.stop() == 0
    for partition, log in enumerate(deployment.read_raw(ids)):
        (path,) = deployment.folder.glob(f"b/{deployment.settings.app_id}/signal_ids/*/{partition}")
        local = LocalTable("signal_ids", path)
        assert dict(local.scan(b"")) == fold(log, local.next_offset)
        assert len(log) > 50


def check_local_tables(deployment: Deployment) -> None:
    """Assert that every local table, of owners and of standbys, is its changelog up to the offset that it claims."""
    checked = 0
    for table in TABLES:
        for partition, log in enumerate(deployment.read_raw(changelog_topic(deployment.settings, table))):
            for path in deployment.folder.glob(f"*/{deployment.settings.app_id}/{table}/*/{partition}"):
                local = LocalTable(table, path)
                assert dict(local.scan(b"")) == fold(log, local.next_offset), path
                assert local.next_offset > 0, path
                checked += 1
    assert checked == len(TABLES) * deployment.partitions * 2


def fold(log: list[Message], end: int) -> dict[bytes, bytes]:
    rows: dict[bytes, bytes] = {}
    for message in log:
        key, value = message.key(), message.value()
        assert isinstance(key, bytes)
        if (message.offset() or 0) < end:
            if value is None:
                rows.pop(key, None)
            else:
                rows[key] = bytes(value)
    return rows


def test_a_paused_worker_that_comes_back_publishes_nothing_more(deployment: Deployment) -> None:
    zombie = deployment.started("a")
    other = deployment.started("b")
    zombie.wait_for("assigned", 2)
    with load(deployment, Traffic(SEED)) as sent:
        deployment.wait_for_answers(100)
        zombie.send(signal.SIGSTOP)
        other.wait_for("partitions=[0, 1]")
        deployment.wait_for_answers(sum(record.topic == SIGNALS for record in sent))
        zombie.send(signal.SIGCONT)
        # In a transaction it is fenced and exits; between two it notices that it was expelled, and joins anew.
        zombie.wait_until(lambda: zombie.has_ended or zombie.said.count("assigned") > 2)
    prove(deployment, sent)
    assert zombie.wait() == 70 if zombie.has_ended else zombie.stop() == 0, zombie.said
    assert other.stop() == 0


def test_another_program_with_a_transactional_id_of_a_worker(deployment: Deployment) -> None:
    worker = deployment.started()
    with load(deployment, Traffic(SEED)) as sent:
        deployment.wait_for_answers(100)
        for number in (0, 1):
            thief = Producer(
                {
                    "bootstrap.servers": deployment.settings.bootstrap_servers,
                    "transactional.id": f"{deployment.settings.app_id}-0-{number}",
                    "log_level": 0,
                }
            )
            thief.init_transactions(PATIENCE)
        assert worker.wait() == 70, worker.said
        assert "in doubt reason='partition 0: " in worker.said
        assert "Traceback" not in worker.said
        deployment.started()
    prove(deployment, sent)


def test_sigterm_under_load_is_a_clean_end(deployment: Deployment) -> None:
    worker = deployment.started()
    with load(deployment, Traffic(SEED)) as sent:
        deployment.wait_for_answers(100)
        assert worker.stop() == 0, worker.said
        # The former member has left: nobody waits for its session to expire, and nothing is left to be aborted.
        worker = deployment.started()
    prove(deployment, sent)
    worker.send(signal.SIGINT)
    assert worker.wait() == 0


def test_a_broker_that_is_killed(tmp_path: Path) -> None:
    with Broker(tmp_path / "kafka", properties={"group.min.session.timeout.ms": "1500"}) as own:
        deployment = Deployment(own.bootstrap_servers, "broker-kill", tmp_path, partitions=2)
        try:
            deployment.create_topics()
            refuse(deployment, "SIZER_SESSION_TIMEOUT=1:", "1.5 to 1800 seconds", SIZER_SESSION_TIMEOUT="1")
            worker = deployment.started()
            sent = list(Traffic(SEED).mixed(300))
            deployment.send(sent[:150])
            deployment.wait_for_answers(20)
            own.kill()
            own.start()
            deployment.send(sent[150:])
            worker.wait_until(lambda: worker.has_ended or deployment.is_answered(sent))
            if worker.has_ended:
                assert worker.wait() == 70, worker.said
                deployment.started()
            prove(deployment, sent)
        finally:
            deployment.close()


def test_bad_input_goes_to_the_dead_letters_and_the_worker_goes_on(deployment: Deployment) -> None:
    traffic = Traffic(SEED)
    good = traffic.signals(20)
    bad = [
        Input(SIGNALS, b"PF", b"{"),
        Input(SIGNALS, b"PF", None),
        Input(SIGNALS, None, good[0].value),
        Input(SIGNALS, b"PF", b"\x00\x00\x00\x00\x01abc"),
        Input(SIGNALS, b"PF", b"x" * 900_000),
        Input(FILLS, b"\xff", b"[]"),
        Input(FILLS, good[0].key, orjson.dumps({"exec_id": "E"})),
    ]
    deployment.start()
    deployment.send(bad)
    deployment.send(good)
    deployment.send_to(0, traffic.signal(portfolio_id="stray-0")._replace(key=b"stray-0"))
    deployment.send_to(1, traffic.signal(portfolio_id="stray-0")._replace(key=b"stray-0"))
    deployment.flush()
    deployment.wait_for_answers(20 + 5 + 2)
    assert deployment.prove() == 21
    letters = [m for log in deployment.read(SIGNALS_DLQ, FILLS_DLQ) for topic in log.values() for m in topic]
    codes = sorted(str(dict(m.headers() or ())["__streams.errors.exception"], "ascii") for m in letters)
    assert codes == sorted(["UNDECODABLE"] * 4 + ["KEY_MISMATCH", "UNKNOWN_SCHEMA", "INVALID", "WRONG_PARTITION"])
    assert max(len(m.value() or b"") for m in letters) == 900_000


def test_input_may_be_compressed_and_in_transactions(deployment: Deployment) -> None:
    """As producers in the field send it: every codec; records of aborted transactions are not there."""
    traffic = Traffic(SEED)
    sent: list[Input] = []
    worker = deployment.started()
    for codec in ("gzip", "snappy", "lz4", "zstd"):
        producer = Producer(
            {
                "bootstrap.servers": deployment.settings.bootstrap_servers,
                "compression.type": codec,
                "transactional.id": f"neighbour-{codec}",
                "partitioner": "murmur2_random",
            }
        )
        producer.init_transactions()
        for is_committed in (True, False, True, False):
            records = list(traffic.mixed(20))
            producer.begin_transaction()
            for record in records:
                producer.produce(deployment.settings.topic(record.topic), record.value, record.key)
            if is_committed:
                producer.commit_transaction()
                sent += records
            else:
                producer.flush()
                producer.abort_transaction()
    prove(deployment, sent)
    # Read to the very end, markers and aborted records too: else the watchdog would see work where there is none.
    places = [(deployment.settings.topic(topic), partition) for topic in INPUTS for partition in range(2)]
    worker.wait_until(lambda: deployment.hints(places) == LogEnds(deployment.settings).find(places))
    assert worker.stop() == 0


def test_a_transaction_that_hangs_in_a_changelog_is_a_doubt(deployment: Deployment) -> None:
    """As a broker that was killed can leave it, or another program: what was committed behind it cannot be read."""
    servers = deployment.settings.bootstrap_servers
    stranger = Producer({"bootstrap.servers": servers, "transactional.id": f"stranger-{deployment.settings.app_id}"})
    stranger.init_transactions()
    stranger.begin_transaction()
    stranger.produce(changelog_topic(deployment.settings, "orders"), b"row", b"key", 0)
    stranger.flush()
    worker = deployment.start()
    assert worker.wait() == 70, worker.said
    assert "a transaction is open from offset 0" in worker.said
    stranger.abort_transaction()
    assert deployment.started().stop() == 0


def test_no_broker_is_waited_for_and_said_once(tmp_path: Path, broker: Broker) -> None:
    deployment = Deployment(broker.bootstrap_servers, "late", tmp_path, partitions=2)
    try:
        worker = deployment.start(SIZER_BOOTSTRAP_SERVERS="127.0.0.1:1")
        worker.wait_for("waiting for a broker")
        assert worker.stop() == 0
        assert worker.said.count("127.0.0.1:1") > 0
        assert worker.said.count("waiting for a broker") == 1, worker.said
        assert "Traceback" not in worker.said
    finally:
        deployment.close()
