"""The way of an event through one partition: bytes -> codec -> rules -> codec -> bytes."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping

import orjson

from app.codecs import JSON_OUTPUT, BadRecord, Decoder, Encoders
from app.codecs.fields import shown
from app.core.admission import admit
from app.core.decision import decide
from app.core.exact import plain
from app.core.execution import apply
from app.core.messages import ErrorCode, Fill, Ignored, PhaseEvent, Refused, Signal
from app.core.order import is_forgotten
from app.core.policy import Policy
from app.processor import rows
from app.processor.dead_letter import dead_letter
from app.processor.partitioners import PRODUCER_SETTING
from app.processor.records import Outcome, Produced, Record
from app.processor.rows import DecidedSignal
from app.processor.state import PartitionState
from app.processor.store import Change, Store
from app.topics import FILLS, INPUTS, PHASE_EVENTS, SIZED_ORDERS

_EXPECTED_KEY = "use portfolio_id, as UTF-8, as the record's key"
_SAME_NAMES: Mapping[str, str] = {topic: topic for topic in INPUTS}


class Processor:
    """Answers the records of one partition, one by one, over the rows of a store.

    Nothing is durable before the caller has published what was produced and written `changes()`, together; then it
    calls `committed()`.
    """

    state_type: type[PartitionState] = PartitionState

    def __init__(
        self,
        partition: int,
        store: Store,
        policy: Policy,
        *,
        partition_count: int,
        partition_of: Callable[[bytes], int] | None,
        partitioner_name: str = "murmur2",
        topic_names: Mapping[str, str] = _SAME_NAMES,
        decoder: Decoder | None = None,
        encoders: Encoders = JSON_OUTPUT,
    ) -> None:
        """Take up the partition where the store's rows stand.

        `partition_of`: from a key to its partition, None to check none. `topic_names`: the real names of `signals`
        and `fills`, for error headers. `decoder`: if None, one without a schema registry.

        Raises UserError if the rows were written for another partition count and Doubt if they are of an unknown
        version.
        """
        self.partition = partition
        self.policy = policy
        self.counters: Counter[str] = Counter()
        self.exposure_percents = [0] * (100 + 1)
        """How many orders were sized, by how much of the limit was in use behind each: in percent, rounded down."""
        self._partition_of = partition_of
        self._partitioner_name = partitioner_name
        self._topic_names = topic_names
        decoder = decoder or Decoder()
        self._decode_signal, self._decode_fill = decoder.signal, decoder.fill
        self._encode_sized_order, self._encode_phase_event = encoders
        self._state = self.state_type(store, partition_count)

    @property
    def positions(self) -> Mapping[str, int]:
        """The next offset of each input topic, by logical name; without an entry it was never read."""
        return self._state.positions

    @property
    def input_ids(self) -> dict[str, str]:
        """Which topics the positions are positions of, by logical name; kept with them, written by the caller."""
        return self._state.input_ids

    @property
    def changelog_ends(self) -> dict[str, int]:
        """By table: an offset that its changelog reaches for sure; kept with the state, written by the caller."""
        return self._state.changelog_ends

    @property
    def is_new(self) -> bool:
        """The store had no state at all: this is the partition's first start."""
        return self._state.is_new

    def process(self, record: Record, clock: int | None) -> Outcome:
        """Process a record and move its topic's position behind it.

        A worker skips what lies before the position; given all the same, a record is judged as a redelivery.

        `clock`: the worker's clock in microseconds since the epoch; None: the signal's own `generated_at`.

        Raises SchemaPending where a schema has to be fetched first: nothing has happened, and the record is to be
        processed again.
        """
        message = self.read(record)
        if isinstance(message, Refused):
            return self.refuse(record, message)
        return self.take(record, message, clock)

    def read(self, record: Record) -> Signal | Fill | Refused:
        """Return what a record says, or why it is bad whatever was before. Nothing is taken yet.

        Raises SchemaPending.
        """
        topic, _, _, _, value, _, _ = record
        message: Signal | Fill
        try:
            message = self._decode_fill(value) if topic == FILLS else self._decode_signal(value)
            self._check_key(record, message.portfolio_id)
        except BadRecord as bad:
            return Refused(bad.code, bad.message)
        return message

    def take(self, record: Record, message: Signal | Fill, clock: int | None) -> Outcome:
        """Process a record that `read` has read: `process` is both."""
        topic = record.topic
        self._state.take(topic, record.offset)
        self.counters[topic] += 1
        if isinstance(message, Fill):
            outcome = self._fill(record, message)
        else:
            outcome = self._signal(record, message, message.generated_at if clock is None else clock)
        if outcome.ignored is not None:
            self.counters[f"IGNORED.{outcome.ignored}"] += 1
        return outcome

    def refuse(self, record: Record, refused: Refused) -> Outcome:
        """Process a record that `read` refused."""
        self._state.take(record.topic, record.offset)
        self.counters[record.topic] += 1
        return self._refuse(record, refused)

    def advance(self, topic: str, position: int) -> None:
        """Move a position over offsets that hold no record (transaction markers, aborted records); never back."""
        self._state.advance(topic, position)

    def changes(self) -> list[Change]:
        """Return every row that changed since the last commit, the positions included; empty if nothing was read."""
        return self._state.changes()

    def committed(self) -> None:
        """Take the changes as durable. The store must have them by now."""
        self._state.committed()

    def _check_key(self, record: Record, portfolio_id: str) -> None:
        key = record.key
        if key is None or key != portfolio_id.encode():
            raise BadRecord(
                ErrorCode.KEY_MISMATCH,
                f"the key {shown(key)} is not the portfolio_id {shown(portfolio_id)}: {_EXPECTED_KEY}",
            )
        if self._partition_of is not None and (expected := self._partition_of(key)) != record.partition:
            raise BadRecord(
                ErrorCode.WRONG_PARTITION,
                f"key {shown(key)} belongs to partition {expected}, not {record.partition}, by"
                f" {self._partitioner_name}: set {PRODUCER_SETTING[self._partitioner_name]}, or the sizer's"
                " SIZER_PARTITIONER to what your producers use",
            )

    def _signal(self, record: Record, signal: Signal, clock: int) -> Outcome:
        state = self._state
        portfolio_key = rows.portfolio_key(signal.portfolio_id)
        signal_id_key = rows.signal_id_key(signal.portfolio_id, signal.signal_id)
        held = state.portfolio(portfolio_key)
        portfolio = None if held is None else held.portfolio
        now = clock if portfolio is None else max(clock, portfolio.time)
        # A portfolio's row is written with its first decided id, and never deleted.
        decided = None if portfolio is None else state.decided_signal(signal_id_key)
        refusal = admit(signal, now, None if decided is None else decided.decided_at)
        if isinstance(refusal, Ignored):
            if decided is not None and decided.digest != digest(signal):
                self.counters["IGNORED.DUPLICATE_SIGNAL.DIFFERENT"] += 1
            return Outcome((), refusal)
        if refusal is not None:
            return self._refuse(record, refusal, now)
        result = decide(
            portfolio,
            signal,
            now,
            self.policy,
            state.lapsing(held, now),
            record.offset,
            state.last_fills_offset,
        )
        state.keep_decision(portfolio_key, held, result)
        state.keep_policy(self.policy)
        state.keep_decided_signal(signal_id_key, DecidedSignal(now, digest(signal)))
        answer = result.sized_order
        if answer.skip_reason is None:
            self.counters[answer.decision] += 1
            limit = answer.exposure_limit
            assert limit is not None, "without a limit nothing is sized"
            # A whole quotient: to make floats of decimals would take three times as long.
            self.exposure_percents[int(answer.exposure_after * 100 // limit)] += 1
        else:
            self.counters[f"SKIPPED.{answer.skip_reason}"] += 1
        produced = Produced(SIZED_ORDERS, record.key, self._encode_sized_order(answer))
        return Outcome((*self._events(record, result.events), produced) if result.events else (produced,))

    def _fill(self, record: Record, fill: Fill) -> Outcome:
        state = self._state
        portfolio_key = rows.portfolio_key(fill.portfolio_id)
        order_key = rows.order_key(fill.portfolio_id, fill.order_id)
        held = state.portfolio(portfolio_key)
        order = None if held is None else state.order(order_key)
        if held is None or order is None or is_forgotten(order, held.portfolio.time):
            message = (
                f"portfolio {shown(fill.portfolio_id)} has no sized order {shown(fill.order_id)}: use the order_id of "
                "its sized_orders record; an order is forgotten 24 hours after it is finished"
            )
            return self._refuse(record, Refused(ErrorCode.UNKNOWN_ORDER, message))
        exec_id_key = rows.exec_id_key(order_key, fill.exec_id)
        if state.has_exec_id(exec_id_key):
            return Outcome((), Ignored.REPEATED_EXEC_ID)
        result = apply(held.portfolio, order, fill, state.policy(held.portfolio.policy_id))
        if isinstance(result, Refused):
            return self._refuse(record, result)
        if isinstance(result, Ignored):
            return Outcome((), result)
        state.keep_fill(portfolio_key, held, order_key, order, exec_id_key, result)
        return Outcome(self._events(record, result.events) if result.events else ())

    def _events(self, record: Record, events: tuple[PhaseEvent, ...]) -> tuple[Produced, ...]:
        for event in events:
            self.counters[event.type] += 1
            if event.previous_phase is not None:
                self.counters[f"{event.type}.{event.phase}"] += 1
        return tuple(Produced(PHASE_EVENTS, record.key, self._encode_phase_event(event)) for event in events)

    def _refuse(self, record: Record, refused: Refused, now: int | None = None) -> Outcome:
        self.counters[f"DLQ.{record.topic}.{refused.code}"] += 1
        return Outcome((dead_letter(record, refused, self._topic_names[record.topic], now),))


def digest(signal: Signal) -> str:
    """Return a digest of a signal's content: tells a repeat from another signal under the same id."""
    # Decimals are all that the serializer does not know; 5.0 is 5, in whatever format it came.
    content = orjson.dumps(tuple(signal), default=plain)
    return hashlib.blake2b(content, digest_size=8).hexdigest()
