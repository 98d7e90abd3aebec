"""Is a signal new? What was decided is remembered by timestamps, not by when a row happens to be deleted."""

from datetime import UTC, datetime, timedelta

from app.core.messages import ErrorCode, Ignored, Refused, Signal
from app.core.order import HOUR

SIGNAL_MEMORY = 48 * HOUR
"""How long a decided `signal_id` is a duplicate. Longer than twice the age limit: who repeats later is stale."""
SIGNAL_AGE_LIMIT = 24 * HOUR

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def is_remembered(decided_at: int, now: int) -> bool:
    """Tell whether a signal id that was decided at `decided_at` still counts as decided."""
    return now <= decided_at + SIGNAL_MEMORY


def admit(signal: Signal, now: int, decided_at: int | None) -> Ignored | Refused | None:
    """Tell why a signal is not to be decided, or None if it is.

    `decided_at`: when this portfolio decided this signal id, None if never. A remembered id is a duplicate whatever
    else the signal says.
    """
    if decided_at is not None and is_remembered(decided_at, now):
        return Ignored.DUPLICATE_SIGNAL
    if signal.generated_at < now - SIGNAL_AGE_LIMIT:
        return Refused(
            ErrorCode.STALE_SIGNAL,
            f"generated_at {_text(signal.generated_at)} is more than 24 hours before now, {_text(now)}: "
            "signals must reach the sizer within 24 hours; check the generator's clock and backlog",
        )
    if signal.generated_at > now + SIGNAL_AGE_LIMIT:
        return Refused(
            ErrorCode.FUTURE_SIGNAL,
            f"generated_at {_text(signal.generated_at)} is more than 24 hours after now, {_text(now)}: "
            "check the generator's clock and that integer times are microseconds",
        )
    return None


def _text(microseconds: int) -> str:
    return (_EPOCH + timedelta(microseconds=microseconds)).isoformat()
