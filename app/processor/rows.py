"""How state is laid out in rows, and how a row is written.

=============  ================================================  ==========================================
table          key                                               row
=============  ================================================  ==========================================
portfolios     portfolio id                                      the portfolio, when the first of its orders may lapse
               portfolio id, expires_at + sequence (hex)         a working order's id, by when it may lapse
               (empty), "partition"                              positions and partition count
               (empty), "policy", policy id                      a policy that a portfolio was decided by
orders         portfolio id, order id                            the order
               portfolio id, order id, exec id                   an applied fill
signal_ids     portfolio id, signal id                           when it was decided, digest of its content
=============  ================================================  ==========================================

Parts of a key are joined by U+001F, which no id may contain. Every row starts with a version byte; an unknown one is
an error, not a guess. An event touches a handful of rows, however long the portfolio's history is.
"""

from collections.abc import Mapping
from decimal import Decimal
from struct import Struct
from struct import error as StructError  # noqa: N812 - named as what it is
from typing import Any, NamedTuple

import orjson

from app.core.messages import Side
from app.core.state import Evidence, Order, Portfolio
from app.errors import Doubt

SEPARATOR = b"\x1f"
PARTITION_KEY = SEPARATOR + b"partition"
POLICY_PREFIX = SEPARATOR + b"policy" + SEPARATOR
EXEC_ID_ROW = b"\x01"
_VERSION = 1
_VERSION_BYTE = bytes([_VERSION])
_PORTFOLIO_VERSION = 2
"""Version 1 had no `first_expiry`."""
UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, StructError)
"""What decoding raises of bytes that are no row of ours."""

_EVIDENCE, _EXPOSURE, _VALUE = map(Portfolio._fields.index, ("evidence", "exposure", "value"))
_SIDE, _QUANTITY = map(Order._fields.index, ("side", "quantity"))
_ORDER_DECIMALS = tuple(place for place, name in enumerate(Order._fields) if Order.__annotations__[name] is Decimal)
"""Places in a row, whose fields stand in the order of the type's."""

_HEAD = Struct(">Bq")
"""Version and a time, -1 if there is none. An order's: finished_at, so that pruning reads no more than this. A
portfolio's: first_expiry."""


class PartitionRow(NamedTuple):
    """What a partition remembers beside its portfolios."""

    partition_count: int
    positions: dict[str, int]
    """The next offset of each input topic, by logical name."""
    last_fills_offset: int
    """Offset of the last fills record taken, -1 if none: a position may stand further, behind a marker."""
    input_ids: Mapping[str, str] = {}
    """By logical name: which input topic the positions are positions of, as the cluster identifies it."""
    changelog_ends: Mapping[str, int] = {}
    """By table: the offset up to which its changelog was written before this row was."""


class PortfolioRow(NamedTuple):
    """A portfolio, and when its working orders have to be looked at."""

    portfolio: Portfolio
    first_expiry: int | None
    """None of its working orders expires before this; None: none works. So most decisions look for none that lapses.
    Orders that end otherwise leave it as it is: it may be too early, and then a decision looks in vain, once."""


class DecidedSignal(NamedTuple):
    """That a signal id was decided."""

    decided_at: int
    digest: str


def portfolio_key(portfolio_id: str) -> bytes:
    """Return the key of a portfolio."""
    return portfolio_id.encode()


def working_prefix(portfolio_id: str) -> bytes:
    """Return what the keys of a portfolio's working orders start with."""
    return portfolio_id.encode() + SEPARATOR


def working_key(portfolio_id: str, expires_at: int, sequence: int) -> bytes:
    """Return the key under which a working order waits for its lapse."""
    return f"{portfolio_id}\x1f{expires_at:016x}{sequence:016x}".encode()


def working_from_key(key: bytes) -> tuple[int, int]:
    """Return (expires_at, sequence) of a working order's key."""
    return int(key[-32:-16], 16), int(key[-16:], 16)


def order_key(portfolio_id: str, order_id: str) -> bytes:
    """Return the key of an order."""
    return f"{portfolio_id}\x1f{order_id}".encode()


def exec_id_key(order: bytes, exec_id: str) -> bytes:
    """Return the key of an applied fill of the order with key `order`."""
    return order + SEPARATOR + exec_id.encode()


def signal_id_key(portfolio_id: str, signal_id: str) -> bytes:
    """Return the key of a decided signal id."""
    return f"{portfolio_id}\x1f{signal_id}".encode()


