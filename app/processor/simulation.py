"""`sizer simulate`: the contract without Kafka. JSON lines in, JSON lines out, state in memory, nothing else running.

In, one object a line: `{"topic":"signals"|"fills","key":"PF-1","value":{…}}`, or `value_base64` / `value_text` for any
bytes; optional `now`, `offset`, `partition`, `headers`. A line `{"policy":{…}}` restarts the worker with that policy.
Unknown fields are ignored, as everywhere in JSON input.
Out, for each input in order, one line a record that it causes, or `{"ignored":…}`, or `{"applied":true}`.
"""

import base64
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from app.codecs import BadRecord, fields
from app.core.policy import Policy, PolicyError
from app.processor.partitioners import partitioner
from app.processor.processor import Processor
from app.processor.records import Outcome, Produced, Record
from app.processor.store import MemoryStore
from app.topics import INPUTS

_VALUES = ("value", "value_base64", "value_text")
_COMMIT_EVERY = 1_000
_OFFSET_END = 2**63 - 1


class LineError(ValueError):
    """A line that is no such object; the message says what was expected."""


class Simulation:
    """A worker for any number of partitions, with its state in memory."""

    def __init__(self, policy: Policy, partitions: int | None = None) -> None:
        """`partitions`: the count to check keys against (murmur2); None checks none."""
        self._policy = policy
        self._partitions = partitions
        self._now: int | None = None
        self._last_offsets = dict.fromkeys(INPUTS, -1)
        self._stores: dict[int, MemoryStore] = {}
        self._processors: dict[int, Processor] = {}
        self._uncommitted = 0

    def run(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the output lines, each with its line feed. Raises LineError, which names the line."""
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                yield from self.feed(line)
            except (LineError, PolicyError) as error:
                raise LineError(f"line {number}: {error}") from None

    def feed(self, line: bytes) -> list[bytes]:
        """Return what one line causes. Raises LineError or PolicyError."""
        try:
            document = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise LineError(f"not JSON ({error}); expected an object such as {_EXAMPLE}") from None
        if not isinstance(document, dict):
            raise LineError(f"not an object; expected one such as {_EXAMPLE}")
        if "policy" in document:
            self.restart(_policy(document))
            return []
        record, now = self._record(document)
        if now is not None:
            self._now = now
        self._last_offsets[record.topic] = record.offset
        outcome = self._processor(record.partition).process(record, self._now)
        self._uncommitted += 1
        if self._uncommitted >= _COMMIT_EVERY:
            self._commit()
        return [orjson.dumps(answer, option=orjson.OPT_APPEND_NEWLINE) for answer in _answers(outcome)]

    def restart(self, policy: Policy | None = None) -> None:
        """Stop and start the workers on the state that they committed, with another policy if one is given."""
        if policy is not None:
            self._policy = policy
        self._commit()
        self._processors.clear()

    def _commit(self) -> None:
        for partition, processor in self._processors.items():
            self._stores[partition].write(processor.changes())
            processor.committed()
        self._uncommitted = 0

    def _processor(self, partition: int) -> Processor:
        processor = self._processors.get(partition)
        if processor is None:
            count = self._partitions or 1
            processor = self._processors[partition] = Processor(
                partition,
                self._stores.setdefault(partition, MemoryStore()),
                self._policy,
                partition_count=count,
                partition_of=partitioner("murmur2", count) if self._partitions else None,
            )
        return processor

    def _record(self, document: dict[str, Any]) -> tuple[Record, int | None]:
        topic = document.get("topic")
        if topic not in INPUTS:
            raise LineError(f'topic: {fields.shown(topic)} is neither "signals" nor "fills"')
        partition = _whole(document, "partition", 0)
        if self._partitions is not None and partition >= self._partitions:
            raise LineError(f"partition: {partition} is not below the {self._partitions} of --partitions")
        offset = _whole(document, "offset", self._last_offsets[topic] + 1)
        record = Record(topic, partition, offset, _key(document), _value(document), _headers(document))
        return record, _now(document)


_EXAMPLE = '{"topic":"signals","key":"PF-1","value":{…}}'


def _policy(document: dict[str, Any]) -> Policy:
    parameters = document["policy"]
    if not isinstance(parameters, dict):
        raise LineError(f"policy: {fields.shown(parameters)} is not an object of parameters")
    return Policy(parameters)


def _whole(document: dict[str, Any], name: str, default: int) -> int:
    value = document.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _OFFSET_END:
        raise LineError(f"{name}: {fields.shown(value)} is not a whole number from 0 on")
    return value


def _key(document: dict[str, Any]) -> bytes | None:
    if "key" not in document:
        raise LineError("key: is missing; expected a string, or null for a record without a key")
    key = document["key"]
    if key is not None and not isinstance(key, str):
        raise LineError(f"key: {fields.shown(key)} is neither a string nor null")
    return None if key is None else key.encode()


def _value(document: dict[str, Any]) -> bytes | None:
    given = [name for name in _VALUES if name in document]
    if len(given) != 1:
        raise LineError(f"expected exactly one of {', '.join(_VALUES)}")
    name = given[0]
    value = document[name]
    if name == "value":
        if value is not None and not isinstance(value, dict):
            raise LineError(f"value: {fields.shown(value)} is neither an object nor null; use value_text for others")
        try:
            return None if value is None else orjson.dumps(value)
        except orjson.JSONEncodeError as error:
            raise LineError(f"value: cannot be sent as JSON ({error}); use value_text") from None
    if not isinstance(value, str):
        raise LineError(f"{name}: {fields.shown(value)} is not a string")
    if name == "value_text":
        return value.encode()
    try:
        return base64.b64decode(value, validate=True)
    except ValueError as error:
        raise LineError(f"value_base64: is not base64 ({error})") from None


def _headers(document: dict[str, Any]) -> list[tuple[str, bytes | None]]:
    headers = document.get("headers", {})
    if not isinstance(headers, dict) or not all(isinstance(text, str | None) for text in headers.values()):
        raise LineError("headers: expected an object of strings")
    return [(name, None if text is None else text.encode()) for name, text in headers.items()]


def _now(document: dict[str, Any]) -> int | None:
    if "now" not in document:
        return None
    if not isinstance(document["now"], str):
        raise LineError('now: expected an RFC 3339 time such as "2026-01-31T12:00:00Z"')
    try:
        return fields.time("now", document["now"])
    except BadRecord as error:
        raise LineError(error.message) from None


def _answers(outcome: Outcome) -> Iterator[dict[str, Any]]:
    if outcome.ignored is not None:
        yield {"ignored": outcome.ignored}
    elif not outcome.produced:
        yield {"applied": True}
    for produced in outcome.produced:
        yield _answer(produced)


def _answer(produced: Produced) -> dict[str, Any]:
    headers = {name: None if value is None else value.decode() for name, value in produced.headers}
    key = None if produced.key is None else produced.key.decode()
    answer: dict[str, Any] = {"topic": produced.topic, "key": key}
    try:
        answer["value"] = None if produced.value is None else produced.value.decode()
    except UnicodeDecodeError:
        answer["value_base64"] = base64.b64encode(produced.value or b"").decode()
    answer["headers"] = headers
    return answer
