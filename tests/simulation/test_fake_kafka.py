"""The rules of Kafka that the simulation rests on, as the cluster in memory follows them."""

import pytest
from confluent_kafka import KafkaError

from tests.simulation.cluster import TOMBSTONE_SECONDS, BrokerError, Cluster, Log, Phase
from tests.simulation.scheduler import DAY, SECOND

TOPIC = "changelog"


class Clock:
    now = 0

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cluster(clock: Clock) -> Cluster:
    return Cluster({TOPIC: "id", "other": "id-2"}, 1, clock)


def write(cluster: Cluster, owner: str, epoch: int, *rows: tuple[bytes, bytes | None], topic: str = TOPIC) -> int:
    cluster.add_partition(owner, epoch, topic, 0)
    return cluster.produce(owner, epoch, topic, 0, [(key, value, ()) for key, value in rows])


def end(cluster: Cluster, owner: str, epoch: int, *, is_commit: bool) -> None:
    cluster.end_transaction(owner, epoch, cluster.serial(owner), is_commit=is_commit)


def mark_all(cluster: Cluster) -> None:
    while pending := cluster.pending():
        cluster.write_marker(*pending[0])


def committed(log: Log) -> list[tuple[int, bytes | None, bytes | None]]:
    return [(entry.offset, entry.key, entry.value) for entry in log.committed(0)]


def refused(code: int) -> "pytest.RaisesExc[BrokerError]":
    return pytest.raises(BrokerError, match=KafkaError(code).str().split(":")[0])


def test_what_is_not_committed_cannot_be_read_and_holds_up_what_follows(cluster: Cluster) -> None:
    log = cluster.log(TOPIC, 0)
    first = cluster.init_producer_id("a", 10 * SECOND)
    second = cluster.init_producer_id("b", 10 * SECOND)
    write(cluster, "a", first, (b"k", b"1"))
    write(cluster, "b", second, (b"k", b"2"))
    end(cluster, "b", second, is_commit=True)
    mark_all(cluster)
    assert (log.stable, log.end, committed(log)) == (0, 3, [])
    end(cluster, "a", first, is_commit=False)
    assert log.stable == 0
    mark_all(cluster)
    assert (log.stable, log.end) == (4, 4)
    assert committed(log) == [(1, b"k", b"2")]


def test_a_commit_is_decided_at_once_and_its_markers_follow(cluster: Cluster) -> None:
    epoch = cluster.init_producer_id("a", 10 * SECOND)
    write(cluster, "a", epoch, (b"k", b"1"))
    write(cluster, "a", epoch, (b"o", b"1"), topic="other")
    end(cluster, "a", epoch, is_commit=True)
    with refused(KafkaError.CONCURRENT_TRANSACTIONS):
        cluster.add_partition("a", epoch, TOPIC, 0)
    with refused(KafkaError.CONCURRENT_TRANSACTIONS):
        cluster.init_producer_id("a", 10 * SECOND)
    cluster.write_marker(*cluster.pending()[0])
    assert committed(cluster.log(TOPIC, 0))
    assert not committed(cluster.log("other", 0))
    mark_all(cluster)
    assert committed(cluster.log("other", 0))
    end(cluster, "a", epoch, is_commit=True)  # the answer was lost: asked again
    with refused(KafkaError.INVALID_TXN_STATE):
        end(cluster, "a", epoch, is_commit=False)


def test_a_new_owner_aborts_the_open_transaction_and_fences_the_old_one(cluster: Cluster) -> None:
    old = cluster.init_producer_id("a", 10 * SECOND)
    write(cluster, "a", old, (b"k", b"1"))
    with refused(KafkaError.CONCURRENT_TRANSACTIONS):
        cluster.init_producer_id("a", 10 * SECOND)
    with pytest.raises(BrokerError, match="fence"):
        end(cluster, "a", old, is_commit=True)
    mark_all(cluster)
    new = cluster.init_producer_id("a", 10 * SECOND)
    assert new > old
    assert committed(cluster.log(TOPIC, 0)) == []
    for late in (
        lambda: cluster.add_partition("a", old, TOPIC, 0),
        lambda: cluster.produce("a", old, TOPIC, 0, [(b"k", b"2", ())]),
        lambda: end(cluster, "a", old, is_commit=True),
    ):
        with pytest.raises(BrokerError, match="fence"):
            late()
    write(cluster, "a", new, (b"k", b"3"))
    end(cluster, "a", new, is_commit=True)
    mark_all(cluster)
    assert [value for _, _, value in committed(cluster.log(TOPIC, 0))] == [b"3"]


