"""What probes are told, and that a probe never ends a worker that only waits."""

import asyncio
import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import ClientSession

from app.core.policy import TABLE_POLICY
from app.errors import UserError
from app.settings import Settings
from app.stream import web
from app.stream.faust_app import SizerApp
from app.stream.health import Health
from app.stream.progress import RESTORES
from app.stream.totals import Totals
from app.stream.watchdog import Pulse
from tests.integration.cluster import free_port

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def at_rest() -> Any:
    """Return what is looked at of partitions that have nothing to wait for."""
    return SimpleNamespace(waits_for_group=False, is_moving=False, is_incomplete=False, waits_for_registry=False)


@pytest.fixture
def health() -> Health:
    made = Health(Pulse(), Totals())
    made.partitions = at_rest()
    return made


def reason_of(health: Health) -> str:
    """Return why it is not ready; the page has it, whatever the numbers."""
    reason = health.why_not_ready()
    assert reason is not None
    told = re.findall(r"`([^`]+)`", PAGE.read_text())
    assert re.sub(r"\d+", "N", reason) in {re.sub(r"\d+", "N", text) for text in told}, reason
    return reason


def test_one_that_has_nothing_to_do_is_ready(health: Health) -> None:
    assert health.why_not_ready() is None


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"waits_for_group": True, "is_moving": True}, "waiting for the group"),
        ({"is_moving": True}, "taking up partitions"),
        ({"is_incomplete": True}, "the group's assignment is incomplete"),
        ({"waits_for_registry": True}, "waiting for the schema registry"),
    ],
)
def test_one_whose_partitions_are_on_their_way_is_not_ready(
    facts: dict[str, bool], reason: str, health: Health
) -> None:
    vars(health.partitions).update(facts)
    assert reason_of(health) == reason
    assert health.why_not_alive() is None


def test_one_that_restores_says_how_much_remains(health: Health) -> None:
    vars(health.partitions)["is_moving"] = True
    with RESTORES.begin(3, 17):
        assert reason_of(health) == "restoring, 17 offsets remain"
    assert reason_of(health) == "taking up partitions"


def test_one_without_a_broker_is_not_ready_and_alive(health: Health) -> None:
    health.partitions = None
    assert reason_of(health) == "waiting for a broker"
    health.waits_for = "the schema registry"
    assert reason_of(health) == "waiting for the schema registry"
    assert health.why_not_alive() is None


def test_one_whose_coordinator_is_gone_is_not_ready(health: Health) -> None:
    health.knows_coordinator = lambda: False
    assert reason_of(health) == "the group's coordinator does not answer"
    assert health.why_not_alive() is None


def test_one_that_stops_is_not_ready_and_alive(health: Health) -> None:
    health.is_stopping = True
    assert reason_of(health) == "stopping"
    assert health.why_not_alive() is None


def test_one_whose_transaction_hangs_is_not_ready() -> None:
    totals = Totals()
    health = Health(Pulse(), totals)
    health.partitions = at_rest()
    totals.begin_transaction(3)
    assert health.why_not_ready() is None
    totals.begun[3] = time.monotonic() - 12
    assert reason_of(health) == "partition 3: a transaction has been under way for 12 s"
    totals.end_transaction(3, 1, None)
    assert health.why_not_ready() is None


def test_one_that_stands_still_with_input_is_not_ready() -> None:
    pulse = Pulse()
    health = Health(pulse, Totals())
    health.partitions = at_rest()
    pulse.look({2: 10, 3: 15})
    assert reason_of(health) == "partition 3: nothing was processed for 15 s, though there is input"
    assert health.why_not_alive() is None
    pulse.look({})
    assert health.why_not_ready() is None


