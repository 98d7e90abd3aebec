"""What was measured, as tables in Markdown: for the end of a run, and for docs/performance.md."""

from collections.abc import Sequence
from statistics import median

from bench.contestants import PEERS, WORKER, WORKERS
from bench.remembering import FEW
from bench.results import PERCENTILES, Figure, Results, shown
from bench.sizing import UnitCosts, size
from bench.workload import PORTFOLIOS

NAMES = [contestant.name for contestant in (*WORKERS, *PEERS)]
UNIT_RATE = 5_000
"""Events a second at which the unit costs are taken: a load, not a backlog."""
_LOADS = (10_000, 100_000, 1_000_000)


def all_tables(results: Results) -> str:
    """Return all tables, each after a heading; what was not measured is left out."""
    parts = {
        "Throughput and processor time": throughput(results),
        "Latency": latency(results),
        "What is remembered": remembering(results),
        "Restoring": restoring(results),
        "Failover": failover(results),
        "Many partitions": partitions(results),
    }
    return "\n\n".join(f"### {heading}\n\n{part}" for heading, part in parts.items() if part)


def throughput(results: Results) -> str:
    """Return who takes how many events a second from a backlog, and what they cost."""
    rows = []
    for portfolios in counts(results, "throughput", "portfolios"):
        for name in NAMES:
            wanted = {"contestant": name, "portfolios": portfolios}
            rate, cpu, broker, memory = (
                results.figure(value, "throughput", **wanted)
                for value in ("rate", "cpu_us", "broker_cpu_us", "memory_mib")
            )
            if rate is not None and memory is not None:
                ratio = results.cpu_ratio(name, WORKER.name, portfolios)
                rows.append(
                    [f"{portfolios:,}", name, *map(str, (rate, cpu)), f"{ratio:.2f}", str(broker), shown(memory.median)]
                )
    head = ["portfolios", "", "events/s", "CPU, µs/event", "CPU, of ours", "broker's CPU, µs/event", "memory, MiB"]
    return _table(head, rows)


def latency(results: Results) -> str:
    """Return how long answers take."""
    rows = []
    for rate in counts(results, "latency", "rate"):
        for name in NAMES:
            wanted = {"contestant": name, "rate": rate}
            values = [results.figure(value, "latency", **wanted) for value in (*PERCENTILES, "cpu_us", "sent_late_ms")]
            if values[0] is not None:
                rows.append([f"{rate:,}", name, *map(str, values)])
    return _table(["events/s", "", "p50, ms", "p99, ms", "p99.9, ms", "CPU, µs/event", "sent late (p99), ms"], rows)


def remembering(results: Results) -> str:
    """Return what an event costs a worker that remembers few ids and one that remembers many."""
    ids = counts(results, "remembering", "ids")
    rows = []
    for count in ids:
        costs = results.figure("cpu_us", "remembering", ids=count)
        rows.append([f"{count:,}", str(costs), f"{memory_ratio(results, count, ids[0]):.2f}"])
    return _table(["ids remembered", "CPU, µs/event", f"of that with {ids[0]:,}" if ids else ""], rows)


def memory_ratio(results: Results, ids: int, fewest: int) -> float:
    """Return the median of the rounds' ratios of an event's cost with so many ids to that with the fewest."""
    many, few = (
        {line["round"]: float(line["cpu_us"]) for line in results.lines("remembering", ids=count)}
        for count in (ids, fewest)
    )
    return median(many[number] / few[number] for number in many)


def restoring(results: Results) -> str:
    """Return how long starts take."""
    rows = [
        [
            f"{line['rows']:,}",
            shown(line["lost_seconds"]),
            shown(line["lost_opening_seconds"]),
            shown(line["rows"] / line["lost_opening_seconds"]) if line["ids"] > FEW else "",
            shown(line["kept_seconds"]),
            shown(line["kept_opening_seconds"]),
        ]
        for line in results.lines("restore")
    ]
    head = ["rows of state", "disk lost: s", "of these restoring", "rows/s", "disk kept: s", "of these opening"]
    return _table(head, rows)


def failover(results: Results) -> str:
    """Return how long the partitions of a killed worker go without an answer."""
    rows = [
        [line["contestant"], shown(median(line["seconds"])), shown(max(line["seconds"])), str(len(line["seconds"]))]
        for line in results.lines("failover")
    ]
    return _table(["settings", "median, s", "worst, s", "trials"], rows)


def partitions(results: Results) -> str:
    """Return what four workers need for few and for many partitions."""
    rows = [
        [
            str(line["partitions"]),
            str(line["producers"]),
            f"{line['threads']:,}",
            f"{line['memory_mib']:,.0f}",
            shown(line["idle_cores"]),
            shown(line["rate"]),
            shown(line["cores"]),
            shown(line["broker_cores"]),
            shown(line["rebalance_seconds"]),
        ]
        for line in results.lines("scaling")
    ]
    head = [
        *("partitions", "producers", "threads", "memory, MiB", "cores in use, idle"),
        *("events/s", "cores in use at these", "the broker's", "rebalance, s"),
    ]
    return _table(head, rows)


def unit_costs(results: Results) -> UnitCosts | None:
    """Return what an event costs at an ordinary load; None if that was not measured."""
    at_load = {"contestant": WORKER.name, "rate": UNIT_RATE}
    worker, broker = (results.figure(name, "latency", **at_load) for name in ("cpu_us", "broker_cpu_us"))
    written = results.figure("log_bytes", "throughput", contestant=WORKER.name, portfolios=PORTFOLIOS)
    if worker is None or broker is None or written is None:
        return None
    return UnitCosts(worker.median, broker.median, written.median)


def sizes(results: Results) -> str:
    """Return the unit costs and what loads take by them."""
    costs = unit_costs(results)
    if costs is None:
        return ""
    head = [
        *("signals/s", "events/s", "workers' cores in use", "workers", "partitions"),
        *("brokers' cores in use", "written, MB/s", "brokers"),
    ]
    rows = []
    for load in _LOADS:
        needed = size(costs, load)
        rows.append(
            [
                f"{load:,}",
                f"{needed.events_per_second:,.0f}",
                shown(needed.worker_cores),
                f"{needed.workers:,}",
                f"{needed.partitions:,}",
                shown(needed.broker_cores),
                f"{needed.bytes_per_second / 1e6:,.0f}",
                f"{needed.brokers:,}",
            ]
        )
    units = (
        f"`worker_us` = {shown(costs.worker_us)}, `broker_us` = {shown(costs.broker_us)},"
        f" `log_bytes` = {costs.log_bytes:,.0f}"
    )
    return f"{units}\n\n{_table(head, rows)}"


def counts(results: Results, measure: str, name: str) -> list[int]:
    """Return the values of a whole number that a measure was taken at, in order."""
    return sorted({line[name] for line in results.lines(measure)})


def _table(head: Sequence[str], rows: Sequence[Sequence[str | Figure]]) -> str:
    """Return a table; nothing if it has no rows."""
    if not rows:
        return ""
    lines = [head, ["---" if not name or name == "settings" else "---:" for name in head], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
