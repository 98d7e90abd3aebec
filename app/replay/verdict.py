"""`sizer replay`: recompute a history and say in what the published one differs, from Kafka or from files."""

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from app.errors import UserError
from app.processor.partitioners import partitioner
from app.replay.findings import Finding, Journal
from app.replay.parallel import each_partition
from app.replay.replaying import PartitionReplay, Progress, no_progress
from app.replay.source import BrokenSourceError, Source
from app.replay.state_file import check_state, head_of, join_parts, read_head, read_snapshot, write_part
from app.replay.step import Status, Step
from app.topics import INPUTS, PHASE_EVENTS, SIGNALS, SIZED_ORDERS


class Span(NamedTuple):
    """Which part of a history is to be compared. It is recomputed from its beginning, or from a state, all the same.

    Times: a decision's `decided_at`, of all else the topic's timestamp. Offsets: of signals; fills count with the
    signal before them.
    """

    since: int | None = None
    """Microseconds since the epoch, included."""
    until: int | None = None
    """Not included."""
    from_offset: int | None = None
    to_offset: int | None = None
    """Not included."""

    @property
    def is_all(self) -> bool:
        """Nothing is left out."""
        return self == Span()


class Replayed(NamedTuple):
    """What was recomputed of an input topic and a partition."""

    topic: str
    """Real name."""
    partition: int
    first: int
    end: int
    """Offset, not included."""


class Report(NamedTuple):
    """What a replay found. Those of partitions add up."""

    inputs: int = 0
    """Records of `signals` and `fills` that were recomputed."""
    answers: int = 0
    """Sized orders that are to be there."""
    events: int = 0
    """Phase events that are to be there."""
    dead_letters: int = 0
    """Dead letters that are to be there."""
    ignored: int = 0
    """Inputs that change nothing: repeats, late reports."""
    different: int = 0
    """Inputs whose outcome was not published, or not so."""
    outside: int = 0
    """Inputs outside of the span: recomputed, not compared."""
    unproved: int = 0
    """Records that cannot be recomputed: the beginning of their portfolio's history is not there."""
    waiting: int = 0
    """Inputs that no worker had taken up."""
    findings: tuple[Finding, ...] = ()
    """What is different, record by record."""
    problems: tuple[str, ...] = ()
    """Why not all was read, and from where on nothing is said."""
    notes: tuple[str, ...] = ()
    """What is not proved and why."""
    replayed: tuple[Replayed, ...] = ()
    """Of each input topic and partition: this is what the report is about."""

    @property
    def is_identical(self) -> bool:
        """Nothing that was compared is different."""
        return not self.findings and not self.different

    @property
    def is_complete(self) -> bool:
        """All that was asked for was compared."""
        return not self.problems and not self.unproved

    def __add__(self, other: "Report") -> "Report":  # type: ignore[override]  # reports add up, they are not joined
        """Return the report of both."""
        mine, yours = self._asdict(), other._asdict()
        return Report(**{name: mine[name] + yours[name] for name in self._fields})


class Order(NamedTuple):
    """What is to be replayed, and how; goes from process to process."""

    source: Source
    portfolio: str | None = None
    span: Span = Span()
    state: Path | None = None
    save_state: Path | None = None


def replay(
    source: Source,
    *,
    portfolio: str | None = None,
    span: Span = Span(),  # noqa: B008 - a value, never changed
    state: Path | None = None,
    save_state: Path | None = None,
    progress: Progress = no_progress,
    processes: int | None = None,
) -> Report:
    """Recompute a history and compare it with what was published.

    `portfolio`: only this one. `span`: only this part is compared. `state`: a saved one to go on from. `save_state`:
    where to save the one at the end; only if all is identical and complete. Raises UserError if it cannot be read at
    all, if the state is of something else, or if the portfolio is nowhere in it.
    """
    if save_state is not None and portfolio is not None:
        raise UserError("a state of one portfolio alone cannot be gone on from: save it without --portfolio")
    partitions = partitions_of(source, portfolio)
    if state is not None:
        head = read_head(state)
        check_state(state, head, source)
    order = Order(source, portfolio, span, state, save_state)
    found = dict(each_partition(partial(_replay_partition, order), partitions, progress, processes))
    report = sum((found[partition] for partition in partitions), Report())
    if portfolio is not None and not (report.inputs or report.outside or report.unproved or report.waiting):
        raise UserError(f"portfolio {portfolio} has no record in {source.where}: check its name, and SIZER_PARTITIONER")
    if save_state is not None:
        _save(save_state, source, partitions, report)
    return report


