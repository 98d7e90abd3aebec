"""What analysts' commands print as JSON: decimals and times in the canonical text of the contract."""

from decimal import Decimal
from typing import Any

import orjson

from app.codecs import canonical_time
from app.core.exact import plain

_TIMES = frozenset(
    {
        "closed_at",
        "decided_at",
        "drawdown_since",
        "event_time",
        "expires_at",
        "now",
        "opened_at",
        "send_before",
        "since",
    }
)  # fmt: skip - a word a line


def document(value: Any, name: str = "") -> Any:
    """Return a value as JSON has it: named tuples as objects, decimals as strings, times (by their names) as text."""
    if isinstance(value, Decimal):
        return plain(value)
    if name in _TIMES and isinstance(value, int) and not isinstance(value, bool):
        return canonical_time(value)
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {field: document(content, field) for field, content in value._asdict().items()}
    if isinstance(value, dict):
        return {field: document(content, field) for field, content in value.items()}
    if isinstance(value, tuple | list):
        return [document(content) for content in value]
    return value


def as_json(value: Any) -> str:
    """Return a document as indented JSON."""
    return orjson.dumps(document(value), option=orjson.OPT_INDENT_2).decode()
