"""Kafka's jars: named and hashed in `kafka.lock`, fetched once into the user's cache, then used offline."""

import fcntl
import hashlib
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import platformdirs
from jgo.config import GlobalSettings, get_settings_path
from jgo.maven import MavenContext
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from app.errors import UserError

LOCK_FILE = Path(__file__).with_name("kafka.lock")

_THREADS = 8
_ATTEMPTS = 2
_TIMEOUT_SECONDS = 30
_LINES_WHEN_PIPED = 3
_ERROR_CHARACTERS = 300


class Jar(NamedTuple):
    """One line of the lock: `group:artifact:version sha256`."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def coordinate(self) -> str:
        """The name that Maven knows it by."""
        return f"{self.group}:{self.artifact}:{self.version}"

    @property
    def path(self) -> Path:
        """Where it lies below a Maven repository."""
        return Path(*self.group.split("."), self.artifact, self.version, f"{self.artifact}-{self.version}.jar")

    def is_in(self, repository: Path) -> bool:
        """Whether the file is there and is the one that was locked."""
        path = repository / self.path
        return path.is_file() and sha256_of(path) == self.sha256


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_lock(text: str) -> list[Jar]:
    """Read a lock; empty lines and those that start with `#` say nothing."""
    jars = []
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            coordinate, sha256 = line.split()
            group, artifact, version = coordinate.split(":")
            jars.append(Jar(group, artifact, version, sha256))
    return jars


def maven(repository: Path) -> MavenContext:
    """Return the way to the Maven repositories of the user's own jgo settings, or to Maven Central.

    `repository` must be private to the caller: jgo writes into it file by file, without a lock.
    """
    return MavenContext(
        repo_cache=repository,
        timeout=_TIMEOUT_SECONDS,
        remote_repos=GlobalSettings.load().repositories or None,
    )


def kafka_jars(lock_file: Path = LOCK_FILE) -> list[Path]:
    """Return the class path of Kafka, sorted; fetch what is not in the user's cache yet.

    Every jar is compared with its hash at each call (43 MB: some hundredths of a second), so a damaged
    cache is fetched again instead of being run. The progress goes to stderr.

    Raises UserError if a jar cannot be had, is not the locked one, or the cache cannot be written.
    """
    text = lock_file.read_text(encoding="ascii")
    jars = read_lock(text)
    cache = platformdirs.user_cache_path("position-sizer")
    folder = cache / f"kafka-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    if not _is_whole(folder, jars):
        try:
            with _alone(cache):
                if not _is_whole(folder, jars):
                    _fetch(jars, folder)
        except OSError as error:
            raise UserError(
                f"the cache folder {cache} cannot be written ({error.strerror}):"
                " set XDG_CACHE_HOME to a folder that can, with 50 MB of room"
            ) from error
    return sorted(folder / jar.path for jar in jars)


def _is_whole(folder: Path, jars: Sequence[Jar]) -> bool:
    return all(jar.is_in(folder) for jar in jars)


@contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """Let one process at a time fetch: the others then find the jars instead of fetching them as well."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "fetch.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            Console(stderr=True).print("waiting for another process that is fetching Apache Kafka")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch(jars: Sequence[Jar], folder: Path) -> None:
    """Fetch all into a folder of our own and only then give it the name that others look for."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
    partial.mkdir()
    try:
        _download_all(jars, maven(partial))
        shutil.rmtree(folder, ignore_errors=True)  # a damaged one
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _download_all(jars: Sequence[Jar], context: MavenContext) -> None:
    console = Console(stderr=True)
    what = "fetching Apache Kafka (once, about 43 MB)"
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn())
    if not console.is_terminal:
        console.print(what, soft_wrap=True)
    with (
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress,
        ThreadPoolExecutor(_THREADS) as pool,
    ):
        task = progress.add_task(what, total=len(jars))
        futures = [pool.submit(_download, jar, context) for jar in jars]
        try:
            for count, future in enumerate(as_completed(futures), start=1):
                future.result()
                progress.advance(task)
                if not console.is_terminal and count % -(-len(jars) // _LINES_WHEN_PIPED) == 0:
                    console.print(f"{what}: {count} of {len(jars)} files", soft_wrap=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _download(jar: Jar, context: MavenContext) -> None:
    artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            path = artifact.resolve()
            break
        except (OSError, RuntimeError) as error:
            # What `requests` raises is an OSError too, but has no number: the network's trouble, not the disk's.
            if isinstance(error, OSError) and error.errno is not None:
                raise
            (context.repo_cache / jar.path).unlink(missing_ok=True)  # jgo leaves half a file behind
            if attempt == _ATTEMPTS:
                raise UserError(_cannot_be_had(jar, error)) from error
    if (found := sha256_of(path)) != jar.sha256:
        raise UserError(
            f"{jar.coordinate} is not the file that was locked: its SHA-256 is {found}, expected {jar.sha256};"
            " nothing was kept. Is a proxy or mirror changing what it passes on?"
        )


def _cannot_be_had(jar: Jar, error: Exception) -> str:
    return (
        f"{jar.coordinate} cannot be downloaded: connect to the network (needed once), set HTTPS_PROXY,"
        f" or name a Maven mirror under [repositories] in {get_settings_path()}."
        f" The reason: {str(error)[:_ERROR_CHARACTERS]}"
    )
