"""The tables that `sizer export` writes: names, types and meaning of their columns. docs/tables.md is made from this.

A schema is an interface: columns are added at the end, never renamed, retyped or removed within a major version.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from app.topics import FILLS, PHASE_EVENTS, SIGNALS, SIZED_ORDERS

AMOUNT = "DECIMAL(38,12)"
TIME = "TIMESTAMPTZ"
TEXT = "VARCHAR"
WHOLE = "BIGINT"
DOUBLE = "DOUBLE"
FLAG = "BOOLEAN"
BYTES = "BLOB"
SECONDS = "DECIMAL(18,6)"


class Column(NamedTuple):
    """A column. `kind`: DuckDB's name of its type."""

    name: str
    kind: str
    meaning: str


class TableSchema(NamedTuple):
    """A table."""

    name: str
    meaning: str
    columns: tuple[Column, ...]


PLACE_TIME = Column(
    "kafka_timestamp", TIME, "its topic's timestamp, in milliseconds: of outputs the broker's append time"
)
_PLACE = (
    Column("kafka_partition", "INTEGER", "partition of the record"),
    Column("kafka_offset", WHOLE, "its offset"),
    PLACE_TIME,
)

_SIGNALS = TableSchema(
    SIGNALS,
    "One row for each signal that a worker has taken up, repeats included. What is no signal is in `dlq`.",
    (
        *_PLACE,
        Column("signal_id", TEXT, ""),
        Column("portfolio_id", TEXT, ""),
        Column("symbol", TEXT, ""),
        Column("side", TEXT, "`BUY`, `SELL`"),
        Column("confidence", DOUBLE, "0 to 1"),
        Column("price", AMOUNT, "reference price"),
        Column("portfolio_value", AMOUNT, ""),
        Column("strategy_id", TEXT, ""),
        Column("generated_at", TIME, ""),
        Column("expires_at", TIME, ""),
        Column("outcome", TEXT, "`SIZED`, skip reason, `DUPLICATE_SIGNAL`, its dead letter's code; null: not known"),
    ),
)

_FILLS = TableSchema(
    FILLS,
    "One row for each fill that a worker has taken up, repeats included. What is no fill is in `dlq`.",
    (
        *_PLACE,
        Column("exec_id", TEXT, ""),
        Column("order_id", TEXT, ""),
        Column("portfolio_id", TEXT, ""),
        Column("exec_type", TEXT, "`TRADE`, `CANCELED`, `REJECTED`, `EXPIRED`"),
        Column("position_effect", TEXT, "`OPEN`, `CLOSE`"),
        Column("last_qty", AMOUNT, ""),
        Column("last_px", AMOUNT, ""),
        Column("leaves_qty", AMOUNT, ""),
        Column("commission", AMOUNT, "below 0: a rebate"),
        Column("realized_pnl", AMOUNT, "as given; null: computed"),
        Column("portfolio_value", AMOUNT, ""),
        Column("transact_time", TIME, ""),
        Column(
            "outcome",
            TEXT,
            "`APPLIED`, `REPEATED_EXEC_ID`, `ORDER_FINISHED`, dead letter's code; null: not known",
        ),
    ),
)

_SIZED_ORDERS = TableSchema(
    SIZED_ORDERS,
    "One row for each published sized order, as it was published.",
    (
        *_PLACE,
        Column("order_id", TEXT, ""),
        Column("signal_id", TEXT, ""),
        Column("portfolio_id", TEXT, ""),
        Column("symbol", TEXT, ""),
        Column("side", TEXT, "`BUY`, `SELL`"),
        Column("strategy_id", TEXT, ""),
        Column("decision", TEXT, "`SIZED`, `SKIPPED`"),
        Column("skip_reason", TEXT, "null if sized"),
        Column("notional", AMOUNT, "0 if skipped"),
        Column("quantity", AMOUNT, ""),
        Column("price", AMOUNT, ""),
        Column("portfolio_value", AMOUNT, ""),
        Column("phase", "INTEGER", "1, 2, 3"),
        Column("base_fraction", AMOUNT, ""),
        Column("confidence", DOUBLE, ""),
        Column("confidence_multiplier", AMOUNT, ""),
        Column("drawdown_multiplier", AMOUNT, ""),
        Column("exposure_before", AMOUNT, ""),
        Column("exposure_after", AMOUNT, ""),
        Column("exposure_limit", AMOUNT, ""),
        Column("consecutive_wins", WHOLE, ""),
        Column("consecutive_losses", WHOLE, ""),
        Column("sequence", WHOLE, "1, 2, 3, … of the portfolio"),
        Column("signal_offset", WHOLE, "`kafka_offset` of its signal, in the same partition"),
        Column("fills_offset", WHOLE, "of the last fills record taken before; -1 if none"),
        Column("decided_at", TIME, ""),
        Column("send_before", TIME, ""),
        Column("expires_at", TIME, ""),
        Column("policy_id", TEXT, ""),
    ),
)

