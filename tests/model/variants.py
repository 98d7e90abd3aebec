"""The exhaustive input of the bytes' part: every good and bad value for every field, every broken frame."""

from __future__ import annotations

import random
from typing import Any

import orjson

from tests.model.driving import ORDINARY_START, framed
from tests.model.reference import Simulator
from tests.model.spoiling import every_variant, garbage, message_text

SIGNAL: dict[str, Any] = {
    "signal_id": "s",
    "portfolio_id": "PF",
    "symbol": "EURUSD",
    "side": "BUY",
    "confidence": 0.9,
    "price": "10.5",
    "portfolio_value": "100000",
    "strategy_id": "trend",
    "generated_at": ORDINARY_START,
    "expires_at": ORDINARY_START + 1,
}
CANCELED: dict[str, Any] = {
    "exec_id": "e",
    "order_id": "of the first signal",
    "portfolio_id": "PF",
    "exec_type": "CANCELED",
    "position_effect": "OPEN",
    "last_qty": "0",
    "last_px": "0",
    "leaves_qty": "1",
    "commission": "0.1",
    "realized_pnl": "1",
    "portfolio_value": "100000",
    "transact_time": ORDINARY_START,
}
TRADE = CANCELED | {"exec_id": "t", "exec_type": "TRADE", "last_qty": "0.5", "last_px": "7"}


def generate_variants() -> list[bytes]:
    """Give the lines: a signal, then the variants of signals, of opening trades and of cancels of its order."""
    rng = random.Random(0)
    lines = [orjson.dumps({"topic": "signals", "key": "PF", "value": SIGNAL})]
    sized_order = orjson.loads(orjson.loads(Simulator().feed(lines[0])[-1])["value"])
    for topic, message in (("signals", SIGNAL), ("fills", TRADE), ("fills", CANCELED)):
        example = message if topic == "signals" else message | {"order_id": sized_order["order_id"]}
        identity = "signal_id" if topic == "signals" else "exec_id"
        for serial, variant in enumerate(every_variant(example)):
            if variant.get(identity) == example[identity]:
                variant[identity] = f"{example[identity]}-{serial}"
            text = message_text(variant, rng)
            lines.append(orjson.dumps({"topic": topic, "key": "PF", "value_text": text}))
        lines += [orjson.dumps({"topic": topic, "key": "PF", **framed(body, rng)}) for body in garbage(example, rng)]
    return lines
