"""What the benchmark's pages are made of, with planted figures."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from app.errors import UserError
from bench import tables
from bench.chart import Bar, Panel, svg
from bench.publish import page, panels, with_figures
from bench.results import Results
from bench.sizing import UnitCosts, size


@pytest.fixture
def results(tmp_path: Path) -> Results:
    found = Results.begin(tmp_path / "bench.jsonl", seed=7)
    # The worker costs 1.5, 1.2 and 3.0 times what the loop does; the median of the costs would be another ratio.
    for number, (ours, theirs) in enumerate(((60.0, 40.0), (120.0, 100.0), (30.0, 10.0))):
        for name, cpu_us in (("sizer", ours), ("plain loop", theirs)):
            values = {"rate": 1e4, "cpu_us": cpu_us, "broker_cpu_us": 20.0, "log_bytes": 900.0, "memory_mib": 100.0}
            found.add("throughput", name, round=number, portfolios=1_000, events=10, seconds=1.0, **values)
    percentiles = {"p50_ms": 5.0, "p99_ms": 20.0, "p99_9_ms": 40.0}
    found.add("latency", "sizer", round=0, rate=5_000, **percentiles, sent_late_ms=0.2, cpu_us=60.0, broker_cpu_us=30.0)
    return found


def test_a_ratio_is_the_median_of_the_rounds_ratios(results: Results) -> None:
    assert results.cpu_ratio("sizer", "plain loop", 1_000) == pytest.approx(1.5)


def test_what_was_written_is_read_again(results: Results, tmp_path: Path) -> None:
    again = Results.read(tmp_path / "bench.jsonl")
    assert (again.seed, again.machine) == (7, results.machine)
    assert tables.all_tables(again) == tables.all_tables(results)


@pytest.mark.parametrize("content", ["", "{", '{"measure": "machine"}\n'])
def test_a_file_that_is_no_results_is_told(tmp_path: Path, content: str) -> None:
    file = tmp_path / "bench.jsonl"
    file.write_text(content)
    with pytest.raises(UserError, match=r"is not what `make bench` writes"):
        Results.read(file)
    with pytest.raises(UserError, match=r"there is no"):
        Results.read(tmp_path / "other.jsonl")


def test_the_page_has_the_machine_and_only_what_was_measured(results: Results) -> None:
    text = page(results)
    assert results.machine.commit in text
    assert "| 5,000 | sizer | 5.00 | 20.0 | 40.0 | 60.0 | 0.20 |" in text
    assert "### Failover" not in text
    assert "{" not in text


def test_the_picture_is_well_formed(results: Results) -> None:
    charts = panels(results)
    assert [chart.title for chart in charts[:2]] == ["Processor time, backlog", "Throughput, backlog"]
    odd = Panel("a < b", "µs", [Bar("one & two", 0.0, "0", is_ours=True), Bar("three", 7.0, "7", is_ours=False)])
    assert "one & two" in list(ET.fromstring(svg([*charts, odd])).itertext())


def test_sizes_follow_the_formula() -> None:
    # 60,000 signals/s are 100,000 events/s: 6 cores at 60 µs, half busy 12 workers; 30 µs for each of 3 replicas.
    found = size(UnitCosts(worker_us=60, broker_us=30, log_bytes=1_000), 60_000)
    assert (found.worker_cores, found.workers, found.partitions) == (pytest.approx(6), 12, 48)
    assert (found.broker_cores, found.brokers) == (pytest.approx(9), 3)
    assert found.bytes_per_second == pytest.approx(3e8)


def test_a_small_load_still_has_a_standby_and_three_replicas() -> None:
    found = size(UnitCosts(worker_us=60, broker_us=30, log_bytes=1_000), 100)
    assert (found.workers, found.partitions, found.brokers) == (2, 12, 3)


def test_figures_replace_those_before_them() -> None:
    text = "a\n<!-- sizes -->\nold\n<!-- end of sizes -->\nb\n"
    assert with_figures(text, "sizes", "new") == "a\n<!-- sizes -->\nnew\n<!-- end of sizes -->\nb\n"
    with pytest.raises(UserError, match="no place for partitions"):
        with_figures(text, "partitions", "new")
