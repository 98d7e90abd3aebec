"""Asking a Schema Registry: what it knows, what it does not, and what keeps it from telling."""

import asyncio
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
import trustme
from structlog.testing import capture_logs

from app.codecs import BadRecord, SchemaPending
from app.codecs.avro_schema import schema_text
from app.codecs.records import FILL, SIGNAL
from app.codecs.writer_schema import layout
from app.errors import UserError
from app.settings import Settings, load_settings
from app.stream import registry as module
from app.stream.formats import await_formats, check_schemas
from app.stream.registry import KNOWN_LIMIT, Registry, RegistryUnavailableError
from tests.registry_stub import RegistryStub

SECRET = "correct horse"


@pytest.fixture
def stub() -> Iterator[RegistryStub]:
    made = RegistryStub()
    made.start()
    made.schemas = {
        1: schema_text(SIGNAL),
        2: schema_text(FILL),
        3: '{"type":"array","items":"string"}',
        4: "x" * 70_000,
    }
    yield made
    made.stop()


def settings(url: str, **more: Any) -> Settings:
    return Settings(schema_registry_url=url, **more)


def known(registry: Registry, schema_id: int) -> Any:
    registry.fetch(schema_id)
    return registry.layout(schema_id, SIGNAL)


def refusal(registry: Registry, schema_id: int) -> str:
    with pytest.raises(BadRecord) as refused:
        known(registry, schema_id)
    assert refused.value.code == "UNKNOWN_SCHEMA"
    return refused.value.message


def test_a_schema_is_asked_for_once(stub: RegistryStub) -> None:
    registry = Registry(settings(stub.url))
    with pytest.raises(SchemaPending):
        registry.layout(1, SIGNAL)
    assert known(registry, 1) == layout(SIGNAL)
    stub.stop()
    for _ in range(3):
        assert registry.layout(1, SIGNAL) == layout(SIGNAL)
    assert stub.asked == ["/schemas/ids/1"]


def test_a_schema_of_something_else_is_unknown_with_its_number(stub: RegistryStub) -> None:
    registry = Registry(settings(stub.url))
    assert refusal(registry, 2).startswith(
        "schema 2 of the registry: the schema is that of 'position_sizer.v1.Fill'; write"
    )
    assert registry.layout(2, FILL) == layout(FILL)
    assert refusal(registry, 3).startswith("schema 3 of the registry: the schema is not that of a record; write by")
    assert "70,000 characters" in refusal(registry, 4)


def test_a_number_that_the_registry_does_not_have_is_asked_for_again_after_a_while(
    stub: RegistryStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(settings(stub.url))
    assert refusal(registry, 99).startswith("the schema registry has no schema 99: register it")
    with pytest.raises(BadRecord):
        registry.layout(99, SIGNAL)
    stub.schemas[99] = schema_text(SIGNAL)
    now = time.monotonic()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now + module.ABSENT_SECONDS + 1))
    with pytest.raises(SchemaPending):
        registry.layout(99, SIGNAL)
    assert known(registry, 99) == layout(SIGNAL)


def test_a_number_that_no_registry_gives_is_not_asked_for(stub: RegistryStub) -> None:
    registry = Registry(settings(stub.url))
    with pytest.raises(BadRecord, match="has no schema 2147483648"):
        registry.layout(2**31, SIGNAL)
    assert stub.asked == []


def test_a_flood_of_numbers_is_held_within_bounds(stub: RegistryStub) -> None:
    registry = Registry(settings(stub.url))
    for schema_id in range(100, 100 + KNOWN_LIMIT + 50):
        registry._keep(schema_id, module._Answer({}, 0.0))
    registry.fetch(1)
    assert len(registry._known) == KNOWN_LIMIT
    assert registry.layout(1, SIGNAL) == layout(SIGNAL)


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (401, "does not let us in (HTTP 401): check SIZER_SCHEMA_REGISTRY_USERNAME and SIZER_SCHEMA_REGISTRY_PASSWORD"),
        (403, "refuses it (HTTP 403): give SIZER_SCHEMA_REGISTRY_USERNAME the right to read schemas"),
        (404, "is no schema registry: check the path in SIZER_SCHEMA_REGISTRY_URL"),
        (200, "is no schema registry: check the path in SIZER_SCHEMA_REGISTRY_URL"),
        (301, "fails (HTTP 301)"),
        (500, "fails (HTTP 500): see its own log"),
        (503, "fails (HTTP 503): see its own log"),
        (429, "fails (HTTP 429): see its own log"),
    ],
)
def test_what_keeps_it_from_telling_is_no_bad_input(stub: RegistryStub, status: int, told: str) -> None:
    stub.status = status
    registry = Registry(settings(stub.url))
    with pytest.raises(RegistryUnavailableError) as error:
        registry.fetch(1)
    assert told in str(error.value)
    assert stub.url in str(error.value)
    with pytest.raises(SchemaPending):
        registry.layout(1, SIGNAL)
    stub.status = None
    assert known(registry, 1) == layout(SIGNAL)


