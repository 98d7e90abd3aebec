"""The packaged Schema Registry: what its clients meet, and its life as a child process."""

import json
import signal
import socket
import uuid
from pathlib import Path
from typing import Any

import psutil
import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from app.broker import Registry
from app.errors import UserError
from tests.integration.test_broker import PATIENCE, free_port, python

OWNER = """
import sys
from pathlib import Path
from app.broker import Registry
registry = Registry(Path(sys.argv[1]))
registry.start()
print(registry.pid, flush=True)
sys.stdin.read()
"""

FOREGROUND = """
import sys
from pathlib import Path
from app.broker import run_registry
sys.exit(run_registry(int(sys.argv[2]), Path(sys.argv[1])))
"""


def schema(*fields: str, name: str = "Order", **more: Any) -> Schema:
    """Return a record of longs; a field that ends with `?` may be left out."""
    described = [
        {"name": field.rstrip("?"), "type": "long"} | ({"default": 0} if field.endswith("?") else {})
        for field in fields
    ]
    return Schema(json.dumps({"type": "record", "name": name, "fields": described} | more), "AVRO")


@pytest.fixture
def client(registry: Registry) -> SchemaRegistryClient:
    return SchemaRegistryClient({"url": registry.url})


@pytest.fixture
def subject() -> str:
    return f"{uuid.uuid4()}-value"


def test_registered_schema_is_found_by_its_id_and_by_its_subject(client: SchemaRegistryClient, subject: str) -> None:
    registered = schema("price", "quantity?", name=f"A{uuid.uuid4().hex}", namespace="a.b", doc="What it is.")
    schema_id = client.register_schema(subject, registered)
    assert client.register_schema(subject, registered) == schema_id
    client.clear_caches()
    assert json.loads(str(client.get_schema(schema_id).schema_str)) == json.loads(str(registered.schema_str))
    found = client.lookup_schema(subject, registered)
    assert (found.schema_id, found.version) == (schema_id, 1)


def test_one_schema_has_one_id_in_all_subjects_and_another_another(client: SchemaRegistryClient, subject: str) -> None:
    """As in Confluent's: an id names what is written, not where; so a framed record can be moved to another topic."""
    name = f"A{uuid.uuid4().hex}"
    first = client.register_schema(subject, schema("price", name=name))
    assert client.register_schema(f"other-{subject}", schema("price", name=name)) == first
    assert client.register_schema(subject, schema("price", "quantity?", name=name)) > first
    assert client.get_versions(subject) == [1, 2]


def test_spaces_do_not_make_another_schema(client: SchemaRegistryClient, subject: str) -> None:
    plain = schema("price", name=f"A{uuid.uuid4().hex}")
    schema_id = client.register_schema(subject, plain)
    client.clear_caches()
    spacious = Schema(json.dumps(json.loads(str(plain.schema_str)), indent=4), "AVRO")
    assert client.register_schema(subject, spacious) == schema_id
    assert client.get_versions(subject) == [1]


def test_what_could_not_read_the_version_before_is_refused(client: SchemaRegistryClient, subject: str) -> None:
    client.register_schema(subject, schema("price"))
    assert client.get_compatibility() == "BACKWARD"
    assert not client.test_compatibility(subject, schema("price", "quantity"))
    with pytest.raises(SchemaRegistryError) as refusal:
        client.register_schema(subject, schema("price", "quantity"))
    assert refusal.value.http_status_code == 409
    assert client.get_versions(subject) == [1]


def test_unknown_ones_are_told_with_confluents_codes(client: SchemaRegistryClient, subject: str) -> None:
    with pytest.raises(SchemaRegistryError) as unknown_id:
        client.get_schema(2_000_000_000)
    with pytest.raises(SchemaRegistryError) as unknown_subject:
        client.lookup_schema(subject, schema("price"))
    assert (unknown_id.value.http_status_code, unknown_id.value.error_code) == (404, 40403)
    assert (unknown_subject.value.http_status_code, unknown_subject.value.error_code) == (404, 40401)


@pytest.fixture
def peculiar_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set what would keep a registry from starting, or from being found, if it got there."""
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Dquarkus.http.port=1")
    monkeypatch.setenv("APICURIO_STORAGE_KIND", "nonsense")
    monkeypatch.setenv("QUARKUS_LOG_LEVEL", "nonsense")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")


@pytest.mark.usefixtures("peculiar_machine")
def test_a_start_after_a_kill_has_the_same_url_and_no_schemas(
    tmp_path: Path, subject: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(tmp_path / "folder with, ä comma")
    try:
        registry.start()
        url, first_pid = registry.url, registry.pid
        monkeypatch.delenv("http_proxy")  # the client would ask it
        SchemaRegistryClient({"url": url}).register_schema(subject, schema("price"))
        registry.kill()
        assert not psutil.pid_exists(first_pid)
        registry.start()
        assert registry.url == url
        assert SchemaRegistryClient({"url": url}).get_subjects() == []
        java = psutil.Process(registry.pid)
        registry.stop()
        assert not java.is_running()
    finally:
        registry.kill()


def test_no_java_outlives_a_killed_owner(tmp_path: Path) -> None:
    with python(OWNER, tmp_path) as owner:
        assert owner.stdout is not None
        java = psutil.Process(int(owner.stdout.readline()))
        guard = java.parent()
        assert guard is not None
        owner.send_signal(signal.SIGKILL)
        assert not psutil.wait_procs([java, guard], timeout=PATIENCE)[1]


def test_it_listens_on_the_loopback_only(registry: Registry) -> None:
    listening = [each for each in psutil.Process(registry.pid).net_connections() if each.status == psutil.CONN_LISTEN]
    assert {each.laddr.ip.removeprefix("::ffff:") for each in listening} == {"127.0.0.1"}


def test_taken_port_is_refused(registry: Registry, tmp_path: Path) -> None:
    port = int(registry.url.removeprefix("http://127.0.0.1:").partition("/")[0])
    with pytest.raises(UserError, match=f"port {port} on 127.0.0.1 is taken"):
        Registry(tmp_path, port).start()


def test_port_lost_to_another_registry_is_replaced(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one answers where ours should: it must not be taken for it."""
    lost = int(registry.url.removeprefix("http://127.0.0.1:").partition("/")[0])
    answers = iter([lost])
    monkeypatch.setattr("app.broker.registry.choose_port", lambda _asked: next(answers, None) or free_port())
    another = Registry(tmp_path)
    try:
        another.start()
        assert another.url != registry.url
        assert SchemaRegistryClient({"url": another.url}).get_subjects() == []
    finally:
        another.kill()


def test_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be written \(Not a directory\): set XDG_DATA_HOME"):
        Registry(tmp_path / "file" / "folder").start()


def test_one_line_when_ready_and_a_clean_end(tmp_path: Path) -> None:
    port = free_port()
    with python(FOREGROUND, tmp_path, port) as process:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{port}/apis/ccompat/v7"
        assert process.stdout.readline() == f"registry ready at {url}, schemas in memory only\n"
        assert SchemaRegistryClient({"url": url}).get_subjects() == []
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=PATIENCE)
    assert (process.returncode, stdout, stderr) == (0, "", "")
    with socket.create_server(("127.0.0.1", port)):
        pass  # the port is free again
