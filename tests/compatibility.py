"""Does a reader's schema read what a writer's wrote (`BACKWARD`)? By resolving data, and where that is lax, by looking.

Resolvers know no logical types: a decimal of another scale is read as another number. And a field that has lost its
default still reads what has the field: then it is the next release that breaks. Both are looked at.
"""

import io
from collections.abc import Iterator
from typing import Any

import fastavro

from tests import avro_peer


def incompatibilities(*, reader: dict[str, Any], writer: dict[str, Any]) -> list[str]:
    """Return what is wrong, one line each."""
    return [*_unread(reader, writer), *_changed(reader, writer)]


def _unread(reader: dict[str, Any], writer: dict[str, Any]) -> Iterator[str]:
    """Write records by the writer's schema, with each symbol and each branch, and read them by the reader's."""
    for document in _samples(writer):
        body = io.BytesIO()
        fastavro.schemaless_writer(body, _plain(writer), document)
        try:
            fastavro.schemaless_reader(io.BytesIO(body.getvalue()), _plain(writer), _plain(reader))
            avro_peer.decode(_plain(writer), body.getvalue(), _plain(reader))
        except Exception as error:  # noqa: BLE001 - whatever a resolver says
            yield f"{document} is not read: {error!r}"
            return


def _changed(reader: dict[str, Any], writer: dict[str, Any]) -> Iterator[str]:
    if _name(reader) != _name(writer):
        yield f"{_name(writer)} is called {_name(reader)}"
    fields = {field["name"]: field for field in reader["fields"]}
    for old in writer["fields"]:
        new = fields.get(old["name"])
        if new is None:
            yield f"{old['name']} is gone: its values would be lost in silence"
            continue
        if "default" in old and new.get("default", ...) != old["default"]:
            yield f"{old['name']} has lost or changed its default"
        before, after = _inner(old), _inner(new)
        for key in ("type", "logicalType", "precision", "scale", "name"):
            if before.get(key) != after.get(key):
                yield f"{old['name']}: {key} was {before.get(key)} and is {after.get(key)}"
        if gone := set(before.get("symbols", ())) - set(after.get("symbols", ())):
            yield f"{old['name']}: symbols are gone: {gone}"


def _name(schema: dict[str, Any]) -> str:
    return f"{schema['namespace']}.{schema['name']}"


def _inner(field: dict[str, Any]) -> dict[str, Any]:
    kind = field["type"][1] if isinstance(field["type"], list) else field["type"]
    return kind if isinstance(kind, dict) else {"type": kind}


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without logical types."""

    def strip(kind: Any) -> Any:
        if isinstance(kind, list):
            return [strip(branch) for branch in kind]
        if isinstance(kind, dict) and kind["type"] != "enum":
            return kind["type"]
        return kind

    return schema | {"fields": [field | {"type": strip(field["type"])} for field in schema["fields"]]}


def _samples(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    values = {"string": "a", "bytes": b"\x01", "long": 1, "int": 1, "double": 0.5, "boolean": True}
    full: dict[str, Any] = {}
    for field in schema["fields"]:
        inner = _inner(field)
        full[field["name"]] = inner["symbols"][0] if inner["type"] == "enum" else values[inner["type"]]
    yield full
    yield full | {field["name"]: None for field in schema["fields"] if isinstance(field["type"], list)}
    for field in schema["fields"]:
        for symbol in _inner(field).get("symbols", ()):
            yield full | {field["name"]: symbol}
