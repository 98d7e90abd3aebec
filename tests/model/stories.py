"""Scripted input for what chance does not reach: policies that change at the wrong moment, and the like."""

from __future__ import annotations

from typing import Any

import orjson

from tests.model.reference import Simulator, time_text

START = 1_700_000_000_000_000
HOUR = 3_600_000_000


class Story:
    """One portfolio's lines, written with the reference model driven along for the order ids."""

    def __init__(self, name: str) -> None:
        """Begin a story, told about a portfolio of this name."""
        self.name = name
        self.model = Simulator()
        self.lines: list[bytes] = []
        self.clock = START
        self.serial = 0

    def after(self, other: Story) -> Story:
        """Go on with this story's portfolio where another story ended."""
        self.model, self.lines, self.clock, self.serial = other.model, other.lines, other.clock, other.serial
        return self

    def tell(self, line: dict[str, Any]) -> list[bytes]:
        """Add a line; give what it causes."""
        self.lines.append(orjson.dumps(line))
        return self.model.feed(self.lines[-1])

    def send(self, topic: str, value: dict[str, Any]) -> list[bytes]:
        """Add a record at the story's clock."""
        self.clock += 1_000_000
        return self.tell({"topic": topic, "key": self.name, "now": time_text(self.clock), "value": value})

    def signal(self, **changes: Any) -> str:
        """Signal; give the order id."""
        self.serial += 1
        message = {
            "signal_id": f"s{self.serial}",
            "portfolio_id": self.name,
            "symbol": "X",
            "side": "BUY",
            "confidence": 0.9,
            "portfolio_value": "100000",
            "generated_at": self.clock,
        }
        outputs = self.send("signals", message | changes)
        return str(orjson.loads(orjson.loads(outputs[-1])["value"])["order_id"])

    def fill(self, order_id: str, kind: str = "TRADE", quantity: Any = 0, price: Any = 0, **changes: Any) -> None:
        """Send a fill."""
        self.serial += 1
        message = {
            "exec_id": f"e{self.serial}",
            "order_id": order_id,
            "portfolio_id": self.name,
            "exec_type": kind,
            "last_qty": quantity,
            "last_px": price,
            "transact_time": self.clock,
        }
        self.send("fills", message | changes)

    def close(self, order_id: str, quantity: Any, price: Any, **changes: Any) -> None:
        """Send a closing trade."""
        self.fill(order_id, "TRADE", quantity, price, position_effect="CLOSE", **changes)

    def opened(self) -> str:
        """Signal and open one at 50, completely; give the order id."""
        order_id = self.signal()
        self.fill(order_id, "TRADE", 1, 50, leaves_qty=0)
        return order_id

    def trades(self, *results: int) -> None:
        """Make round trips with these results."""
        for result in results:
            self.close(self.opened(), 1, 50 + result)


def loosened_policy_waits_for_evidence() -> list[bytes]:
    """Have enough evidence for phase 3 but by a tighter policy; then loosen it, and close a trade of phase 1."""
    story = Story("LOOSENED")
    early = [story.opened() for _ in range(3)]
    story.trades(*(10,) * 20)
    story.tell({"policy": {"phase_3_trades": 60}})
    story.trades(*(10,) * 55)
    story.tell({"policy": {}})
    story.close(early[0], 1, 60)  # judged by the policy of the last decision: nothing
    story.signal(confidence=0.1)
    story.close(early[1], 1, 60)  # not of the current phase: no test
    story.trades(10)  # now
    story.close(early[2], 1, 40)
    story.signal()
    return story.lines


def scratch_tests_drawdown_too() -> list[bytes]:
    """Change the streaks that switch drawdown protection, then close trades that change no streak."""
    story = Story("SCRATCH")
    story.trades(-10)
    story.tell({"policy": {"drawdown_on_losses": 1, "drawdown_off_wins": 4}})
    story.trades(0, 10, 10, 10)
    story.tell({"policy": {}})
    story.trades(0, 0)
    story.signal()
    return story.lines


def fills_keep_the_last_decisions_policy() -> list[bytes]:
    """Restart with a tighter limit: fills before the next decision are judged by the old one."""
    story = Story("KEPT")
    orders = [story.signal() for _ in range(9)]
    story.tell({"policy": {"exposure_limit": "0.005", "reservation_ttl": 60}})
    for order_id in orders[:3]:
        story.fill(order_id, "TRADE", 1, 100, leaves_qty=0)
    story.signal(confidence=0.1)
    story.fill(orders[3], "TRADE", 1, 100, leaves_qty=0)
    story.tell({"policy": {}})
    story.fill(orders[4], "TRADE", 1, 100, leaves_qty=0)
    story.clock += HOUR
    story.signal()
    story.fill(orders[5], "TRADE", 7, 100)
    return story.lines


