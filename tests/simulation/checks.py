"""What must hold: while a schedule runs, as a reader of committed records sees it, and at its end."""

from collections.abc import Mapping

import orjson

from app.processor import TABLES, Record
from app.processor.rows import PARTITION_KEY, decode_partition
from app.replay.audit import audit
from app.replay.history import TOPICS, History
from app.settings import Settings
from app.stream.topics import changelog_topic
from app.topics import SIZED_ORDERS
from tests.simulation.cluster import Cluster, Log


class ViolationError(Exception):
    """Something that must hold does not."""


class Watch:
    """Reads what is committed as it becomes readable; sequences have no gap, positions never move back."""

    def __init__(self, cluster: Cluster, settings: Settings) -> None:
        self._orders = [cluster.log(settings.topic(SIZED_ORDERS), number) for number in range(cluster.partitions)]
        name = changelog_topic(settings, "portfolios")
        self._rows = [cluster.log(name, number) for number in range(cluster.partitions)]
        self._read: dict[int, int] = {}
        self._seen: dict[Log, list[bytes]] = {}
        self._sequences: dict[str, int] = {}
        self._positions: dict[Log, Mapping[str, int]] = {}
        self.orders = 0

    def look(self) -> None:
        """Read on; raises ViolationError."""
        for log in self._orders:
            for entry in log.committed(self._read.get(id(log), 0)):
                order = orjson.loads(entry.value or b"{}")
                portfolio, sequence = order["portfolio_id"], order["sequence"]
                expected = self._sequences.get(portfolio, 0) + 1
                if sequence != expected:
                    raise ViolationError(
                        f"I5: {log.topic}/{log.partition} offset {entry.offset}: {portfolio} has sequence {sequence}"
                        f" after {expected - 1}"
                    )
                self._sequences[portfolio] = sequence
                self.orders += 1
            self._read[id(log)] = log.stable
        for log in self._rows:
            start = self._read.get(id(log), 0)
            if start != log.stable:
                for entry in log.committed(start):
                    if entry.key == PARTITION_KEY and entry.value is not None:
                        self._check_positions(log, entry.offset, decode_partition(entry.value).positions)
                self._read[id(log)] = log.stable

    def _check_positions(self, log: Log, offset: int, positions: Mapping[str, int]) -> None:
        before = self._positions.get(log, {})
        if any(positions.get(topic, 0) < position for topic, position in before.items()):
            raise ViolationError(
                f"I2: {log.topic}/{log.partition} offset {offset}: positions move back from {before} to {positions}"
            )
        self._positions[log] = dict(positions)


def final(cluster: Cluster, settings: Settings) -> list[str]:
    """Audit everything that is committed; return what is wrong."""
    names = {topic: settings.topic(topic) for topic in TOPICS}
    found = []
    for number in range(cluster.partitions):
        history = History(
            number,
            {
                topic: [
                    Record(topic, number, entry.offset, entry.key, entry.value, entry.headers)
                    for entry in cluster.log(name, number).committed(0)
                ]
                for topic, name in names.items()
            },
        )
        rows = {table: compacted(cluster.log(changelog_topic(settings, table), number)) for table in TABLES}
        report = audit(history, cluster.partitions, settings.partitioner, names, rows)
        found += [f"{finding.invariant}: {finding.text}" for finding in report.findings]
        if report.waiting:
            found.append(f"I6: {report.waiting} inputs of partition {number} were not taken up")
        if not report.is_proved and not report.findings:
            found.append(f"partition {number} is not proved: {report}")
    return found


def compacted(log: Log, end: int | None = None) -> dict[bytes, bytes]:
    """Return the last committed row of each key, those that have expired since too."""
    rows: dict[bytes, bytes] = {}
    for entry in log.committed(0, end, is_expired_too=True):
        assert entry.key is not None
        if entry.value is None:
            rows.pop(entry.key, None)
        else:
            rows[entry.key] = entry.value
    return rows
