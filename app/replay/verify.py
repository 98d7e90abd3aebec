"""`sizer verify`: the audit of the topics, once or on and on, beside workers or without them."""

import time
from collections import deque
from collections.abc import Callable, Iterator

from app.errors import UserError
from app.processor import TABLES
from app.processor.rows import PARTITION_KEY
from app.replay.auditor import NO_STATE, Auditor
from app.replay.findings import Audit, Finding
from app.replay.history import TOPICS
from app.replay.kafka import Topics
from app.replay.kept import read_partition_row
from app.replay.reading import PartitionReader, partition_reader
from app.replay.walk import Desk
from app.settings import Settings
from app.topics import FILLS_DLQ, INPUTS, PHASE_EVENTS, SIGNALS_DLQ, SIZED_ORDERS

Progress = Callable[[int], None]
"""Called now and then with how many records more were read."""

_EFFECTS = (PHASE_EVENTS, SIGNALS_DLQ, FILLS_DLQ)
_RUN_EVERY = 500


def _no_progress(_: int) -> None:
    """Nobody watches."""


def verify_topics(settings: Settings) -> Audit:
    """Audit all that the topics hold now, and the state in the changelogs. Raises UserError if they cannot be read."""
    return sum(verify_partitions(Topics(settings)), Audit())


def verify_partitions(topics: Topics, progress: Progress = _no_progress) -> Iterator[Audit]:
    """Audit partition after partition; yield each one's audit. Raises UserError if they cannot be read."""
    for partition in range(topics.partition_count):
        with partition_reader(topics.settings, partition, topics.names, lambda: False) as reader:
            verification = Verification(topics, partition, reader, progress)
            if verification.read_on():
                # What stands there without a cause: has it none, or was it written while we read?
                verification.read_on()
            yield verification.audit()


