"""What processes have used: processor time and memory."""

from collections.abc import Iterable
from typing import NamedTuple

import psutil


class Usage(NamedTuple):
    """Of some processes and their children, together."""

    cpu_seconds: float
    """User and system time since they began."""
    resident_bytes: int
    """Memory that they hold now; what they share is counted for each."""


def usage(pids: Iterable[int]) -> Usage:
    """Return what processes have used so far; children that have ended count for the time that they took."""
    cpu_seconds, resident_bytes = 0.0, 0
    for pid in pids:
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            cpu_seconds += sum(process.cpu_times()[:4])  # user, system, and both of ended children
            resident_bytes += process.memory_info().rss
    return Usage(cpu_seconds, resident_bytes)
