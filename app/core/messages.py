"""What goes in and out, in the words of FIX 4.4 where it has them.

Money, prices and quantities are exact decimals in the portfolio's currency; times are integer microseconds since
the epoch (UTC). Fields stand in the order in which they are published.
"""

import hashlib
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

NAMESPACE = UUID("6f1e9d0a-6c1b-5c0e-9a53-0f6a2b6f4d11")
"""The namespace of every id that the sizer makes (UUID version 5)."""

_NAMESPACE_BYTES = NAMESPACE.bytes
_UUID_VARIANT = {f"{digit:x}": f"{digit & 0b0011 | 0b1000:x}" for digit in range(16)}
"""The hex digit that has the variant in its upper two bits, by what was hashed for it."""

FIRST_TIME = 0
LAST_TIME = 253_402_300_799_999_999
"""9999-12-31T23:59:59.999999Z, the last time that can be written."""


class Side(StrEnum):
    """FIX Side."""

    BUY = "BUY"
    SELL = "SELL"


class ExecType(StrEnum):
    """FIX ExecType, of which these four concern a position."""

    TRADE = "TRADE"
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"


class PositionEffect(StrEnum):
    """FIX PositionEffect: does the execution open or close the position of its order."""

    OPEN = "OPEN"
    CLOSE = "CLOSE"


class Decision(StrEnum):
    """Skipped means refused by us; rejected would mean refused by the venue."""

    SIZED = "SIZED"
    SKIPPED = "SKIPPED"


class SkipReason(StrEnum):
    """Why a signal got no order, in the order in which the reasons are tested."""

    TRADING_HALTED = "TRADING_HALTED"
    SIGNAL_EXPIRED = "SIGNAL_EXPIRED"
    LOW_CONFIDENCE = "LOW_CONFIDENCE"
    NO_PORTFOLIO_VALUE = "NO_PORTFOLIO_VALUE"
    BELOW_MINIMUM_SIZE = "BELOW_MINIMUM_SIZE"
    EXPOSURE_LIMIT = "EXPOSURE_LIMIT"


class PhaseEventType(StrEnum):
    """What changed in a portfolio."""

    PORTFOLIO_OPENED = "PORTFOLIO_OPENED"
    POLICY_CHANGED = "POLICY_CHANGED"
    PHASE_UPGRADED = "PHASE_UPGRADED"
    DRAWDOWN_ENTERED = "DRAWDOWN_ENTERED"
    DRAWDOWN_EXITED = "DRAWDOWN_EXITED"
    RESERVATION_EXPIRED = "RESERVATION_EXPIRED"
    EXPOSURE_BREACHED = "EXPOSURE_BREACHED"
    TRADING_HALTED = "TRADING_HALTED"
    TRADING_RESUMED = "TRADING_RESUMED"


class ErrorCode(StrEnum):
    """Why a record went to the dead letter queue, in the order in which the reasons are tested."""

    UNDECODABLE = "UNDECODABLE"
    UNKNOWN_SCHEMA = "UNKNOWN_SCHEMA"
    INVALID = "INVALID"
    KEY_MISMATCH = "KEY_MISMATCH"
    WRONG_PARTITION = "WRONG_PARTITION"
    STALE_SIGNAL = "STALE_SIGNAL"
    FUTURE_SIGNAL = "FUTURE_SIGNAL"
    UNKNOWN_ORDER = "UNKNOWN_ORDER"
    CLOSE_EXCEEDS_OPEN = "CLOSE_EXCEEDS_OPEN"
    OUT_OF_RANGE = "OUT_OF_RANGE"


class Ignored(StrEnum):
    """Why a good record changed nothing: it was counted, and is no error."""

    DUPLICATE_SIGNAL = "DUPLICATE_SIGNAL"
    REPEATED_EXEC_ID = "REPEATED_EXEC_ID"
    ORDER_FINISHED = "ORDER_FINISHED"


# Up to Python 3.11, to fetch an enum's member from its class takes many times as long as from a module: here is
# what every event is compared with.
BUY = Side.BUY
TRADE = ExecType.TRADE
OPEN = PositionEffect.OPEN
SIZED = Decision.SIZED
SKIPPED = Decision.SKIPPED


class Refused(NamedTuple):
    """The rules cannot take a record; it belongs in the dead letter queue and changed nothing."""

    code: ErrorCode
    message: str


class Signal(NamedTuple):
    """A request for a trade."""

    signal_id: str
    portfolio_id: str
    symbol: str
    side: Side
    confidence: float
    price: Decimal | None
    portfolio_value: Decimal | None
    strategy_id: str | None
    generated_at: int
    expires_at: int | None


class Fill(NamedTuple):
    """An execution report about one of our orders (FIX ExecutionReport)."""

    exec_id: str
    order_id: str
    portfolio_id: str
    exec_type: ExecType
    position_effect: PositionEffect
    last_qty: Decimal
    last_px: Decimal
    leaves_qty: Decimal | None
    commission: Decimal
    realized_pnl: Decimal | None
    portfolio_value: Decimal | None
    transact_time: int


class SizedOrder(NamedTuple):
    """The answer to a signal: one for each, sized or skipped and why, with all that the decision rested on."""

    order_id: str
    signal_id: str
    portfolio_id: str
    symbol: str
    side: Side
    strategy_id: str | None
    decision: Decision
    skip_reason: SkipReason | None
    notional: Decimal
    quantity: Decimal | None
    price: Decimal | None
    portfolio_value: Decimal | None
    phase: int
    base_fraction: Decimal
    confidence: float
    confidence_multiplier: Decimal
    drawdown_multiplier: Decimal
    exposure_before: Decimal
    exposure_after: Decimal
    exposure_limit: Decimal | None
    consecutive_wins: int
    consecutive_losses: int
    sequence: int
    signal_offset: int
    fills_offset: int
    decided_at: int
    send_before: int | None
    expires_at: int | None
    policy_id: str


class PhaseEvent(NamedTuple):
    """A change of a portfolio, with the evidence for it."""

    event_id: str
    portfolio_id: str
    type: PhaseEventType
    sequence: int
    phase: int
    previous_phase: int | None
    trades: int
    wins: int
    losses: int
    win_rate: Decimal | None
    profit_factor: Decimal | None
    consecutive_wins: int
    consecutive_losses: int
    drawdown_active: bool
    exposure: Decimal
    order_id: str | None
    at: int
    policy_id: str
    policy: str | None


def order_id_of(signal: Signal) -> str:
    """Return the id of the order that answers a signal: a consumer may deduplicate by it for ever."""
    return _uuid5(f"{signal.portfolio_id}\x1f{signal.signal_id}\x1f{signal.generated_at}")


def event_id_of(portfolio_id: str, sequence: int) -> str:
    """Return the id of a portfolio's phase event number `sequence`."""
    return _uuid5(f"{portfolio_id}\x1fphase\x1f{sequence}")


def _uuid5(name: str) -> str:
    """Return `str(uuid.uuid5(NAMESPACE, name))`, which takes three times as long: it goes by way of UUID objects."""
    text = hashlib.sha1(_NAMESPACE_BYTES + name.encode(), usedforsecurity=False).hexdigest()
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{_UUID_VARIANT[text[16]]}{text[17:20]}-{text[20:32]}"
