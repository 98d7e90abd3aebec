"""The audit of one partition, record by record: replay each input once its outcome is known, and compare.

The clock is the only input of a decision that is not in the topics, and it is recorded with it: `signal_offset`,
`fills_offset` and `decided_at` of an answer say which fills had been applied and when it was decided; the policies
are in the phase events. A signal without an answer and without a dead letter must be a duplicate.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from itertools import islice

from app.codecs import Decoder, WriterSchemas
from app.codecs.wire_format import NoRegistry
from app.core.admission import is_remembered
from app.core.messages import ErrorCode, Signal
from app.core.policy import TABLE_POLICY
from app.processor import Change, MemoryStore, Outcome, Processor, Record, rows
from app.processor.dead_letter import CODE_HEADER
from app.processor.partitioners import partitioner
from app.replay import published
from app.replay.exposure import ExposureLog
from app.replay.findings import Audit, Journal
from app.replay.inputs import InputReader
from app.replay.kept import Comparison, Difference, Rows, read_partition_row
from app.replay.outputs import Outputs
from app.replay.published import Answer, DeadLetter, Event
from app.replay.schemas import RecordedSchemas
from app.topics import FILLS, INPUTS, PHASE_EVENTS, SIGNALS, SIGNALS_DLQ, SIZED_ORDERS

Positions = Mapping[str, int]
"""The next offset of each input topic, by logical name."""

NO_STATE = "there is no state, though answers were published: signals would be answered twice"
_COMMIT_EVERY = 1_000
_LOOK_AHEAD = 100


class Auditor:
    """Feed it the records of a partition, each topic's in the order of offsets, and run it.

    Outputs come before their causes: when an answer is fed, the events and dead letters up to its transaction are.
    What was fed and run is forgotten, but for what the recomputation itself remembers and the ids of all orders.
    """

    def __init__(
        self,
        partition: int,
        partition_count: int,
        partitioner_name: str,
        topic_names: Mapping[str, str],
        starts: Mapping[str, int] | None = None,
        schemas: WriterSchemas | None = None,
    ) -> None:
        """`topic_names`: real names by logical name. `starts`: the first offset that each topic still has.

        `schemas`: of the registry that records may be numbered by, as `FetchedSchemas`; None: there is none.
        """
        self.journal = Journal(partition, topic_names)
        self._starts = starts or {}
        self._outputs = Outputs(self.journal, self._starts, schemas)
        self._schemas = RecordedSchemas(schemas or NoRegistry())
        decoder = Decoder(self._schemas)
        self._store = MemoryStore()
        partition_of = partitioner(partitioner_name, partition_count)
        self._inputs = InputReader(partition_of, decoder)
        self._processor = Processor(
            partition,
            self._store,
            TABLE_POLICY,
            partition_count=partition_count,
            partition_of=partition_of,
            partitioner_name=partitioner_name,
            topic_names={topic: topic_names[topic] for topic in INPUTS},
            decoder=decoder,
        )
        self._partition_count = partition_count
        self._exposures = ExposureLog()
        self._signals: deque[Record] = deque()
        self._fills: deque[Record] = deque()
        self._last_fed = -1
        self._last_fill = -1
        self._decided: Counter[str] = Counter()
        self._latest = 0
        self._uncommitted = 0
        self._suspects: dict[tuple[str, bytes], Difference] = {}

    @property
    def waiting(self) -> list[Record]:
        """Inputs that were fed and whose outcome is not known."""
        return [*self._signals, *self._fills]

    def feed(self, record: Record) -> None:
        """Take a record of any of the six topics."""
        if record.topic == SIGNALS:
            self._signals.append(record)
        elif record.topic == FILLS:
            self._fills.append(record)
            self._last_fed = record.offset
        else:
            self._outputs.feed(record)

    def run(self, limit: Positions | None = None, *, conclude: bool = False) -> None:
        """Replay the inputs whose outcome is known, none from `limit` on.

        A signal that has none is lost or a repeat, once a later one has its answer. `conclude`: all outcomes of the
        inputs before the limit (None: of all) were fed.
        """
        while self._signals and (limit is None or self._signals[0].offset < limit.get(SIGNALS, 0)):
            if not self._take_signal(self._signals[0], conclude=conclude):
                return
            self._signals.popleft()
        if conclude:
            self._take_fills(None if limit is None else limit.get(FILLS, 0) - 1)

    def judge_state(
        self, kept: Rows, since: Positions | None = None, *, clock: int = 0, is_complete: bool = True
    ) -> None:
        """Compare rows with those that the recomputation leaves at the rows' own positions (I4).

        All outcomes up to there were fed. `since`: the rows were read while a worker wrote, from these positions on;
        a row may be as it was at any moment in between. `clock`: see `Comparison`. `is_complete`: these are all rows.
        """
        try:
            stands = read_partition_row(kept)
        except ValueError as error:
            self.find_state(str(error))
            return
        if stands is None and since is None and self.journal.orders:
            self.find_state(NO_STATE)
        positions = stands.positions if stands is not None else {}
        self.run(positions if since is None else since, conclude=True)
        self._commit()
        comparison = Comparison(self._store, max(clock, self._latest), self._outputs.was_published)
        found = [d for d in comparison.differences(kept, is_complete=is_complete) if self._is_provable(d.key)]
        self._suspects = {(d.table, d.key): d for d in found}
        self.run(positions, conclude=True)
        self._commit()
        suspects, self._suspects = self._suspects, {}
        for suspect in suspects.values():
            for difference in comparison.row(suspect.table, suspect.key, suspect.kept):
                self.find_state(str(difference))
        if stands is not None and not self._outputs.is_truncated:
            expected = rows.PartitionRow(self._partition_count, stands.positions, self._last_fill)
            if stands != expected:
                self.find_state(f"the partition's row is {tuple(stands)}, recomputed {tuple(expected)}")
        self.journal.states = 1

    def end_round(self, *, is_last: bool = False) -> bool:
        """Report what was published without a cause by the end of the round before; tell whether anything is open."""
        return self._outputs.end_round(is_last=is_last)

    def audit(self) -> Audit:
        """Return what was found so far; of the answers, those that were judged."""
        found = self.journal.audit(waiting=len(self._signals) + len(self._fills))
        return found._replace(orders=found.orders - self._outputs.waiting_answers)

    def _take_signal(self, record: Record, *, conclude: bool) -> bool:
        """Replay a signal; False if its outcome is not known yet."""
        letter = self._recall(record)
        signal = self._inputs.signal(record)
        if signal is None:
            if letter is None and not conclude and not self._is_overtaken():
                return False
            self._replay(record, 0)
            return True
        answer = self._outputs.answer_for(record.offset, signal)
        if answer is not None:
            return self._take_answer(record, signal, answer, conclude=conclude)
        if letter is not None and letter.now is not None:
            self._decide(record, signal, letter.now)
        elif not conclude and not self._is_overtaken():
            return False
        elif not self._is_provable(rows.portfolio_key(signal.portfolio_id)) or self._outputs.is_beheaded(SIGNALS_DLQ):
            self._pass_over(record, signal)
        elif self._is_duplicate(signal):
            self._replay(record, 0)
        else:
            self._lose(record, signal)
        return True

    def _take_answer(self, record: Record, signal: Signal, answer: Answer, *, conclude: bool) -> bool:
        if answer.fills_offset > self._last_fed and not conclude:
            return False
        self._take_fills(answer.fills_offset)
        if self._outputs.is_truncated and not self._is_opened(answer):
            self._pass_over(record, signal)
            return True
        if self._last_fill < answer.fills_offset < self._starts.get(FILLS, 0):
            self._pass_over_fill(answer.fills_offset)
        self._processor.policy = self._outputs.policy(answer.policy_id) or TABLE_POLICY
        self._decide(record, signal, answer.decided_at, answer)
        return True

    def _decide(self, record: Record, signal: Signal, clock: int | None, answer: Answer | None = None) -> None:
        """Replay a signal that may get an order, and compare and walk over what it causes."""
        outcome, events = self._replay(record, clock)
        produced = next((produced for produced in outcome.produced if produced.topic == SIZED_ORDERS), None)
        if produced is None:
            if answer is not None:
                why = outcome.ignored or dict(outcome.produced[0].headers)[CODE_HEADER] or b""
                self._outputs.reject(answer, why if isinstance(why, str) else why.decode())
            return
        journal = self.journal
        journal.signals += 1
        self._decided[signal.portfolio_id] += 1
        answer = self._outputs.expect_answer(produced, answer, record)
        self._latest = max(self._latest, answer.decided_at)
        expected = published.order_id_of(signal.portfolio_id, signal.signal_id, signal.generated_at)
        if answer.order_id != expected:
            journal.find("I5", answer.record, f"{answer} should have the order_id {expected}")
        limit = self._processor.policy.exposure_limit
        for problem in self._exposures.decided(answer, signal, events, limit):
            journal.find("I3", answer.record, f"{answer}: {problem}")

    def _lose(self, record: Record, signal: Signal) -> None:
        """Take a signal without an outcome: was it never decided, or is its order gone? The next sequence tells."""
        following = self._outputs.next_sequence(signal.portfolio_id)
        if following is not None and following <= self._decided[signal.portfolio_id] + 1:
            self.journal.signals += 1
            self.journal.lost += 1
            name = f"signal {signal.signal_id} of portfolio {signal.portfolio_id}"
            self.journal.find("I1", record, f"{name} has neither an order nor a dead letter, and is no repeat")
            self._processor.advance(SIGNALS, record.offset + 1)
        else:
            self._decide(record, signal, None)

    def _take_fills(self, last: int | None) -> None:
        """Replay the fills up to an offset, all if it is None."""
        while self._fills and (last is None or self._fills[0].offset <= last):
            record = self._fills.popleft()
            self._recall(record)
            fill = self._inputs.fill(record)
            if fill is not None and not self._is_provable(rows.portfolio_key(fill.portfolio_id)):
                self._outputs.excuse(record, None)
                self._pass_over_fill(record.offset)
                continue
            outcome, events = self._replay(record, 0)
            self._last_fill = record.offset
            if fill is None or any(dict(p.headers).get(CODE_HEADER) == _OUT_OF_RANGE for p in outcome.produced):
                continue
            for problem in self._exposures.filled(fill, events):
                self.journal.find("I3", record, f"fill {fill.exec_id} of order {fill.order_id}: {problem}")

    def _replay(self, record: Record, clock: int | None) -> tuple[Outcome, list[Event]]:
        """Process a record and compare the events and dead letters that it causes; return the published events."""
        self._recall(record)
        outcome = self._processor.process(record, clock)
        events = []
        for produced in outcome.produced:
            if produced.topic == PHASE_EVENTS:
                events.append(self._outputs.expect_event(produced, record))
            elif produced.topic != SIZED_ORDERS:
                self._outputs.expect_dead_letter(produced, record)
        self._uncommitted += 1
        if self._suspects or self._uncommitted >= _COMMIT_EVERY:
            self._clear_suspects(self._commit())
        return outcome, events

    def _recall(self, record: Record) -> DeadLetter | None:
        """Return the dead letter of an input that is read next, and let it be read as it was then."""
        letter = self._outputs.dead_letter(f"{record.topic}.dlq", record.offset)
        self._schemas.recall(letter)
        return letter

    def _commit(self) -> list[Change]:
        changes = self._processor.changes()
        self._store.write(changes)
        self._processor.committed()
        self._uncommitted = 0
        return changes

    def _clear_suspects(self, changes: Iterable[Change]) -> None:
        """Drop the rows that are kept as they were at this moment."""
        for table, key, value in changes if self._suspects else ():
            suspect = self._suspects.get((table, key))
            if suspect is not None and suspect.kept == value:
                del self._suspects[table, key]

    def find_state(self, text: str) -> None:
        """Take down a finding about the state."""
        self.journal.find_elsewhere("I4", f"changelogs, partition {self.journal.partition}: {text}")

    def _is_overtaken(self) -> bool:
        """Tell whether a later signal has its answer already: the first one will get none any more."""
        for record in islice(self._signals, 1, _LOOK_AHEAD):
            self._recall(record)
            signal = self._inputs.signal(record)
            if signal is not None and self._outputs.answer_for(record.offset, signal) is not None:
                return True
        return False

    def _is_duplicate(self, signal: Signal) -> bool:
        """Tell whether the portfolio had decided the signal's id, and still remembers it."""
        self._clear_suspects(self._commit())
        portfolio = self._store.get("portfolios", rows.portfolio_key(signal.portfolio_id))
        decided = self._store.get("signal_ids", rows.signal_id_key(signal.portfolio_id, signal.signal_id))
        if portfolio is None or decided is None:
            return False
        return is_remembered(rows.decode_decided_signal(decided).decided_at, rows.time_of(portfolio))

    def _is_opened(self, answer: Answer) -> bool:
        """Tell whether a portfolio's history is there from its beginning, where topics have lost theirs."""
        opened = self._outputs.opened
        # Its fills come after its first decision, so they are there if the topic is from that on.
        has_fills = self._starts.get(FILLS, 0) <= answer.fills_offset + 1
        if answer.sequence == 1 and has_fills and self._outputs.has_opening(answer.portfolio_id):
            opened.add(answer.portfolio_id)
        return answer.portfolio_id in opened

    def _is_provable(self, key: bytes) -> bool:
        """Tell whether what belongs to a portfolio, by a row's key, can be recomputed."""
        if not self._outputs.is_truncated:
            return True
        return key.partition(rows.SEPARATOR)[0].decode("utf-8", "replace") in self._outputs.opened

    def _pass_over(self, record: Record, signal: Signal) -> None:
        self._outputs.excuse(record, signal)
        self._processor.advance(SIGNALS, record.offset + 1)

    def _pass_over_fill(self, offset: int) -> None:
        """Move over a fill that is gone or that cannot be judged: later answers record its offset."""
        self._processor.process(Record(FILLS, self.journal.partition, offset, None, None), 0)
        self._last_fill = offset


_OUT_OF_RANGE = ErrorCode.OUT_OF_RANGE.encode()
