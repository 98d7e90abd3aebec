"""Files of a Maven repository: named and hashed in a lock, fetched once into the user's cache, then used offline."""

import fcntl
import hashlib
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import platformdirs
from jgo.config import GlobalSettings, get_settings_path
from jgo.maven import MavenContext, PythonResolver
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from app.errors import UserError

_THREADS = 8
_ATTEMPTS = 2
_TIMEOUT_SECONDS = 30
_LINES_WHEN_PIPED = 3
_ERROR_CHARACTERS = 300
_MEGABYTE = 1_000_000


class _GivenUpError(Exception):
    """Another file could not be had, or the user has pressed Ctrl-C: this one is not wanted any more."""


class Artifact(NamedTuple):
    """One line of a lock: `group:artifact:version sha256`, or `group:artifact:version:classifier:extension sha256`."""

    group: str
    artifact: str
    version: str
    sha256: str
    classifier: str = ""
    extension: str = "jar"

    @property
    def coordinate(self) -> str:
        """The name that the lock has for it."""
        plain = f"{self.group}:{self.artifact}:{self.version}"
        return f"{plain}:{self.classifier}:{self.extension}" if self.classifier else plain

    @property
    def path(self) -> Path:
        """Where it lies below a Maven repository."""
        suffix = f"-{self.classifier}" if self.classifier else ""
        file = f"{self.artifact}-{self.version}{suffix}.{self.extension}"
        return Path(*self.group.split("."), self.artifact, self.version, file)

    def is_in(self, repository: Path) -> bool:
        """Whether the file is there and is the one that was locked."""
        path = repository / self.path
        return path.is_file() and sha256_of(path) == self.sha256


class Bundle(NamedTuple):
    """What is fetched together: a product, its lock, and how large it is."""

    product: str  # as people know it
    name: str  # of its folder in the cache
    lock_file: Path
    megabytes: int  # that are fetched, about
    room: int  # megabytes that it takes in the cache at most, while it is fetched

    @property
    def artifacts(self) -> list[Artifact]:
        """What the lock names."""
        return read_lock(self.lock_file.read_text(encoding="ascii"))


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_lock(text: str) -> list[Artifact]:
    """Read a lock; empty lines and those that start with `#` say nothing."""
    artifacts = []
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            coordinate, sha256 = line.split()
            group, artifact, version, *kind = coordinate.split(":")
            artifacts.append(Artifact(group, artifact, version, sha256, *kind))
    return artifacts


def maven(repository: Path, progress: Callable[[int], None] | None = None) -> MavenContext:
    """Return the way to the Maven repositories of the user's own jgo settings, or to Maven Central.

    `repository` must be private to the caller: jgo writes into it file by file, without a lock. `progress` is told
    of bytes that came, by whichever thread they came to.
    """

    @contextmanager
    def told(_file: str, _size: int) -> Iterator[Callable[[int], None]]:
        assert progress is not None
        yield progress

    return MavenContext(
        resolver=PythonResolver(progress_callback=None if progress is None else told),
        repo_cache=repository,
        timeout=_TIMEOUT_SECONDS,
        remote_repos=GlobalSettings.load().repositories or None,
    )


def provide(bundle: Bundle, is_whole: Callable[[Path], bool], finish: Callable[[Path], None] | None = None) -> Path:
    """Return the folder of the user's cache that has the bundle; fetch it if `is_whole` denies that it is there.

    `is_whole` is asked at each call: what it compares is not run when it is damaged, but fetched again. `finish` makes
    of the fetched files what is kept; nothing is kept of what was not finished. The progress goes to stderr.

    Raises UserError if a file cannot be had, is not the locked one, or the cache cannot be written.
    """
    cache = platformdirs.user_cache_path("position-sizer")
    folder = cache / f"{bundle.name}-{sha256_of(bundle.lock_file)[:16]}"
    if not is_whole(folder):
        try:
            with _alone(cache, bundle):
                if not is_whole(folder):
                    _fetch(bundle, folder, finish)
        except OSError as error:
            raise UserError(
                f"the cache folder {cache} cannot be written ({error.strerror}):"
                f" set XDG_CACHE_HOME to a folder that can, with {bundle.room} MB of room"
            ) from error
    return folder


