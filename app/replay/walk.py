"""The one walk over a partition's history: replay each input once its outcome is known, in the order of the worker.

The clock is the only input of a decision that is not in the topics, and it is recorded with it: `signal_offset`,
`fills_offset` and `decided_at` of an answer say which fills had been applied and when it was decided; the policies
are in the phase events. A signal without an answer and without a dead letter must be a duplicate.
"""

from collections import deque
from collections.abc import Generator, Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from app.codecs import Decoder, WriterSchemas
from app.codecs.wire_format import NoRegistry
from app.core.messages import Fill, Refused, Signal
from app.core.policy import TABLE_POLICY
from app.processor import Change, MemoryStore, Record, rows
from app.processor.dead_letter import CODE_HEADER
from app.replay.findings import Audit, Journal
from app.replay.matching import Match
from app.replay.outputs import More, Outputs, Seen
from app.replay.published import Answer
from app.replay.recompute import Recomputer
from app.replay.schemas import RecordedSchemas
from app.replay.step import Status, Step
from app.replay.trades import TradeBook
from app.topics import FILLS, FILLS_DLQ, INPUTS, PHASE_EVENTS, SIGNALS, SIGNALS_DLQ, SIZED_ORDERS

Positions = Mapping[str, int]
"""The next offset of each input topic, by logical name."""

_COMMIT_EVERY = 10_000
_LOOK_AHEAD = 100
CONFLUENT_FRAME = b"\x00"


class Desk(NamedTuple):
    """What a partition's records are to be read by."""

    partition: int
    partition_count: int
    partitioner_name: str
    topic_names: Mapping[str, str]
    """Real names by logical name."""


def _nothing_more(_: str) -> bool:
    return False


