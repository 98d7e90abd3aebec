"""The rules, for the reference model: a portfolio as a plain dict (rules: decisions, fills, evidence).

Everything is recomputed from its definition (a portfolio's exposure is summed over all orders, each time), nothing is
ever forgotten physically, and all arithmetic is `Fraction`.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any
from uuid import UUID, uuid5

from tests.model.reading import DAY, LAST_TIME, round_down, round_half_even

NAMESPACE = UUID("6f1e9d0a-6c1b-5c0e-9a53-0f6a2b6f4d11")
HOUR = DAY // 24
MINUTE = HOUR // 60
OUT_OF_RANGE = 10**26


def new_portfolio(name: str, policy: dict[str, Any]) -> dict[str, Any]:
    """Give a portfolio before its first decision."""
    return {
        "id": name,
        "policy": policy,
        "time": None,
        "value": None,
        "value_time": None,
        "phase": 1,
        "evidence": no_evidence(),
        "wins": 0,  # in a row
        "losses": 0,
        "drawdown": False,
        "breached": False,
        "decisions": 0,
        "events": 0,
        "decided": {},  # signal_id -> decided_at
        "orders": {},
    }


def no_evidence() -> dict[str, Any]:
    """Give the evidence of a phase just begun."""
    return {"trades": 0, "wins": 0, "losses": 0, "profit": Fraction(0), "loss": Fraction(0)}


def exposure_of(order: dict[str, Any]) -> Fraction:
    """Give what is open plus, while the order works, what is still reserved."""
    reserved = max(Fraction(0), order["notional"] - order["filled_cost"]) if order["works"] else Fraction(0)
    return Fraction(order["open_cost"] + reserved)


def exposure(portfolio: dict[str, Any]) -> Fraction:
    """Sum the exposure over all orders."""
    return sum((exposure_of(order) for order in portfolio["orders"].values()), Fraction(0))


def limit(portfolio: dict[str, Any]) -> Fraction | None:
    """Give the limit in money; None without a known value."""
    if portfolio["value"] is None:
        return None
    share: Fraction = portfolio["policy"]["exposure_limit"]
    value: Fraction = portfolio["value"]
    return max(Fraction(0), value * share)


def is_forgotten(portfolio: dict[str, Any], order: dict[str, Any]) -> bool:
    """Tell whether a finished order's memory has ended."""
    return order["finished_at"] is not None and portfolio["time"] > order["finished_at"] + DAY


def phase_event(portfolio: dict[str, Any], kind: str, at: int, order_id: str | None, **extra: Any) -> dict[str, Any]:
    """Make the next PhaseEvent, from the portfolio as it is now."""
    portfolio["events"] += 1
    seen = portfolio["evidence"]
    return {
        "event_id": str(uuid5(NAMESPACE, f"{portfolio['id']}\x1fphase\x1f{portfolio['events']}")),
        "portfolio_id": portfolio["id"],
        "type": kind,
        "sequence": portfolio["events"],
        "phase": portfolio["phase"],
        "previous_phase": None,
        "trades": seen["trades"],
        "wins": seen["wins"],
        "losses": seen["losses"],
        "win_rate": round_half_even(Fraction(seen["wins"], seen["trades"]), 6) if seen["trades"] else None,
        "profit_factor": round_half_even(seen["profit"] / seen["loss"], 6) if seen["loss"] else None,
        "consecutive_wins": portfolio["wins"],
        "consecutive_losses": portfolio["losses"],
        "drawdown_active": portfolio["drawdown"],
        "exposure": exposure(portfolio),
        "order_id": order_id,
        "at": {"time": at},
        "policy_id": portfolio["policy"]["id"],
        "policy": None,
    } | extra


def count_trade(portfolio: dict[str, Any], order: dict[str, Any]) -> None:
    """Count the trade that just closed, in the streaks and, if of the current phase, in the evidence."""
    result = order["realised"] - order["commissions"]
    order["has_been_open"] = False
    if result > 0:
        portfolio["wins"], portfolio["losses"] = portfolio["wins"] + 1, 0
    elif result < 0:
        portfolio["wins"], portfolio["losses"] = 0, portfolio["losses"] + 1
    if order["phase"] == portfolio["phase"]:
        seen = portfolio["evidence"]
        seen["trades"] += 1
        seen["wins"] += 1 if result > 0 else 0
        seen["losses"] += 1 if result < 0 else 0
        seen["profit"] += max(Fraction(0), result)
        seen["loss"] += max(Fraction(0), -result)


