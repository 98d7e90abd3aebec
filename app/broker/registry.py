"""A Schema Registry as a child process: Apicurio, through the interface that Confluent's clients speak."""

import json
import secrets
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from app.broker.java import QUICK_START, TEMPORARY, java_command
from app.broker.ports import HOST, choose_port
from app.broker.registry_files import registry_jar
from app.broker.service import Service

_HEAP_MEGABYTES = 384
_API = "/apis/ccompat/v7"
_COMPATIBILITY = "BACKWARD"  # Confluent's own default
_REQUEST_SECONDS = 30
_OK = 200


class Registry(Service):
    """A real Schema Registry, ready when `start` returns. It keeps schemas in memory only: for trying things.

    It lives no longer than this process, however that ends. `folder` is for its log and what is temporary. After
    `stop` or `kill` and a `start` it is on the same port, and empty. One thread at a time may call its methods.

        with Registry(folder) as registry:
            SchemaRegistryClient({"url": registry.url})
    """

    _name = "registry"
    _cure = "set XDG_DATA_HOME to a folder that can"

    def __init__(self, folder: Path, port: int | None = None) -> None:
        """Describe a registry; nothing is started or written yet.

        `port`: on 127.0.0.1; without one it is any that is free.
        """
        super().__init__(folder)
        self._port = port

    @property
    def url(self) -> str:
        """Where clients connect: `http://127.0.0.1:PORT/apis/ccompat/v7`; stays the same over `stop` and `start`."""
        if self._port is None:
            raise RuntimeError("the registry was not started yet")
        return f"http://{HOST}:{self._port}{_API}"

    def start(self) -> None:
        """Start it; return when it takes schemas (3 to 4 s; the first time ever it is also fetched, 159 MB).

        A new version of a schema must be able to read what the one before has written (`BACKWARD`).

        Raises UserError for a folder that is not writable, a port that is taken, an archive that cannot be had;
        BrokerError if it ends or is not ready after two minutes. Then nothing is left running.
        """
        self._forget_the_dead()
        jar = registry_jar()
        self._make_folder(TEMPORARY)

        def start_once() -> int:
            port = choose_port(self._port)
            name = secrets.token_hex(8)
            _await_ready(port, name, self._run(_command(jar, port, name)))
            return port

        try:
            self._port = self._attempt(start_once)
        except BaseException:
            self.kill()
            raise


def _command(jar: Path, port: int, name: str) -> list[str]:
    properties = {
        "quarkus.http.host": HOST,
        "quarkus.http.port": str(port),
        "quarkus.http.access-log.enabled": "false",  # it would grow with every request
        "quarkus.management.host": HOST,
        "quarkus.management.port": "0",  # any that is free: nobody asks there
        "apicurio.app.description": name,
        "apicurio.rules.global.compatibility": _COMPATIBILITY,
    }
    options = [f"-D{key}={value}" for key, value in properties.items()]
    return java_command(_HEAP_MEGABYTES, QUICK_START, *options, "-jar", str(jar))


def _await_ready(port: int, name: str, pause: Callable[[], None]) -> None:
    """Return when the registry of this name answers, and not another one that took the port first; see `pause`."""
    while _get(port, "/apis/registry/v3/system/info").get("description") != name:
        pause()
    while _get(port, f"{_API}/config").get("compatibilityLevel") != _COMPATIBILITY:
        pause()


def _get(port: int, path: str) -> dict[str, Any]:
    """Return the document at a path; an empty one if there is none. No proxy of the environment is asked."""
    connection = HTTPConnection(HOST, port, timeout=_REQUEST_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        document = json.loads(answer.read()) if answer.status == _OK else {}
    except (OSError, HTTPException, ValueError):
        return {}
    finally:
        connection.close()
    return document if isinstance(document, dict) else {}
