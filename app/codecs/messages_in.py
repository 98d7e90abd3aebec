"""The fields of the two inputs: name, type, default. A document is a mapping as JSON gives it."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from app.codecs import fields
from app.codecs.errors import invalid
from app.core.exact import ZERO
from app.core.messages import ExecType, Fill, PositionEffect, Side, Signal

Read = Callable[[str, Any], Any]
REQUIRED: Final = object()
"""Stands for "no default": a missing or null field is then invalid."""

_side = fields.one_of({side.value: side for side in Side})
_exec_type = fields.one_of({exec_type.value: exec_type for exec_type in ExecType})
_position_effect = fields.one_of({effect.value: effect for effect in PositionEffect})

SIGNAL_FIELDS: tuple[tuple[str, Read, Any], ...] = (
    ("signal_id", fields.string, REQUIRED),
    ("portfolio_id", fields.string, REQUIRED),
    ("symbol", fields.string, REQUIRED),
    ("side", _side, REQUIRED),
    ("confidence", fields.probability, REQUIRED),
    ("price", fields.positive, None),
    ("portfolio_value", fields.decimal, None),
    ("strategy_id", fields.string, None),
    ("generated_at", fields.time, REQUIRED),
    ("expires_at", fields.time, None),
)

FILL_FIELDS: tuple[tuple[str, Read, Any], ...] = (
    ("exec_id", fields.string, REQUIRED),
    ("order_id", fields.string, REQUIRED),
    ("portfolio_id", fields.string, REQUIRED),
    ("exec_type", _exec_type, REQUIRED),
    ("position_effect", _position_effect, PositionEffect.OPEN),
    ("last_qty", fields.not_negative, ZERO),
    ("last_px", fields.not_negative, ZERO),
    ("leaves_qty", fields.not_negative, None),
    ("commission", fields.decimal, ZERO),
    ("realized_pnl", fields.decimal, None),
    ("portfolio_value", fields.decimal, None),
    ("transact_time", fields.time, REQUIRED),
)


def read_signal(document: Mapping[str, Any]) -> Signal:
    """Return the signal that a document says; raises BadRecord (INVALID). Unknown fields are ignored."""
    return Signal(*_read(SIGNAL_FIELDS, document))


def read_fill(document: Mapping[str, Any]) -> Fill:
    """Return the fill that a document says; raises BadRecord (INVALID). Unknown fields are ignored."""
    fill = Fill(*_read(FILL_FIELDS, document))
    is_trade = fill.exec_type is ExecType.TRADE
    for name, value in (("last_qty", fill.last_qty), ("last_px", fill.last_px)):
        if is_trade and not value:
            raise invalid(f"{name}: must be greater than 0 on a TRADE; send what was executed")
        if not is_trade and value:
            raise invalid(f"{name}: must be 0 or left out on {fill.exec_type}; send executions as TRADE")
    return fill


def _read(expected: tuple[tuple[str, Read, Any], ...], document: Mapping[str, Any]) -> list[Any]:
    values = []
    for name, read, default in expected:
        value = document.get(name)
        if value is not None:
            values.append(read(name, value))
        elif default is REQUIRED:
            raise invalid(f"{name}: is missing or null; it is required")
        else:
            values.append(default)
    return values
