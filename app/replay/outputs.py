"""The published side of an audit: what the output topics hold, held against what they should."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from app.codecs import WriterSchemas
from app.codecs.output import in_format_of
from app.codecs.records import TOPIC_RECORDS
from app.core.messages import Fill, Signal
from app.core.policy import TABLE_POLICY, Policy
from app.processor import Produced, Record
from app.processor.dead_letter import CODE_HEADER, MESSAGE_HEADER
from app.replay import published
from app.replay.findings import Journal
from app.replay.matching import Match, differences_of, made
from app.replay.published import Answer, DeadLetter, Event, Item, MalformedError, shown
from app.topics import FILLS_DLQ, PHASE_EVENTS, SIGNALS_DLQ, SIZED_ORDERS

_KINDS = {
    SIZED_ORDERS: "sized order",
    PHASE_EVENTS: "phase event",
    SIGNALS_DLQ: "dead letter",
    FILLS_DLQ: "dead letter",
}
_Key = tuple[Any, ...]
Seen = Callable[[Item], None]
"""Told of each published record that can be read."""
More = Callable[[str], bool]
"""Asked for records of a topic, by logical name: feeds some and tells whether there were any."""
_LOOK_AHEAD = 100
_EVENTS_AHEAD = 10_000


class _Filed(NamedTuple):
    """A record that nothing has asked for yet, and in which round of reading it came."""

    item: Item
    round: int


class _Sequence:
    """Numbers that are to come one by one. One that comes out of turn does not shift what is expected; two do."""

    __slots__ = ("_instead", "expected")

    def __init__(self, first: int) -> None:
        self.expected = self._instead = first

    def take(self, number: int) -> bool:
        """Tell whether it was this number's turn."""
        if number not in (self.expected, self._instead):
            self._instead = number + 1
            return False
        self.expected = number + 1
        self._instead = max(self._instead, self.expected)
        return True


