"""The demo's portfolios: one strategy each, and a few accounts that get into trouble on purpose."""

from decimal import Decimal
from typing import Literal, NamedTuple

PARTITIONS = 4
SEED = 11  # of the dice of the venue; with the window and the look-backs, a demo's choice (see market.py)


class Account(NamedTuple):
    """One portfolio of the demo.

    `look_back`, `every`: seconds of market time over which the strategy measures, and between its signals.
    `value`: what the account is worth at first, in dollars. `lifetime`: seconds of the wall for which a signal
    of it may be decided. Moments are shares (0 to 1) of the demo's window.
    """

    portfolio_id: str
    style: Literal["momentum", "reversion"]
    look_back: int
    every: int
    value: Decimal
    lifetime: int = 5
    priced: bool = True  # False: the signals carry no reference price, so the sized orders carry no quantity
    value_known_from: float = 0.0  # NO_PORTFOLIO_VALUE before
    held_up_every: int = 0  # every so many signals, one arrives only after its expiry
    withdrawal: tuple[float, Decimal] | None = None  # (moment, share of the value that its owner takes out)


ACCOUNTS = (
    Account("momentum-2m", "momentum", 120, 30, Decimal(2_000_000), lifetime=2),
    Account("momentum-5m", "momentum", 300, 30, Decimal(1_500_000), lifetime=2),
    Account("momentum-20m", "momentum", 1200, 30, Decimal(5_000_000), priced=False),
    Account("momentum-30m", "momentum", 1800, 30, Decimal(8_000_000)),
    Account("momentum-60m", "momentum", 3600, 30, Decimal(10_000_000)),
    Account("momentum-75m", "momentum", 4500, 30, Decimal(25_000_000)),
    Account("reversion-1m", "reversion", 60, 30, Decimal(1_000_000), lifetime=2, held_up_every=40),
    Account("reversion-5m", "reversion", 300, 30, Decimal(3_000_000), lifetime=2),
    Account("reversion-10m", "reversion", 600, 30, Decimal(6_000_000)),
    Account("reversion-15m", "reversion", 900, 25, Decimal(4_000_000), withdrawal=(0.35, Decimal("0.8"))),
    Account("pocket-money", "reversion", 1800, 60, Decimal(12)),
    Account("new-client", "momentum", 600, 60, Decimal(500_000), value_known_from=0.25),
)
