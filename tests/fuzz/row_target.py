"""State rows: what was written is read again to the byte; a damaged row stops the worker or is still a row.

A row has no checksum of its own (Kafka's batches and RocksDB's blocks have), so a digit that turned into another digit
cannot be told. An input's first line names the row's kind, the rest is the row.
"""

import struct
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

from app.core.policy import Policy
from app.core.state import Order
from app.errors import Doubt
from app.processor import Change, rows

STOPS = (Doubt, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError, struct.error)
"""How decoding stops. The worker takes any exception for a doubt and ends with status 70."""


class Kind(NamedTuple):
    """How a kind of row is read and written."""

    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes]


KINDS = {
    b"portfolio": Kind(rows.decode_portfolio, rows.encode_portfolio),
    b"order": Kind(rows.decode_order, rows.encode_order),
    b"signal_id": Kind(rows.decode_decided_signal, rows.encode_decided_signal),
    b"partition": Kind(rows.decode_partition, rows.encode_partition),
    b"policy": Kind(lambda raw: Policy(rows.decode_policy(raw)), lambda policy: rows.encode_policy(policy.canonical)),
}


def row(data: bytes) -> str:
    """Read a row that may be damaged. What is told says whether it was taken though a field is of a wrong type."""
    name, _, raw = data.partition(b"\n")
    kind = KINDS.get(name, KINDS[b"order"])
    try:
        taken = kind.decode(raw)
    except STOPS as stop:
        return f"stopped by {type(stop).__name__}"
    assert raw.startswith((b"\x01", b"\x02") if name == b"portfolio" else b"\x01"), "a row of another version is taken"
    return "taken" if is_sound(taken) else "taken, unsound"


def check_round_trip(change: Change) -> None:
    """Check that a row just written is read to the same content and written to the same bytes."""
    if change.value is None:
        return
    kind = kind_of(change)
    if kind is None:
        return
    taken = kind.decode(change.value)
    assert is_sound(taken), f"{change.key!r}: {taken}"
    assert kind.encode(taken) == change.value
    if isinstance(taken, Order):
        assert rows.finished_at_of(change.value) == taken.finished_at
        assert rows.order_key(taken.portfolio_id, taken.order_id) == change.key
    if isinstance(taken, rows.PortfolioRow):
        assert rows.portfolio_key(taken.portfolio.portfolio_id) == change.key
        assert rows.time_of(change.value) == taken.portfolio.time


def kind_of(change: Change) -> Kind | None:
    """Return the kind of a row by its table and key; None for one that is no more than its key or an id."""
    separators = change.key.count(rows.SEPARATOR)
    if change.table == "signal_ids":
        return KINDS[b"signal_id"]
    if change.table == "orders":
        return KINDS[b"order"] if separators == 1 else None
    if change.key == rows.PARTITION_KEY:
        return KINDS[b"partition"]
    if change.key.startswith(rows.POLICY_PREFIX):
        return KINDS[b"policy"]
    return None if separators else KINDS[b"portfolio"]


def is_sound(taken: Any) -> bool:
    """Tell whether every field is of its type."""
    if isinstance(taken, Policy):
        return True
    if isinstance(taken, rows.PartitionRow):
        return (
            type(taken.partition_count) is int
            and type(taken.positions) is dict
            and all(type(position) is int for position in taken.positions.values())
            and type(taken.last_fills_offset) is int
        )
    return all(_is_of(kind, value) for kind, value in zip(type(taken).__annotations__.values(), taken, strict=True))


def _is_of(kind: Any, value: Any) -> bool:
    if isinstance(value, Decimal) and not value.is_finite():
        return False
    if hasattr(kind, "_fields"):
        return isinstance(value, kind) and is_sound(value)
    # A bool is an int, but not where a count is expected.
    return isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)
