"""The kept inputs: one folder a target, one file an input, named by what it is or by the hash of its content."""

import hashlib
from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"


def names(target: str) -> list[str]:
    """Return the names of a target's inputs, sorted: every run replays them in the same order."""
    return sorted(path.name for path in (FOLDER / target).iterdir())


def read(target: str, name: str) -> bytes:
    """Return an input."""
    return (FOLDER / target / name).read_bytes()


def inputs(target: str) -> list[bytes]:
    """Return all inputs of a target."""
    return [read(target, name) for name in names(target)]


def keep(target: str, data: bytes, what: str = "") -> Path:
    """Write an input, so that every run from now on replays it; `what` stands before the hash in its name."""
    path = FOLDER / target / (what + hashlib.sha256(data).hexdigest()[:12])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
