"""A deployment of its own, on the common broker, for each test that asks for one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.broker import Broker
from app.errors import UserError
from tests.integration.cluster import Deployment
from tests.integration.locks import LockedBroker
from tests.integration.neighbours import command


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fetch what the examples in Java are compiled with, and compile them, before the first test begins."""
    if any("neighbours" in getattr(item, "fixturenames", ()) for item in session.items):
        try:
            command("java", "service")
        except UserError as error:
            pytest.exit(str(error), returncode=1)


@pytest.fixture
def deployment(broker: Broker, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Deployment]:
    """Give a deployment of its own to a test; its topics exist."""
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    made = Deployment(broker.bootstrap_servers, name, tmp_path, partitions=2)
    made.create_topics()
    yield made
    made.close()


@pytest.fixture(scope="session")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LockedBroker]:
    """Run a broker with locks that all tests share: each needs users, topics and ids of its own."""
    with LockedBroker(tmp_path_factory.mktemp("locked")) as running:
        yield running
