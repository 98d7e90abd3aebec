"""The report of the demo's history in a real browser, where there is one: its charts are drawn, nothing complains.

Without a Chromium on the machine there are no tests here; the last line of pytest says which it is.
"""

import re
import subprocess
from pathlib import Path

import pytest

from app.processor import Record
from app.replay.history import TOPICS
from app.report import make_report
from tests.browser import CHROMIUM
from tests.history import MemorySource
from tests.unit.test_demo import PARTITIONS, Story, read_prices

pytestmark = pytest.mark.timeout(600)  # it plays a demo, and begins a browser five times

MAXIMUM_BYTES = 3_000_000
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--enable-logging=stderr",
    "--virtual-time-budget=10000",
)


class DemoTopics(MemorySource):
    """What a demo's six topics hold in the end."""

    partitioner = "murmur2"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    logs: list[dict[str, list[Record]]] = [{topic: [] for topic in TOPICS} for _ in range(PARTITIONS)]
    for seen in Story(read_prices(), seed=1).seen:
        place = seen.topic, seen.partition, seen.offset
        logs[seen.partition][seen.topic].append(Record(*place, seen.key, seen.value, seen.headers, seen.timestamp))
    source = DemoTopics(*logs)
    source.topic_names = {topic: topic for topic in TOPICS}
    out = tmp_path_factory.mktemp("report") / "report.html"
    verdict = make_report(source, out, processes=1)
    assert verdict.is_identical
    assert verdict.is_complete
    return out


def test_report_of_the_demo_is_small(report: Path) -> None:
    assert report.stat().st_size < MAXIMUM_BYTES


def opened(page: Path, profile: Path, *options: str, fragment: str = "") -> tuple[str, list[str]]:
    """Open a page; return the document as it then is, and what the console said."""
    assert CHROMIUM is not None
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", *options, "--dump-dom", f"{page.as_uri()}{fragment}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=150, check=True)
    return ended.stdout, [line for line in ended.stderr.splitlines() if "CONSOLE" in line]


if CHROMIUM is not None:

    def test_console_is_heard(tmp_path: Path) -> None:
        page = tmp_path / "page.html"
        page.write_text("<script>console.error('broken'); missing();</script>")
        _, console = opened(page, tmp_path / "profile")
        assert len(console) == 2

    def test_charts_are_drawn_without_a_word_on_the_console(report: Path, tmp_path: Path) -> None:
        document, console = opened(report, tmp_path / "profile", "--window-size=1280,1000")
        assert console == []
        assert 'data-ready="yes"' in document
        assert len(re.findall("<canvas", document)) == 5

    def test_link_to_an_order_opens_what_it_is_in(report: Path, tmp_path: Path) -> None:
        order_id = re.findall(r'<tr id="(order-[^"]+)"', report.read_text())[-1]
        document, console = opened(report, tmp_path / "profile", fragment=f"#{order_id}")
        assert console == []
        assert f'<tr id="{order_id}" class="found">' in document
        assert len(re.findall("<canvas", document)) > 5

    def test_link_to_an_order_that_is_not_listed_says_so(report: Path, tmp_path: Path) -> None:
        document, console = opened(report, tmp_path / "profile", fragment="#order-<b>nowhere")
        assert console == []
        (told,) = re.findall(r'<p id="missing"([^>]*)>([^<]*)', document)
        assert "hidden" not in told[0]
        assert "nowhere" in told[1]

    def test_report_can_be_printed(report: Path, tmp_path: Path) -> None:
        paper = tmp_path / "paper.pdf"
        _, console = opened(report, tmp_path / "profile", f"--print-to-pdf={paper}")
        assert console == []
        assert paper.read_bytes().startswith(b"%PDF")
