"""`explain`: find a signal or an order in the topics, and walk over its portfolio's history to it and a bit on."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import orjson

from app.codecs import BadRecord, Decoder
from app.core.messages import Signal, order_id_of
from app.processor import Record
from app.processor.dead_letter import CODE_HEADER, MESSAGE_HEADER
from app.processor.partitioners import partitioner
from app.replay.beside import as_text, comparison
from app.replay.case import Alternative, Case
from app.replay.explanation import Explanation, Outcome, in_a_sentence, points, proof
from app.replay.later import Later
from app.replay.ledger import Ledger
from app.replay.published import Answer, MalformedError, read_answer, shown
from app.replay.recompute import Effect
from app.replay.replaying import PartitionReplay, Progress, no_progress
from app.replay.source import BrokenSourceError, PartitionLog, Source
from app.replay.step import Status, Step
from app.topics import SIGNALS, SIZED_ORDERS


class Explained(NamedTuple):
    """What was found of an id."""

    id: str
    explanations: tuple[Explanation, ...]
    """One for each record of `signals` that it names, by partition and offset; in several portfolios perhaps."""
    searched: tuple[str, ...]
    """For people: which topics, partitions and offsets were looked through."""
    problems: tuple[str, ...]
    """Why not all could be read."""

    @property
    def is_identical(self) -> bool:
        """Something was found, and all that was published for it is to the byte as recomputed."""
        return bool(self.explanations) and all(found.is_identical is not False for found in self.explanations)

    @property
    def is_complete(self) -> bool:
        """All could be read, and what was found could be recomputed."""
        return not self.problems and all(found.outcome is not Outcome.UNPROVED for found in self.explanations)


class _Hit(NamedTuple):
    """Where a portfolio's records are that may be of the id."""

    signals: dict[int, Record]
    """By offset."""
    answers: dict[int, Record]


def explain(
    source: Source, wanted: str, *, portfolio: str | None = None, progress: Progress = no_progress
) -> Explained:
    """Explain a signal id or an order id: why this size, or why none.

    `portfolio`: look only there; then no other partition is read. Nothing is found: `explanations` is empty. Raises
    UserError if the source cannot be read at all.
    """
    partition_of = partitioner(source.partitioner, source.partition_count)
    if portfolio is None or partition_of is None:
        partitions = list(range(source.partition_count))
    else:
        partitions = [partition_of(portfolio.encode())]
    found: list[Explanation] = []
    searched: list[str] = []
    problems: list[str] = []
    for partition in partitions:
        hits: dict[bytes | None, _Hit] = {}
        try:
            with source.open(partition) as log:
                searched += _ranges(source, log)
                for key, record in _mentions(source, log, wanted, portfolio, progress):
                    hit = hits.setdefault(key, _Hit({}, {}))
                    (hit.signals if record.topic == SIGNALS else hit.answers)[record.offset] = record
        except BrokenSourceError as error:
            problems.append(f"partition {partition}: {error}")
        for key, hit in hits.items():
            walk = _Explainer(source, partition, wanted, key, hit)
            try:
                walk.run(progress)
            except BrokenSourceError as error:
                problems.append(f"partition {partition}: {error}")
            found += walk.found()
    found.sort(key=lambda explanation: (explanation.partition, explanation.offset))
    return Explained(wanted, tuple(found), tuple(searched), tuple(problems))


def _ranges(source: Source, log: PartitionLog) -> Iterator[str]:
    for topic in (SIGNALS, SIZED_ORDERS):
        first, end = log.starts[topic], log.ends[topic]
        yield f"{source.topic_names[topic]}, partition {log.partition}: offsets from {first:,} up to {end:,}"


def _mentions(
    source: Source, log: PartitionLog, wanted: str, portfolio: str | None, progress: Progress
) -> Iterator[tuple[bytes | None, Record]]:
    """Yield the records that have the id, with their keys. `portfolio`: look at no other."""
    needle, key = wanted.encode(), None if portfolio is None else portfolio.encode()
    give = log.pull(log.starts)
    for topic in (SIZED_ORDERS, SIGNALS):
        while records := give(topic):
            progress(len(records))
            for record in records:
                value = record.value
                if value is None or (key is not None and record.key != key):
                    continue
                # JSON may write any character as an escape.
                if (needle in value or b"\\" in value) and wanted in _ids(source, record):
                    yield record.key, record


