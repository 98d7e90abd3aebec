"""What an audit found: the five invariants, what broke them, and the count of everything that was looked at."""

from collections.abc import Mapping
from typing import NamedTuple

from app.processor import Record

MAXIMUM_FINDINGS = 1_000
"""Of one partition, in detail; more are counted."""

INVARIANTS = {
    "I1": "every valid input has exactly one outcome: nothing is lost, nothing is extra or foreign",
    "I2": "no order_id is published twice, or with two contents",
    "I3": "what the published orders and the fills imply stayed within the limit, and each later break is reported",
    "I4": "what is published and what is kept in the changelogs is what the recomputation makes, bit for bit, in order",
    "I5": "the sequences of each portfolio have no gap, and ids are those of the contract",
}


class FieldDifference(NamedTuple):
    """In what a published record is not as recomputed."""

    field: str
    """A field of the value, `key`, `value` as a whole, or `header NAME`."""
    published: str | None
    recomputed: str | None

    def __str__(self) -> str:
        return f"{self.field} is {self.published}, recomputed {self.recomputed}"


class Finding(NamedTuple):
    """One break of an invariant."""

    invariant: str
    """A key of INVARIANTS."""
    partition: int
    text: str
    """For people: topic, offset, what was expected and what was found."""
    topic: str | None = None
    """Real name of the topic of the record that it is about; None where it is about the state."""
    offset: int | None = None
    differences: tuple[FieldDifference, ...] = ()
    """Of a published record that is not as recomputed."""


class Audit(NamedTuple):
    """What was audited and what was found. Audits of partitions add up to that of the topics."""

    signals: int = 0
    """Distinct valid signals: each must have one answer."""
    orders: int = 0
    """Records in `sized_orders`."""
    recomputed: int = 0
    """Answers that were recomputed identically."""
    lost: int = 0
    """Answers, events and dead letters that should be there and are not."""
    doubled: int = 0
    """Order ids published more than once."""
    contradicted: int = 0
    """Order ids published with two contents."""
    findings: tuple[Finding, ...] = ()
    waiting: int = 0
    """Inputs that the worker had not taken up when the topics were read."""
    unprovable: int = 0
    """Records that cannot be recomputed because the beginning of their portfolio's history was deleted."""
    states: int = 0
    """Partitions whose state was compared with the recomputation (I4)."""
    notes: tuple[str, ...] = ()
    """What was not judged and why."""

    @property
    def is_proved(self) -> bool:
        """Every answer is there once and was recomputed identically, events, dead letters and state too."""
        return not (self.findings or self.lost or self.doubled or self.contradicted or self.unprovable) and (
            self.signals == self.orders == self.recomputed
        )

    def __add__(self, other: "Audit") -> "Audit":  # type: ignore[override]  # audits add up, they are not joined
        """Return the audit of both."""
        mine, yours = self._asdict(), other._asdict()
        return Audit(**{name: mine[name] + yours[name] for name in self._fields})


class Journal:
    """The counts and findings of one partition, while it is audited."""

    def __init__(self, partition: int, topic_names: Mapping[str, str]) -> None:
        """`topic_names`: real names by logical name; where one is missing the logical name is told."""
        self.partition = partition
        self._topic_names = topic_names
        self.signals = self.orders = self.recomputed = 0
        self.lost = self.doubled = self.contradicted = 0
        self.unprovable = self.states = 0
        self.notes: list[str] = []
        self.findings: list[Finding] = []
        self._untold = 0

    def name(self, topic: str) -> str:
        """Return the real name of a topic."""
        return self._topic_names.get(topic, topic)

    def where(self, record: Record) -> str:
        """Return the place of a record."""
        return f"{self.name(record.topic)}, partition {self.partition}, offset {record.offset}"

    def find(self, invariant: str, record: Record, text: str, differences: tuple[FieldDifference, ...] = ()) -> None:
        """Take down a finding about a record."""
        place = self.name(record.topic), record.offset
        self._take(Finding(invariant, self.partition, f"{self.where(record)}: {text}", *place, differences))

    def find_elsewhere(self, invariant: str, text: str) -> None:
        """Take down a finding; the text says where."""
        self._take(Finding(invariant, self.partition, text))

    def _take(self, finding: Finding) -> None:
        if len(self.findings) < MAXIMUM_FINDINGS:
            self.findings.append(finding)
        else:
            self._untold += 1

    def audit(self, *, waiting: int = 0) -> Audit:
        """Return what was found so far."""
        notes = (
            [*self.notes, f"partition {self.partition}: {self._untold:,} more findings"] if self._untold else self.notes
        )
        return Audit(
            signals=self.signals,
            orders=self.orders,
            recomputed=self.recomputed,
            lost=self.lost,
            doubled=self.doubled,
            contradicted=self.contradicted,
            findings=tuple(self.findings),
            waiting=waiting,
            unprovable=self.unprovable,
            states=self.states,
            notes=tuple(notes),
        )
