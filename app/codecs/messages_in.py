"""The fields of the two inputs: name, type, default. A document is a mapping as JSON gives it.

Each field has its line, in the order in which they are judged; `required` also says what null and a missing field are.
"""

from collections.abc import Mapping
from typing import Any

from app.codecs import fields
from app.codecs.errors import invalid
from app.codecs.fields import decimal, not_negative, positive, probability, required, string, time
from app.core.exact import ZERO
from app.core.messages import OPEN, TRADE, ExecType, Fill, PositionEffect, Side, Signal

_side = fields.one_of({side.value: side for side in Side})
_exec_type = fields.one_of({exec_type.value: exec_type for exec_type in ExecType})
_position_effect = fields.one_of({effect.value: effect for effect in PositionEffect})


def read_signal(document: Mapping[str, Any]) -> Signal:
    """Return the signal that a document says; raises BadRecord (INVALID). Unknown fields are ignored."""
    get = document.get
    return Signal(
        string("signal_id", get("signal_id")),
        string("portfolio_id", get("portfolio_id")),
        string("symbol", get("symbol")),
        _side("side", get("side")),
        probability("confidence", get("confidence")),
        None if (price := get("price")) is None else positive("price", price),
        None if (portfolio_value := get("portfolio_value")) is None else decimal("portfolio_value", portfolio_value),
        None if (strategy_id := get("strategy_id")) is None else string("strategy_id", strategy_id),
        time("generated_at", required("generated_at", get("generated_at"))),
        None if (expires_at := get("expires_at")) is None else time("expires_at", expires_at),
    )


def read_fill(document: Mapping[str, Any]) -> Fill:
    """Return the fill that a document says; raises BadRecord (INVALID). Unknown fields are ignored."""
    get = document.get
    fill = Fill(
        string("exec_id", get("exec_id")),
        string("order_id", get("order_id")),
        string("portfolio_id", get("portfolio_id")),
        _exec_type("exec_type", get("exec_type")),
        OPEN if (effect := get("position_effect")) is None else _position_effect("position_effect", effect),
        ZERO if (last_qty := get("last_qty")) is None else not_negative("last_qty", last_qty),
        ZERO if (last_px := get("last_px")) is None else not_negative("last_px", last_px),
        None if (leaves_qty := get("leaves_qty")) is None else not_negative("leaves_qty", leaves_qty),
        ZERO if (commission := get("commission")) is None else decimal("commission", commission),
        None if (realized_pnl := get("realized_pnl")) is None else decimal("realized_pnl", realized_pnl),
        None if (portfolio_value := get("portfolio_value")) is None else decimal("portfolio_value", portfolio_value),
        time("transact_time", required("transact_time", get("transact_time"))),
    )
    if fill.exec_type is TRADE:
        if not fill.last_qty or not fill.last_px:
            name = "last_px" if fill.last_qty else "last_qty"
            raise invalid(f"{name}: must be greater than 0 on a TRADE; send what was executed")
    elif fill.last_qty or fill.last_px:
        name = "last_qty" if fill.last_qty else "last_px"
        raise invalid(f"{name}: must be 0 or left out on {fill.exec_type}; send executions as TRADE")
    return fill
