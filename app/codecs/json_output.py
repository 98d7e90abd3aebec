"""The canonical JSON bytes of an answer: equal messages have equal bytes, so a decision can be compared by them.

The serializer writes what is plain; each decimal and each time is written here.
"""

from decimal import Decimal
from functools import lru_cache

import orjson

from app.codecs.fields import from_epoch
from app.core.exact import plain
from app.core.messages import PhaseEvent, SizedOrder

_MICROSECONDS = 1_000_000
_SECONDS_REMEMBERED = 10_000
_DECIMALS_REMEMBERED = 10_000
_SMALLEST_PLAIN_DOUBLE = 1e-4
"""From here on the serializer writes a probability without an exponent."""

_repeated = lru_cache(maxsize=_DECIMALS_REMEMBERED)(plain)
"""`plain` for what stays from answer to answer: a policy's parameters, a portfolio's value and its limit.

Equal decimals have one text, however many zeros they end in.
"""


def encode_sized_order(sized_order: SizedOrder) -> bytes:
    """Return the record's value."""
    # Unpacked at once: to fetch each field by its name is slower.
    (
        order_id,
        signal_id,
        portfolio_id,
        symbol,
        side,
        strategy_id,
        decision,
        skip_reason,
        notional,
        quantity,
        price,
        portfolio_value,
        phase,
        base_fraction,
        confidence,
        confidence_multiplier,
        drawdown_multiplier,
        exposure_before,
        exposure_after,
        exposure_limit,
        consecutive_wins,
        consecutive_losses,
        sequence,
        signal_offset,
        fills_offset,
        decided_at,
        send_before,
        expires_at,
        policy_id,
    ) = sized_order
    end = _time(expires_at)
    return orjson.dumps(
        {
            "order_id": order_id,
            "signal_id": signal_id,
            "portfolio_id": portfolio_id,
            "symbol": symbol,
            "side": side,
            "strategy_id": strategy_id,
            "decision": decision,
            "skip_reason": skip_reason,
            "notional": plain(notional),
            "quantity": None if quantity is None else plain(quantity),
            "price": None if price is None else plain(price),
            "portfolio_value": None if portfolio_value is None else _repeated(portfolio_value),
            "phase": phase,
            "base_fraction": _repeated(base_fraction),
            "confidence": _double(confidence),
            "confidence_multiplier": _repeated(confidence_multiplier),
            "drawdown_multiplier": _repeated(drawdown_multiplier),
            "exposure_before": plain(exposure_before),
            "exposure_after": plain(exposure_after),
            "exposure_limit": None if exposure_limit is None else _repeated(exposure_limit),
            "consecutive_wins": consecutive_wins,
            "consecutive_losses": consecutive_losses,
            "sequence": sequence,
            "signal_offset": signal_offset,
            "fills_offset": fills_offset,
            "decided_at": canonical_time(decided_at),
            # A signal without an end of its own leaves the reservation's.
            "send_before": end if send_before == expires_at else _time(send_before),
            "expires_at": end,
            "policy_id": policy_id,
        }
    )


def encode_phase_event(event: PhaseEvent) -> bytes:
    """Return the record's value."""
    return orjson.dumps(
        {
            "event_id": event.event_id,
            "portfolio_id": event.portfolio_id,
            "type": event.type,
            "sequence": event.sequence,
            "phase": event.phase,
            "previous_phase": event.previous_phase,
            "trades": event.trades,
            "wins": event.wins,
            "losses": event.losses,
            "win_rate": None if event.win_rate is None else plain(event.win_rate),
            "profit_factor": None if event.profit_factor is None else plain(event.profit_factor),
            "consecutive_wins": event.consecutive_wins,
            "consecutive_losses": event.consecutive_losses,
            "drawdown_active": event.drawdown_active,
            "exposure": plain(event.exposure),
            "order_id": event.order_id,
            "at": canonical_time(event.at),
            "policy_id": event.policy_id,
            "policy": event.policy,
        }
    )


def canonical_time(microseconds: int) -> str:
    """Return `YYYY-MM-DDThh:mm:ss.ffffffZ`, always with six digits."""
    seconds, fraction = divmod(microseconds, _MICROSECONDS)
    return f"{_second(seconds)}.{fraction:06}Z"


def _time(microseconds: int | None) -> str | None:
    return None if microseconds is None else canonical_time(microseconds)


@lru_cache(maxsize=_SECONDS_REMEMBERED)  # most answers of one second share it
def _second(seconds: int) -> str:
    return from_epoch(seconds * _MICROSECONDS).strftime("%Y-%m-%dT%H:%M:%S")


def _double(value: float) -> float | orjson.Fragment:
    if value == 0 or abs(value) >= _SMALLEST_PLAIN_DOUBLE:
        return value
    return orjson.Fragment(format(Decimal(repr(value)), "f"))
