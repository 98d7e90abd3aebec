"""The four records, field by field: the one place that says what a record is called, holds and means.

Avro schemas, JSON Schemas and the AsyncAPI document are made from it (`avro_schema`, `schemas/generate.py`), and what
is written and read as Avro goes by it. Fields stand in the order in which they are published.
"""

from enum import Enum, StrEnum, auto
from typing import Final, NamedTuple

from app.core.messages import Decision, ExecType, PhaseEventType, PositionEffect, Side, SkipReason
from app.topics import FILLS, PHASE_EVENTS, SIGNALS, SIZED_ORDERS

NAMESPACE = "position_sizer.v1"
DECIMAL_PRECISION = 38
DECIMAL_SCALE = 12


class Kind(Enum):
    """What a field holds."""

    STRING = auto()
    ENUM = auto()
    DECIMAL = auto()
    DOUBLE = auto()
    TIME = auto()
    INT = auto()
    LONG = auto()
    BOOLEAN = auto()


class Limit(Enum):
    """What a field's value is held to, beyond its kind."""

    NONE = auto()
    POSITIVE = auto()
    NOT_NEGATIVE = auto()
    PROBABILITY = auto()
    """0 to 1."""
    PHASE = auto()
    """1, 2 or 3."""
    COUNT = auto()
    """From 0 on."""
    SEQUENCE = auto()
    """From 1 on."""
    OFFSET = auto()
    """From -1 on, which stands for none."""
    UUID = auto()
    POLICY_ID = auto()
    """16 hex digits."""
    FREE_TEXT = auto()
    """Longer than an id may be."""


class Required(Enum):
    """The default of a field that has none."""

    REQUIRED = auto()


REQUIRED: Final = Required.REQUIRED


class Field(NamedTuple):
    """A field of a record."""

    name: str
    kind: Kind
    doc: str
    nullable: bool = False
    default: str | int | Required | None = REQUIRED
    """What a missing field holds: a symbol, a number of units of a decimal, or null."""
    symbols: type[StrEnum] | None = None
    """Of an enum: the words."""
    limit: Limit = Limit.NONE


class Record(NamedTuple):
    """A record, in the words of the contract."""

    name: str
    doc: str
    fields: tuple[Field, ...]

    @property
    def full_name(self) -> str:
        """The name with its namespace, as Avro compares it."""
        return f"{NAMESPACE}.{self.name}"


def _text(name: str, doc: str, limit: Limit = Limit.NONE) -> Field:
    return Field(name, Kind.STRING, doc, limit=limit)


def _word(name: str, symbols: type[StrEnum], doc: str) -> Field:
    return Field(name, Kind.ENUM, doc, symbols=symbols)


def _amount(name: str, doc: str, limit: Limit = Limit.NONE) -> Field:
    return Field(name, Kind.DECIMAL, doc, limit=limit)


def _time(name: str, doc: str) -> Field:
    return Field(name, Kind.TIME, doc)


def _whole(name: str, kind: Kind, limit: Limit, doc: str) -> Field:
    return Field(name, kind, doc, limit=limit)


def _or_null(field: Field) -> Field:
    return field._replace(nullable=True, default=None)


def _or(default: str | int, field: Field) -> Field:
    return field._replace(default=default)


_PORTFOLIO_VALUE = "What the account is worth, in its currency; null: the last known value counts."
_WINS = _whole("consecutive_wins", Kind.INT, Limit.COUNT, "Winning trades in a row, up to now.")
_LOSSES = _whole("consecutive_losses", Kind.INT, Limit.COUNT, "Losing trades in a row, up to now.")