def _ids(source: Source, record: Record) -> tuple[str | None, str | None]:
    """Return the ids of a signal, or of an answer: the signal's, the order's."""
    try:
        if record.topic == SIZED_ORDERS:
            answer = read_answer(record, source.schemas)
            return answer.signal_id, answer.order_id
        signal = Decoder(source.schemas).signal(record.value)
    except MalformedError:
        return None, None
    except BadRecord:
        # A bad one is found by its id all the same, if it has one.
        return _document(record).get("signal_id"), None
    return signal.signal_id, order_id_of(signal)


class _Explainer:
    """Walks over one portfolio's history until nothing more is to be told of the id."""

    def __init__(self, source: Source, partition: int, wanted: str, key: bytes | None, hit: _Hit) -> None:
        self._source = source
        self._partition = partition
        self._wanted = wanted
        self._key = key
        self._hit = hit
        answers = (read_answer(record, source.schemas) for record in hit.answers.values())
        self._answers = {answer.signal_offset: answer for answer in answers}
        self._left = {*hit.signals, *self._answers}
        """Offsets of signals up to which the history must be walked."""
        self._ledger = Ledger(source.topic_names)
        self._found: dict[int, Explanation] = {}
        self._pending: dict[int, Later] = {}
        self._seen: set[int] = set()

    def run(self, progress: Progress) -> None:
        """Walk."""
        try:
            portfolio = None if self._key is None else self._key.decode()
        except UnicodeDecodeError:
            portfolio = None  # such a record is bad whatever was before
        with self._source.open(self._partition) as log:
            walk = PartitionReplay(self._source, log, trades=True, portfolio=portfolio, progress=progress)
            for step in walk.steps():
                if self._take(step):
                    break
        for later in self._pending.values():
            later.conclude()

    def found(self) -> Iterator[Explanation]:
        """Yield what was found, also of what was not walked to."""
        for offset, explanation in self._found.items():
            later = self._pending.get(offset)
            found = None if later is None else later.found
            yield explanation if found is None else _with(explanation, found)
        for offset, record in self._hit.signals.items():
            if offset not in self._seen:
                yield self._untaken(record)
        for answer in self._answers.values():
            if answer.signal_offset not in self._found:
                yield self._published(answer)

    def _take(self, step: Step) -> bool:
        """Look at a step; return True if nothing more is to be told."""
        record = step.record
        if record.key != self._key:
            return False
        is_signal = record.topic == SIGNALS
        if is_signal:
            self._seen.add(record.offset)
            self._left.discard(record.offset)
        if is_signal and self._wanted in _ids(self._source, record):
            self._found[record.offset] = self._explained(step)
        else:
            self._ledger.take(step)
        for offset, later in self._pending.items():
            if not is_signal or offset != record.offset:
                later.take(step, self._ledger)
        return not self._left and all(later.is_over for later in self._pending.values())

    def _explained(self, step: Step) -> Explanation:
        if step.status is not Status.RECOMPUTED:
            return self._untold(step)
        if step.outcome.ignored is not None:
            return self._duplicate(step)
        if step.effect is None:
            return self._dead_letter(step)
        return self._decided(step, step.effect)

    def _decided(self, step: Step, effect: Effect) -> Explanation:
        signal, answer, policy, ledger = step.message, effect.sized_order, step.policy, self._ledger
        assert isinstance(signal, Signal), "a decision is on a signal"
        assert answer is not None, "a decision has an answer"
        assert policy is not None, "it was decided by one"
        told = points(effect.before, signal, effect, policy, ledger)
        lapsed = {after.order_id: after for before, after in effect.orders if before is not None}
        orders = ledger.open_orders(lapsed.values())
        case = Case.of(effect, signal, policy, tuple((ledger.orders | lapsed).values()))
        ledger.take(step)
        if answer.skip_reason is not None:
            self._pending[step.record.offset] = Later(case, effect.after, ledger.orders)
        active, since, entered = case.portfolio.drawdown_active, ledger.phase_since, ledger.drawdown_since
        fields = self._place(step.record, signal.signal_id) | comparison(step.matches, self._source)
        return Explanation(
            outcome=Outcome(answer.decision),
            text=in_a_sentence(answer, told),
            order_id=answer.order_id,
            now=step.now,
            points=told,
            orders=orders,
            streak=ledger.streak,
            drawdown=active,
            drawdown_since=entered.at if active and entered is not None else None,
            drawdown_trades=ledger.drawdown_trades if active else (),
            proof=proof(case.portfolio, policy, None if since is None else since.at),
            evidence=ledger.evidence(case.portfolio.phase),
            alternatives=case.alternatives(),
            **fields,
        )

    def _duplicate(self, step: Step) -> Explanation:
        signal = step.message
        assert isinstance(signal, Signal), "a repeat was read"
        first = self._first_of(signal.signal_id)
        text = "a repeat: its portfolio decided the same signal id within the last 48 hours; nothing changed"
        if first is not None:
            text += f". The answer is that of offset {first.offset:,}, order {first.order_id}"
            other = self._hit.signals.get(first.offset)
            is_same = other is not None and _document(other) == _document(step.record)
            text += "" if is_same else "; its content differs from that one's"
        fields = self._place(step.record, signal.signal_id)
        order_id = None if first is None else first.order_id
        return Explanation(outcome=Outcome.DUPLICATE, text=text, order_id=order_id, **fields)

    def _first_of(self, signal_id: str) -> Explanation | None:
        decided = [
            explanation
            for explanation in self._found.values()
            if explanation.signal_id == signal_id and explanation.outcome in (Outcome.SIZED, Outcome.SKIPPED)
        ]
        return decided[-1] if decided else None

    def _dead_letter(self, step: Step) -> Explanation:
        (produced,) = step.outcome.produced
        headers = dict(produced.headers)
        code, message = ((headers[name] or b"").decode() for name in (CODE_HEADER, MESSAGE_HEADER))
        document = _document(step.record)
        fields = self._place(step.record, document.get("signal_id", self._wanted))
        fields |= comparison(step.matches, self._source)
        # A dead letter has its input's bytes: there is nothing to read in them that the input does not say.
        fields.pop("recomputed", None)
        fields.pop("published", None)
        return Explanation(
            outcome=Outcome.DEAD_LETTER, code=code, now=step.now, text=f"dead letter, {code}: {message}", **fields
        )

    def _untold(self, step: Step) -> Explanation:
        fields = self._place(step.record, _signal_id(step, self._wanted))
        if step.status is Status.LOST:
            text = "LOST: it was never decided, though later signals of its portfolio were; run `sizer verify`"
            return Explanation(outcome=Outcome.LOST, text=text, is_identical=False, **fields)
        published = self._answers.get(step.record.offset)
        if published is not None:
            return self._published(published)._replace(**fields)
        return Explanation(outcome=Outcome.UNPROVED, text=_UNPROVED, **fields)

    def _untaken(self, record: Record) -> Explanation:
        fields = self._place(record, self._wanted)
        return Explanation(outcome=Outcome.WAITING, text="no worker has taken it up yet", **fields)

    def _published(self, answer: Answer) -> Explanation:
        record = answer.record
        return Explanation(
            outcome=Outcome.UNPROVED,
            text=_UNPROVED,
            order_id=answer.order_id,
            published=as_text(record, self._source.schemas),
            published_offset=record.offset,
            **self._place(record, answer.signal_id),
        )

    def _place(self, record: Record, signal_id: str) -> dict[str, Any]:
        return {
            "portfolio_id": _key_text(record.key),
            "signal_id": signal_id,
            "topic": self._source.topic_names[record.topic],
            "partition": self._partition,
            "offset": record.offset,
        }


_UNPROVED = (
    "the beginning of its portfolio's history is not there, so it cannot be recomputed; what was published says what "
    "it rested on"
)


def _with(explanation: Explanation, later: Alternative) -> Explanation:
    return explanation._replace(alternatives=(*explanation.alternatives, later))


def _signal_id(step: Step, otherwise: str) -> str:
    return step.message.signal_id if isinstance(step.message, Signal) else otherwise


def _key_text(key: bytes | None) -> str | None:
    return None if key is None else shown(key)


def _document(record: Record) -> Mapping[str, Any]:
    """Return what a record says as JSON; empty where it says nothing."""
    try:
        document = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}
