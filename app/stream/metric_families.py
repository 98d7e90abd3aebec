"""Every metric of the worker: its name, its kind, its labels, and what it says. docs/metrics.md has the same table."""

from typing import Literal, NamedTuple


class Family(NamedTuple):
    """A metric and its labels."""

    name: str
    """As it is asked for; histograms add `_bucket`, `_sum` and `_count` to it, a summary the last two."""
    kind: Literal["counter", "gauge", "histogram", "summary"]
    labels: tuple[str, ...]
    help: str


FAMILIES = (
    Family(
        "sizer_build_info",
        "gauge",
        ("policy_id", "version"),
        "Always 1. Its labels say which release and which policy a worker runs; while workers differ, an upgrade or"
        " a change of policy is not through.",
    ),
    Family(
        "sizer_ready",
        "gauge",
        (),
        "1 if /readyz would answer 200: the group has assigned, partitions are restored, transactions get through. A"
        " worker without a partition is ready too.",
    ),
    Family(
        "sizer_partitions",
        "gauge",
        ("role",),
        "Partitions that this worker owns (role owned), and of which it keeps a copy for others (role standby)."
        " While they move it still counts the old ones.",
    ),
    Family(
        "sizer_topic_partitions",
        "gauge",
        (),
        "Partitions of each topic. If all workers together own fewer for longer than a rebalance, signals of the"
        " rest wait.",
    ),
    Family(
        "sizer_input_records_total",
        "counter",
        ("topic",),
        "Records of signals and fills that were processed, whatever became of them.",
    ),
    Family(
        "sizer_decisions_total",
        "counter",
        ("decision", "reason"),
        "Signals that were decided: SIZED without a reason, SKIPPED with the skip_reason of the answer."
        " NO_PORTFOLIO_VALUE means that values do not arrive.",
    ),
    Family(
        "sizer_ignored_records_total",
        "counter",
        ("reason",),
        "Good records that changed nothing: DUPLICATE_SIGNAL and REPEATED_EXEC_ID are harmless repeats,"
        " ORDER_FINISHED a report about an order that had ended.",
    ),
    Family(
        "sizer_conflicting_signals_total",
        "counter",
        (),
        "Duplicate signals (counted as such too) whose content differs from the one decided: a producer gives one id"
        " to two signals, and the second is lost.",
    ),
    Family(
        "sizer_dead_letters_total",
        "counter",
        ("code", "topic"),
        "Records that went to a dead letter queue, by input topic and code. Of fills, each may be a real position"
        " that no limit counts: alert on any.",
    ),
    Family(
        "sizer_phase_events_total",
        "counter",
        ("type",),
        "Phase events. EXPOSURE_BREACHED: exposure went over the limit. RESERVATION_EXPIRED: the execution service"
        " did not report an order's end.",
    ),
    Family(
        "sizer_phase_upgrades_total",
        "counter",
        ("phase",),
        "Portfolios that earned a phase, by the new one. How many are in which phase is in no counter: take the last"
        " phase event of each portfolio.",
    ),
    Family(
        "sizer_exposure_limit_used_ratio",
        "histogram",
        (),
        "exposure_after / exposure_limit of sized orders, rounded down to hundredths: how near to their limit"
        " portfolios trade. At most 1, by construction.",
    ),
    Family(
        "sizer_transaction_duration_seconds",
        "histogram",
        (),
        "Transactions that were committed: from the first record taken until the local rows are written. Their"
        " number is its _count.",
    ),
    Family(
        "sizer_transaction_records",
        "histogram",
        (),
        "Records for each transaction. They grow with the load by themselves; near 2000 the worker cannot keep up.",
    ),
    Family(
        "sizer_transactions_in_flight",
        "gauge",
        (),
        "Transactions under way at this moment.",
    ),
    Family(
        "sizer_transactions_limit",
        "gauge",
        (),
        "How many transactions the worker allows itself at a time: as many as make none of them slow, 2 at least.",
    ),
    Family(
        "sizer_oldest_record_age_seconds",
        "histogram",
        (),
        "Age of each transaction's oldest record when it was committed: no answer in it took longer, from the"
        " producer's time stamp on. Clocks that differ count.",
    ),
    Family(
        "sizer_lag_records",
        "gauge",
        ("partition", "topic"),
        "Offsets of an owned input partition that are not processed for good. What an open transaction of a producer"
        " holds back counts.",
    ),
    Family(
        "sizer_lag_seconds",
        "gauge",
        ("partition", "topic"),
        "Age of the oldest record of an owned input partition that has been read and waits; 0 if none waits.",
    ),
    Family(
        "sizer_standstill_seconds",
        "gauge",
        (),
        "For how long the worst partition has had input and done nothing, in steps of 5. At 45 the worker ends with"
        " status 70 to begin anew.",
    ),
    Family(
        "sizer_rebalance_duration_seconds",
        "summary",
        (),
        "Rebalances: for how long the worker processed nothing, from the group's call until its partitions go on,"
        " restoring included. The start is the first one.",
    ),
    Family(
        "sizer_restored_rows_total",
        "counter",
        (),
        "Rows of state read from the changelogs for partitions to be owned. Many of them at a rebalance: the standby"
        " was not there, or a disk was lost.",
    ),
    Family(
        "sizer_restored_partitions_total",
        "counter",
        (),
        "Partitions whose state was restored to the end.",
    ),
    Family(
        "sizer_restore_seconds_total",
        "counter",
        (),
        "Time that restored partitions took, added up; several are restored at the same time.",
    ),
    Family(
        "sizer_restore_remaining_offsets",
        "gauge",
        (),
        "Offsets of changelogs still to be read for partitions that are being restored; 0 if none is.",
    ),
    Family(
        "sizer_event_loop_delay_seconds",
        "histogram",
        (),
        "How much later than it should the event loop came to a task, tried twice a second. Half a second again and"
        " again: the machine has no time.",
    ),
    Family(
        "sizer_rocksdb_cache_bytes",
        "gauge",
        (),
        "Memory of RocksDB's cache: blocks, indexes, filters and write buffers of all local tables; 128 MiB at most.",
    ),
    Family(
        "sizer_rocksdb_unwritten_bytes",
        "gauge",
        (),
        "Part of that cache that holds rows which are in no table file yet.",
    ),
)
"""In the order in which they are told."""
