"""The audit of one partition, record by record: what the walk finds, and what only an audit looks at.

That is the exposure by another arithmetic (I3), the ids (I5) and the state in the changelogs (I4).
"""

from collections.abc import Iterable, Mapping

from app.codecs import WriterSchemas
from app.core.messages import ErrorCode, Fill, Signal
from app.processor import Change, Record, rows
from app.processor.dead_letter import CODE_HEADER
from app.replay import published
from app.replay.exposure import ExposureLog
from app.replay.findings import Audit, Journal
from app.replay.kept import Comparison, Difference, Rows, read_partition_row
from app.replay.matching import made
from app.replay.published import Event
from app.replay.step import Step
from app.replay.walk import Desk, Positions, Walk
from app.topics import PHASE_EVENTS, SIZED_ORDERS

NO_STATE = "there is no state, though answers were published: signals would be answered twice"


class Auditor:
    """Feed it the records of a partition, each topic's in the order of offsets, and run it.

    Outputs come before their causes: when an answer is fed, the events and dead letters up to its transaction are.
    What was fed and run is forgotten, but for what the recomputation itself remembers and the ids of all orders.
    """

    def __init__(
        self, desk: Desk, starts: Mapping[str, int] | None = None, schemas: WriterSchemas | None = None
    ) -> None:
        """Begin where the topics do. `starts`: the first offset that each still has, by logical name.

        `schemas`: of the registry that records may be numbered by, as `FetchedSchemas`; None: there is none.
        """
        self._walk = Walk(desk, starts, schemas=schemas)
        self._exposures = ExposureLog()
        self._latest = 0
        self._suspects: dict[tuple[str, bytes], Difference] = {}

    @property
    def journal(self) -> Journal:
        """What was counted and found so far."""
        return self._walk.journal

    @property
    def waiting(self) -> list[Record]:
        """Inputs that were fed and whose outcome is not known."""
        return self._walk.waiting

    def feed(self, record: Record) -> None:
        """Take a record of any of the six topics."""
        self._walk.feed(record)

    def run(self, limit: Positions | None = None, *, conclude: bool = False) -> None:
        """Judge the inputs whose outcome is known: `Walk.steps`."""
        for step in self._walk.steps(limit, conclude=conclude):
            if self._suspects:
                self._clear_suspects(self._walk.commit())
            self._judge(step)

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
        self._walk.commit()
        comparison = Comparison(self._walk.store, max(clock, self._latest), self._walk.outputs.was_published)
        found = [d for d in comparison.differences(kept, is_complete=is_complete) if self._walk.is_provable(d.key)]
        self._suspects = {(d.table, d.key): d for d in found}
        self.run(positions, conclude=True)
        self._walk.commit()
        suspects, self._suspects = self._suspects, {}
        for suspect in suspects.values():
            for difference in comparison.row(suspect.table, suspect.key, suspect.kept):
                self.find_state(str(difference))
        if stands is not None and not self._walk.outputs.is_truncated:
            last_fill = self._walk.recomputer.last_fills_offset
            expected = rows.PartitionRow(self._walk.desk.partition_count, stands.positions, last_fill)
            if stands != expected:
                self.find_state(f"the partition's row is {tuple(stands)}, recomputed {tuple(expected)}")
        self.journal.states = 1

    def end_round(self, *, is_last: bool = False) -> bool:
        """Report what was published without a cause by the end of the round before; tell whether anything is open."""
        return self._walk.outputs.end_round(is_last=is_last)

    def audit(self) -> Audit:
        """Return what was found so far; of the answers, those that were judged."""
        return self._walk.audit()

    def find_state(self, text: str) -> None:
        """Take down a finding about the state."""
        self.journal.find_elsewhere("I4", f"changelogs, partition {self.journal.partition}: {text}")

    def _judge(self, step: Step) -> None:
        """Judge what the walk does not: ids, and the exposure by the log alone."""
        message, produced = step.message, step.outcome.produced
        if isinstance(message, Signal):
            if produced and produced[-1].topic == SIZED_ORDERS:
                self._judge_answer(step, message)
        elif isinstance(message, Fill) and step.is_recomputed:
            if any(dict(one.headers).get(CODE_HEADER) == _OUT_OF_RANGE for one in produced):
                return
            for problem in self._exposures.filled(message, _events(step)):
                self.journal.find("I3", step.record, f"fill {message.exec_id} of order {message.order_id}: {problem}")

    def _judge_answer(self, step: Step, signal: Signal) -> None:
        journal, policy = self.journal, step.policy
        assert policy is not None, "by which it was decided"
        answer = step.answer or published.read_answer(made(step.outcome.produced[-1], step.record), None)
        self._latest = max(self._latest, answer.decided_at)
        expected = published.order_id_of(signal.portfolio_id, signal.signal_id, signal.generated_at)
        if answer.order_id != expected:
            journal.find("I5", answer.record, f"{answer} should have the order_id {expected}")
        for problem in self._exposures.decided(answer, signal, _events(step), policy.exposure_limit):
            journal.find("I3", answer.record, f"{answer}: {problem}")

    def _clear_suspects(self, changes: Iterable[Change]) -> None:
        """Drop the rows that are kept as they were at this moment."""
        for table, key, value in changes if self._suspects else ():
            suspect = self._suspects.get((table, key))
            if suspect is not None and suspect.kept == value:
                del self._suspects[table, key]


_OUT_OF_RANGE = ErrorCode.OUT_OF_RANGE.encode()


def _events(step: Step) -> list[Event]:
    """Return the published phase events of a step, where one is missing as it should be."""
    events = []
    for match in step.matches:
        if match.produced.topic == PHASE_EVENTS:
            event = match.item or published.read_event(made(match.produced, step.record), None)
            assert isinstance(event, Event), "by topic"
            events.append(event)
    return events
