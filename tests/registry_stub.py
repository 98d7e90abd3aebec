"""A small real HTTP server that speaks as much of a Schema Registry as the sizer asks of one; to be down on demand."""

import base64
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class RegistryStub:
    """Serves from `start` to `stop`, on the same port again and again."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.schemas: dict[int, str] = {}
        """By number."""
        self.subjects: dict[str, int] = {}
        self.login: tuple[str, str] | None = None
        """User and password that are asked for."""
        self.status: int | None = None
        """Answered to everything, if set."""
        self.asked: list[str] = []
        """Paths, in order."""
        self.heard = threading.Event()
        """Set at each request."""
        self._tls = tls
        self._port = 0
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://localhost:{self._port}"

    def start(self) -> None:
        stub = self

        class Handler(_Handler):
            registry = stub

        self._server = ThreadingHTTPServer(("localhost", self._port), Handler)
        self._port = self._server.server_port
        if self._tls is not None:
            self._server.socket = self._tls.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class _Handler(BaseHTTPRequestHandler):
    registry: RegistryStub

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name
        """Say nothing."""

    def _answer(self) -> None:
        registry = self.registry
        registry.asked.append(self.path)
        status, document = self._found()
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        # Else a client's connection would live on when the server is stopped.
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        registry.heard.set()

    def _found(self) -> tuple[int, Any]:  # noqa: PLR0911 - one for each kind of request
        registry = self.registry
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if registry.status is not None:
            return registry.status, b"<html>"
        if registry.login is not None:
            expected = base64.b64encode(":".join(registry.login).encode()).decode()
            if self.headers.get("Authorization") != f"Basic {expected}":
                return 401, {"error_code": 40101, "message": "User cannot access the resource."}
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts[:2] == ["schemas", "ids"] and int(parts[2]) in registry.schemas:
            return 200, {"schema": registry.schemas[int(parts[2])]}
        if parts[:2] == ["schemas", "ids"]:
            return 404, {"error_code": 40403, "message": f"Schema {parts[2]} not found"}
        if parts[0] == "subjects":
            number = registry.subjects.get(parts[1])
            if number is None:
                return 404, {"error_code": 40401, "message": "Subject not found"}
            if registry.schemas[number] != json.loads(body)["schema"]:
                return 404, {"error_code": 40403, "message": "Schema not found"}
            return 200, {"subject": parts[1], "id": number, "version": 1, "schema": registry.schemas[number]}
        return 404, b"Not Found"