class Walk:
    """Feed it the records of a partition, each topic's in the order of offsets, and take its steps.

    Outputs come before their causes: when an answer is fed, the events and dead letters up to its transaction are;
    or give `more`, which the walk asks when it needs some. What was fed and stepped over is forgotten, but for what
    the recomputation itself remembers, and the ids of all orders if it is to find those that come twice.
    """

    def __init__(
        self,
        desk: Desk,
        starts: Mapping[str, int] | None = None,
        *,
        store: MemoryStore | None = None,
        trades: TradeBook | None = None,
        portfolio: str | None = None,
        remembers_ids: bool = True,
        more: More = _nothing_more,
        seen: Seen | None = None,
        schemas: WriterSchemas | None = None,
    ) -> None:
        """Begin where the topics do, or where `store` stands.

        `starts`: the first offset that each topic still has; where one is not 0, portfolios that began before cannot be
        recomputed. `store`: the rows of a walk that came so far; then the starts do not matter. `trades`: to be kept.
        `portfolio`: only this one is walked over. `seen`: told of each output that can be read. `schemas`: of the
        registry that records may be numbered by; None: there is none. Raises UserError if the store is of another count
        of partitions.
        """
        self.desk = desk
        self.journal = Journal(desk.partition, desk.topic_names)
        self.starts: Mapping[str, int] = starts or {}
        self.outputs = Outputs(
            self.journal,
            self.starts,
            more,
            schemas,
            is_resumed=store is not None,
            remembers_ids=remembers_ids,
            seen=seen,
        )
        self._recorded = RecordedSchemas(schemas or NoRegistry())
        self.recomputer = Recomputer(
            desk.partition,
            MemoryStore() if store is None else store,
            desk.partition_count,
            desk.partitioner_name,
            desk.topic_names,
            Decoder(self._recorded),
        )
        self.trades = trades
        self._portfolio = None if portfolio is None else portfolio.encode()
        self._more = more
        self._pulls = more is not _nothing_more
        self._signals: deque[Record] = deque()
        self._fills: deque[Record] = deque()
        self._last_fed = self.recomputer.last_fills_offset
        self._uncommitted = 0

    @property
    def waiting(self) -> list[Record]:
        """Inputs that were fed and whose outcome is not known."""
        return [*self._signals, *self._fills]

    def first_waiting(self, topic: str) -> int | None:
        """Return the lowest offset of a topic that was fed and not stepped over; None if there is none."""
        if topic in INPUTS:
            queue = self._fills if topic == FILLS else self._signals
            return queue[0].offset if queue else None
        return self.outputs.first_waiting(topic)

    @property
    def store(self) -> MemoryStore:
        """The rows as of the last commit."""
        return self.recomputer.store

    def feed(self, record: Record) -> None:
        """Take a record of any of the six topics."""
        topic = record.topic
        if topic == FILLS:
            # Of other portfolios too: an answer records the last fill of any.
            self._fills.append(record)
            self._last_fed = record.offset
        elif self._portfolio is not None and record.key != self._portfolio:
            return
        elif topic == SIGNALS:
            self._signals.append(record)
        else:
            self.outputs.feed(record)

    def steps(self, limit: Positions | None = None, *, conclude: bool = False) -> Iterator[Step]:
        """Replay the inputs whose outcome is known, none from `limit` on; yield a step for each.

        A signal that has none is lost or a repeat, once a later one has its answer. `conclude`: all outcomes of the
        inputs before the limit (None: of all) were fed, or `more` has them.
        """
        while self._comes(SIGNALS) and (limit is None or self._signals[0].offset < limit.get(SIGNALS, 0)):
            if not (yield from self._signal(self._signals[0], conclude=conclude)):
                return
            self._signals.popleft()
        if conclude:
            yield from self._take_fills(None if limit is None else limit.get(FILLS, 0) - 1)

    def steps_of_events(self) -> Iterator[Step]:
        """Replay the fills that follow, as long as something published waits that only fills cause."""
        while (self.outputs.waits(PHASE_EVENTS) or self.outputs.waits(FILLS_DLQ)) and self._comes(FILLS):
            yield from self._take_fills(self._fills[0].offset)

    def audit(self) -> Audit:
        """Return what was found so far; of the answers, those that were judged."""
        found = self.journal.audit(waiting=len(self._signals) + len(self._fills))
        return found._replace(orders=found.orders - self.outputs.waiting_answers)

    def commit(self) -> list[Change]:
        """Write what changed to the store, and return it."""
        self._uncommitted = 0
        return self.recomputer.commit()

    def is_provable(self, key: bytes) -> bool:
        """Tell whether what belongs to a portfolio, by a row's key, can be recomputed."""
        if not self.outputs.is_truncated:
            return True
        return key.partition(rows.SEPARATOR)[0].decode("utf-8", "replace") in self.outputs.opened

    def _read(self, record: Record) -> Signal | Fill | Refused:
        """Read an input as it was read then: whether the registry knew its schema tells its dead letter alone."""
        if record.value is not None and record.value.startswith(CONFLUENT_FRAME):
            self._recorded.recall(self.outputs.dead_letter(f"{record.topic}.dlq", record.offset))
        return self.recomputer.read(record)

    def _comes(self, topic: str) -> bool:
        """Tell whether an input waits, or comes."""
        queue = self._fills if topic == FILLS else self._signals
        while not queue:
            if not self._more(topic):
                return False
        return True

    def _signal(self, record: Record, *, conclude: bool) -> Generator[Step, None, bool]:
        """Replay a signal; return False if its outcome is not known yet."""
        signal, outputs = self._read(record), self.outputs
        if isinstance(signal, Refused):
            if outputs.dead_letter(SIGNALS_DLQ, record.offset) is None and not conclude and not self._is_overtaken():
                return False
            yield self._replay(record, signal, 0)
            return True
        assert isinstance(signal, Signal), "by topic"
        answer = outputs.answer_for(record.offset, signal)
        if answer is not None:
            return (yield from self._answered(record, signal, answer, conclude=conclude))
        letter = outputs.dead_letter(SIGNALS_DLQ, record.offset)
        if letter is not None and letter.now is not None:
            yield self._decide(record, signal, letter.now)
        elif not conclude and not self._is_overtaken():
            return False
        elif not self.is_provable(rows.portfolio_key(signal.portfolio_id)) or outputs.is_beheaded(SIGNALS_DLQ):
            yield self._pass_over(record, signal)
        elif self.recomputer.remembers(signal):
            yield self._replay(record, signal, 0)
        else:
            yield self._lose(record, signal)
        return True

    def _answered(
        self, record: Record, signal: Signal, answer: Answer, *, conclude: bool
    ) -> Generator[Step, None, bool]:
        while answer.fills_offset > self._last_fed and self._more(FILLS):
            pass
        if answer.fills_offset > self._last_fed and not conclude:
            return False
        yield from self._take_fills(answer.fills_offset)
        if self.outputs.is_truncated and not self._is_opened(answer):
            yield self._pass_over(record, signal)
            return True
        recomputer = self.recomputer
        if recomputer.last_fills_offset < answer.fills_offset < self.starts.get(FILLS, 0):
            recomputer.pass_over(FILLS, answer.fills_offset)
        recomputer.policy = self.outputs.policy(answer.policy_id) or TABLE_POLICY
        yield self._decide(record, signal, answer.decided_at, answer)
        return True

    def _decide(self, record: Record, signal: Signal, clock: int | None, answer: Answer | None = None) -> Step:
        """Replay a signal that may get an order, and compare what it causes."""
        step = self._replay(record, signal, clock)
        step.answer = answer
        produced = step.outcome.produced[-1] if step.outcome.produced else None
        if produced is None or produced.topic != SIZED_ORDERS:
            step.now = None if step.outcome.ignored else clock
            if answer is not None:
                why = step.outcome.ignored or dict(step.outcome.produced[0].headers)[CODE_HEADER] or b""
                self.outputs.reject(answer, why if isinstance(why, str) else why.decode())
            return step
        self.journal.signals += 1
        step.matches += (self.outputs.expect_answer(produced, answer, record),)
        return step

    def _lose(self, record: Record, signal: Signal) -> Step:
        """Take a signal without an outcome: was it never decided, or is its order gone? The next sequence tells."""
        following = self.outputs.next_sequence(signal.portfolio_id)
        portfolio = self.recomputer.portfolio(signal.portfolio_id)
        last = 0 if portfolio is None else portfolio.order_sequence
        if following is None or following > last + 1:
            return self._decide(record, signal, None)
        self.journal.signals += 1
        self.journal.lost += 1
        name = f"signal {signal.signal_id} of portfolio {signal.portfolio_id}"
        self.journal.find("I1", record, f"{name} has neither an order nor a dead letter, and is no repeat")
        self.recomputer.advance(SIGNALS, record.offset + 1)
        return Step(record, signal, Status.LOST, self.recomputer)

    def _take_fills(self, last: int | None) -> Iterator[Step]:
        """Replay the fills up to an offset, all if it is None."""
        while self._comes(FILLS) and (last is None or self._fills[0].offset <= last):
            record = self._fills.popleft()
            if self._portfolio is not None and record.key != self._portfolio:
                self.recomputer.pass_over(FILLS, record.offset)
                continue
            fill = self._read(record)
            if isinstance(fill, Fill) and not self.is_provable(rows.portfolio_key(fill.portfolio_id)):
                yield self._pass_over(record, fill)
            else:
                yield self._replay(record, fill, 0)

    def _replay(self, record: Record, message: Signal | Fill | Refused, clock: int | None) -> Step:
        """Process a record and compare the events and dead letters that it causes."""
        if self._uncommitted >= _COMMIT_EVERY:
            self.commit()
        self._uncommitted += 1
        outcome, cause = self.recomputer.recompute(record, message, clock)
        matches: tuple[Match, ...] = ()
        for produced in outcome.produced:
            if produced.topic == PHASE_EVENTS:
                matches += (self.outputs.expect_event(produced, record),)
            elif produced.topic != SIZED_ORDERS:
                matches += (self.outputs.expect_dead_letter(produced, record),)
        step = Step(record, message, Status.RECOMPUTED, self.recomputer, outcome, matches, cause)
        if self.trades is not None and cause is not None:
            step.trades = self.trades.take(record, message, cause.effect())
        return step

    def _pass_over(self, record: Record, message: Signal | Fill) -> Step:
        self.outputs.excuse(record, message)
        self.recomputer.pass_over(record.topic, record.offset)
        return Step(record, message, Status.UNPROVED, self.recomputer)

    def _is_overtaken(self) -> bool:
        """Tell whether a later signal has its outcome already: the first one will get none any more."""
        if self._pulls:
            return self.outputs.follows(self._signals[0].offset)
        for record in islice(self._signals, 1, _LOOK_AHEAD):
            signal = self._read(record)
            if isinstance(signal, Signal) and self.outputs.answer_for(record.offset, signal) is not None:
                return True
        return False

    def _is_opened(self, answer: Answer) -> bool:
        """Tell whether a portfolio's history is there from its beginning, where topics have lost theirs."""
        opened = self.outputs.opened
        # Its fills come after its first decision, so they are there if the topic is from that on.
        has_fills = self.starts.get(FILLS, 0) <= answer.fills_offset + 1
        if answer.sequence == 1 and has_fills and self.outputs.has_opening(answer.portfolio_id):
            opened.add(answer.portfolio_id)
        return answer.portfolio_id in opened