def test_one_that_nobody_watches_is_not_alive() -> None:
    pulse = Pulse()
    health = Health(pulse, Totals())
    for _ in range(200):
        pulse.tick(0.5)
    assert health.why_not_alive() is None, "nobody was to look yet"
    pulse.look({})
    for _ in range(120):
        pulse.tick(0.5)
    assert health.why_not_alive() is None
    pulse.tick(0.5)
    assert health.why_not_alive() == "the watchdog has not looked for 60 s"
    pulse.look({})
    assert health.why_not_alive() is None


async def serve(app: SizerApp, *asked: tuple[str, str]) -> list[tuple[int, str]]:
    """Start the web server alone, as the worker does it, and return what it answers to (method, path)."""
    await app.web.maybe_start()
    try:
        async with ClientSession(f"http://{app.settings.web_host}:{app.settings.web_port}") as session:
            answers = []
            for method, path in asked:
                async with session.request(method, path) as response:
                    answers.append((response.status, await response.text()))
            return answers
    finally:
        await app.web.stop()


def app_at(tmp_path: Path, **settings: Any) -> SizerApp:
    return SizerApp(Settings(data_dir=tmp_path, web_port=free_port(), **settings), TABLE_POLICY)


def test_only_our_pages_are_served(tmp_path: Path) -> None:
    async def run() -> list[tuple[int, str]]:
        asked = [
            ("GET", "/livez"),
            ("HEAD", "/livez"),
            *(("GET", path) for path in ("/", "/router", "/router/", "/table", "/table/", "/graph", "/performance/")),
            *(("GET", path) for path in ("/assignment/", "/livez/", "/metrics/x", "/../livez2")),
            *((method, "/metrics") for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH")),
        ]
        return await serve(app_at(tmp_path), *asked)

    answers = asyncio.run(run())
    assert answers[0] == (200, '{"status":"alive"}')
    assert answers[1] == (200, "")
    assert answers[2:-5] == [(404, "404: Not Found")] * 11
    assert answers[-5:] == [(405, "405: Method Not Allowed")] * 5


def test_an_error_of_ours_shows_no_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> list[tuple[int, str]]:
        app = app_at(tmp_path)
        monkeypatch.setattr(app.health, "why_not_ready", lambda: 1 / 0)
        return await serve(app, ("GET", "/readyz"), ("GET", "/livez"))

    (status, text), (after, _) = asyncio.run(run())
    assert (status, after) == (500, 200)
    assert "Traceback" not in text
    assert "Zero" not in text


def test_the_pulse_goes_by_the_event_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "_TICK_SECONDS", 0.001)

    async def run() -> SizerApp:
        app = app_at(tmp_path)
        app.pulse.look({})
        await app.web.maybe_start()
        async with asyncio.timeout(20):
            while not app.pulse.silence:  # noqa: ASYNC110 - nobody is told
                await asyncio.sleep(0)
        await app.web.stop()
        return app

    assert sum(asyncio.run(run()).totals.loop_delay_seconds.counts) > 0


@pytest.mark.parametrize(
    ("host", "texts"),
    [
        ("no-such-host.invalid", ["SIZER_WEB_HOST=no-such-host.invalid", "0.0.0.0"]),
        ("203.0.113.1", ["SIZER_WEB_HOST=203.0.113.1", "an address of this machine"]),
    ],
)
def test_an_address_that_is_not_ours_is_a_mistake_of_the_user(host: str, texts: list[str], tmp_path: Path) -> None:
    async def run() -> None:
        await serve(app_at(tmp_path, web_host=host))

    with pytest.raises(UserError) as refused:
        asyncio.run(run())
    assert all(text in str(refused.value) for text in texts)


def test_a_port_that_is_taken_is_a_mistake_of_the_user(tmp_path: Path) -> None:
    async def run() -> None:
        app = app_at(tmp_path)
        await app.web.maybe_start()
        other = SizerApp(app.settings, TABLE_POLICY)
        try:
            await serve(other)
        finally:
            await app.web.stop()

    with pytest.raises(UserError, match=r"SIZER_WEB_PORT=\d+ is taken by another program: set another, or 0"):
        asyncio.run(run())
