"""The Schema Registry's files: an archive named and hashed in `registry.lock`, unpacked once into the user's cache.

The archive itself is not kept. In its place a list of the unpacked files with their hashes is, and each start compares.
"""

import hashlib
import tarfile
from pathlib import Path

from app.broker.artifacts import Bundle, provide, sha256_of

REGISTRY = Bundle("the Schema Registry", "registry", Path(__file__).with_name("registry.lock"), megabytes=159, room=350)

_UNPACKED = "unpacked"
_LIST = "SHA256SUMS"  # first the hash of all other lines, each of which is `hash  file`
_START = "quarkus-run.jar"


def registry_jar(lock_file: Path = REGISTRY.lock_file) -> Path:
    """Return what Java is to run; fetch and unpack it if it is not in the user's cache yet.

    Every file is compared with its hash at each call (168 MB: some tenths of a second).

    Raises UserError if the archive cannot be had, is not the locked one, or the cache cannot be written.
    """
    bundle = REGISTRY._replace(lock_file=lock_file)
    (archive,) = bundle.artifacts

    def unpack(folder: Path) -> None:
        _unpack(folder / archive.path, folder / _UNPACKED)
        (folder / archive.path).unlink()

    return provide(bundle, lambda folder: _is_whole(folder / _UNPACKED), unpack) / _UNPACKED / _START


def _unpack(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as tar:
        # The first releases of Python 3.11 have no filters. That the archive is the locked one has been seen to.
        tar.extraction_filter = getattr(tarfile, "data_filter", lambda member, _path: member)
        tar.extractall(folder)  # noqa: S202 - see above
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = "".join(f"{sha256_of(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)
    (folder / _LIST).write_text(f"{_digest(lines)}\n{lines}", encoding="utf-8")


def _is_whole(folder: Path) -> bool:
    try:
        digest, _, lines = (folder / _LIST).read_text(encoding="utf-8").partition("\n")
        return digest == _digest(lines) and all(
            sha256_of(folder / name) == sha256
            for sha256, _, name in (line.partition("  ") for line in lines.splitlines())
        )
    except (OSError, UnicodeDecodeError):
        return False


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