def settle(portfolio: dict[str, Any], order: dict[str, Any], now: int) -> bool:
    """Finish an order that has ended and is flat; True when that closes a trade, which is then counted."""
    if not is_finished(order):
        return False
    order["finished_at"] = now
    if not order["has_been_open"]:
        return False
    count_trade(portfolio, order)
    return True


def consequences(portfolio: dict[str, Any], order: dict[str, Any], at: int) -> list[dict[str, Any]]:
    """Test drawdown, then the upgrade, after a closed trade of this order; each changes with its own event."""
    events = []
    policy, seen, phase = portfolio["policy"], portfolio["evidence"], portfolio["phase"]
    if not portfolio["drawdown"] and portfolio["losses"] >= policy["drawdown_on_losses"]:
        portfolio["drawdown"] = True
        events.append(phase_event(portfolio, "DRAWDOWN_ENTERED", at, order["id"]))
    elif portfolio["drawdown"] and portfolio["wins"] >= policy["drawdown_off_wins"]:
        portfolio["drawdown"] = False
        events.append(phase_event(portfolio, "DRAWDOWN_EXITED", at, order["id"]))
    if order["phase"] == phase and phase < 3:
        enough = seen["trades"] >= policy[f"phase_{phase + 1}_trades"]
        often = seen["wins"] > policy[f"phase_{phase + 1}_win_rate"] * seen["trades"]
        profitable = seen["profit"] > policy[f"phase_{phase + 1}_profit_factor"] * seen["loss"]
        if enough and often and profitable:
            portfolio["phase"] = phase + 1
            events.append(phase_event(portfolio, "PHASE_UPGRADED", at, order["id"], previous_phase=phase))
            portfolio["evidence"] = no_evidence()
    return events


def judge_limit(portfolio: dict[str, Any], at: int, order_id: str | None) -> list[dict[str, Any]]:
    """Set `breached`; give an EXPOSURE_BREACHED when it becomes true."""
    allowed = limit(portfolio)
    if allowed is None:
        return []
    before, portfolio["breached"] = portfolio["breached"], exposure(portfolio) > allowed
    if portfolio["breached"] and not before:
        return [phase_event(portfolio, "EXPOSURE_BREACHED", at, order_id)]
    return []


def take_value(portfolio: dict[str, Any], value: Fraction | None, event_time: int) -> None:
    """Take a given portfolio value unless a later one is held."""
    if value is not None and (portfolio["value"] is None or event_time >= portfolio["value_time"]):
        portfolio["value"], portfolio["value_time"] = value, event_time


def lapse(portfolio: dict[str, Any], now: int) -> list[dict[str, Any]]:
    """Lapse the reservations whose time has long passed, one after the other."""
    events = []
    working = [order for order in portfolio["orders"].values() if order["works"]]
    for order in sorted(working, key=lambda order: (order["expires_at"], order["sequence"])):
        if order["expires_at"] + MINUTE < now:
            order["works"] = False
            closed = settle(portfolio, order, now)
            events.append(phase_event(portfolio, "RESERVATION_EXPIRED", now, order["id"]))
            if closed:
                events += consequences(portfolio, order, now)
    return events


def first_step(
    portfolio: dict[str, Any], signal: dict[str, Any], policy: dict[str, Any], now: int
) -> list[dict[str, Any]]:
    """Do step 1 of a decision."""
    events = []
    if portfolio["time"] is None:
        portfolio["policy"] = policy
        events.append(phase_event(portfolio, "PORTFOLIO_OPENED", now, None, policy=policy["text"]))
    elif portfolio["policy"]["id"] != policy["id"]:
        portfolio["policy"] = policy
        events.append(phase_event(portfolio, "POLICY_CHANGED", now, None, policy=policy["text"]))
    portfolio["time"] = now
    take_value(portfolio, signal["portfolio_value"], min(signal["generated_at"], now))
    events += lapse(portfolio, now)
    events += judge_limit(portfolio, now, None)
    return events


def confidence_multiplier(policy: dict[str, Any], confidence: float) -> Fraction:
    """Give the multiplier of a confidence, compared as the exact decimal of its shortest repr."""
    exact = Fraction(repr(confidence))
    if exact < policy["confidence_minimum"]:
        return Fraction(0)
    return Fraction(policy["multiplier_full"] if exact > policy["confidence_full"] else policy["multiplier_reduced"])