def test_a_record_outside_of_a_transaction_is_refused(cluster: Cluster) -> None:
    epoch = cluster.init_producer_id("a", 10 * SECOND)
    with refused(KafkaError.INVALID_TXN_STATE):
        cluster.produce("a", epoch, TOPIC, 0, [(b"k", b"1", ())])
    cluster.add_partition("a", epoch, "other", 0)
    with refused(KafkaError.INVALID_TXN_STATE):
        cluster.produce("a", epoch, TOPIC, 0, [(b"k", b"1", ())])


def test_a_transaction_that_takes_too_long_is_aborted(cluster: Cluster, clock: Clock) -> None:
    epoch = cluster.init_producer_id("a", 10 * SECOND)
    write(cluster, "a", epoch, (b"k", b"1"))
    clock.now = 10 * SECOND
    assert cluster.overdue() == []
    clock.now += 1
    cluster.abort_overdue(cluster.overdue()[0])
    mark_all(cluster)
    assert cluster.transactions["a"].phase is Phase.COMPLETE
    assert committed(cluster.log(TOPIC, 0)) == []
    with pytest.raises(BrokerError, match="fence"):
        end(cluster, "a", epoch, is_commit=True)


def test_compaction_keeps_the_last_committed_row_of_each_key_and_its_offset(cluster: Cluster, clock: Clock) -> None:
    log = cluster.log(TOPIC, 0)
    epoch = cluster.init_producer_id("a", 10 * SECOND)
    for value, is_commit in ((b"1", True), (b"2", True), (b"3", False)):
        write(cluster, "a", epoch, (b"k", value), (b"gone", None))
        end(cluster, "a", epoch, is_commit=is_commit)
        mark_all(cluster)
    log.compact(log.end, clock.now)
    assert committed(log) == [(3, b"k", b"2"), (4, b"gone", None)]
    assert log.end == 9
    clock.now += TOMBSTONE_SECONDS * SECOND
    log.compact(log.end, clock.now)
    assert committed(log) == [(3, b"k", b"2")]


def test_compaction_leaves_alone_what_is_open(cluster: Cluster) -> None:
    log = cluster.log(TOPIC, 0)
    log.append(b"k", b"1", (), 0, None)
    epoch = cluster.init_producer_id("a", 10 * SECOND)
    write(cluster, "a", epoch, (b"k", b"2"))
    log.compact(log.end, 0)
    end(cluster, "a", epoch, is_commit=True)
    mark_all(cluster)
    assert committed(log) == [(0, b"k", b"1"), (1, b"k", b"2")]


def test_retention_moves_the_start_over_old_records_only(cluster: Cluster) -> None:
    log = cluster.log(TOPIC, 0)
    for day in range(5):
        log.append(b"k%d" % day, b"1", (), day * DAY, None)
    log.expire(9 * DAY, 7 * DAY)
    assert [offset for offset, _, _ in committed(log)] == [2, 3, 4]
    assert (log.start, log.end) == (2, 5)
    log.expire(100 * DAY, 7 * DAY)
    assert (log.start, log.end) == (5, 5)


def test_an_owner_is_fenced_between_transactions_too(cluster: Cluster) -> None:
    old = cluster.init_producer_id("a", 10 * SECOND)
    cluster.init_producer_id("a", 10 * SECOND)
    with pytest.raises(BrokerError, match="fence"):
        cluster.add_partition("a", old, TOPIC, 0)