def lapses_of_several_results() -> list[bytes]:
    """Let several flat, working orders lapse in one decision: losses, then wins, each with its own events."""
    story = Story("LAPSES")
    for results in ((-1, -2, 3, 4), (5, -1, -1, 0), (1,) * 8, (1, 1, -1, 1, 1, 1, 1, 1), (2, 2, -3, -3, 1, 1)):
        for result in results:
            order_id = story.signal()
            story.fill(order_id, "TRADE", 1, 10, leaves_qty=5)
            story.close(order_id, 1, 10 + result)
        story.clock += HOUR
    story.signal()
    return story.lines


def further_trades_of_one_order() -> list[bytes]:
    """Trade a finished order again and again, over its memory's end, its exec ids remembered with it."""
    story = Story("FURTHER")
    order_id = story.opened()
    story.close(order_id, 1, 60, exec_id="same", commission=3)
    for result in (5, -5, 0, -5, 1):
        story.clock += 23 * HOUR
        story.signal(confidence=0.1)
        story.close(order_id, 1, 1, exec_id="same")
        story.fill(order_id, "TRADE", 2, 50, commission="0.5")
        story.fill(order_id, "EXPIRED", commission=100, exec_id="same")
        story.fill(order_id, "EXPIRED", position_effect="CLOSE", commission="0.5", portfolio_value=90000 + result)
        story.close(order_id, 1, 50 + result)
        story.close(order_id, 1, 50, realized_pnl="0.5")
        story.fill(order_id, "CANCELED", commission=100)
    story.clock += 24 * HOUR
    story.signal(confidence=0.1)
    story.fill(order_id, "TRADE", 2, 50)
    return story.lines


def gross_totals_reach_their_range() -> list[bytes]:
    """Bring gross profit and gross loss over 10^26 by closes that are each in range."""
    story = Story("GROSS")
    orders = [story.signal(side=side) for side in ("BUY", "BUY", "SELL", "SELL")]
    for order_id in orders:
        story.fill(order_id, "TRADE", 10**13, "0.000000000001", leaves_qty=0)  # a cost of 10
        story.close(order_id, 10**13, 6 * 10**12)
        story.close(order_id, 10**13, "4000000000000")  # 10 less than 10^26 in all
        story.close(order_id, 10**13, "0.000000000002")
    story.signal()
    return story.lines


def lapse_beyond_the_range() -> list[bytes]:
    """Let a lapse, not a fill, bring gross profit over 10^26: later fills that do not change it are applied."""
    story = Story("BEYOND")
    for _ in range(2):
        order_id = story.signal()
        story.fill(order_id, "TRADE", 10**13, "0.000000000001", leaves_qty=1)
        story.close(order_id, 10**13, 6 * 10**12)  # realised, but the trade is closed by the lapse only
    later = story.opened()
    story.clock += HOUR
    story.signal()
    story.close(later, "0.5", 50)  # realises nothing, closes no trade
    story.fill(later, "TRADE", 1, 50)
    story.close(later, "1.5", 40)  # a loss: gross profit stays as it is
    another = story.opened()
    story.close(another, 1, 51)  # this one would bring it further
    return story.lines


def thresholds_are_strict() -> list[bytes]:
    """Stand exactly on the win rate, then exactly on the profit factor, and go over each with the next trade."""
    story = Story("STRICT")
    story.trades(*(30, -10) * 9, 30, 30)  # 11 of 20 is not above 0.55
    story.trades(30)
    story = Story("FACTOR").after(story)
    story.trades(*(4, -5) * 8, 4, 4, 4, 4)  # 48 is not above 1.2 x 40
    story.trades(1)
    return story.lines


def lapses_go_by_expiry_then_sequence() -> list[bytes]:
    """Give earlier orders a later expiry; then let all lapse at once, and some of the same instant."""
    story = Story("EXPIRIES")
    story.signal()
    story.tell({"policy": {"reservation_ttl": 60}})
    story.signal()
    story.signal()
    story.clock -= HOUR  # portfolio time stands still: the same instant
    story.signal()
    story.tell({"policy": {"reservation_ttl": 120}})
    story.signal()
    story.tell({"policy": {}})
    story.clock += 3 * HOUR
    story.signal()
    return story.lines


def stories() -> dict[str, list[bytes]]:
    """Give all stories, by name."""
    every = (
        loosened_policy_waits_for_evidence,
        scratch_tests_drawdown_too,
        fills_keep_the_last_decisions_policy,
        lapses_of_several_results,
        further_trades_of_one_order,
        gross_totals_reach_their_range,
        lapse_beyond_the_range,
        thresholds_are_strict,
        lapses_go_by_expiry_then_sequence,
    )
    return {story.__name__: story() for story in every}