def size(portfolio: dict[str, Any], signal: dict[str, Any], now: int) -> tuple[str | None, Fraction, Fraction | None]:
    """Do steps 2 to 7: the skip reason, or None with notional and quantity."""
    nothing = (Fraction(0), None)
    policy, value = portfolio["policy"], portfolio["value"]
    if signal["expires_at"] is not None and signal["expires_at"] < now:
        return "SIGNAL_EXPIRED", *nothing
    if Fraction(repr(signal["confidence"])) < policy["confidence_minimum"]:
        return "LOW_CONFIDENCE", *nothing
    if value is None or value <= 0:
        return "NO_PORTFOLIO_VALUE", *nothing
    exact = value * policy[f"base_fraction_{portfolio['phase']}"]
    exact *= confidence_multiplier(policy, signal["confidence"])
    exact *= policy["drawdown_multiplier"] if portfolio["drawdown"] else 1
    notional = round_down(exact, 2)
    quantity = None if signal["price"] is None else round_down(notional / signal["price"], 8)
    if notional == 0 or quantity == 0:
        return "BELOW_MINIMUM_SIZE", *nothing
    allowed = limit(portfolio)
    assert allowed is not None
    if exposure(portfolio) + notional > allowed:
        return "EXPOSURE_LIMIT", *nothing
    return None, notional, quantity