def _replay_partition(order: Order, partition: int, progress: Progress) -> Report:
    resume = None if order.state is None else read_snapshot(order.state, partition)
    with order.source.open(partition) as log:
        walk = PartitionReplay(
            order.source,
            log,
            resume=resume,
            trades=order.save_state is not None,
            portfolio=order.portfolio,
            progress=progress,
        )
        begun, tally = dict(walk.offsets), Tally(order.span, walk.journal)
        problems: tuple[str, ...] = ()
        try:
            for step in walk.steps():
                if not tally.take(step):
                    break
        except BrokenSourceError as error:
            problems = (f"partition {partition}: {error}",)
        audit = walk.audit()
        if order.save_state is not None and not problems:
            write_part(_part(order.save_state, partition), walk.snapshot())
        reached = walk.offsets
    names = order.source.topic_names
    replayed = tuple(Replayed(names[topic], partition, begun[topic], reached[topic]) for topic in INPUTS)
    return tally.report._replace(
        unproved=audit.unprovable,
        waiting=audit.waiting,
        findings=audit.findings,
        problems=problems,
        notes=audit.notes,
        replayed=replayed,
    )


class Tally:
    """Counts what is within the span."""

    def __init__(self, span: Span, journal: Journal) -> None:
        self._span = span
        self._journal = journal
        self._signal = -1
        self._counts = Counter[str]()

    @property
    def report(self) -> Report:
        """The counts."""
        counts: dict[str, Any] = dict(self._counts)
        return Report(**counts)

    def take(self, step: Step) -> bool:
        """Count a step; False if it and all that follow are behind the span."""
        span, counts = self._span, self._counts
        if not span.is_all:
            if step.record.topic == SIGNALS:
                self._signal = step.record.offset
                if span.to_offset is not None and self._signal >= span.to_offset:
                    return False
            if not self.is_within(step):
                counts["outside"] += 1
                self._forget(step)
                return True
        if step.status is Status.UNPROVED:
            return True
        counts["inputs"] += 1
        counts["ignored"] += step.outcome.ignored is not None
        for match in step.matches:
            counts[_KINDS.get(match.produced.topic, "dead_letters")] += 1
        counts["different"] += not step.is_identical
        return True

    def is_within(self, step: Step) -> bool:
        """Tell whether a step that was taken is in the span."""
        since, until, from_offset, _ = self._span
        if from_offset is not None and self._signal < from_offset:
            return False
        at = step.record.timestamp * 1000 if step.now is None else step.now
        return (since is None or since <= at) and (until is None or at < until)

    def _forget(self, step: Step) -> None:
        """Take back what was found of a step that is outside of the span."""
        if step.is_identical:
            return
        items = [step.record, *(match.item.record for match in step.matches if match.item is not None)]
        places = {(self._journal.name(record.topic), record.offset) for record in items}
        findings = self._journal.findings
        findings[:] = [finding for finding in findings if (finding.topic, finding.offset) not in places]


_KINDS = {SIZED_ORDERS: "answers", PHASE_EVENTS: "events"}


def partitions_of(source: Source, portfolio: str | None) -> list[int]:
    """Return the partitions that are to be read: of one portfolio the one that its key belongs to."""
    partition_of = partitioner(source.partitioner, source.partition_count)
    if portfolio is None or partition_of is None:
        return list(range(source.partition_count))
    return [partition_of(portfolio.encode())]


def _save(path: Path, source: Source, partitions: list[int], report: Report) -> None:
    parts = [_part(path, partition) for partition in partitions]
    if report.is_identical and report.is_complete:
        join_parts(path, head_of(source, partitions), parts)
        return
    for part in parts:
        part.unlink(missing_ok=True)


def _part(path: Path, partition: int) -> Path:
    return path.with_name(f"{path.name}.part-{partition}")