class Outputs:
    """Published records wait here until the recomputation asks for them, by what caused them."""

    def __init__(
        self,
        journal: Journal,
        starts: Mapping[str, int],
        more: More,
        schemas: WriterSchemas | None,
        *,
        is_resumed: bool = False,
        remembers_ids: bool = True,
        seen: Seen | None = None,
    ) -> None:
        """Begin with nothing.

        `starts`: the first offset that a topic still has, by logical name; 0 if not given. `more`: asked for records
        of a topic when what is looked for was not fed. `schemas`: of the registry that answers may be numbered by;
        None: numbers are not looked at. `is_resumed`: the recomputation knows what was before.
        `remembers_ids`: find order ids that were published twice, at the price of remembering them all. `seen`: told
        of each record that can be read.
        """
        self._journal = journal
        self._more = more
        self._schemas = schemas
        self._is_resumed = is_resumed
        self._remembers_ids = remembers_ids
        self._seen = seen
        self._starts = starts
        self._round = 0
        self._filed: dict[str, dict[_Key, _Filed]] = {topic: {} for topic in _KINDS}
        self._fed = {topic: deque[int](maxlen=_LOOK_AHEAD) for topic in (SIZED_ORDERS, SIGNALS_DLQ, FILLS_DLQ)}
        """Offsets of the causes of what was fed last, of the topics whose records name them."""
        self._last: dict[str, int] = {}
        self._ids: dict[str, tuple[int, int]] = {}
        """By order id: digest and offset of its first record."""
        self._repeated: dict[str, bool] = {}
        """Order ids that came more than once, and whether with another content."""
        self._sequences: dict[str, dict[str, _Sequence]] = {SIZED_ORDERS: {}, PHASE_EVENTS: {}}
        self._policies: dict[str, Policy] = {TABLE_POLICY.policy_id: TABLE_POLICY}
        self.opened: set[str] = set()
        """Portfolios whose history is there from its beginning."""
        self.is_truncated = any(starts.values())
        """The beginning of a topic was deleted: portfolios that are not in `opened` cannot be recomputed."""

    def feed(self, record: Record) -> None:
        """Take a published record. Those of one topic come in the order of their offsets."""
        if record.topic == SIZED_ORDERS:
            self._journal.orders += 1
        try:
            item = self._read(record)
            if self._seen is not None:
                self._seen(item)
            if isinstance(item, Answer):
                self._feed_answer(item)
            elif isinstance(item, Event):
                self._feed_event(item)
            else:
                self._fed[record.topic].append(item.offset)
                self._file(record.topic, (item.offset,), item)
        except MalformedError as error:
            self._journal.find("I1", record, f"this is no {_KINDS[record.topic]}: {error}: {shown(record.value)}")

    def _read(self, record: Record) -> Item:
        if record.topic == SIZED_ORDERS:
            return published.read_answer(record, self._schemas)
        if record.topic == PHASE_EVENTS:
            return published.read_event(record, self._schemas)
        return published.read_dead_letter(record)

    def policy(self, policy_id: str) -> Policy | None:
        """Return a policy that a phase event announced."""
        self._read_ahead(lambda: policy_id in self._policies)
        return self._policies.get(policy_id)

    def was_published(self, order_id: str) -> bool:
        """Tell whether an order has had this id."""
        return order_id in self._ids

    def answer_for(self, offset: int, signal: Signal) -> Answer | None:
        """Return the answer to the signal at an offset."""
        key = (offset, signal.portfolio_id, signal.signal_id)
        return self._find(SIZED_ORDERS, key, offset)  # type: ignore[return-value]  # by topic

    def next_sequence(self, portfolio_id: str) -> int | None:
        """Return the sequence of a portfolio's next answer, None if none waits."""
        answers = (filed.item for filed in self._filed[SIZED_ORDERS].values())
        waiting = (a for a in answers if isinstance(a, Answer) and a.portfolio_id == portfolio_id)
        first = min(waiting, key=lambda answer: answer.signal_offset, default=None)
        return None if first is None else first.sequence

    def dead_letter(self, topic: str, offset: int) -> DeadLetter | None:
        """Return the dead letter of the input record at an offset."""
        return self._find(topic, (offset,), offset)  # type: ignore[return-value]  # by topic

    @property
    def policies(self) -> Mapping[str, Policy]:
        """The policies that phase events announced, and the locked table, by id."""
        return self._policies

    def announce(self, policy: Policy) -> None:
        """Take note of a policy that was announced before."""
        self._policies[policy.policy_id] = policy

    def first_waiting(self, topic: str) -> int | None:
        """Return the lowest offset of what a topic has and nothing has asked for yet; None if there is nothing."""
        return min((filed.item.record.offset for filed in self._filed[topic].values()), default=None)

    def follows(self, offset: int) -> bool:
        """Tell whether a signal behind an offset has an answer or a dead letter."""
        return any(
            cause > offset
            for topic in (SIZED_ORDERS, SIGNALS_DLQ)
            if self.waits(topic)
            for cause, *_ in self._filed[topic]
        )

    @property
    def waiting_answers(self) -> int:
        """Answers that nothing has asked for yet."""
        return len(self._filed[SIZED_ORDERS])

    def has_opening(self, portfolio_id: str) -> bool:
        """Tell whether a portfolio's first phase event waits."""
        key = (portfolio_id, 1)
        self._read_ahead(lambda: key in self._filed[PHASE_EVENTS])
        return key in self._filed[PHASE_EVENTS]

    def waits(self, topic: str) -> bool:
        """Tell whether something of a topic waits, or comes."""
        filed = self._filed[topic]
        while not filed and self._more(topic):
            pass
        return bool(filed)

    def expect_answer(self, produced: Produced, answer: Answer | None, cause: Record) -> Match:
        """Compare an answer with the recomputed one. `answer`: the published one, None if there is none."""
        if answer is None:
            self._lose(SIZED_ORDERS, f"{published.read_answer(made(produced, cause), None)}", cause)
            return Match(produced, None)
        self._take(SIZED_ORDERS, _key(answer))
        match = self._compare(produced, answer, cause)
        if not match.differences:
            self._journal.recomputed += 1
        return match

    def expect_event(self, produced: Produced, cause: Record) -> Match:
        """Compare a phase event with the recomputed one."""
        recomputed = published.read_event(made(produced, cause), None)
        key = (recomputed.portfolio_id, recomputed.sequence)
        self._read_ahead(lambda: key in self._filed[PHASE_EVENTS])
        event = self._take(PHASE_EVENTS, key)
        if event is None:
            self._lose(PHASE_EVENTS, f"{recomputed}", cause)
            return Match(produced, None)
        return self._compare(produced, event, cause)

    def expect_dead_letter(self, produced: Produced, cause: Record) -> Match:
        """Compare a dead letter with the recomputed one."""
        self.dead_letter(produced.topic, cause.offset)
        letter = self._take(produced.topic, (cause.offset,))
        if letter is None:
            headers = dict(produced.headers)
            why = f"{shown(headers[CODE_HEADER])}: {shown(headers[MESSAGE_HEADER])}"
            self._lose(produced.topic, f"dead letter of offset {cause.offset} ({why})", cause)
            return Match(produced, None)
        return self._compare(produced, letter, cause)

    def reject(self, answer: Answer, why: str) -> None:
        """Take an answer that should not be there."""
        self._take(SIZED_ORDERS, _key(answer))
        self._journal.find("I1", answer.record, f"{answer} answers a signal that gets none: {why}")

    def excuse(self, cause: Record, message: Signal | Fill) -> None:
        """Pass over whatever was published for an input record that cannot be recomputed."""
        self._journal.unprovable += 1
        letters = f"{cause.topic}.dlq"
        self.dead_letter(letters, cause.offset)
        self._filed[letters].pop((cause.offset,), None)
        if isinstance(message, Signal):
            self._filed[SIZED_ORDERS].pop((cause.offset, message.portfolio_id, message.signal_id), None)

    def end_round(self, *, is_last: bool = False, settled: Mapping[str, int] | None = None) -> bool:
        """Report what nothing has asked for since the round before, or at all; tell whether something still waits.

        `settled`: by topic, from where on nothing is reported yet.
        """
        for topic, filed in self._filed.items():
            for key, (item, came) in list(filed.items()):
                is_settled = settled is None or item.record.offset < settled[topic]
                if is_settled and (is_last or came < self._round):
                    del filed[key]
                    if self._is_unprovable(topic, item):
                        self._journal.unprovable += 1
                    else:
                        self._journal.find("I1", item.record, f"{item}: nothing in signals and fills causes it")
        self._round += 1
        return any(self._filed.values())

    def is_beheaded(self, topic: str) -> bool:
        """Tell whether a topic's beginning was deleted and what is asked for may have been there."""
        return self._starts.get(topic, 0) > 0 and topic not in self._last

    def _find(self, topic: str, key: _Key, cause: int) -> Item | None:
        """Return what was published for the input at offset `cause`, None if it is not there and does not come."""
        filed, fed = self._filed[topic], self._fed[topic]
        while key not in filed:
            # Causes come in order, so what comes later than these answers to later inputs.
            is_behind = len(fed) == _LOOK_AHEAD and min(fed) > cause
            if is_behind or not self._more(topic):
                return None
        return filed[key].item

    def _read_ahead(self, is_there: Callable[[], bool]) -> None:
        """Have phase events fed until something is there; it is not to be far ahead."""
        waiting = self._filed[PHASE_EVENTS]
        limit = len(waiting) + _EVENTS_AHEAD
        while not is_there() and len(waiting) < limit and self._more(PHASE_EVENTS):
            pass

    def _feed_answer(self, answer: Answer) -> None:
        self._fed[SIZED_ORDERS].append(answer.signal_offset)
        if self._remembers_ids and self._is_repeat(answer):
            return
        self._order(SIZED_ORDERS, answer)
        self._file(SIZED_ORDERS, _key(answer), answer)

    def _is_repeat(self, answer: Answer) -> bool:
        content = hash((answer.record.key, answer.record.value))
        known = self._ids.setdefault(answer.order_id, (content, answer.record.offset))
        if known[1] != answer.record.offset:
            self._repeat(answer, known[1], is_other=known[0] != content)
            return True
        return False

    def _repeat(self, answer: Answer, first: int, *, is_other: bool) -> None:
        """Report an order id that comes again."""
        journal = self._journal
        journal.doubled += answer.order_id not in self._repeated
        journal.contradicted += is_other and not self._repeated.get(answer.order_id, False)
        self._repeated[answer.order_id] = is_other or self._repeated.get(answer.order_id, False)
        how = "with another content" if is_other else "with the same content"
        journal.find("I2", answer.record, f"{answer} is published again, {how}; first at offset {first}")

    def _feed_event(self, event: Event) -> None:
        policy = published.read_policy(event)
        if policy is not None:
            self._policies[policy.policy_id] = policy
        self._order(PHASE_EVENTS, event)
        if event.event_id != published.event_id_of(event.portfolio_id, event.sequence):
            self._journal.find("I5", event.record, f"{event}: event_id {event.event_id} is not that of its sequence")
        self._file(PHASE_EVENTS, (event.portfolio_id, event.sequence), event)

    def _file(self, topic: str, key: _Key, item: Item) -> None:
        if key in self._filed[topic]:
            other = self._filed[topic][key].item.record.offset
            self._journal.find("I1", item.record, f"{item} was published already, at offset {other}")
        else:
            self._filed[topic][key] = _Filed(item, self._round)

    def _order(self, topic: str, item: Answer | Event) -> None:
        """Check that the sequences of a portfolio come one by one."""
        sequences = self._sequences[topic]
        sequence = sequences.get(item.portfolio_id)
        if sequence is None:
            first = item.sequence if self.is_truncated or self._is_resumed else 1
            sequence = sequences[item.portfolio_id] = _Sequence(first)
        expected = sequence.expected
        if not sequence.take(item.sequence):
            self._journal.find("I5", item.record, f"{item} has sequence {item.sequence}, expected {expected}")

    def _take(self, topic: str, key: _Key) -> Item | None:
        """Take what waits, and check that it was published in the order of its causes."""
        filed = self._filed[topic].pop(key, None)
        if filed is None:
            return None
        record, last = filed.item.record, self._last.get(topic, -1)
        if record.offset < last:
            self._journal.find("I4", record, f"{filed.item} is published before that of offset {last}, caused earlier")
        self._last[topic] = record.offset
        return filed.item

    def _lose(self, topic: str, what: str, cause: Record) -> None:
        if self.is_beheaded(topic):
            self._journal.unprovable += 1
            return
        self._journal.lost += 1
        self._journal.find("I1", cause, f"{what} should be in {self._journal.name(topic)} and is not")

    def _compare(self, produced: Produced, item: Item, cause: Record) -> Match:
        record = item.record
        if produced.value == record.value and produced.key == record.key and not (produced.headers or record.headers):
            return Match(produced, item)
        if produced.topic in TOPIC_RECORDS and not isinstance(item, DeadLetter):
            kind = TOPIC_RECORDS[produced.topic]
            value = in_format_of(record.value, produced.value or b"", kind, self._schemas)
            produced = produced._replace(value=value)
        differences = tuple(differences_of(produced, record, self._schemas))
        if differences:
            text = f"{item}, caused by {self._journal.where(cause)}, is not as recomputed"
            self._journal.find("I4", record, f"{text}: {'; '.join(map(str, differences))}", differences)
        return Match(produced, item, differences)

    def _is_unprovable(self, topic: str, item: Item) -> bool:
        if not self.is_truncated:
            return False
        if isinstance(item, DeadLetter):
            return item.offset < self._starts.get(topic.removesuffix(".dlq"), 0)
        return item.portfolio_id not in self.opened


def _key(answer: Answer) -> _Key:
    return (answer.signal_offset, answer.portfolio_id, answer.signal_id)