class Verification:
    """The audit of one partition of the topics, in rounds: each reads up to the present ends and judges."""

    def __init__(
        self, topics: Topics, partition: int, reader: PartitionReader, progress: Progress = _no_progress
    ) -> None:
        self._topics = topics
        self._partition = partition
        self._reader = reader
        self._progress = progress
        settings = topics.settings
        starts = {topic: reader.starts[topic] for topic in TOPICS}
        desk = Desk(partition, topics.partition_count, settings.partitioner, topics.names)
        self.auditor = Auditor(desk, starts, topics.schemas)
        self._positions: dict[str, int] = {}
        self._is_first = True
        self._has_told = False
        self._seen: deque[tuple[float, dict[str, int]]] = deque()
        self._overdue: dict[tuple[str, int], Finding] = {}
        self._hidden: dict[str, int] = {}
        self._note(starts)

    def read_on(self) -> bool:
        """Read up to the present ends and judge; tell whether something published has no cause so far.

        The order makes it sound while workers write: first the state and where it stands, then the answers, which go
        at least as far, then events and dead letters, which go as far as the answers, then the inputs of all that.
        """
        reader, auditor = self._reader, self.auditor
        has_answers = auditor.journal.orders > 0
        since, rows = self._read_state() if self._topics.has_state else ({}, {})
        if has_answers and self._topics.has_state and not self._positions and not self._has_told:
            auditor.find_state(NO_STATE)
            self._has_told = True
        answers = reader.settled_ends([SIZED_ORDERS])
        effects = reader.settled_ends(_EFFECTS)
        inputs = reader.ends(INPUTS)
        self._hidden = {topic: end - inputs[topic] for topic, end in reader.written_ends(INPUTS).items()}
        self._feed(effects, None)
        self._feed(answers | inputs, since)
        if self._topics.has_state:
            auditor.judge_state(rows, since, clock=time.time_ns() // 1000, is_complete=self._is_first)
            auditor.run()
        else:
            auditor.run(conclude=True)
        if self._is_first:
            self._judge_positions(inputs)
        self._is_first = False
        self._seen.append((time.monotonic(), inputs))
        is_open = auditor.end_round(is_last=not self._topics.has_state)
        return is_open or (self._topics.has_state and not self._positions and auditor.journal.orders > 0)

    def judge_delay(self, grace: float) -> list[Finding]:
        """Find inputs that have been without an outcome for `grace` seconds; return the findings that have healed."""
        limits: dict[str, int] = {}
        while self._seen and self._seen[0][0] <= time.monotonic() - grace:
            limits = self._seen.popleft()[1]
        waiting = {(record.topic, record.offset): record for record in self.auditor.waiting}
        healed = [self._overdue.pop(key) for key in list(self._overdue) if key not in waiting]
        for key, record in waiting.items():
            if record.offset < limits.get(record.topic, 0) and key not in self._overdue:
                text = f"{self.auditor.journal.where(record)}: no outcome for {grace:g} seconds"
                self._overdue[key] = Finding("I1", self._partition, text)
        return healed

    def audit(self) -> Audit:
        """Return what was found so far."""
        hidden = tuple(
            f"{self._topics.names[topic]}, partition {self._partition}: {count:,} offsets are behind a transaction that"
            " is open: they cannot be read before its end"
            for topic, count in self._hidden.items()
            if count > 0
        )
        return self.auditor.audit() + Audit(findings=tuple(self._overdue.values()), notes=hidden)

    def _read_state(self) -> tuple[dict[str, int], dict[str, dict[bytes, bytes | None]]]:
        """Return what was written to the changelogs, last row per key, and where the state stood when that began."""
        rows: dict[str, dict[bytes, bytes | None]] = {table: {} for table in TABLES}
        self._read_rows(rows, ["portfolios"])
        since = self._stands(rows)
        self._read_rows(rows, [table for table in TABLES if table != "portfolios"])
        self._read_rows(rows, ["portfolios"])
        self._positions = self._stands(rows)
        if self._is_first:
            live = {table: {key: row for key, row in kept.items() if row is not None} for table, kept in rows.items()}
            return since, live  # type: ignore[return-value]  # a dict of rows is one of rows or None
        return since, rows

    def _read_rows(self, rows: dict[str, dict[bytes, bytes | None]], tables: list[str]) -> None:
        for record in self._reader.read(self._reader.settled_ends(tables)):
            if record.key is None:
                raise UserError(
                    f"topic {self._topics.names[record.topic]}, partition {self._partition}, offset {record.offset}: a"
                    " row without a key; a compacted topic takes none, so set cleanup.policy=compact"
                )
            rows[record.topic][record.key] = record.value

    def _stands(self, rows: dict[str, dict[bytes, bytes | None]]) -> dict[str, int]:
        if PARTITION_KEY not in rows["portfolios"]:
            return self._positions
        try:
            row = read_partition_row(rows)
        except ValueError:
            return self._positions  # told when the rows are compared
        return self._positions if row is None else row.positions

    def _judge_positions(self, inputs: dict[str, int]) -> None:
        for topic, position in self._positions.items():
            if position > inputs.get(topic, 0):
                end = inputs.get(topic, 0)
                self.auditor.find_state(f"it stands at offset {position:,} of {topic}, which ends at {end:,}")

    def _feed(self, ends: dict[str, int], limit: dict[str, int] | None) -> None:
        """Read and feed; where there is a limit, replay up to it meanwhile: what is replayed is forgotten."""
        count = 0
        for count, record in enumerate(self._reader.read(ends), start=1):
            self.auditor.feed(record)
            if count % _RUN_EVERY == 0:
                self._progress(_RUN_EVERY)
                if limit is not None:
                    self.auditor.run(limit)
        self._progress(count % _RUN_EVERY)

    def _note(self, starts: dict[str, int]) -> None:
        notes, names = self.auditor.journal.notes, self._topics.names
        for topic, start in starts.items():
            if start:
                notes.append(
                    f"{names[topic]}, partition {self._partition}: records before offset {start:,} were deleted; "
                    "portfolios that began before cannot be recomputed and are not proved"
                )
        if not self._topics.has_state:
            notes.append(
                f"partition {self._partition}: the state (I4) is not judged: topic "
                f"{self._topics.missing_changelogs[0]} does not exist (is SIZER_APP_ID right?). All else is judged "
                "as if no worker runs: what it has not answered yet counts as lost"
            )
