"""How Kafka's jars and the Schema Registry's archive come into the user's cache, and what is refused on the way."""

import hashlib
import io
import shutil
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from app.broker.artifacts import Artifact
from app.broker.jars import kafka_jars
from app.broker.registry_files import registry_jar
from app.errors import UserError


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Serve a Maven repository from this machine, named in jgo's own settings; the cache is empty."""
    root = tmp_path / "repository"
    root.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    settings = tmp_path / "jgo.conf"
    settings.write_text(f"[repositories]\nhere = http://127.0.0.1:{server.server_port}\n", encoding="utf-8")
    monkeypatch.setenv("JGO_CONFIG_FILE", str(settings))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield root
    server.shutdown()
    server.server_close()
    thread.join()


def publish(repository: Path, artifact: str, content: bytes, *kind: str) -> Artifact:
    """Put one file into the repository; return what a lock says of it. `kind`: classifier and extension."""
    published = Artifact("org.example", artifact, "1.0", hashlib.sha256(content).hexdigest(), *kind)
    path = repository / published.path
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return published


def publish_archive(repository: Path, **files: bytes) -> Artifact:
    """Put an archive into the repository, as the registry's is: `NAME.jar` at its top, and below `lib`."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in {"quarkus-run": b"start", **files}.items():
            for folder in ("", "lib/"):
                member = tarfile.TarInfo(f"{folder}{name}.jar")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return publish(repository, "registry", packed.getvalue(), "all", "tar.gz")


def write_lock(folder: Path, *artifacts: Artifact) -> Path:
    path = folder / "test.lock"
    lines = "".join(f"{artifact.coordinate} {artifact.sha256}\n" for artifact in artifacts)
    path.write_text(f"# a lock\n{lines}", encoding="ascii")
    return path


def cached_files(tmp_path: Path) -> list[str]:
    files = (path for path in (tmp_path / "cache").rglob("*") if path.is_file())
    return sorted(path.name for path in files if path.suffix in (".jar", ".gz"))


def test_fetched_once_then_used_without_the_repository(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = write_lock(tmp_path, publish(repository, "second", b"two"), publish(repository, "first", b"one"))
    jars = kafka_jars(lock)
    assert [path.read_bytes() for path in jars] == [b"one", b"two"]
    shutil.rmtree(repository / "org")
    capsys.readouterr()
    assert kafka_jars(lock) == jars
    assert capsys.readouterr() == ("", "")


def test_wrong_hash_is_refused_and_leaves_nothing(repository: Path, tmp_path: Path) -> None:
    good, other = publish(repository, "good", b"good"), publish(repository, "other", b"changed on its way")
    lock = write_lock(tmp_path, good, other._replace(sha256="0" * 64))
    with pytest.raises(UserError) as refusal:
        kafka_jars(lock)
    assert str(refusal.value) == (
        "org.example:other:1.0 is not the file that was locked:"
        f" its SHA-256 is {other.sha256}, expected {'0' * 64};"
        " nothing was kept. Is a proxy or mirror changing what it passes on?"
    )
    assert cached_files(tmp_path) == []


def test_jar_that_cannot_be_had_is_named_and_leaves_nothing(repository: Path, tmp_path: Path) -> None:
    missing = Artifact("org.example", "missing", "1.0", "0" * 64)
    lock = write_lock(tmp_path, publish(repository, "good", b"good"), missing)
    with pytest.raises(UserError, match=r"org\.example:missing:1\.0 cannot be downloaded: connect to the network"):
        kafka_jars(lock)
    assert cached_files(tmp_path) == []


def test_damaged_cache_is_fetched_again(repository: Path, tmp_path: Path) -> None:
    lock = write_lock(tmp_path, publish(repository, "first", b"one"))
    (path,) = kafka_jars(lock)
    path.write_bytes(b"on")
    assert kafka_jars(lock) == [path]
    assert path.read_bytes() == b"one"


@pytest.mark.usefixtures("repository")
def test_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(UserError, match=r"cache folder .* cannot be written .*: set XDG_CACHE_HOME"):
        kafka_jars(write_lock(tmp_path, Artifact("org.example", "any", "1.0", "0" * 64)))


def test_archive_is_unpacked_once_then_used_without_the_repository(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = write_lock(tmp_path, publish_archive(repository, other=b"two"))
    jar = registry_jar(lock)
    assert (jar.read_bytes(), (jar.parent / "lib" / "other.jar").read_bytes()) == (b"start", b"two")
    assert cached_files(tmp_path) == ["other.jar", "other.jar", "quarkus-run.jar", "quarkus-run.jar"]
    shutil.rmtree(repository / "org")
    assert "fetching the Schema Registry (once, about 159 MB)" in capsys.readouterr().err
    assert registry_jar(lock) == jar
    assert capsys.readouterr() == ("", "")


def test_archive_with_a_wrong_hash_is_refused_before_it_is_unpacked(repository: Path, tmp_path: Path) -> None:
    archive = publish_archive(repository)
    lock = write_lock(tmp_path, archive._replace(sha256="0" * 64))
    with pytest.raises(UserError, match=r"org\.example:registry:1\.0:all:tar\.gz is not the file that was locked"):
        registry_jar(lock)
    assert cached_files(tmp_path) == []


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("lib/other.jar", b"tw"),
        ("lib/other.jar", None),
        ("SHA256SUMS", b""),
        ("SHA256SUMS", None),
    ],
)
def test_damaged_unpacked_files_are_fetched_again(
    repository: Path, tmp_path: Path, file: str, content: bytes | None
) -> None:
    lock = write_lock(tmp_path, publish_archive(repository, other=b"two"))
    jar = registry_jar(lock)
    damaged = jar.parent / file
    before = damaged.read_bytes()
    damaged.unlink()
    if content is not None:
        damaged.write_bytes(content)
    assert registry_jar(lock) == jar
    assert damaged.read_bytes() == before


def test_archive_that_cannot_be_had_tells_how_much_it_is(repository: Path, tmp_path: Path) -> None:
    lock = write_lock(tmp_path, Artifact("org.example", "registry", "1.0", "0" * 64, "all", "tar.gz"))
    with pytest.raises(UserError, match=r"registry:1\.0:all:tar\.gz cannot be downloaded: .*needed once, .*159 MB"):
        registry_jar(lock)
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").touch()
    with pytest.raises(UserError, match=r"cache folder .* cannot be written .*with 350 MB of room"):
        registry_jar(lock)
