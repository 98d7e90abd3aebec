"""Many partitions on one machine: what they cost in threads, memory and producers. `python -m bench.scaling`.

Four workers share 12 partitions, then 48. Each partition costs its worker two transactional producers, which bring
threads of their own, and three small databases. Then one worker leaves, as in a rolling upgrade; the clock runs until
the last of the others has taken up its share. If there were a cliff between 12 and 48, it would be here.
"""

import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from app.broker import Broker
from app.stream.clients import LogEnds
from app.stream.topics import topic_specs
from bench.results import Results
from bench.usage import usage
from tests.integration.cluster import Deployment, Worker, load
from tests.integration.traffic import Traffic

PARTITIONS = (12, 48)
WORKERS = 4
EVENTS_PER_SECOND = 500
SEED = 20260111
PORTFOLIOS = 2_000
_LOOK_SECONDS = 5.0
_POLL_SECONDS = 0.2
_PRODUCERS_PER_PARTITION = 2
_MEBIBYTE = 1024 * 1024


class Costs(NamedTuple):
    """Of four workers together, under load."""

    partitions: int
    producers: int
    threads: int
    memory_mib: float
    idle_cores: float
    """How many processors they keep busy while there is nothing to do."""
    rate: float
    """Events a second that were sent; not always `EVENTS_PER_SECOND`, where the machine is busy."""
    cores: float
    """How many processors they keep busy with these."""
    broker_cores: float
    """And how many the broker does."""
    rebalance_seconds: float
    """From the SIGTERM to one worker until the last of the others has its partitions open."""


def measure(broker: Broker, partitions: int, folder: Path) -> Costs:
    """Measure a number of partitions; all that was answered is audited."""
    deployment = Deployment(broker.bootstrap_servers, f"scaling-{partitions}", folder, partitions)
    deployment.environment["SIZER_SESSION_TIMEOUT"] = "6"  # the worker's own default
    deployment.create_topics()
    _await_leaders(deployment)
    try:
        workers = [deployment.started(str(number)) for number in range(WORKERS)]
        _await_shares(workers, partitions)
        pids = [worker.pid for worker in workers]
        idle_cores, _ = _cores_in_use(pids, broker.pid)
        with load(deployment, Traffic(SEED, PORTFOLIOS), EVENTS_PER_SECOND) as sent:
            time.sleep(_LOOK_SECONDS)  # what a partition needs with its first events is not of its running costs
            before = len(sent)
            cores, broker_cores = _cores_in_use(pids, broker.pid)
            rate = (len(sent) - before) / _LOOK_SECONDS
            threads = sum(psutil.Process(pid).num_threads() for pid in pids)
            memory = usage(pids).resident_bytes / _MEBIBYTE
            begin = time.perf_counter()
            workers.pop().stop()
            _await_shares(workers, partitions)
            seconds = time.perf_counter() - begin
        deployment.wait_for_answers(sum(record.topic == "signals" for record in sent))
    finally:
        deployment.close()
    deployment.prove()
    producers = partitions * _PRODUCERS_PER_PARTITION
    return Costs(partitions, producers, threads, memory, idle_cores, rate, cores, broker_cores, seconds)


def run(broker: Broker, folder: Path, results: Results | None = None) -> None:
    """Measure each number of partitions and print one line for it."""
    for partitions in PARTITIONS:
        costs = measure(broker, partitions, folder / f"scaling-{partitions}")
        if results is not None:
            results.add("scaling", f"sizer, {WORKERS} workers", **costs._asdict())
        print(
            f"{WORKERS} workers, {partitions} partitions: {costs.producers} producers, {costs.threads} threads,"
            f" {costs.memory_mib:.0f} MiB, {costs.idle_cores:.2f} cores in use when idle, {costs.cores:.2f} at"
            f" {costs.rate:.0f} events/s, {costs.broker_cores:.2f} of the broker; one left, and the others had its"
            f" partitions in {costs.rebalance_seconds:.1f} s",
            flush=True,
        )


def _await_leaders(deployment: Deployment) -> None:
    """Wait until all new partitions have leaders: while they have none, a worker ends in doubt, to be restarted."""
    settings = deployment.settings
    places = [(spec.name, number) for spec in topic_specs(settings) for number in range(deployment.partitions)]
    ends = LogEnds(settings)
    while len(ends.find(places)) < len(places):
        time.sleep(_POLL_SECONDS)


def _await_shares(workers: Sequence[Worker], partitions: int) -> None:
    """Wait until these workers have all partitions among them, each one once."""

    def is_shared() -> bool:
        shares = [_share(worker) for worker in workers]
        return sorted(number for share in shares for number in share) == list(range(partitions))

    workers[0].wait_until(is_shared)


def _share(worker: Worker) -> list[int]:
    """Return the partitions that a worker has opened by its last word on them."""
    told = re.findall(r" assigned .* partitions=\[([\d, ]*)\]", worker.said)
    return [int(number) for number in told[-1].split(",") if number.strip()] if told else []


def _cores_in_use(pids: Sequence[int], broker_pid: int) -> tuple[float, float]:
    """Look for a while at how many processors these processes keep busy, and how many the broker does."""
    before, broker_before, begin = usage(pids), usage([broker_pid]), time.perf_counter()
    time.sleep(_LOOK_SECONDS)
    seconds = time.perf_counter() - begin
    return (
        (usage(pids).cpu_seconds - before.cpu_seconds) / seconds,
        (usage([broker_pid]).cpu_seconds - broker_before.cpu_seconds) / seconds,
    )


def main() -> None:
    """Measure on a broker of its own."""
    with tempfile.TemporaryDirectory(prefix="sizer-bench-") as folder, Broker(Path(folder, "kafka")) as broker:
        run(broker, Path(folder))


if __name__ == "__main__":
    main()
