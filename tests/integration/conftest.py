"""One real broker for all integration tests, and a deployment of its own for each that asks for one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.broker import Broker
from tests.integration.cluster import Deployment


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Run a broker that all tests share: each needs topics and ids of its own. Nobody needs its data afterwards."""
    running = Broker(tmp_path_factory.mktemp("broker"))
    running.start()
    yield running
    running.kill()


@pytest.fixture
def deployment(broker: Broker, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Deployment]:
    """Give a deployment of its own to a test; its topics exist."""
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    made = Deployment(broker.bootstrap_servers, name, tmp_path, partitions=2)
    made.create_topics()
    yield made
    made.close()