def encode_portfolio(row: PortfolioRow) -> bytes:
    """Return the bytes of a portfolio's row."""
    portfolio, first_expiry = row
    head = _HEAD.pack(_PORTFOLIO_VERSION, -1 if first_expiry is None else first_expiry)
    return head + orjson.dumps(tuple(portfolio), default=_plain)


def decode_portfolio(raw: bytes) -> PortfolioRow:
    """Return the portfolio of a row, of either version; raises Doubt on an unknown one."""
    _check_version(raw, _PORTFOLIO_VERSION)
    # Of version 1 it is not known: the next decision looks.
    first_expiry, start = (0, 1) if raw[0] == _VERSION else (_time_of_head(raw), _HEAD.size)
    fields = _fields(raw[start:], len(Portfolio._fields))
    trades, wins, losses, gross_profit, gross_loss = fields[_EVIDENCE]
    fields[_EVIDENCE] = Evidence(trades, wins, losses, Decimal(gross_profit), Decimal(gross_loss))
    fields[_EXPOSURE] = Decimal(fields[_EXPOSURE])
    fields[_VALUE] = _optional(fields[_VALUE])
    return PortfolioRow(Portfolio(*fields), first_expiry)


def time_of(raw: bytes) -> int:
    """Return the portfolio time of a portfolio's row, its last field, without reading the whole row."""
    _check_version(raw, _PORTFOLIO_VERSION)
    return int(raw[raw.rindex(b",") + 1 : -1])


def encode_order(row: Order) -> bytes:
    """Return the bytes of an order's row."""
    head = _HEAD.pack(_VERSION, -1 if row.finished_at is None else row.finished_at)
    return head + orjson.dumps(tuple(row), default=str)  # decimals are all that it does not know


def decode_order(raw: bytes) -> Order:
    """Return the order of a row; raises Doubt on an unknown version."""
    _check_version(raw)
    fields = _fields(raw[_HEAD.size :], len(Order._fields))
    fields[_SIDE] = Side(fields[_SIDE])
    fields[_QUANTITY] = _optional(fields[_QUANTITY])
    for place in _ORDER_DECIMALS:
        fields[place] = Decimal(fields[place])
    return Order(*fields)


def finished_at_of(raw: bytes) -> int | None:
    """Return when the order of a row finished, None if it has not, without reading the whole row."""
    _check_version(raw)
    return _time_of_head(raw)


def encode_decided_signal(row: DecidedSignal) -> bytes:
    """Return the bytes of a decided signal id's row."""
    return _VERSION_BYTE + orjson.dumps(tuple(row))


def decode_decided_signal(raw: bytes) -> DecidedSignal:
    """Return the decided signal id of a row; raises Doubt on an unknown version."""
    return DecidedSignal(*_decode(raw, len(DecidedSignal._fields)))


def encode_partition(row: PartitionRow) -> bytes:
    """Return the bytes of the partition's row."""
    return _VERSION_BYTE + orjson.dumps(tuple(row))


def decode_partition(raw: bytes) -> PartitionRow:
    """Return the partition's row; raises Doubt on an unknown version."""
    return PartitionRow(*_decode(raw, len(PartitionRow._fields)))


def encode_policy(canonical: str) -> bytes:
    """Return the bytes of a policy's row."""
    return _VERSION_BYTE + canonical.encode()


def decode_policy(raw: bytes) -> dict[str, Any]:
    """Return the parameters of a policy's row; raises Doubt on an unknown version."""
    _check_version(raw)
    parameters: dict[str, Any] = orjson.loads(raw[1:])
    return parameters


def _time_of_head(raw: bytes) -> int | None:
    time: int = _HEAD.unpack_from(raw)[1]
    return None if time < 0 else time


def _decode(raw: bytes, count: int) -> list[Any]:
    _check_version(raw)
    return _fields(raw[1:], count)


def _fields(raw: bytes, count: int) -> list[Any]:
    """Return a row's fields; raises ValueError if they are not so many: the rest would be filled with defaults."""
    fields = orjson.loads(raw)
    if not isinstance(fields, list) or len(fields) != count:
        raise ValueError(f"expected a list of {count} fields")
    return fields


def _check_version(raw: bytes, latest: int = _VERSION) -> None:
    if not _VERSION <= raw[0] <= latest:
        known = _VERSION if latest == _VERSION else f"{_VERSION} to {latest}"
        raise Doubt(f"a state row has version {raw[0]}, this program knows {known}: run the release that wrote it")


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, Evidence) else str(value)


def _optional(text: Any) -> Decimal | None:
    return None if text is None else Decimal(text)
