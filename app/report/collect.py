"""The walk over a history that a report is made of: what it proves, and what it knows of each portfolio."""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

from app.core.messages import Refused
from app.errors import UserError
from app.processor import Produced
from app.processor.dead_letter import CODE_HEADER, MESSAGE_HEADER
from app.replay import BrokenSourceError, PartitionReplay, Replayed, Source, Span, Step
from app.replay import Report as Verdict
from app.replay.parallel import each_partition
from app.replay.replaying import Progress, no_progress
from app.replay.verdict import Tally, partitions_of
from app.report.account import Account
from app.topics import INPUTS

KEPT_LETTERS = 100


class Letter(NamedTuple):
    """A dead letter that a record must have."""

    topic: str
    """Of the record: `signals` or `fills`."""
    partition: int
    offset: int
    """Of the record."""
    timestamp: int
    """Of the record, milliseconds since the epoch; below 0: not known."""
    code: str
    message: str
    portfolio_id: str | None
    """None: the record does not say, or cannot be read."""


class Collected(NamedTuple):
    """What was gathered. Those of partitions add up."""

    verdict: Verdict
    accounts: tuple[Account, ...]
    dead: Counter[tuple[str, str]]
    """How many dead letters, by topic of the record and code."""
    letters: tuple[Letter, ...]
    """Some of them: the newest of each partition."""
    ignored: Counter[str]
    """Records that changed nothing, by reason."""


class _Part(NamedTuple):
    """What one process is to walk over."""

    partition: int
    portfolio: str | None


class _Work(NamedTuple):
    source: Source
    span: Span
    parts: Sequence[_Part]


def collect(
    source: Source,
    *,
    portfolios: Sequence[str] = (),
    span: Span = Span(),  # noqa: B008 - a value, never changed
    progress: Progress = no_progress,
    processes: int | None = None,
) -> Collected:
    """Walk over a history once. `portfolios`: only these; none: all. `span`: only what is in it is gathered.

    Raises UserError if it cannot be read at all, or if a portfolio is nowhere in it.
    """
    wanted: list[str | None] = [*dict.fromkeys(portfolios)] or [None]
    parts = [_Part(number, portfolio) for portfolio in wanted for number in partitions_of(source, portfolio)]
    work = _Work(source, span, parts)
    found = dict(each_partition(partial(_collect, work), range(len(parts)), progress, processes))
    for portfolio in portfolios:
        verdicts = [found[number].verdict for number, part in enumerate(parts) if part.portfolio == portfolio]
        if not any(verdict.inputs or verdict.outside or verdict.unproved or verdict.waiting for verdict in verdicts):
            raise UserError(
                f"portfolio {portfolio} has no record in {source.where}: check its name, and SIZER_PARTITIONER"
            )
    return _sum([found[number] for number in range(len(parts))])


def _sum(found: Sequence[Collected]) -> Collected:
    return Collected(
        sum((one.verdict for one in found), Verdict()),
        tuple(sorted((account for one in found for account in one.accounts), key=lambda each: each.portfolio_id)),
        sum((one.dead for one in found), Counter[tuple[str, str]]()),
        tuple(letter for one in found for letter in one.letters),
        sum((one.ignored for one in found), Counter[str]()),
    )


def _collect(work: _Work, number: int, progress: Progress) -> Collected:
    partition, portfolio = work.parts[number]
    with work.source.open(partition) as log:
        walk = PartitionReplay(work.source, log, trades=True, portfolio=portfolio, progress=progress)
        begun, tally, gathered = dict(walk.offsets), Tally(work.span, walk.journal), _Gathered(partition)
        problems: tuple[str, ...] = ()
        try:
            for step in walk.steps():
                if not tally.take(step):
                    break
                if tally.is_within(step):
                    gathered.take(step)
        except BrokenSourceError as error:
            problems = (f"partition {partition}: {error}",)
        audit, reached = walk.audit(), walk.offsets
    names = work.source.topic_names
    verdict = tally.report._replace(
        unproved=audit.unprovable,
        waiting=audit.waiting,
        findings=audit.findings,
        problems=problems,
        notes=audit.notes,
        replayed=tuple(Replayed(names[topic], partition, begun[topic], reached[topic]) for topic in INPUTS),
    )
    return Collected(verdict, tuple(gathered.accounts.values()), gathered.dead, gathered.newest, gathered.ignored)


class _Gathered:
    """What was found in a partition."""

    def __init__(self, partition: int) -> None:
        self.accounts: dict[str, Account] = {}
        self.dead = Counter[tuple[str, str]]()
        self.ignored = Counter[str]()
        self._partition = partition
        self._letters: list[Letter] = []

    @property
    def newest(self) -> tuple[Letter, ...]:
        return tuple(self._letters[-KEPT_LETTERS:])

    def take(self, step: Step) -> None:
        """Take note of a step."""
        if step.outcome.ignored is not None:
            self.ignored[step.outcome.ignored] += 1
        self._letters += self._dead_letters(step)
        if len(self._letters) > 2 * KEPT_LETTERS:
            del self._letters[:-KEPT_LETTERS]
        effect = step.effect
        if effect is None:
            return
        portfolio_id = effect.after.portfolio_id
        account = self.accounts.get(portfolio_id)
        if account is None:
            account = self.accounts[portfolio_id] = Account(portfolio_id, self._partition)
        account.take(step, effect)

    def _dead_letters(self, step: Step) -> Iterator[Letter]:
        for produced in step.outcome.produced:
            if not produced.topic.endswith(".dlq"):
                continue
            code = _header(produced, CODE_HEADER)
            self.dead[step.record.topic, code] += 1
            known = None if isinstance(step.message, Refused) else step.message.portfolio_id
            record, message = step.record, _header(produced, MESSAGE_HEADER)
            yield Letter(record.topic, self._partition, record.offset, record.timestamp, code, message, known)


def _header(produced: Produced, name: str) -> str:
    return (dict(produced.headers)[name] or b"").decode("ascii", "replace")
