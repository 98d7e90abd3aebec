"""The signal producers and execution services of `examples/`, run as their readers run them."""

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.codecs.output import read_output
from app.codecs.records import SIZED_ORDER
from app.topics import FILLS, SIZED_ORDERS
from tests.integration.cluster import PATIENCE, Deployment

EXAMPLES = Path(__file__).parents[2] / "examples"
LANGUAGES = ("python", "aiokafka", "java")
SCRIPTS = {"producer": "signal_producer.py", "service": "execution_service.py"}
CLASSES = {"producer": "SignalProducer", "service": "ExecutionService"}
Document = dict[str, Any]


@cache
def load(script: Path) -> Any:
    """Import a script."""
    specification = importlib.util.spec_from_file_location(script.stem, script)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@cache
def command(language: str, role: str) -> tuple[str, ...]:
    """Return the command of a producer or a service."""
    if language == "java":
        run = load(EXAMPLES / "java" / "run.py")
        return tuple(run.command(run.compiled(run.SOURCES), CLASSES[role]))
    return (sys.executable, str(EXAMPLES / language / SCRIPTS[role]))


class Program:
    """A running program; what it says, on stdout and stderr, is kept line by line."""

    def __init__(self, arguments: tuple[str, ...]) -> None:
        self.lines: list[str] = []
        self._said = threading.Condition()
        self._process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._said:
                self.lines.append(line.rstrip())
                self._said.notify_all()
        with self._said:
            self._said.notify_all()

    @property
    def said(self) -> str:
        """All that it has said so far."""
        return "\n".join(self.lines)

    def wait_for(self, is_enough: Callable[[list[str]], bool]) -> None:
        """Wait until it has said enough."""
        with self._said:
            self._said.wait_for(lambda: is_enough(self.lines) or not self._reader.is_alive(), PATIENCE)
            assert is_enough(self.lines), self.said

    def wait(self) -> int:
        """Wait until it ends and return its exit status."""
        status = self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return status

    def stop(self) -> int:
        """End it cleanly and return its exit status."""
        self._process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self._process.kill()
        self.wait()


class Neighbours:
    """The producer and the service of one language, at a deployment."""

    def __init__(self, language: str, deployment: Deployment) -> None:
        self.language = language
        self.deployment = deployment
        settings = deployment.settings
        self._common = (f"--bootstrap-servers={settings.bootstrap_servers}", f"--prefix={settings.topic_prefix}")
        url = settings.schema_registry_url
        self._registry = () if url is None else (f"--registry={url}",)

    def send_signals(self, *arguments: str) -> Program:
        """Run the producer to its end; it must say that all arrived."""
        producer = Program((*command(self.language, "producer"), *self._common, *self._registry, *arguments))
        assert producer.wait() == 0, producer.said
        return producer

    @contextmanager
    def service(self, *arguments: str) -> Iterator[Program]:
        """Run the service as long as the block runs; its journal outlives it."""
        journal = f"--journal={self.deployment.folder / 'journal'}"
        service = Program((*command(self.language, "service"), *self._common, *self._registry, journal, *arguments))
        try:
            yield service
        finally:
            service.kill()

    def documents(self, topic: str) -> list[Document]:
        """Return every committed record of a topic, partition by partition."""
        values = [message.value() or b"" for log in self.deployment.read(topic) for message in log[topic]]
        return [read_output(value, SIZED_ORDER) if topic == SIZED_ORDERS else orjson.loads(value) for value in values]

    def wait_for(self, topic: str, is_enough: Callable[[list[Document]], bool]) -> list[Document]:
        """Read a topic again and again until it has what is expected."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = self.documents(topic)
            if is_enough(found):
                return found
        pytest.fail(f"{topic}: {self.documents(topic)}")

    def answer_to(self, portfolio_id: str, signal_id: str) -> Document:
        """Wait for the answer to a signal."""
        wanted = (portfolio_id, signal_id)
        found: list[Document] = []

        def is_there(orders: list[Document]) -> bool:
            found[:] = [order for order in orders if (order["portfolio_id"], order["signal_id"]) == wanted]
            return bool(found)

        self.wait_for(SIZED_ORDERS, is_there)
        return found[0]

    def fills_of(self, order: Document, count: int) -> list[Document]:
        """Wait for so many fills of an order."""
        found: list[Document] = []

        def is_enough(fills: list[Document]) -> bool:
            found[:] = [fill for fill in fills if fill["order_id"] == order["order_id"]]
            return len(found) >= count

        self.wait_for(FILLS, is_enough)
        return found