_PHASE_EVENTS = TableSchema(
    PHASE_EVENTS,
    "One row for each published phase event, as it was published.",
    (
        *_PLACE,
        Column("event_id", TEXT, ""),
        Column("portfolio_id", TEXT, ""),
        Column("type", TEXT, ""),
        Column("sequence", WHOLE, "1, 2, 3, … of the portfolio"),
        Column("phase", "INTEGER", "after it"),
        Column("previous_phase", "INTEGER", "of an upgrade"),
        Column("trades", WHOLE, ""),
        Column("wins", WHOLE, ""),
        Column("losses", WHOLE, ""),
        Column("win_rate", AMOUNT, ""),
        Column("profit_factor", DOUBLE, "the nearest double: it may have more digits than a decimal here holds"),
        Column("consecutive_wins", WHOLE, ""),
        Column("consecutive_losses", WHOLE, ""),
        Column("drawdown_active", FLAG, ""),
        Column("exposure", AMOUNT, ""),
        Column("order_id", TEXT, "what caused it"),
        Column("at", TIME, ""),
        Column("policy_id", TEXT, ""),
        Column("policy", TEXT, "canonical JSON, on `PORTFOLIO_OPENED` and `POLICY_CHANGED`"),
    ),
)

_DLQ = TableSchema(
    "dlq",
    "One row for each dead letter, of signals and of fills.",
    (
        Column("topic", TEXT, "`signals.dlq` or `fills.dlq`"),
        *_PLACE,
        Column("source_offset", WHOLE, "`kafka_offset` of the record that was refused, in the same partition"),
        Column("code", TEXT, "why"),
        Column("message", TEXT, "what to do"),
        Column("judged_at", TIME, "`sizer.now`, of signals that were refused for their time"),
        Column("key", BYTES, "as it came"),
        Column("value", BYTES, "as it came"),
    ),
)

_TRADES = TableSchema(
    "trades",
    "One row for each closed trade, by recomputation: the place is that of the record that closed it.",
    (
        Column("closed_by", TEXT, "`fills`, or `signals`: a decision that lapsed the order"),
        *_PLACE,
        Column("portfolio_id", TEXT, ""),
        Column("order_id", TEXT, ""),
        Column("number", WHOLE, "1, 2, … of the order: a late fill on a finished order begins another trade of it"),
        Column("signal_id", TEXT, ""),
        Column("symbol", TEXT, ""),
        Column("side", TEXT, "`BUY`, `SELL`"),
        Column("strategy_id", TEXT, ""),
        Column("confidence", DOUBLE, ""),
        Column("phase", "INTEGER", "that the order was sized in"),
        Column("base_fraction", AMOUNT, ""),
        Column("confidence_multiplier", AMOUNT, ""),
        Column("drawdown_multiplier", AMOUNT, ""),
        Column("notional", AMOUNT, "what the order was allowed to cost"),
        Column("policy_id", TEXT, "that sized it"),
        Column("decided_at", TIME, ""),
        Column("opened_at", TIME, "`transact_time` of the first opening fill"),
        Column("closed_at", TIME, "`transact_time` of the report that closed it, or `decided_at` of the lapse"),
        Column("holding_seconds", SECONDS, "from `opened_at` to `closed_at`"),
        Column("entry_quantity", AMOUNT, ""),
        Column("entry_cost", AMOUNT, "of all opening fills"),
        Column("entry_price", AMOUNT, "cost by quantity, half-even"),
        Column("exit_quantity", AMOUNT, ""),
        Column("exit_value", AMOUNT, "quantities times prices of the closing fills"),
        Column("exit_price", AMOUNT, "value by quantity, half-even"),
        Column("realized", AMOUNT, "computed, or as the fills say"),
        Column("commissions", AMOUNT, ""),
        Column("result", AMOUNT, "realized - commissions: above 0 a win, below a loss, 0 a scratch"),
        Column("is_evidence", FLAG, "it counted for the phase: the portfolio was still in the one it was sized in"),
        Column("portfolio_value", AMOUNT, "held after it"),
    ),
)

SCHEMAS: Mapping[str, TableSchema] = {
    schema.name: schema for schema in (_SIGNALS, _FILLS, _SIZED_ORDERS, _PHASE_EVENTS, _DLQ, _TRADES)
}


def describe() -> Iterator[str]:
    """Yield the lines of the part of docs/tables.md that lists the columns."""
    for schema in SCHEMAS.values():
        yield f"## {schema.name}"
        yield ""
        yield schema.meaning
        yield ""
        yield "| column | type | meaning |"
        yield "|---|---|---|"
        for column in schema.columns:
            yield f"| `{column.name}` | {column.kind} | {column.meaning} |"
        yield ""
