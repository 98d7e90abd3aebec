"""How many workers, partitions and brokers a load takes, from the measured unit costs (docs/scaling.md)."""

import math
from typing import NamedTuple

from bench.workload import SIGNAL_SHARE

EVENTS_PER_SIGNAL = 1 / SIGNAL_SHARE
BUSY = 0.5
"""How much of its processor a worker or broker may use: the rest is for peaks, for catching up and for a lost peer."""
PARTITIONS_PER_WORKER = 4
"""So that shares are even, and that workers can be four times as many one day."""
PARTITION_STEP = 12
"""Partitions are a multiple of it: it divides by 2, 3, 4, 6 and 12 workers."""
REPLICAS = 3
BROKER_CORES = 8
BROKER_BYTES_PER_SECOND = 200e6
"""What a broker's disk is asked to write."""
_LEAST_WORKERS = 2
_LEAST_BROKERS = 3


class UnitCosts(NamedTuple):
    """Of one event: a signal or a fill."""

    worker_us: float
    """Microseconds of a worker's processor."""
    broker_us: float
    """Microseconds of the brokers' processors, for one replica."""
    log_bytes: float
    """What the brokers write, for one replica: input, answers and state."""


class Size(NamedTuple):
    """Of a deployment."""

    events_per_second: float
    worker_cores: float
    """What the workers' processors are busy with."""
    workers: int
    """Each with a core of its own, that is not more than `BUSY`."""
    partitions: int
    broker_cores: float
    """What the brokers' processors are busy with, all replicas together."""
    bytes_per_second: float
    """What the brokers write, all replicas together."""
    brokers: int


def size(costs: UnitCosts, signals_per_second: float) -> Size:
    """Return what a load takes."""
    events = signals_per_second * EVENTS_PER_SIGNAL
    worker_cores = events * costs.worker_us / 1e6
    workers = max(_LEAST_WORKERS, math.ceil(worker_cores / BUSY))
    partitions = math.ceil(workers * PARTITIONS_PER_WORKER / PARTITION_STEP) * PARTITION_STEP
    broker_cores = events * costs.broker_us * REPLICAS / 1e6
    written = events * costs.log_bytes * REPLICAS
    by_processor = math.ceil(broker_cores / BUSY / BROKER_CORES)
    by_disk = math.ceil(written / BROKER_BYTES_PER_SECOND)
    brokers = max(_LEAST_BROKERS, by_processor, by_disk)
    return Size(events, worker_cores, workers, partitions, broker_cores, written, brokers)