@pytest.mark.parametrize("odd", [5, True, ["a"], {"type": "record"}])
def test_a_schema_that_is_no_text_is_no_answer_of_a_registry(stub: RegistryStub, odd: Any) -> None:
    stub.schemas[7] = odd
    with pytest.raises(RegistryUnavailableError, match="is no schema registry"):
        Registry(settings(stub.url)).fetch(7)


class Flood(BaseHTTPRequestHandler):
    """Answers with no end: large, a byte at a time, or compressed."""

    def do_GET(self) -> None:
        kind = self.path.split("?")[0].rsplit("/", 1)[1]
        self.send_response(200)
        if kind == "3":
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        with suppress(OSError):
            while True:
                self.wfile.write(b" " * (65_536 if kind == "1" else 1))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name
        """Say nothing."""


@pytest.mark.parametrize(
    ("schema_id", "told"), [(1, "more than 1,048,576 bytes"), (2, "not complete after"), (3, "is compressed")]
)
def test_an_answer_without_end_takes_neither_memory_nor_a_thread_for_ever(
    schema_id: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if schema_id == 2:
        monkeypatch.setattr(module, "_REQUEST_SECONDS", 0.5)
    with ThreadingHTTPServer(("localhost", 0), Flood) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        registry = Registry(settings(f"http://localhost:{server.server_port}"))
        with pytest.raises(RegistryUnavailableError, match=told) as error:
            registry.fetch(schema_id)
        assert error.value.kind == "unreachable"
        server.shutdown()


def test_a_password_opens_it_and_is_never_told(stub: RegistryStub, caplog: pytest.LogCaptureFixture) -> None:
    stub.login = ("sizer", SECRET)
    right = settings(stub.url, schema_registry_username="sizer", schema_registry_password=SECRET)
    assert known(Registry(right), 1) == layout(SIGNAL)
    wrong = settings(stub.url, schema_registry_username="sizer", schema_registry_password=SECRET + "!")
    with pytest.raises(RegistryUnavailableError) as error:
        Registry(wrong).fetch(1)
    assert "HTTP 401" in str(error.value)
    assert SECRET not in f"{error.value} {right!r} {caplog.text}"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"schema_registry_url": f"http://sizer:{SECRET}@host"}, "SIZER_SCHEMA_REGISTRY_URL: has a user"),
        ({"schema_registry_url": f"sizer:{SECRET}@host"}, "SIZER_SCHEMA_REGISTRY_URL: has a user"),
        ({"schema_registry_url": "host:8081"}, "SIZER_SCHEMA_REGISTRY_URL: expected http://host:port"),
        ({"schema_registry_url": "http://[::1"}, "SIZER_SCHEMA_REGISTRY_URL: expected http://host:port"),
        ({"schema_registry_url": "http://h:99999"}, "SIZER_SCHEMA_REGISTRY_URL: expected http://host:port"),
        ({"schema_registry_url": "http://h:x"}, "SIZER_SCHEMA_REGISTRY_URL: expected http://host:port"),
        ({"schema_registry_url": "http://h\n:1"}, "SIZER_SCHEMA_REGISTRY_URL: expected http://host:port"),
        ({"schema_registry_url": "http://h ost"}, "SIZER_SCHEMA_REGISTRY_URL: expected http://host:port"),
        ({"schema_registry_password": SECRET}, "SIZER_SCHEMA_REGISTRY_PASSWORD is set but SIZER_SCHEMA_REGISTRY_URL"),
        (
            {"schema_registry_url": "http://h", "schema_registry_password": SECRET},
            "needs SIZER_SCHEMA_REGISTRY_USERNAME",
        ),
        (
            {"schema_registry_url": "http://h", "schema_registry_key_file": "k"},
            "needs SIZER_SCHEMA_REGISTRY_CERTIFICATE",
        ),
        ({"schema_registry_url": "https://h", "schema_registry_ca_file": "no"}, "SIZER_SCHEMA_REGISTRY_CA_FILE=no"),
        ({"output_format": "avro"}, "SIZER_OUTPUT_FORMAT=avro numbers schemas as a registry does"),
        ({"output_format": "phase_events=avro"}, "set SIZER_SCHEMA_REGISTRY_URL, or avro-single-object"),
        ({"output_format": "signals=json"}, "SIZER_OUTPUT_FORMAT='signals=json': expected json, avro"),
        ({"output_format": "sized_orders"}, "SIZER_OUTPUT_FORMAT='sized_orders': expected"),
    ],
)
def test_settings_that_do_not_fit_are_told_in_a_line_without_secrets(given: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError) as error:
        load_settings(**given)
    assert told in str(error.value)
    assert "\n" not in str(error.value)
    assert SECRET not in str(error.value)


