"""The worker's metrics, put together when they are asked for: counting costs the way of an event nothing more."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import accumulate
from typing import NamedTuple, cast

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from app.core.messages import Decision, ErrorCode, Ignored, PhaseEventType, SkipReason
from app.stream.health import Health
from app.stream.metric_families import FAMILIES, Family
from app.stream.progress import RESTORES
from app.stream.store import memory
from app.stream.totals import Distribution, Totals
from app.stream.watchdog import Pulse
from app.topics import FILLS, INPUTS, SIGNALS

_EXPOSURE_PERCENTS = (10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100)
_UPGRADED_PHASES = (2, 3)
_OF_SIGNALS = frozenset({ErrorCode.STALE_SIGNAL, ErrorCode.FUTURE_SIGNAL})
_OF_FILLS = frozenset({ErrorCode.UNKNOWN_ORDER, ErrorCode.CLOSE_EXCEEDS_OPEN, ErrorCode.OUT_OF_RANGE})
_DEAD_LETTERS = tuple(
    (code, topic)
    for topic, foreign in ((SIGNALS, _OF_FILLS), (FILLS, _OF_SIGNALS))
    for code in ErrorCode
    if code not in foreign
)

_FAMILIES = {family.name: family for family in FAMILIES}
_METRICS: Mapping[str, type[Metric]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
    "summary": SummaryMetricFamily,
}

Values = Mapping[tuple[str, ...], float]
"""By the labels' values, in the order of the family's labels."""


class Sources(NamedTuple):
    """Where the numbers come from."""

    health: Health
    totals: Totals
    pulse: Pulse
    policy_id: str


class SizerCollector(Collector):
    """Reads the numbers; to be called in the event loop, where they change."""

    def __init__(self, sources: Sources) -> None:
        """Nothing is read before it is asked to collect."""
        self._sources = sources
        self._info: Values = {(sources.policy_id, version("position-sizer")): 1.0}

    def collect(self) -> Iterator[Metric]:
        """Yield all families in their order; every one is there from the beginning, its counters with 0."""
        found = {**self._counted(), **self._transactions(), **self._partitions(), **self._process()}
        assert found.keys() == _FAMILIES.keys()
        for family in FAMILIES:
            yield found[family.name](family)

    def _counted(self) -> Mapping[str, "Build"]:
        totals, partitions = self._sources.totals, self._sources.health.partitions
        processors = [] if partitions is None else [task.processor for task in partitions.tasks.values()]
        counters = totals.counters(processors)
        skipped: Values = {("SKIPPED", str(reason)): counters[f"SKIPPED.{reason}"] for reason in SkipReason}
        return {
            "sizer_input_records_total": _values({(topic,): counters[topic] for topic in INPUTS}),
            "sizer_decisions_total": _values({("SIZED", ""): counters[Decision.SIZED], **skipped}),
            "sizer_ignored_records_total": _values({(reason,): counters[f"IGNORED.{reason}"] for reason in Ignored}),
            "sizer_conflicting_signals_total": _value(counters["IGNORED.DUPLICATE_SIGNAL.DIFFERENT"]),
            "sizer_dead_letters_total": _values(
                {(code, topic): counters[f"DLQ.{topic}.{code}"] for code, topic in _DEAD_LETTERS}
            ),
            "sizer_phase_events_total": _values({(kind,): counters[kind] for kind in PhaseEventType}),
            "sizer_phase_upgrades_total": _values(
                {(str(phase),): counters[f"PHASE_UPGRADED.{phase}"] for phase in _UPGRADED_PHASES}
            ),
            "sizer_exposure_limit_used_ratio": _percents(totals.exposure_percents(processors)),
        }

    def _transactions(self) -> Mapping[str, "Build"]:
        totals, partitions = self._sources.totals, self._sources.health.partitions
        return {
            "sizer_transaction_duration_seconds": _distribution(totals.transaction_seconds),
            "sizer_transaction_records": _distribution(totals.transaction_records),
            "sizer_transactions_in_flight": _value(len(totals.begun)),
            "sizer_transactions_limit": _value(2 if partitions is None else round(partitions.pace.limit)),
            "sizer_oldest_record_age_seconds": _distribution(totals.age_seconds),
        }

    def _partitions(self) -> Mapping[str, "Build"]:
        totals, partitions = self._sources.totals, self._sources.health.partitions
        owned = standby = 0
        records: dict[tuple[str, ...], float] = {}
        seconds: dict[tuple[str, ...], float] = {}
        if partitions is not None:
            owned, standby = len(partitions.tasks), len(partitions.standby)
            now = time.time()
            for lag in partitions.lags():
                labels = str(lag.partition), lag.topic
                records[labels] = lag.records
                seconds[labels] = 0 if lag.oldest is None else max(0.0, now - lag.oldest / 1000)
        return {
            "sizer_partitions": _values({("owned",): owned, ("standby",): standby}),
            "sizer_topic_partitions": _values({} if partitions is None else {(): partitions.partition_count}),
            "sizer_lag_records": _values(records),
            "sizer_lag_seconds": _values(seconds),
            "sizer_standstill_seconds": _value(max(self._sources.pulse.standstill.values(), default=0)),
            "sizer_rebalance_duration_seconds": _summary(totals.rebalances, totals.rebalance_seconds),
            "sizer_restored_rows_total": _value(RESTORES.rows),
            "sizer_restored_partitions_total": _value(RESTORES.partitions),
            "sizer_restore_seconds_total": _value(RESTORES.seconds),
            "sizer_restore_remaining_offsets": _value(RESTORES.remaining),
        }

    def _process(self) -> Mapping[str, "Build"]:
        blocks, unwritten = memory()
        return {
            "sizer_build_info": _values(self._info),
            "sizer_ready": _value(self._sources.health.why_not_ready() is None),
            "sizer_event_loop_delay_seconds": _distribution(self._sources.totals.loop_delay_seconds),
            "sizer_rocksdb_cache_bytes": _value(blocks),
            "sizer_rocksdb_unwritten_bytes": _value(unwritten),
        }


class Exposition:
    """What a scrape gets."""

    def __init__(self, sources: Sources) -> None:
        """With a registry of its own: what libraries put into the common one is nobody's business here."""
        self._collector = SizerCollector(sources)
        self._process = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._process)
        self._turn = asyncio.Lock()

    async def write(self, accept: str) -> tuple[bytes, str]:
        """Return the text and its content type, as the `Accept` header wants it.

        The numbers are read in the event loop, within a millisecond; the text is made in a thread, one at a time.
        """
        async with self._turn:
            return await asyncio.to_thread(self._encode, accept, list(self._collector.collect()))

    def _encode(self, accept: str, metrics: Sequence[Metric]) -> tuple[bytes, str]:
        encoder, content_type = choose_encoder(accept)
        collected = _Collected([*metrics, *self._process.collect()])
        return encoder(cast("CollectorRegistry", collected)), content_type


