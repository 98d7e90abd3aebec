"""Probes, scrapes and logs of workers on a real broker, as an operator's tools see them."""

import json
import signal
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import orjson
import psutil
import pytest
from confluent_kafka import Producer
from prometheus_client.parser import text_string_to_metric_families

from app.broker import Broker
from app.stream.metric_families import FAMILIES
from app.stream.topics import changelog_topic
from app.topics import FILLS, SIGNALS
from tests.integration.cluster import PATIENCE, Deployment, Worker, free_port, load
from tests.integration.traffic import Input, Traffic

SEED = 20260108


class Watched:
    """A worker with a web port."""

    def __init__(self, deployment: Deployment, data: str = "a", **settings: str) -> None:
        self.port = free_port()
        self.worker: Worker = deployment.start(data, SIZER_WEB_PORT=str(self.port), **settings)

    def get(self, path: str) -> tuple[int, str]:
        """Return status and text; status 0 while nobody listens."""
        try:
            with urlopen(Request(f"http://127.0.0.1:{self.port}{path}"), timeout=PATIENCE) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode()
        except (URLError, ConnectionError):
            return 0, ""

    def why_not_ready(self) -> str | None:
        """Return the reason that /readyz gives, None if it is ready."""
        status, text = self.get("/readyz")
        assert status in (200, 503), text
        return None if status == 200 else json.loads(text)["reason"]

    def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so; whether it is, only asking tells."""
        deadline = time.monotonic() + PATIENCE
        while not is_so():
            assert time.monotonic() < deadline, (self.get("/readyz"), self.worker.said)
            assert not self.worker.has_ended, self.worker.said
            threading.Event().wait(0.05)

    def until_ready(self) -> None:
        """Wait until it is ready."""
        self.until(lambda: self.get("/readyz")[0] == 200)

    def scrape(self) -> dict[tuple[str, ...], float]:
        """Return the value of each sample, by name and the values of its labels, in the order of the labels' names."""
        return {
            (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
            for family in text_string_to_metric_families(self.get("/metrics")[1])
            for sample in family.samples
        }

    def listens_at(self) -> set[str]:
        """Return the addresses on which the process takes connections."""
        connections = psutil.Process(self.worker.pid).net_connections("tcp")
        return {found.laddr.ip for found in connections if found.status == psutil.CONN_LISTEN}


def test_a_probe_is_answered_without_a_broker_and_tells_when_one_comes_and_goes(tmp_path: Path) -> None:
    broker = Broker(tmp_path / "broker")
    broker.start()
    broker.kill()  # it will come to the same address
    deployment = Deployment(broker.bootstrap_servers, "probed", tmp_path, partitions=2)
    try:
        watched = Watched(deployment)
        watched.until(lambda: watched.get("/livez")[0] != 0)
        assert watched.get("/livez") == (200, '{"status":"alive"}')
        assert watched.get("/readyz") == (503, '{"status":"not ready","reason":"waiting for a broker"}')
        assert watched.scrape()["sizer_ready",] == 0
        broker.start()
        deployment.create_topics()
        watched.until_ready()
        assert watched.scrape()["sizer_ready",] == 1
        broker.kill()
        watched.until(lambda: watched.why_not_ready() == "the group's coordinator does not answer")
        assert watched.get("/livez")[0] == 200
        broker.start()
        watched.until_ready()
        assert watched.worker.stop() == 0, watched.worker.said
    finally:
        deployment.close()
        broker.kill()


def test_one_that_waits_for_a_broker_is_stopped_like_any_other(deployment: Deployment) -> None:
    watched = Watched(deployment, SIZER_BOOTSTRAP_SERVERS="127.0.0.1:1")
    watched.until(lambda: watched.get("/livez")[0] == 200)
    assert watched.worker.stop() == 0
    assert "Traceback" not in watched.worker.said


def test_workers_are_not_ready_while_partitions_move_and_ready_without_any(deployment: Deployment) -> None:
    first, second = Watched(deployment, "a"), Watched(deployment, "b")
    first.until_ready()
    second.until_ready()
    first.until(lambda: first.scrape()["sizer_partitions", "owned"] == 1)
    # The group waits for one that does not answer until its session is over.
    second.worker.send(signal.SIGSTOP)
    third = Watched(deployment, "c")
    first.until(lambda: first.why_not_ready() == "waiting for the group")
    assert first.get("/livez")[0] == 200
    third.until(lambda: third.get("/livez")[0] == 200)
    first.until_ready()
    third.until_ready()
    fourth = Watched(deployment, "d")
    workers = (first, third, fourth)

    def owned() -> list[float]:
        return sorted(worker.scrape()["sizer_partitions", "owned"] for worker in workers)

    first.until(lambda: all(worker.get("/readyz")[0] == 200 for worker in workers) and owned() == [0, 1, 1])
    assert first.scrape()["sizer_rebalance_duration_seconds_count",] >= 3
    assert [worker.worker.stop() for worker in workers] == [0, 0, 0]
    second.worker.kill()


def test_a_worker_is_not_ready_while_it_restores(deployment: Deployment) -> None:
    first = Watched(deployment)
    sent = Traffic(SEED, portfolios=300).signals(4_000)
    deployment.send(sent)
    deployment.wait_for_answers(len(sent))
    first.worker.kill()
    second = Watched(deployment, "elsewhere")
    reasons = set()

    def is_ready() -> bool:
        status, text = second.get("/readyz")
        if status == 503:
            reasons.add(json.loads(text)["reason"])
        return status == 200

    second.until(is_ready)
    assert any(reason.startswith(("taking up partitions", "restoring")) for reason in reasons), reasons
    found = second.scrape()
    assert found["sizer_restored_rows_total",] > len(sent)
    assert found["sizer_restored_partitions_total",] == 2
    assert found["sizer_restore_remaining_offsets",] == 0
    assert second.worker.stop() == 0


def document(signal_id: str, **fields: Any) -> Input:
    made = Traffic(SEED, portfolios=1).signal(
        signal_id=signal_id, confidence=0.9, portfolio_value="1000000", price="10"
    )
    return Input(SIGNALS, made.key, orjson.dumps(orjson.loads(made.value or b"") | fields))


def test_a_scrape_tells_what_became_of_the_input(deployment: Deployment) -> None:
    watched = Watched(deployment)
    watched.until_ready()
    signals = [document(f"S-{number}") for number in range(3)]
    unsure = [document(f"U-{number}", confidence=0.5) for number in range(2)]
    other = document("S-0", symbol="other")
    bad = [document("B-0", side="LONG"), Input(SIGNALS, b"PF", b"{"), Input(SIGNALS, None, signals[0].value)]
    fill = Traffic(SEED, portfolios=1).round_trip(signals[1])[0]
    unknown = Input(FILLS, fill.key, orjson.dumps(orjson.loads(fill.value or b"") | {"order_id": "none"}))
    deployment.send([*signals, *unsure, signals[0], other, *bad])
    watched.until(lambda: watched.scrape()["sizer_input_records_total", SIGNALS] == 10)
    deployment.send([fill, fill, unknown])
    watched.until(lambda: watched.scrape()["sizer_input_records_total", FILLS] == 3)
    deployment.wait_for_answers(8)
    watched.until(lambda: sum(v for key, v in watched.scrape().items() if key[0] == "sizer_lag_records") == 0)
    found = watched.scrape()
    assert {key[1:]: value for key, value in found.items() if key[0] == "sizer_decisions_total" and value} == {
        ("SIZED", ""): 3,
        ("SKIPPED", "LOW_CONFIDENCE"): 2,
    }
    assert {key[1:]: value for key, value in found.items() if key[0] == "sizer_dead_letters_total" and value} == {
        ("INVALID", SIGNALS): 1,
        ("UNDECODABLE", SIGNALS): 1,
        ("KEY_MISMATCH", SIGNALS): 1,
        ("UNKNOWN_ORDER", FILLS): 1,
    }
    assert found["sizer_ignored_records_total", "DUPLICATE_SIGNAL"] == 2
    assert found["sizer_ignored_records_total", "REPEATED_EXEC_ID"] == 1
    assert found["sizer_conflicting_signals_total",] == 1
    assert found["sizer_phase_events_total", "PORTFOLIO_OPENED"] == 1
    assert found["sizer_exposure_limit_used_ratio_count",] == 3
    assert found["sizer_transaction_records_sum",] == 13
    assert found["sizer_oldest_record_age_seconds_count",] > 0
    assert found["sizer_oldest_record_age_seconds_bucket", "60.0"] == found["sizer_oldest_record_age_seconds_count",]
    assert {key[1:] for key in found if key[0] == "sizer_lag_seconds"} == {
        (partition, topic) for topic in (SIGNALS, FILLS) for partition in ("0", "1")
    }
    names = {family.name for family in text_string_to_metric_families(watched.get("/metrics")[1])}
    assert {name for name in names if name.startswith("sizer_")} == {
        family.name.removesuffix("_total") for family in FAMILIES
    }
    assert watched.worker.stop() == 0


def test_counters_never_go_back_while_partitions_move(deployment: Deployment) -> None:
    first = Watched(deployment)
    first.until_ready()
    seen: list[dict[tuple[str, ...], float]] = []
    with load(deployment, Traffic(SEED)) as sent:
        first.until(lambda: first.scrape()["sizer_input_records_total", SIGNALS] > 50)
        second = Watched(deployment, "b")

        def look() -> bool:
            seen.append(first.scrape())
            return seen[-1]["sizer_partitions", "owned"] == 1

        first.until(look)
        second.until_ready()
        second.worker.stop()
        first.until(lambda: not look())
    growing = {family.name for family in FAMILIES if family.kind == "counter"}
    for before, after in pairwise(seen):
        for key, value in before.items():
            if key[0] in growing or key[0].endswith(("_count", "_bucket")):
                assert after[key] >= value, key
    deployment.wait_for_answers(sum(record.topic == SIGNALS for record in sent))
    assert first.worker.stop() == 0


def test_only_this_machine_is_answered_unless_asked_for(deployment: Deployment) -> None:
    watched = Watched(deployment)
    watched.until_ready()
    assert watched.listens_at() == {"127.0.0.1"}
    others = {
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family.name == "AF_INET" and not address.address.startswith("127.")
    }
    for address in others:
        with pytest.raises(URLError, match="refused"):
            urlopen(f"http://{address}:{watched.port}/livez", timeout=PATIENCE)
    assert watched.worker.stop() == 0
    open_to_all = Watched(deployment, SIZER_WEB_HOST="0.0.0.0")
    open_to_all.until(lambda: open_to_all.get("/livez")[0] == 200)
    assert open_to_all.listens_at() == {"0.0.0.0"}
    assert open_to_all.worker.stop() == 0


def test_a_worker_without_a_web_port_takes_no_connections(deployment: Deployment) -> None:
    worker = deployment.started()
    assert not [
        found for found in psutil.Process(worker.pid).net_connections("tcp") if found.status == psutil.CONN_LISTEN
    ]
    assert worker.stop() == 0


def objects(worker: Worker) -> list[dict[str, Any]]:
    """Return the lines of a log that is JSON, all of them."""
    found = [json.loads(line) for line in worker.lines]
    assert all(list(line)[:3] == ["timestamp", "level", "event"] for line in found)
    return found


def test_the_log_is_json_from_the_first_line_to_the_last(deployment: Deployment) -> None:
    watched = Watched(deployment, SIZER_LOG_FORMAT="json")
    watched.until_ready()
    watched.worker.wait_for('"ready"')
    deployment.send(Traffic(SEED).signals(10))
    deployment.wait_for_answers(10)
    second = deployment.start("a", SIZER_LOG_FORMAT="json")  # the same folder
    assert second.wait() == 2
    (refused,) = objects(second)
    assert (refused["event"], refused["level"], refused["status"]) == ("refused", "error", 2)
    assert "in use by another worker" in refused["reason"]
    assert watched.worker.stop() == 0
    told = objects(watched.worker)
    assert [line["event"] for line in told] == ["listening", "assigned", "ready", "stopping", "stopped"]
    assert told[1]["partitions"] == [0, 1]


def test_a_doubt_is_json_too(deployment: Deployment) -> None:
    servers = deployment.settings.bootstrap_servers
    stranger = Producer({"bootstrap.servers": servers, "transactional.id": f"stranger-{deployment.settings.app_id}"})
    stranger.init_transactions()
    stranger.begin_transaction()
    stranger.produce(changelog_topic(deployment.settings, "orders"), b"row", b"key", 0)
    stranger.flush()
    worker = deployment.start(SIZER_LOG_FORMAT="json")
    assert worker.wait() == 70, worker.said
    stranger.abort_transaction()
    doubt = objects(worker)[-1]
    assert (doubt["event"], doubt["level"], doubt["status"]) == ("in doubt", "critical", 70)
    assert "a transaction is open from offset 0" in doubt["reason"]
