"""Input for workers: signals and fills of many portfolios, by a seed, and what a sloppy neighbour sends."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from app.codecs import decode_signal
from app.core.messages import order_id_of
from app.topics import FILLS, SIGNALS


class Input(NamedTuple):
    """A record to be produced. `topic`: logical name."""

    topic: str
    key: bytes | None
    value: bytes | None


class Traffic:
    """Signals and fills; the same for the same seed, but for the time of day."""

    def __init__(self, seed: int, portfolios: int = 40) -> None:
        print(f"seed {seed}")
        self._random = random.Random(seed)
        self._portfolios = [f"PF-{seed}-{number}" for number in range(portfolios)]
        self._count = 0

    def signals(self, count: int) -> list[Input]:
        """Return new signals."""
        return [self.signal() for _ in range(count)]

    def mixed(self, count: int) -> Iterator[Input]:
        """Give about `count` records: signals, for half of them an opening fill later, and then a closing one."""
        due: list[Input] = []
        for _ in range(count // 2):
            signal = self.signal()
            yield signal
            if self._random.random() < 0.5:
                due += self.round_trip(signal)
            while due and self._random.random() < 0.7:
                yield due.pop(0)
        yield from due

    def signal(self, **fields: Any) -> Input:
        """Return a new signal."""
        self._count += 1
        portfolio = self._random.choice(self._portfolios)
        document = {
            "signal_id": f"S-{self._count}",
            "portfolio_id": portfolio,
            "symbol": "ESH6",
            "side": self._random.choice(("BUY", "SELL")),
            "confidence": round(self._random.uniform(0.5, 1), 2),
            "price": str(self._random.randrange(10, 5000)),
            "portfolio_value": "10000000" if self._random.random() < 0.5 else None,
            "generated_at": datetime.now(UTC).isoformat(),
        }
        return Input(SIGNALS, portfolio.encode(), orjson.dumps(document | fields))

    def round_trip(self, signal: Input) -> list[Input]:
        """Return an opening and a closing fill of the order that the signal may get."""
        sent = decode_signal(signal.value)
        price = sent.price or 1
        fills = []
        for effect, paid in (("OPEN", price), ("CLOSE", price + self._random.choice((-1, 0, 1, 1)))):
            self._count += 1
            document = {
                "exec_id": f"E-{self._count}",
                "order_id": order_id_of(sent),
                "portfolio_id": sent.portfolio_id,
                "exec_type": "TRADE",
                "position_effect": effect,
                "last_qty": "1",
                "last_px": str(paid),
                "leaves_qty": "0",
                "commission": "0.25",
                "transact_time": datetime.now(UTC).isoformat(),
            }
            fills.append(Input(FILLS, signal.key, orjson.dumps(document)))
        return fills