@contextmanager
def _alone(cache: Path, bundle: Bundle) -> Iterator[None]:
    """Let one process at a time fetch: the others then find the files instead of fetching them as well."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{bundle.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            Console(stderr=True).print(f"waiting for another process that is fetching {bundle.product}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch(bundle: Bundle, folder: Path, finish: Callable[[Path], None] | None) -> None:
    """Fetch all into a folder of our own and only then give it the name that others look for."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
    partial.mkdir()
    try:
        with _progress(bundle) as progress:
            _download_all(bundle, partial, progress)
        if finish is not None:
            finish(partial)
        shutil.rmtree(folder, ignore_errors=True)  # a damaged one
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _progress(bundle: Bundle) -> Iterator[Callable[[int], None]]:
    """Show on stderr how many bytes have come: as a bar, or as a few lines if it is no terminal."""
    console = Console(stderr=True)
    what = f"fetching {bundle.product} (once, about {bundle.megabytes} MB)"
    if console.is_terminal:
        with Progress(TextColumn(what), BarColumn(), DownloadColumn(), console=console, transient=True) as bar:
            task = bar.add_task(what, total=bundle.megabytes * _MEGABYTE)
            yield lambda count: bar.advance(task, count)
        return
    console.print(what, soft_wrap=True)
    came, lines, lock = 0, 0, threading.Lock()

    def tell(count: int) -> None:
        nonlocal came, lines
        with lock:
            came += count
            if came * _LINES_WHEN_PIPED >= bundle.megabytes * _MEGABYTE * (lines + 1):
                lines += 1
                console.print(f"{what}: {came // _MEGABYTE} MB have come", soft_wrap=True)

    yield tell


def _download_all(bundle: Bundle, repository: Path, progress: Callable[[int], None]) -> None:
    is_given_up = threading.Event()

    def told(count: int) -> None:
        if is_given_up.is_set():
            raise _GivenUpError
        progress(count)

    context = maven(repository, told)
    with ThreadPoolExecutor(_THREADS) as pool:
        futures = [pool.submit(_download, artifact, bundle, context) for artifact in bundle.artifacts]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            is_given_up.set()  # a Ctrl-C does not wait for the rest of 150 MB
            pool.shutdown(cancel_futures=True)
            raise


def _download(wanted: Artifact, bundle: Bundle, context: MavenContext) -> None:
    artifact = (
        context.project(wanted.group, wanted.artifact)
        .at_version(wanted.version)
        .artifact(wanted.classifier, wanted.extension)
    )
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            path = artifact.resolve()
            break
        except (OSError, RuntimeError) as error:
            # What `requests` raises is an OSError too, but has no number: the network's trouble, not the disk's.
            if isinstance(error, OSError) and error.errno is not None:
                raise
            (context.repo_cache / wanted.path).unlink(missing_ok=True)  # jgo leaves half a file behind
            if attempt == _ATTEMPTS:
                raise UserError(_cannot_be_had(wanted, bundle, error)) from error
    if (found := sha256_of(path)) != wanted.sha256:
        raise UserError(
            f"{wanted.coordinate} is not the file that was locked: its SHA-256 is {found}, expected {wanted.sha256};"
            " nothing was kept. Is a proxy or mirror changing what it passes on?"
        )


def _cannot_be_had(wanted: Artifact, bundle: Bundle, error: Exception) -> str:
    return (
        f"{wanted.coordinate} cannot be downloaded: connect to the network (needed once, for about"
        f" {bundle.megabytes} MB), set HTTPS_PROXY, or name a Maven mirror under [repositories] in"
        f" {get_settings_path()}. The reason: {str(error)[:_ERROR_CHARACTERS]}"
    )
