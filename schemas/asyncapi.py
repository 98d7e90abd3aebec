"""The topics as an AsyncAPI 3.0 document: channels, keys, partitions, formats, headers."""

from importlib.metadata import version
from typing import Any

from app.codecs.records import TOPIC_RECORDS, Record
from app.core.messages import ErrorCode
from app.processor.dead_letter import (
    CODE_HEADER,
    MAXIMUM_MESSAGE,
    MESSAGE_HEADER,
    NOW_HEADER,
    OFFSET_HEADER,
    PARTITION_HEADER,
    TOPIC_HEADER,
)
from app.topics import FILLS, FILLS_DLQ, PHASE_EVENTS, SIGNALS, SIGNALS_DLQ, SIZED_ORDERS

_INFO = """\
Trade signals in, sized orders out, exactly one for each. Every record's key is the portfolio_id in UTF-8. All topics
have the same number of partitions; a record of `signals` or `fills` must be on the partition that murmur2 of its key
gives (Java's default; `partitioner=murmur2_random` in librdkafka). Read the outputs with
isolation.level=read_committed. `SIZER_TOPIC_PREFIX` may stand before each topic's name.

A value is JSON (first byte `{`), Avro in Confluent framing (0x00 and four bytes of schema id) or Avro in single-object
encoding (0xC3 0x01 and eight bytes of fingerprint). Of an input each record may be in another one; of outputs the
setting `SIZER_OUTPUT_FORMAT` tells. The Avro schemas are in schemas/avro, the JSON Schemas in schemas/json.

The state is kept in topics of its own, compacted and internal: `<app id>-portfolios-changelog`,
`<app id>-orders-changelog` and `<app id>-signal_ids-changelog`. Nobody else writes to them, and nobody needs to read
them."""
_KEY = {"type": "string", "description": "the portfolio_id, UTF-8"}
_SUMMARIES = {
    SIGNALS: "Requests for a trade.",
    FILLS: "Execution reports about sized orders, and their ends.",
    SIZED_ORDERS: "The answers: exactly one for each distinct valid signal.",
    PHASE_EVENTS: "What changed in a portfolio.",
}


def asyncapi() -> dict[str, Any]:
    """Return the document."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Position sizer",
            "version": version("position-sizer"),
            "description": _INFO,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            **{_channel_id(topic): _channel(topic, record) for topic, record in TOPIC_RECORDS.items()},
            **{
                _channel_id(letters): _dead_letters(topic, letters)
                for topic, letters in ((SIGNALS, SIGNALS_DLQ), (FILLS, FILLS_DLQ))
            },
        },
        "operations": {
            **{f"receive_{topic}": _operation("receive", topic) for topic in (SIGNALS, FILLS)},
            **{
                f"send_{_channel_id(topic)}": _operation("send", topic)
                for topic in (SIZED_ORDERS, PHASE_EVENTS, SIGNALS_DLQ, FILLS_DLQ)
            },
        },
        "components": {
            "messages": {
                **{record.name: _message(topic, record) for topic, record in TOPIC_RECORDS.items()},
                "DeadLetter": _dead_letter(),
            }
        },
    }


def _channel_id(topic: str) -> str:
    return topic.replace(".", "_")


def _channel(topic: str, record: Record) -> dict[str, Any]:
    return {
        "address": topic,
        "summary": _SUMMARIES[topic],
        "messages": {record.name: {"$ref": f"#/components/messages/{record.name}"}},
        "bindings": {"kafka": {"topicConfiguration": {"cleanup.policy": ["delete"]}}},
    }


def _dead_letters(topic: str, letters: str) -> dict[str, Any]:
    return {
        "address": letters,
        "summary": f"What could not be taken from {topic}: key, value and headers as they came, and why.",
        "messages": {"DeadLetter": {"$ref": "#/components/messages/DeadLetter"}},
        "bindings": {"kafka": {"topicConfiguration": {"cleanup.policy": ["delete"]}}},
    }


def _operation(action: str, topic: str) -> dict[str, Any]:
    return {"action": action, "channel": {"$ref": f"#/channels/{_channel_id(topic)}"}}


def _message(topic: str, record: Record) -> dict[str, Any]:
    return {
        "name": record.name,
        "title": record.name,
        "summary": record.doc,
        "description": f"The same as Avro: avro/{record.name}.avsc, registered under the subject {topic}-value.",
        "contentType": "application/json",
        "payload": {"$ref": f"./json/{record.name}.schema.json"},
        "bindings": {"kafka": {"key": _KEY}},
    }


def _dead_letter() -> dict[str, Any]:
    times = f"{ErrorCode.STALE_SIGNAL} and {ErrorCode.FUTURE_SIGNAL}"
    headers = {
        CODE_HEADER: {"enum": list(ErrorCode), "description": "the code: the first that holds, in this order"},
        MESSAGE_HEADER: {
            "type": "string",
            "maxLength": MAXIMUM_MESSAGE,
            "description": "what is wrong and what to do; the words may change",
        },
        TOPIC_HEADER: {"type": "string", "description": "the topic that the record was in"},
        PARTITION_HEADER: {"type": "string", "pattern": "^[0-9]+$"},
        OFFSET_HEADER: {"type": "string", "pattern": "^[0-9]+$"},
        NOW_HEADER: {"type": "string", "description": f"only on {times}: the time judged by, canonical"},
    }
    return {
        "name": "DeadLetter",
        "title": "Dead letter",
        "summary": "A record that could not be taken, as it came. Of headers with one name the last is ours.",
        "contentType": "application/octet-stream",
        "headers": {"type": "object", "required": list(headers)[:-1], "properties": headers},
        "payload": {"description": "the original value: any bytes, or none"},
        "bindings": {"kafka": {"key": {"description": "the original key: any bytes, or none"}}},
    }
