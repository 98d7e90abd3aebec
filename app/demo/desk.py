"""The strategies' desk: their intents as records for the topic `signals`, and a few bad ones at known moments.

Pure: exchange time in, records out. It knows the market clock, and writes the wall's times into the records.
"""

import datetime as dt
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import orjson

from app.demo.accounts import Account
from app.demo.market import SECOND, SYMBOL, WINDOW_END, WINDOW_START, MarketClock, Prices
from app.demo.strategies import Intent, all_intents

Message = dict[str, Any]
Encode = Callable[[Message], bytes]
RESENT: Final = 25  # signals that an anxious producer sends a second time


class Outgoing(NamedTuple):
    """A record to send; `turn` is how many partitions past its own it goes (0 for an honest producer)."""

    key: bytes | None
    value: bytes | None
    turn: int = 0


def rfc3339(time: int) -> str:
    """Return a time in microseconds since the epoch as RFC 3339 in UTC, with six digits."""
    seconds, fraction = divmod(time, SECOND)
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%dT%H:%M:%S}.{fraction:06d}Z"


class Desk:
    """All strategies, and what goes wrong in them. Ask `due` as market time passes; it forgets nothing.

    `encode`: how a signal becomes a record's value.
    """

    def __init__(
        self, accounts: Sequence[Account], prices: Prices, clock: MarketClock, encode: Encode = orjson.dumps
    ) -> None:
        self._clock = clock
        self._encode = encode
        self._intents = all_intents(accounts, prices)
        self._next_intent = next(self._intents, None)
        self._mishaps = deque(
            (WINDOW_START + int((WINDOW_END - WINDOW_START) * moment), mishap) for moment, mishap in MISHAPS
        )
        self._value_told: set[str] = set()
        self._recent: deque[Message] = deque(maxlen=RESENT)

    @property
    def next_time(self) -> int | None:
        """The exchange time of the next record; None when there is none left."""
        times = [self._mishaps[0][0]] if self._mishaps else []
        times += [self._next_intent.time] if self._next_intent else []
        return min(times, default=None)

    def due(self, market_now: int) -> list[Outgoing]:
        """Return the records of all moments up to `market_now` that were not returned before, in order."""
        records: list[Outgoing] = []
        while (time := self.next_time) is not None and time <= market_now:
            if self._next_intent and self._next_intent.time == time:
                records.append(self._record(self._next_intent))
                self._next_intent = next(self._intents, None)
            else:
                records.extend(self._mishaps.popleft()[1](self._recent, self._encode))
        return records

    def _record(self, intent: Intent) -> Outgoing:
        account = intent.account
        generated_at = self._clock.wall(intent.time)
        expires_at = generated_at + account.lifetime * SECOND
        if account.held_up_every and intent.number % account.held_up_every == 0:
            generated_at -= (account.lifetime + 1) * SECOND
            expires_at = generated_at + account.lifetime * SECOND
        signal: Message = {
            "signal_id": f"{account.portfolio_id}-{intent.number}",
            "portfolio_id": account.portfolio_id,
            "symbol": SYMBOL,
            "side": intent.side,
            "confidence": intent.confidence,
            "price": str(intent.price) if account.priced else None,
            "strategy_id": f"{account.style}-{account.look_back}s",
            "generated_at": rfc3339(generated_at),
            "expires_at": rfc3339(expires_at),
        }
        known_from = WINDOW_START + (WINDOW_END - WINDOW_START) * account.value_known_from
        if account.portfolio_id not in self._value_told and intent.time >= known_from:
            # Once is enough: from here on the venue, which keeps the account, tells what it is worth.
            signal["portfolio_value"] = str(account.value)
            self._value_told.add(account.portfolio_id)
        self._recent.append(signal)
        return sent(signal, self._encode)


def sent(message: Message, encode: Encode, **changed: object) -> Outgoing:
    """Return a signal or a fill as a record to send, with some fields changed."""
    return Outgoing(message["portfolio_id"].encode(), encode(message | changed))


Mishap = Callable[[Sequence[Message], Encode], list[Outgoing]]


def _undecodable(recent: Sequence[Message], encode: Encode) -> list[Outgoing]:
    good = sent(recent[-1], encode, signal_id="cut-off")
    return [good._replace(value=(good.value or b"")[:70])]


def _unknown_schema(recent: Sequence[Message], encode: Encode) -> list[Outgoing]:
    return [
        sent(recent[-1], encode)._replace(value=b"\x00\x00\x00\x10\x07\x0eavro, from a registry that we do not have")
    ]


def _invalid(recent: Sequence[Message], encode: Encode) -> list[Outgoing]:
    return [
        sent(recent[-1], encode, signal_id="too-sure", confidence=1.7),
        sent(recent[-1], encode, signal_id="free-lunch", price="-1640.25"),
        sent(recent[-1], orjson.dumps, signal_id="sideways", side="HOLD"),  # Avro knows no such side
    ]


def _wrong_key(recent: Sequence[Message], encode: Encode) -> list[Outgoing]:
    signal = sent(recent[-1], encode, signal_id="wrong-key")
    return [signal._replace(key=b"another-portfolio"), signal._replace(key=None)]


def _wrong_partition(recent: Sequence[Message], encode: Encode) -> list[Outgoing]:
    return [sent(recent[-1], encode, signal_id="another-hash")._replace(turn=1)]


def _from_another_day(recent: Sequence[Message], encode: Encode) -> list[Outgoing]:
    signal = recent[-1]
    generated_at = dt.datetime.fromisoformat(signal["generated_at"])
    days = dt.timedelta(days=3)
    return [
        sent(signal, encode, signal_id="stale", generated_at=(generated_at - days).isoformat(), expires_at=None),
        sent(signal, encode, signal_id="future", generated_at=(generated_at + days).isoformat(), expires_at=None),
    ]


def _resent(recent: Sequence[Message], encode: Encode) -> list[Outgoing]:
    return [sent(signal, encode) for signal in recent] + [sent(recent[-1], encode, confidence=0.99)]


MISHAPS: Final[tuple[tuple[float, Mishap], ...]] = (
    (0.08, _undecodable),
    (0.16, _invalid),
    (0.24, _resent),
    (0.32, _wrong_key),
    (0.40, _unknown_schema),
    (0.62, _wrong_partition),
    (0.70, _from_another_day),
    (0.78, _resent),
    (0.86, _undecodable),
)