def test_an_output_format_for_each_topic() -> None:
    made = settings("http://h", output_format="sized_orders=avro, phase_events=avro-single-object")
    assert made.output_formats == {"sized_orders": "avro", "phase_events": "avro-single-object"}
    assert settings("http://h", output_format="sized_orders=avro").output_formats["phase_events"] == "json"
    assert set(Settings(output_format="avro-single-object").output_formats.values()) == {"avro-single-object"}


def test_tls_is_verified_and_its_trouble_names_the_setting(tmp_path: Path) -> None:
    ours, other = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.issue_cert("localhost").configure_cert(context)
    ours.cert_pem.write_to_path(str(tmp_path / "ours.pem"))
    other.cert_pem.write_to_path(str(tmp_path / "other.pem"))
    stub = RegistryStub(context)
    stub.schemas[1] = schema_text(SIGNAL)
    stub.start()
    try:
        assert known(Registry(settings(stub.url, schema_registry_ca_file=tmp_path / "ours.pem")), 1) == layout(SIGNAL)
        for more in ({}, {"schema_registry_ca_file": tmp_path / "other.pem"}):
            with pytest.raises(RegistryUnavailableError, match="check SIZER_SCHEMA_REGISTRY_CA_FILE"):
                Registry(settings(stub.url, **more)).fetch(1)
    finally:
        stub.stop()


def test_a_client_certificate_is_shown(tmp_path: Path) -> None:
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    ca.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    shown = ca.issue_cert("sizer")
    shown.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    shown.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    stub = RegistryStub(context)
    stub.schemas[1] = schema_text(SIGNAL)
    stub.start()
    trusted = {"schema_registry_ca_file": tmp_path / "ca.pem"}
    both = trusted | {
        "schema_registry_certificate_file": tmp_path / "cert.pem",
        "schema_registry_key_file": tmp_path / "key.pem",
    }
    try:
        assert known(Registry(settings(stub.url, **both)), 1) == layout(SIGNAL)
        with pytest.raises(RegistryUnavailableError):
            Registry(settings(stub.url, **trusted)).fetch(1)
    finally:
        stub.stop()
    with pytest.raises(UserError, match="cannot be used"):
        Registry(settings("https://h", schema_registry_certificate_file=tmp_path / "ca.pem"))


def test_a_schema_is_waited_for_and_that_is_said_once(stub: RegistryStub) -> None:
    registry = Registry(settings(stub.url))
    stub.status = 503

    async def wait() -> None:
        waiting = [asyncio.create_task(registry.await_schema(1)) for _ in range(3)]
        while len(stub.asked) < 9:
            stub.heard.clear()
            await asyncio.to_thread(stub.heard.wait, 10)
        stub.status = None
        await asyncio.gather(*waiting)

    structlog.reset_defaults()
    with capture_logs() as said:
        asyncio.run(wait())
    assert [line["event"] for line in said] == ["waiting for the schema registry", "the schema registry answers"]
    assert "HTTP 503" in said[0]["reason"]
    assert registry.layout(1, SIGNAL) == layout(SIGNAL)


def test_a_worker_starts_only_on_the_registered_schemas_of_its_answers(stub: RegistryStub) -> None:
    wanted = settings(stub.url, output_format="sized_orders=avro", topic_prefix="x.")
    with pytest.raises(UserError, match=r"subject x\.sized_orders-value: .* call `sizer schemas register`"):
        asyncio.run(await_formats(wanted))
    with pytest.raises(UserError, match=r"subject x\.signals-value: "):
        check_schemas(wanted)
    from app.codecs.records import SIZED_ORDER

    stub.schemas[2**31 - 1] = schema_text(SIZED_ORDER)
    stub.subjects["x.sized_orders-value"] = 2**31 - 1
    formats = asyncio.run(await_formats(wanted))
    assert formats.registry is not None
    stub.schemas[2**31 - 1] = schema_text(SIGNAL)
    with pytest.raises(UserError, match="this release's schema of SizedOrder is not registered"):
        asyncio.run(await_formats(wanted))