def decide(
    portfolio: dict[str, Any], signal: dict[str, Any], policy: dict[str, Any], now: int, offsets: tuple[int, int]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Decide a signal that is neither duplicate nor stale: the events it causes and its SizedOrder.

    `offsets`: the signal's own, and that of the last record of `fills` taken before.
    """
    events = first_step(portfolio, signal, policy, now)
    reason, notional, quantity = size(portfolio, signal, now)
    before, allowed = exposure(portfolio), limit(portfolio)
    portfolio["decisions"] += 1
    portfolio["decided"][signal["signal_id"]] = now
    name = f"{portfolio['id']}\x1f{signal['signal_id']}\x1f{signal['generated_at']}"
    order_id = str(uuid5(NAMESPACE, name))
    expires_at = now + int(policy["reservation_ttl"] * 1_000_000)
    send_before = min(expires_at, LAST_TIME if signal["expires_at"] is None else signal["expires_at"])
    if reason is None:
        portfolio["orders"][order_id] = {
            "id": order_id,
            "side": signal["side"],
            "phase": portfolio["phase"],
            "notional": notional,
            "quantity": quantity,
            "sequence": portfolio["decisions"],
            "expires_at": expires_at,
            "works": True,
            "finished_at": None,
            "open_quantity": Fraction(0),
            "open_cost": Fraction(0),
            "filled_quantity": Fraction(0),
            "filled_cost": Fraction(0),
            "realised": Fraction(0),
            "commissions": Fraction(0),
            "has_been_open": False,
            "exec_ids": frozenset(),
        }
    return events, {
        "order_id": order_id,
        "signal_id": signal["signal_id"],
        "portfolio_id": portfolio["id"],
        "symbol": signal["symbol"],
        "side": signal["side"],
        "strategy_id": signal["strategy_id"],
        "decision": "SIZED" if reason is None else "SKIPPED",
        "skip_reason": reason,
        "notional": notional,
        "quantity": quantity,
        "price": signal["price"],
        "portfolio_value": portfolio["value"],
        "phase": portfolio["phase"],
        "base_fraction": policy[f"base_fraction_{portfolio['phase']}"],
        "confidence": signal["confidence"],
        "confidence_multiplier": confidence_multiplier(policy, signal["confidence"]),
        "drawdown_multiplier": policy["drawdown_multiplier"] if portfolio["drawdown"] else Fraction(1),
        "exposure_before": before,
        "exposure_after": exposure(portfolio),
        "exposure_limit": None if allowed is None else round_down(allowed, 12),
        "consecutive_wins": portfolio["wins"],
        "consecutive_losses": portfolio["losses"],
        "sequence": portfolio["decisions"],
        "signal_offset": offsets[0],
        "fills_offset": offsets[1],
        "decided_at": {"time": now},
        "send_before": {"time": send_before} if reason is None else None,
        "expires_at": {"time": expires_at} if reason is None else None,
        "policy_id": policy["id"],
    }


def totals(portfolio: dict[str, Any], order: dict[str, Any]) -> dict[str, Fraction]:
    """Give every total that a fill may bring out of range."""
    names = ("open_quantity", "filled_quantity", "open_cost", "filled_cost", "realised", "commissions")
    return {name: order[name] for name in names} | {
        "exposure": exposure(portfolio),
        "profit": portfolio["evidence"]["profit"],
        "loss": portfolio["evidence"]["loss"],
    }


def is_finished(order: dict[str, Any]) -> bool:
    """Tell whether the order has ended and is flat."""
    return not order["works"] and order["open_quantity"] == 0


def refuse(order: dict[str, Any], fill: dict[str, Any]) -> str | None:
    """Tell why a fill of a known order is not applied, the range of totals apart; None if it is."""
    trade, opening = fill["exec_type"] == "TRADE", fill["position_effect"] == "OPEN"
    if fill["exec_id"] in order["exec_ids"]:
        return "REPEATED_EXEC_ID"
    if trade and not opening and fill["last_qty"] > order["open_quantity"]:
        return "CLOSE_EXCEEDS_OPEN"
    if is_finished(order) and not (trade and opening):
        return "ORDER_FINISHED"
    return None


def apply(
    portfolio: dict[str, Any] | None, fill: dict[str, Any]
) -> tuple[str, dict[str, Any] | None, list[dict[str, Any]]]:
    """Apply a fill: its outcome (APPLIED, an ignored kind or a DLQ code), the portfolio after it, and its events.

    The portfolio given is not touched; the one returned is None unless APPLIED.
    """
    order = portfolio["orders"].get(fill["order_id"]) if portfolio is not None else None
    if portfolio is None or order is None or is_forgotten(portfolio, order):
        return "UNKNOWN_ORDER", None, []
    refusal = refuse(order, fill)
    if refusal is not None:
        return refusal, None, []
    before = totals(portfolio, order)
    order = dict(order)
    portfolio = {
        **portfolio,
        "evidence": dict(portfolio["evidence"]),
        "orders": {**portfolio["orders"], order["id"]: order},
    }
    change_order(order, fill)
    closed = settle(portfolio, order, portfolio["time"])
    for name, total in totals(portfolio, order).items():
        if total != before[name] and abs(total) >= OUT_OF_RANGE:
            return "OUT_OF_RANGE", None, []
    take_value(portfolio, fill["portfolio_value"], min(fill["transact_time"], portfolio["time"]))
    events = consequences(portfolio, order, fill["transact_time"]) if closed else []
    events += judge_limit(portfolio, fill["transact_time"], order["id"])
    return "APPLIED", portfolio, events


def change_order(order: dict[str, Any], fill: dict[str, Any]) -> None:
    """Do to the order what a fill that is not refused says."""
    zero = Fraction(0)
    trade, opening = fill["exec_type"] == "TRADE", fill["position_effect"] == "OPEN"
    if is_finished(order):  # a late opening trade: a further trade, from zero
        order.update(filled_cost=zero, realised=zero, commissions=zero, finished_at=None)
    order["exec_ids"] |= {fill["exec_id"]}
    order["commissions"] += fill["commission"]
    if trade and opening:
        open_more(order, fill)
    elif trade:
        close_some(order, fill)
    elif opening:
        order["works"] = False


def open_more(order: dict[str, Any], fill: dict[str, Any]) -> None:
    """Count an opening trade in full; it may complete the order."""
    cost = round_half_even(fill["last_qty"] * fill["last_px"], 12)
    order["open_quantity"] += fill["last_qty"]
    order["filled_quantity"] += fill["last_qty"]
    order["open_cost"] += cost
    order["filled_cost"] += cost
    order["has_been_open"] = True
    if fill["leaves_qty"] is not None:
        complete = fill["leaves_qty"] == 0
    else:
        complete = order["quantity"] is not None and order["filled_quantity"] >= order["quantity"]
    if complete:
        order["works"] = False


def close_some(order: dict[str, Any], fill: dict[str, Any]) -> None:
    """Take a closing trade's share out of the open cost and realise its result."""
    proceeds = round_half_even(fill["last_qty"] * fill["last_px"], 12)
    taken = order["open_cost"]
    if fill["last_qty"] != order["open_quantity"]:
        taken = round_half_even(order["open_cost"] * fill["last_qty"] / order["open_quantity"], 12)
    order["open_quantity"] -= fill["last_qty"]
    order["open_cost"] -= taken
    gained = proceeds - taken if order["side"] == "BUY" else taken - proceeds
    order["realised"] += gained if fill["realized_pnl"] is None else fill["realized_pnl"]
