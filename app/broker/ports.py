"""Ports on the loopback: those of a broker are kept beside its data, so that a restart finds its clients again."""

import errno
import json
import random
import socket
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import NamedTuple

from app.errors import UserError

HOST = "127.0.0.1"

# Below the ports that Linux (from 32768) and macOS (from 49152) give to outgoing connections: a client that keeps
# trying to reach a dead broker could otherwise be given the broker's own port, and keep it.
_RANGE = range(20_000, 30_000)
_HIGHEST = 65_535


class Ports(NamedTuple):
    """Where the broker serves its clients, and where it talks with itself."""

    broker: int
    controller: int


def choose_ports(file: Path, asked: int | None) -> Ports:
    """Return the ports to start with, and write them to `file`.

    `asked` is taken as it is; else the ports of the last start that are still free, else others.
    Raises UserError if the port that was asked for is taken or is none.
    """
    last = _last(file)
    broker = choose_port(asked, last.broker if last else None, {last.controller} if last else set())
    keep = last is not None and last.controller != broker and is_free(last.controller)
    ports = Ports(broker, last.controller if last and keep else _free_port({broker}))
    file.write_text(json.dumps(ports._asdict()), encoding="ascii")
    return ports


def choose_port(asked: int | None, last: int | None = None, other_than: AbstractSet[int] = frozenset()) -> int:
    """Return `asked`, else `last` if it is still free, else another one, and none of `other_than`.

    Raises UserError if the port that was asked for is taken or is none.
    """
    if asked is not None:
        return _checked(asked)
    return last if last is not None and is_free(last) else _free_port(other_than)


def is_free(port: int) -> bool:
    """Whether a server could listen there now. Raises OSError if listening is not permitted at all."""
    with socket.socket() as listener:
        # As Java does: connections of the former broker that linger in TIME_WAIT are no hindrance.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
            listener.listen()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True


def _last(file: Path) -> Ports | None:
    try:
        return Ports(**json.loads(file.read_text(encoding="ascii")))
    except (FileNotFoundError, ValueError, TypeError):  # absent, or half written when the machine went down
        return None


def _checked(port: int) -> int:
    if not 1 <= port <= _HIGHEST:
        raise UserError(f"port {port}: expected a number from 1 to {_HIGHEST}")
    try:
        free = is_free(port)
    except OSError as error:
        raise UserError(f"port {port} on {HOST} cannot be listened on: {error.strerror}") from error
    if not free:
        raise UserError(f"port {port} on {HOST} is taken by another program: stop that one, or ask for another port")
    return port


def _free_port(other_than: AbstractSet[int]) -> int:
    candidates = random.sample(_RANGE, k=len(_RANGE))
    return next(port for port in candidates if port not in other_than and is_free(port))
