"""What a scrape says: totals that only grow wherever partitions are, and nothing that docs/metrics.md does not tell."""

import asyncio
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from app.core.policy import TABLE_POLICY
from app.processor import MemoryStore, Processor
from app.stream.health import Health
from app.stream.metric_families import FAMILIES
from app.stream.metrics import Exposition, Sources
from app.stream.partitions import Lag
from app.stream.totals import Distribution, Totals
from app.stream.watchdog import Pulse
from tests.history import NOON
from tests.unit.test_processor import signal

ROOT = Path(__file__).parents[2]
SUFFIXES = {"counter": ("",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}
SAMPLES = {family.name + suffix for family in FAMILIES for suffix in SUFFIXES[family.kind]}
PROCESS = {
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_virtual_memory_bytes",
}
MILLISECOND = 1_000


class Worker:
    """What the metrics are read from; its partitions come and go."""

    def __init__(self) -> None:
        self.totals = Totals()
        self.pulse = Pulse()
        self.health = Health(self.pulse, self.totals)
        self.tasks: dict[int, Any] = {}
        self.lags: list[Lag] = []
        self.exposition = Exposition(Sources(self.health, self.totals, self.pulse, TABLE_POLICY.policy_id))

    def connect(self) -> None:
        self.partitions: Any = SimpleNamespace(
            tasks=self.tasks,
            standby=frozenset({7}),
            partition_count=8,
            pace=SimpleNamespace(limit=2.6),
            waits_for_group=False,
            is_moving=False,
            is_incomplete=False,
            waits_for_registry=False,
            lags=lambda: iter(self.lags),
        )
        self.health.partitions = self.partitions

    def open(self, partition: int) -> Processor:
        processor = Processor(partition, MemoryStore(), TABLE_POLICY, partition_count=8, partition_of=None)
        self.tasks[partition] = SimpleNamespace(processor=processor)
        return processor

    def close(self, partition: int) -> None:
        self.totals.keep(self.tasks.pop(partition).processor)

    def scrape(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        text, _ = asyncio.run(self.exposition.write(""))
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in parse_text(text.decode())
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        return self.scrape()[name, frozenset(labels.items())]


@pytest.fixture
def worker() -> Worker:
    made = Worker()
    made.connect()
    return made


def test_everything_is_there_from_the_beginning_with_zero() -> None:
    found = Worker().scrape()
    counters = {family.name for family in FAMILIES if family.kind == "counter"}
    assert {name for name, _ in found} >= counters
    assert all(value == 0 for (name, _), value in found.items() if name in counters and "restore" not in name)
    assert found["sizer_dead_letters_total", frozenset({("topic", "fills"), ("code", "OUT_OF_RANGE")})] == 0
    assert ("sizer_dead_letters_total", frozenset({("topic", "fills"), ("code", "STALE_SIGNAL")})) not in found
    assert found["sizer_ready", frozenset()] == 0


def test_what_was_counted_stays_when_a_partition_moves_away_and_comes_back(worker: Worker) -> None:
    first, other = worker.open(0), worker.open(1)
    for number in range(3):
        first.process(signal(number, number), NOON)
    first.process(signal(3, 3, confidence=0.5), NOON)
    other.process(signal(1, 1), NOON)
    sized = {"decision": "SIZED", "reason": ""}
    assert worker.value("sizer_decisions_total", **sized) == 4
    worker.close(0)
    assert worker.value("sizer_decisions_total", **sized) == 4
    assert worker.value("sizer_decisions_total", decision="SKIPPED", reason="LOW_CONFIDENCE") == 1
    assert worker.value("sizer_phase_events_total", type="PORTFOLIO_OPENED") == 2
    assert worker.value("sizer_exposure_limit_used_ratio_count") == 4
    worker.open(0).process(signal(9, 9), NOON)
    assert worker.value("sizer_decisions_total", **sized) == 5
    worker.close(0)
    worker.close(1)
    assert worker.value("sizer_decisions_total", **sized) == 5
    assert worker.value("sizer_input_records_total", topic="signals") == 6
    assert worker.value("sizer_exposure_limit_used_ratio_count") == 5


def test_how_much_of_the_limit_is_used(worker: Worker) -> None:
    """A portfolio of 100,000 has a limit of 1,000; each order is of 100, so the last one is refused."""
    processor = worker.open(0)
    for number in range(11):
        processor.process(signal(number, number), NOON)
    assert worker.value("sizer_decisions_total", decision="SKIPPED", reason="EXPOSURE_LIMIT") == 1
    used = {
        bound: worker.value("sizer_exposure_limit_used_ratio_bucket", le=bound)
        for bound in ("0.1", "0.2", "0.9", "0.95", "1.0", "+Inf")
    }
    assert used == {"0.1": 1, "0.2": 2, "0.9": 9, "0.95": 9, "1.0": 10, "+Inf": 10}
    assert worker.value("sizer_exposure_limit_used_ratio_sum") == pytest.approx(5.5)


def test_a_signal_that_comes_again_is_told_from_another_under_its_id(worker: Worker) -> None:
    processor = worker.open(0)
    for offset, confidence in enumerate((0.9, 0.9, 0.8)):
        processor.process(signal(1, offset, confidence=confidence), NOON)
    assert worker.value("sizer_ignored_records_total", reason="DUPLICATE_SIGNAL") == 2
    assert worker.value("sizer_conflicting_signals_total") == 1


def test_transactions_are_counted_with_what_they_took(worker: Worker) -> None:
    worker.totals.begin_transaction(3)
    assert worker.value("sizer_transactions_in_flight") == 1
    worker.totals.end_transaction(3, 50, None)
    worker.totals.begin_transaction(3)
    worker.totals.end_transaction(3, 51, 0)  # of 1970
    worker.totals.begin_transaction(3)
    worker.totals.end_transaction(3, 2_000, 100_000_000_000_000)  # of a clock that is ahead
    assert worker.value("sizer_transactions_in_flight") == 0
    assert worker.value("sizer_transaction_duration_seconds_count") == 3
    assert worker.value("sizer_transaction_records_sum") == 2_101
    assert worker.value("sizer_transaction_records_bucket", le="50.0") == 1
    assert worker.value("sizer_transaction_records_bucket", le="2000.0") == 3
    assert worker.value("sizer_oldest_record_age_seconds_bucket", le="0.005") == 1
    assert worker.value("sizer_oldest_record_age_seconds_bucket", le="3600.0") == 1
    assert worker.value("sizer_oldest_record_age_seconds_count") == 2


def test_lag_is_told_by_partition_of_those_that_are_owned(worker: Worker) -> None:
    worker.lags = [Lag("signals", 5, 17, None), Lag("fills", 5, 0, 1_000)]
    assert worker.value("sizer_lag_records", topic="signals", partition="5") == 17
    assert worker.value("sizer_lag_seconds", topic="signals", partition="5") == 0
    assert worker.value("sizer_lag_seconds", topic="fills", partition="5") > 1_000_000
    worker.lags = []
    assert not any(name.startswith("sizer_lag") for name, _ in worker.scrape())
    assert worker.value("sizer_partitions", role="standby") == 1
    assert worker.value("sizer_topic_partitions") == 8


def test_a_distribution_counts_its_upper_ends() -> None:
    distribution = Distribution((1, 2))
    for value in (0, 1, 1.5, 2, 3):
        distribution.add(value)
    assert (distribution.counts, distribution.sum) == ([2, 2, 1], 7.5)


def test_no_label_follows_from_what_is_in_a_record(worker: Worker) -> None:
    processor = worker.open(0)
    before = set(worker.scrape())
    for number in range(50):
        processor.process(signal(number, number, portfolio=f"PF-{number}"), NOON)
    assert set(worker.scrape()) == before


def test_openmetrics_is_spoken_to_who_asks_for_it(worker: Worker) -> None:
    text, content_type = asyncio.run(worker.exposition.write("application/openmetrics-text; version=1.0.0"))
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert text.endswith(b"# EOF\n")
    families = {family.name for family in parse_openmetrics(text.decode())}
    assert {family.name.removesuffix("_total") for family in FAMILIES} <= families
    _, content_type = asyncio.run(worker.exposition.write("text/html, */*;q=0.8"))
    assert content_type.startswith("text/plain; version=0.0.4")


def test_a_registry_of_libraries_is_not_exposed(worker: Worker) -> None:
    assert {name for name, _ in worker.scrape()} <= SAMPLES | PROCESS


def page_rows(path: str) -> Iterator[list[str]]:
    for line in (ROOT / path).read_text().splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def test_the_page_has_all_metrics_and_no_others() -> None:
    rows = {row[0].strip("` "): row[1:] for row in page_rows("docs/metrics.md") if not row[0].startswith("`Sizer")}
    told = {name: row for name, row in rows.items() if name.startswith("sizer_")}
    assert told == {
        family.name: [family.kind, ", ".join(f"`{label}`" for label in family.labels), family.help]
        for family in FAMILIES
    }
    assert {name for name in rows if name.startswith("process_")} == PROCESS


def expressions() -> Iterable[tuple[str, str]]:
    for group in yaml.safe_load((ROOT / "deploy/prometheus/alerts.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]
    for panel in json.loads((ROOT / "deploy/grafana/position-sizer.json").read_text())["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


@pytest.mark.parametrize(("where", "expression"), [pytest.param(*found, id=found[0]) for found in expressions()])
def test_rules_and_panels_ask_for_metrics_and_labels_that_exist(where: str, expression: str) -> None:
    labels: Mapping[str, set[str]] = {
        family.name + suffix: {*family.labels, *(["le"] if suffix == "_bucket" else [])}
        for family in FAMILIES
        for suffix in SUFFIXES[family.kind]
    }
    asked = re.findall(r"\b((?:sizer|process)_[a-z0-9_]+)(?:\{([^}]*)\})?", expression)
    assert asked
    for name, matchers in asked:
        assert name in SAMPLES | PROCESS
        for label in re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", matchers):
            assert label in labels.get(name, set()) | {"job", "instance"}, name
    for open_bracket, close_bracket in ("()", "{}", "[]"):
        assert expression.count(open_bracket) == expression.count(close_bracket)


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    rules = [
        rule
        for group in yaml.safe_load((ROOT / "deploy/prometheus/alerts.yaml").read_text())["groups"]
        for rule in group["rules"]
    ]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"].keys() == {"summary", "description"}
    told = {row[0].strip("` ") for row in page_rows("docs/metrics.md") if row[0].startswith("`Sizer")}
    assert told == {rule["alert"] for rule in rules}