class _Collected:
    """Metrics that were read already, as an encoder wants them."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


Build = Callable[[Family], Metric]
"""Makes the metric of a family; the numbers are in it already."""


def _values(values: Values) -> Build:
    def build(family: Family) -> Metric:
        metric = _METRICS[family.kind](family.name, family.help, labels=family.labels)  # type: ignore[call-arg]  # each kind has them
        for labels, value in values.items():
            metric.add_metric(labels, float(value))  # type: ignore[attr-defined]  # each kind has it
        return metric

    return build


def _value(value: float) -> Build:
    return _values({(): value})


def _summary(count: int, total: float) -> Build:
    return lambda family: SummaryMetricFamily(family.name, family.help, count_value=count, sum_value=total)


def _distribution(distribution: Distribution) -> Build:
    bounds = [*map(float, distribution.bounds), float("inf")]
    counts = accumulate(distribution.counts)
    return _histogram(zip(bounds, counts, strict=True), distribution.sum)


def _percents(percents: Sequence[int]) -> Build:
    counts = list(accumulate(percents))
    buckets = [(percent / 100, counts[percent]) for percent in _EXPOSURE_PERCENTS]
    total = sum(percent * count for percent, count in enumerate(percents)) / 100
    return _histogram([*buckets, (float("inf"), counts[-1])], total)


def _histogram(buckets: Iterable[tuple[float, int]], total: float) -> Build:
    """`buckets`: upper ends and how many values lie up to there, in ascending order; the last end is infinite."""
    named = [("+Inf" if bound == float("inf") else str(bound), float(count)) for bound, count in buckets]
    return lambda family: HistogramMetricFamily(family.name, family.help, buckets=named, sum_value=total)