SIGNAL = Record(
    "Signal",
    "A request for a trade. Key: the portfolio_id in UTF-8; partition: murmur2 of the key.",
    (
        _text("signal_id", "Its identity within the portfolio; a repeat within 48 hours of its decision is ignored."),
        _text("portfolio_id", "The account that is sized as a unit; equals the record's key."),
        _text("symbol", "The instrument."),
        _word("side", Side, "Whether to buy or to sell (FIX Side)."),
        Field("confidence", Kind.DOUBLE, "How sure the signal is, 0 to 1, both included.", limit=Limit.PROBABILITY),
        _or_null(_amount("price", "The reference price; null: no quantity is advised.", Limit.POSITIVE)),
        _or_null(_amount("portfolio_value", _PORTFOLIO_VALUE)),
        _or_null(_text("strategy_id", "Who asks; copied to the answer.")),
        _time("generated_at", "Event time: when the signal was made, within 24 hours of the sizer's clock."),
        _or_null(_time("expires_at", "No order after this; null: the reservation's end alone counts.")),
    ),
)

FILL = Record(
    "Fill",
    "An execution report about one of the sizer's orders (FIX ExecutionReport). Also an order's end is one. Key: the"
    " portfolio_id in UTF-8; partition: murmur2 of the key.",
    (
        _text("exec_id", "Identity of the report within its order; a repeat is ignored."),
        _text("order_id", "The order_id of the sized order."),
        _text("portfolio_id", "The account; equals the record's key."),
        _word("exec_type", ExecType, "An execution (TRADE), or how the order ended."),
        _or("OPEN", _word("position_effect", PositionEffect, "Whether it opens or closes the order's position.")),
        _or(0, _amount("last_qty", "What was executed; above 0 on TRADE, else 0.", Limit.NOT_NEGATIVE)),
        _or(0, _amount("last_px", "At which price; above 0 on TRADE, else 0.", Limit.NOT_NEGATIVE)),
        _or_null(_amount("leaves_qty", "What of the opening order can still fill; 0 ends it.", Limit.NOT_NEGATIVE)),
        _or(0, _amount("commission", "What the execution cost, in the account's currency; negative is a rebate.")),
        _or_null(
            _amount("realized_pnl", "Realised by this closing TRADE, before commission; null: computed from prices.")
        ),
        _or_null(_amount("portfolio_value", _PORTFOLIO_VALUE)),
        _time("transact_time", "Event time: when it was executed."),
    ),
)

SIZED_ORDER = Record(
    "SizedOrder",
    "The answer to a signal: exactly one for each, sized or skipped and why, with all that the decision rested on.",
    (
        _text("order_id", "UUID version 5 of portfolio_id, signal_id and generated_at: deduplicate by it.", Limit.UUID),
        _text("signal_id", "Of the signal, as given."),
        _text("portfolio_id", "Of the signal, as given."),
        _text("symbol", "Of the signal, as given."),
        _word("side", Side, "Of the signal, as given."),
        _or_null(_text("strategy_id", "Of the signal, as given.")),
        _word("decision", Decision, "Whether there is an order: send SIZED only, once."),
        _or_null(_word("skip_reason", SkipReason, "Why there is none; null if sized.")),
        _amount("notional", "The most that the position may cost; 0 if skipped.", Limit.NOT_NEGATIVE),
        _or_null(
            _amount(
                "quantity", "Advice, from the reference price; null without one, or if skipped.", Limit.NOT_NEGATIVE
            )
        ),
        _or_null(_amount("price", "The signal's reference price, as given.", Limit.POSITIVE)),
        _or_null(_amount("portfolio_value", "The account's value that counted; null: none was known.")),
        _whole("phase", Kind.INT, Limit.PHASE, "1, 2 or 3: how much the portfolio has proved."),
        _amount("base_fraction", "Share of the value in that phase.", Limit.NOT_NEGATIVE),
        Field("confidence", Kind.DOUBLE, "Of the signal, as given.", limit=Limit.PROBABILITY),
        _amount("confidence_multiplier", "For that confidence; 0 below the minimum.", Limit.NOT_NEGATIVE),
        _amount("drawdown_multiplier", "Below 1 while drawdown protection is on.", Limit.NOT_NEGATIVE),
        _amount("exposure_before", "Open and reserved money before this decision.", Limit.NOT_NEGATIVE),
        _amount("exposure_after", "The same after it; equal if skipped.", Limit.NOT_NEGATIVE),
        _or_null(
            _amount(
                "exposure_limit",
                "The most that may be open and reserved, rounded down to 12 decimals; null without a value.",
                Limit.NOT_NEGATIVE,
            )
        ),
        _WINS,
        _LOSSES,
        _whole("sequence", Kind.LONG, Limit.SEQUENCE, "1, 2, 3, ... for each portfolio, sized and skipped, no gap."),
        _whole("signal_offset", Kind.LONG, Limit.COUNT, "Offset of the signal in the same partition of signals."),
        _whole(
            "fills_offset",
            Kind.LONG,
            Limit.OFFSET,
            "Offset of the last record of the same partition of fills that was taken before; -1 if none.",
        ),
        _time("decided_at", "The worker's clock at the decision, never before the portfolio's last one."),
        _or_null(_time("send_before", "Send the order only before this; null if skipped.")),
        _or_null(_time("expires_at", "Cancel then what still works: the notional is kept no longer; null if skipped.")),
        _text("policy_id", "The policy that it was decided by.", Limit.POLICY_ID),
    ),
)

