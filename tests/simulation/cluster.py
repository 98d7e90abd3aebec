"""A Kafka cluster in memory: logs, transactions, producers' epochs. Nothing here waits or fails by chance.

Rules it follows (Kafka 4.x, one broker, transactions as librdkafka 2.x speaks them):

- A record or a transaction's marker takes up one offset of its log. `InitProducerId` ends an open transaction of the
  same transactional id by aborting it, answers CONCURRENT_TRANSACTIONS until its markers are written, and hands out a
  higher epoch: requests with an older one are PRODUCER_FENCED / INVALID_PRODUCER_EPOCH.
- A partition has to be added to the ongoing transaction before records are taken for it; late requests are refused.
- `EndTxn` decides at once (PrepareCommit, PrepareAbort) and is answered; markers follow, partition by partition, in any
  order, later. Until then CONCURRENT_TRANSACTIONS is the answer to the next transaction of this id. Repeated, it is
  answered as before.
- A transaction that is open for longer than its time-out is aborted, and its producer fenced.
- The last stable offset (LSO) is the first offset of the earliest open transaction; read_committed ends there and
  leaves out what was aborted.
- Compaction keeps the last committed record of each key and all that is not stable yet; offsets stay. Tombstones and
  markers go when they have been there for `delete.retention.ms` since they were first compacted.
- Retention moves the start of a log over whole prefixes of records older than `retention.ms` (LogAppendTime).

Left out: a late `EndTxn` that ends the next transaction of the same producer (KIP-890: Kafka does that to clients
that, like librdkafka, keep their epoch from one transaction to the next; `planted.late_commit_taken` lets it happen),
replicas, leader changes that lose acknowledged records, segments (any prefix below the LSO may be compacted), sequence
numbers of single records (a batch that is sent again is known to be so), consumer groups' offsets, quotas, limits of
sizes. `test_against_broker` compares all this with a real Kafka, as far as it can be seen from outside.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from confluent_kafka import KafkaError

from tests.simulation.scheduler import SECOND

TOMBSTONE_SECONDS = 7 * 24 * 60 * 60


class BrokerError(Exception):
    """A request was refused; `code` as in KafkaError."""

    def __init__(self, code: int) -> None:
        super().__init__(KafkaError(code).str())
        self.code = code


class State(Enum):
    """Of a record: what a reader of committed data makes of it."""

    COMMITTED = "committed"
    OPEN = "open"
    ABORTED = "aborted"
    MARKER = "marker"


class Entry:
    """What takes up one offset."""

    __slots__ = ("headers", "horizon", "key", "offset", "owner", "state", "time", "value")

    def __init__(
        self,
        offset: int,
        key: bytes | None,
        value: bytes | None,
        headers: tuple[tuple[str, bytes | None], ...],
        time: int,
        owner: str | None,
        state: State,
    ) -> None:
        self.offset = offset
        self.key = key
        self.value = value
        self.headers = headers
        self.time = time
        self.owner = owner
        """Transactional id."""
        self.state = state
        self.horizon: int | None = None
        """Of a tombstone or marker that was compacted once: when it may go."""


class Log:
    """One partition of a topic."""

    def __init__(self, topic: str, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.start = 0
        self._entries: list[Entry | None] = []
        self._open: dict[str, int] = {}

    @property
    def end(self) -> int:
        """The high watermark: where the next record goes."""
        return len(self._entries)

    @property
    def stable(self) -> int:
        """The last stable offset: where committed reading ends."""
        return min(self._open.values(), default=self.end)

    def append(
        self,
        key: bytes | None,
        value: bytes | None,
        headers: tuple[tuple[str, bytes | None], ...],
        time: int,
        owner: str | None,
    ) -> int:
        """Append a record, in a transaction if it has an owner; return its offset."""
        offset = self.end
        if owner is not None:
            self._open.setdefault(owner, offset)
        state = State.COMMITTED if owner is None else State.OPEN
        self._entries.append(Entry(offset, key, value, headers, time, owner, state))
        return offset

    def mark(self, owner: str, *, is_commit: bool, time: int) -> None:
        """Write the marker that ends a transaction here."""
        first = self._open.pop(owner, None)
        if first is not None:
            state = State.COMMITTED if is_commit else State.ABORTED
            for entry in self._entries[first:]:
                if entry is not None and entry.owner == owner and entry.state is State.OPEN:
                    entry.state = state
        self._entries.append(Entry(self.end, None, None, (), time, owner, State.MARKER))

    def committed(self, start: int, limit: int | None = None, *, is_expired_too: bool = False) -> Iterator[Entry]:
        """Iterate over committed records from an offset on to the LSO; `is_expired_too`: as an all-knowing checker."""
        if not is_expired_too:
            start = max(start, self.start)
        for offset in range(start, self.stable if limit is None else min(limit, self.stable)):
            entry = self._entries[offset]
            if entry is not None and entry.state is State.COMMITTED:
                yield entry

    def compact(self, end: int, now: int) -> int:
        """Compact what lies before `end` and is stable; return how many records went."""
        end = min(end, self.stable)
        last = {entry.key: entry.offset for entry in self.committed(self.start, end)}
        gone = 0
        for offset in range(self.start, end):
            entry = self._entries[offset]
            if entry is None:
                continue
            is_kept = entry.state is State.COMMITTED and last[entry.key] == offset
            if entry.state is State.MARKER or (is_kept and entry.value is None):
                if entry.horizon is None:
                    entry.horizon = now + TOMBSTONE_SECONDS * SECOND
                is_kept = now < entry.horizon
            if not is_kept:
                self._entries[offset] = None
                gone += 1
        return gone

    def expire(self, now: int, retention: int) -> int:
        """Delete the records before the first that is not older than `retention` microseconds; return how many."""
        start = self.start
        while start < self.stable:
            entry = self._entries[start]
            if entry is not None and entry.time >= now - retention:
                break
            start += 1
        gone, self.start = start - self.start, start
        return gone


class Phase(Enum):
    """Of a transactional id."""

    EMPTY = "empty"
    ONGOING = "ongoing"
    PREPARED = "prepared"
    COMPLETE = "complete"


@dataclass
class Transaction:
    """What the coordinator knows of a transactional id."""

    owner: str
    timeout: int
    epoch: int = -1
    phase: Phase = Phase.EMPTY
    is_commit: bool = False
    """Of a prepared or complete one: how it ended."""
    started_at: int = 0
    serial: int = 0
    """How many transactions there have been."""
    logs: dict[tuple[str, int], Log] = field(default_factory=dict)
    """Where it has written or, when prepared, where the marker is still to come."""


class Cluster:
    """Topics and the transaction coordinator. Every method is one request, all at once or refused by BrokerError."""

    takes_late_end = False
    """Whether an `EndTxn` may end a later transaction than it was meant for."""

    def __init__(self, topics: dict[str, str], partitions: int, clock: Callable[[], int]) -> None:
        """`topics`: ids by name. `clock`: microseconds since the epoch."""
        self.ids = topics
        self.partitions = partitions
        self.clock = clock
        self.logs = {(topic, number): Log(topic, number) for topic in topics for number in range(partitions)}
        self.transactions: dict[str, Transaction] = {}

    def log(self, topic: str, partition: int) -> Log:
        """Return a partition."""
        try:
            return self.logs[topic, partition]
        except KeyError:
            raise BrokerError(KafkaError.UNKNOWN_TOPIC_OR_PART) from None

    def init_producer_id(self, owner: str, timeout: int) -> int:
        """Fence whoever had this transactional id and return the new epoch."""
        found = self.transactions.setdefault(owner, Transaction(owner, timeout))
        if found.phase is Phase.ONGOING:
            found.epoch += 1
            self._prepare(found, is_commit=False)
        if found.phase is Phase.PREPARED:
            raise BrokerError(KafkaError.CONCURRENT_TRANSACTIONS)
        found.epoch += 1
        found.phase, found.timeout = Phase.EMPTY, timeout
        return found.epoch

    def produce(
        self,
        owner: str,
        epoch: int,
        topic: str,
        partition: int,
        records: list[tuple[bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...]]],
    ) -> int:
        """Take records into the ongoing transaction, the partition added; return the first one's offset."""
        found = self._known(owner, epoch)
        if found.phase is not Phase.ONGOING or (topic, partition) not in found.logs:
            raise BrokerError(KafkaError.INVALID_TXN_STATE)
        log = self.log(topic, partition)
        first = log.end
        for key, value, headers in records:
            log.append(key, value, headers, self.clock(), owner)
        return first

    def add_partition(self, owner: str, epoch: int, topic: str, partition: int) -> None:
        """Add a partition to the transaction, which begins with its first one."""
        found = self._known(owner, epoch)
        if found.phase is Phase.PREPARED:
            raise BrokerError(KafkaError.CONCURRENT_TRANSACTIONS)
        if found.phase is not Phase.ONGOING:
            found.phase, found.started_at, found.logs = Phase.ONGOING, self.clock(), {}
            found.serial += 1
        found.logs[topic, partition] = self.log(topic, partition)

    def serial(self, owner: str) -> int:
        """Return the number of a transactional id's present transaction."""
        return self.transactions[owner].serial

    def end_transaction(self, owner: str, epoch: int, serial: int, *, is_commit: bool) -> None:
        """Decide the ongoing transaction; its markers follow. `serial`: which one is meant; Kafka is not told."""
        found = self._known(owner, epoch)
        if serial != found.serial and not self.takes_late_end:
            raise BrokerError(KafkaError.INVALID_TXN_STATE)
        if found.phase is Phase.ONGOING:
            self._prepare(found, is_commit=is_commit)
        elif found.phase is Phase.EMPTY or found.is_commit != is_commit:
            raise BrokerError(KafkaError.INVALID_TXN_STATE)
        elif found.phase is Phase.PREPARED:
            raise BrokerError(KafkaError.CONCURRENT_TRANSACTIONS)

    def pending(self) -> list[tuple[Transaction, Log]]:
        """Return the markers that are still to be written."""
        return [
            (found, log)
            for found in self.transactions.values()
            if found.phase is Phase.PREPARED
            for log in found.logs.values()
        ]

    def write_marker(self, found: Transaction, log: Log) -> None:
        """Write one of them."""
        log.mark(found.owner, is_commit=found.is_commit, time=self.clock())
        del found.logs[log.topic, log.partition]
        if not found.logs:
            found.phase = Phase.COMPLETE

    def overdue(self) -> list[Transaction]:
        """Return the transactions that are open for too long."""
        now = self.clock()
        return [
            found
            for found in self.transactions.values()
            if found.phase is Phase.ONGOING and now - found.started_at > found.timeout
        ]

    def abort_overdue(self, found: Transaction) -> None:
        """Abort one of them and fence its producer."""
        found.epoch += 1
        self._prepare(found, is_commit=False)

    def _prepare(self, found: Transaction, *, is_commit: bool) -> None:
        found.is_commit = is_commit
        found.phase = Phase.PREPARED if found.logs else Phase.COMPLETE

    def _known(self, owner: str, epoch: int) -> Transaction:
        found = self.transactions.get(owner)
        if found is None:
            raise BrokerError(KafkaError.INVALID_PRODUCER_ID_MAPPING)
        if epoch != found.epoch:
            raise BrokerError(KafkaError.PRODUCER_FENCED)
        return found
