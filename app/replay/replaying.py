"""The walk over one partition of a source, from its beginning or from a snapshot, and what it proves."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import orjson

from app.core.policy import Policy
from app.errors import UserError
from app.processor import Change, MemoryStore
from app.replay.findings import Audit, Journal
from app.replay.history import TOPICS
from app.replay.outputs import Seen
from app.replay.source import PartitionLog, Source
from app.replay.step import Step
from app.replay.trades import TradeBook
from app.replay.walk import Desk, Walk
from app.topics import INPUTS, OUTPUTS

Progress = Callable[[int], None]
"""Called now and then with how many records more were read."""


def no_progress(_: int) -> None:
    """Take note of nothing: nobody watches."""


class Snapshot(NamedTuple):
    """A walk over a partition, as it stands somewhere: from here another one goes on."""

    partition: int
    offsets: Mapping[str, int]
    """By logical topic: the first offset that is still to be read."""
    rows: Iterable[Change]
    """All rows, in the encoding of `app.processor.rows`; to be gone through once."""
    policies: tuple[str, ...]
    """Those announced so far, as canonical JSON."""
    trades: Iterable[bytes] | None
    """Rows of the trade book, to be gone through once; None if no trades were kept."""


class PartitionReplay:
    """The steps of a partition, each once, and what they prove.

    with source.open(partition) as log:
        replay = PartitionReplay(source, log)
        for step in replay.steps():
            ...
        print(replay.audit())
    """

    def __init__(
        self,
        source: Source,
        log: PartitionLog,
        *,
        resume: Snapshot | None = None,
        trades: bool = False,
        portfolio: str | None = None,
        progress: Progress = no_progress,
        seen: Seen | None = None,
    ) -> None:
        """Begin where the log does, or go on from a snapshot, `resume`.

        `trades`: put closed trades together. `portfolio`: walk over no other. `seen`: told of each output that can be
        read, in the order of its topic.

        Raises UserError if the source does not reach back to the snapshot, or it has no trades.
        """
        self._log = log
        self._portfolio = None if portfolio is None else portfolio.encode()
        self._waiting = 0
        self._progress = progress
        names = source.topic_names
        desk = Desk(log.partition, source.partition_count, source.partitioner, names)
        self._next = dict(log.starts)
        store, book = None, TradeBook() if trades else None
        if resume is not None:
            _check_reach(log, resume, names)
            self._next |= resume.offsets
            store = MemoryStore()
            store.write(resume.rows)
            if trades and resume.trades is None:
                raise UserError("the state was saved without trades, so they cannot be continued: begin without it")
            book = TradeBook(resume.trades or ()) if trades else None
        self._walk = Walk(
            desk,
            None if resume is not None else log.starts,
            store=store,
            trades=book,
            portfolio=portfolio,
            remembers_ids=False,
            more=self._more,
            seen=seen,
            schemas=source.schemas,
        )
        for policy in () if resume is None else resume.policies:
            self._walk.outputs.announce(Policy(_parameters(policy)))
        self._note(names, is_resumed=resume is not None)
        self._give = log.pull(self._next)

    def steps(self) -> Iterator[Step]:
        """Yield the steps, each to be looked at before the next. Raises BrokenSourceError where it cannot go on."""
        walk, taken = self._walk, self._log.taken
        yield from walk.steps(taken, conclude=taken is not None)
        if taken is None:
            yield from walk.steps_of_events()
        for topic in OUTPUTS:
            while self._next[topic] < self._log.settled[topic] and self._more(topic):
                pass
        walk.outputs.end_round(is_last=True, settled=self._log.settled)
        for topic in INPUTS:
            while records := self._give(topic):
                self._waiting += sum(self._portfolio in (None, record.key) for record in records)

    def audit(self) -> Audit:
        """Return what was found; complete once the steps are."""
        found = self._walk.audit()
        return found._replace(waiting=found.waiting + self._waiting)

    @property
    def journal(self) -> Journal:
        """Where what is found is taken down, step by step."""
        return self._walk.journal

    @property
    def read(self) -> Mapping[str, int]:
        """By logical topic: up to where it was read."""
        return self._next

    @property
    def offsets(self) -> Mapping[str, int]:
        """By logical topic: the first offset of which nothing is said yet."""
        waiting = {topic: self._walk.first_waiting(topic) for topic in TOPICS}
        return {topic: self._next[topic] if first is None else first for topic, first in waiting.items()}

    def snapshot(self) -> Snapshot:
        """Return where the walk stands, so that another one can go on from here; to be used before the next step.

        Not of one portfolio alone.
        """
        assert self._portfolio is None, "the other portfolios would be lost"
        walk = self._walk
        walk.commit()
        return Snapshot(
            self._log.partition,
            self.offsets,
            walk.store.rows(),
            tuple(policy.canonical for policy in walk.outputs.policies.values()),
            None if walk.trades is None else walk.trades.rows(),
        )

    def _more(self, topic: str) -> bool:
        records = self._give(topic)
        if not records:
            self._next[topic] = max(self._next[topic], self._log.ends[topic])
            return False
        for record in records:
            self._walk.feed(record)
        self._next[topic] = records[-1].offset + 1
        self._progress(len(records))
        return True

    def _note(self, names: Mapping[str, str], *, is_resumed: bool) -> None:
        notes, partition = self._walk.journal.notes, self._log.partition
        for topic, start in self._log.starts.items() if not is_resumed else ():
            if start:
                notes.append(
                    f"{names[topic]}, partition {partition}: records before offset {start:,} were deleted; portfolios "
                    "that began before cannot be recomputed and are not proved"
                )
        if self._log.taken is None:
            notes.append(
                f"partition {partition}: where the worker stands is not known: inputs behind the last one that has an "
                "outcome count as waiting"
            )


def _check_reach(log: PartitionLog, resume: Snapshot, names: Mapping[str, str]) -> None:
    for topic, offset in resume.offsets.items():
        start, end = log.starts[topic], log.ends[topic]
        if offset < start:
            raise UserError(
                f"topic {names[topic]}, partition {log.partition}: the state goes on at offset {offset:,}, but records "
                f"before {start:,} were deleted: take a later state, or begin without one"
            )
        if offset > end:
            raise UserError(
                f"topic {names[topic]}, partition {log.partition}: the state goes on at offset {offset:,}, but it ends "
                f"at {end:,}: the state is of another topic, or of a later time"
            )


def _parameters(canonical: str) -> dict[str, object]:
    parameters = orjson.loads(canonical)
    assert isinstance(parameters, dict)
    return parameters
