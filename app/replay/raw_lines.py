"""A record as a line of JSON, loss-free: the fields of `sizer simulate`, with partition, offset and timestamp.

    {"topic":"signals","partition":0,"offset":7,"timestamp":1769860800123,"key":"PF-1","value_text":"{…}"}

`topic`: logical name. `timestamp`: the topic's, in milliseconds. What is not UTF-8 is in base64: `key_base64`,
`value_base64`. `headers`: an object of strings as in `sizer simulate`, where that says it all, else `headers_base64`:
pairs of a name and base64 or null. No value is `"value":null`.
"""

import base64
from typing import Any

import orjson

from app.processor import Record
from app.processor.records import Headers


def encode_line(record: Record) -> bytes:
    """Return the line of a record, with its line feed."""
    topic, partition, offset, key, value, headers, timestamp = record
    document: dict[str, Any] = {"topic": topic, "partition": partition, "offset": offset, "timestamp": timestamp}
    _put(document, "key", "key", key)
    _put(document, "value", "value_text", value)
    if headers:
        _put_headers(document, headers)
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)


def decode_line(line: bytes) -> Record:
    """Return the record of a line. Raises ValueError, LookupError or TypeError if it is none."""
    document = orjson.loads(line)
    text = document.get("value_text")
    value = _value(document) if text is None else text.encode()
    key = document.get("key")
    return Record(
        document["topic"],
        document["partition"],
        document["offset"],
        _key(document) if key is None else key.encode(),
        value,
        _headers(document) if "headers" in document or "headers_base64" in document else (),
        document["timestamp"],
    )


def _put(document: dict[str, Any], name: str, text_name: str, content: bytes | None) -> None:
    if content is None:
        document[name] = None
        return
    try:
        document[text_name] = content.decode()
    except UnicodeDecodeError:
        document[f"{name}_base64"] = base64.b64encode(content).decode()


def _put_headers(document: dict[str, Any], headers: Headers) -> None:
    try:
        texts = {name: None if content is None else content.decode() for name, content in headers}
    except UnicodeDecodeError:
        texts = {}
    if len(texts) == len(headers):
        document["headers"] = texts
    else:
        document["headers_base64"] = [
            (name, None if content is None else base64.b64encode(content).decode()) for name, content in headers
        ]


def _key(document: dict[str, Any]) -> bytes | None:
    text = document.get("key_base64")
    if text is None and "key" not in document:
        raise KeyError("key")
    return None if text is None else base64.b64decode(text, validate=True)


def _value(document: dict[str, Any]) -> bytes | None:
    if "value_base64" in document:
        return base64.b64decode(document["value_base64"], validate=True)
    if document["value"] is not None:
        raise ValueError("value: only null; other values are value_text or value_base64")
    return None


def _headers(document: dict[str, Any]) -> Headers:
    if "headers" in document:
        return tuple((name, None if text is None else text.encode()) for name, text in document["headers"].items())
    return tuple(
        (name, None if text is None else base64.b64decode(text, validate=True))
        for name, text in document["headers_base64"]
    )
