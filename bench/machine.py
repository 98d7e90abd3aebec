"""What figures are of: the machine, the programs and the moment, in words that hold for any machine of its kind."""

import os
import platform
import re
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import psutil

import app.broker

_CPU_FILE = Path("/proc/cpuinfo")
_GIBIBYTE = 1024**3


class Machine(NamedTuple):
    """One machine, at one moment."""

    cores: int
    processor: str
    memory_gib: int
    system: str
    python: str
    kafka: str
    commit: str
    """Of this program; with `-dirty` if files differed from it."""
    date: str
    load: float
    """Programs that wanted a core in the minute before: what else the machine had to do."""


def describe() -> Machine:
    """Return this machine and now."""
    return Machine(
        os.cpu_count() or 1,
        _processor(),
        round(psutil.virtual_memory().total / _GIBIBYTE),
        _system(),
        platform.python_version(),
        _kafka_version(),
        _commit(),
        datetime.now(UTC).strftime("%Y-%m-%d"),
        round(os.getloadavg()[0], 1),
    )


def _processor() -> str:
    with suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", _CPU_FILE.read_text(), re.MULTILINE)
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()


def _system() -> str:
    with suppress(OSError):
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    return f"{platform.system()} {platform.release()}"


def _kafka_version() -> str:
    lock = Path(app.broker.__file__).with_name("kafka.lock").read_text()
    found = re.search(r"^org\.apache\.kafka:kafka-clients:(\S+)", lock, re.MULTILINE)
    assert found is not None, "the lock names Kafka"
    return found[1]


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude=*"]
    with suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return "unknown"