PHASE_EVENT = Record(
    "PhaseEvent",
    "A change of a portfolio: its phase, its protection, its limit, its policy, with the evidence for it.",
    (
        _text("event_id", "UUID version 5 of portfolio_id and sequence: deduplicate by it.", Limit.UUID),
        _text("portfolio_id", "The account."),
        _word("type", PhaseEventType, "What changed."),
        _whole("sequence", Kind.LONG, Limit.SEQUENCE, "1, 2, 3, ... for each portfolio, no gap."),
        _whole("phase", Kind.INT, Limit.PHASE, "1, 2 or 3, after the event."),
        _or_null(_whole("previous_phase", Kind.INT, Limit.PHASE, "Only on PHASE_UPGRADED, else null.")),
        _whole("trades", Kind.INT, Limit.COUNT, "Closed trades that are evidence in the phase."),
        _whole("wins", Kind.INT, Limit.COUNT, "Of these: won."),
        _whole("losses", Kind.INT, Limit.COUNT, "Of these: lost."),
        _or_null(
            _amount("win_rate", "wins / trades, half-even to 6 decimals; null without a trade.", Limit.NOT_NEGATIVE)
        ),
        _or_null(
            _amount(
                "profit_factor",
                "Gross profit / gross loss, half-even to 6 decimals; null without a gross loss. In Avro at most"
                " 99999999999999999999999999.999999999999, the largest decimal(38, 12), which stands for all above.",
                Limit.NOT_NEGATIVE,
            )
        ),
        _WINS,
        _LOSSES,
        Field("drawdown_active", Kind.BOOLEAN, "Whether drawdown protection is on, after the event."),
        _amount("exposure", "Open and reserved money after the fill, or after the lapse.", Limit.NOT_NEGATIVE),
        _or_null(_text("order_id", "The order that caused it; null where none did.")),
        _time("at", "Event time: the fill's transact_time, or decided_at for what a signal caused."),
        _text("policy_id", "The portfolio's policy.", Limit.POLICY_ID),
        _or_null(
            _text(
                "policy",
                "Its parameters as canonical JSON; only on PORTFOLIO_OPENED and POLICY_CHANGED, else null.",
                Limit.FREE_TEXT,
            )
        ),
    ),
)

RECORDS = (SIGNAL, FILL, SIZED_ORDER, PHASE_EVENT)
TOPIC_RECORDS = {SIGNALS: SIGNAL, FILLS: FILL, SIZED_ORDERS: SIZED_ORDER, PHASE_EVENTS: PHASE_EVENT}
"""By the topic's logical name. Dead letters are no records of ours."""
