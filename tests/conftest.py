"""One real broker, and one real Schema Registry, for all tests that need them."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from app.broker import Broker, Registry
from app.broker.jars import kafka_jars
from app.broker.registry_files import registry_jar
from app.errors import UserError
from tests.browser import CHROMIUM

# How long an example takes is no property: machines are slow now and then.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fetch what the tests need before the first one begins: a slow line is no time-out of a test."""
    wanted = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    try:
        for fixture, fetch in (("broker", kafka_jars), ("registry", registry_jar)):
            if fixture in wanted:
                fetch()
    except UserError as error:
        pytest.exit(str(error), returncode=1)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say whether the report is opened in a browser."""
    found = CHROMIUM or "NONE FOUND, so the report is not opened in one: install chromium"
    terminalreporter.write_line(f"browser: {found}")


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Run a broker that all tests share: each needs topics and ids of its own. Nobody needs its data afterwards."""
    running = Broker(tmp_path_factory.mktemp("broker"))
    running.start()
    yield running
    running.kill()


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Run a Schema Registry that all tests share: each needs subjects of its own."""
    running = Registry(tmp_path_factory.mktemp("registry"))
    running.start()
    yield running
    running.kill()
