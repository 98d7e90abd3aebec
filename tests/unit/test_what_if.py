"""`what_if`: the actual policy makes the actual history to the byte; other policies and their fills by hand."""

import csv
import io
import json
from decimal import Decimal
from pathlib import Path

import pytest

from app.core.policy import TABLE_POLICY, Policy
from app.errors import UserError
from app.replay.comparing import Portrait, WhatIf, rules_off, what_if
from app.replay.counterfactual import Rule, without
from app.replay.library import export, steps
from app.replay.walk import Desk
from app.replay.what_if_command import run_what_if
from app.replay.world import World
from tests.account import Account
from tests.history import NAMES, Day, MemorySource

HALF = Policy({"base_fraction_1": "0.0005"})
SURE = Policy({"confidence_minimum": "0.8"})
DESK = Desk(0, 1, "any", NAMES)


class Steady(Day):
    """A day under one policy."""

    def restart(self, policy: Policy) -> None:
        super().restart(TABLE_POLICY)


def source_of(day: Day) -> MemorySource:
    return MemorySource({topic: list(log) for topic, log in day.records.items()})


def under(account: Account, policy: Policy) -> tuple[Portrait, Portrait]:
    """Return how the account fared, and how it would have under a policy."""
    really, other = what_if(account.source, {"other": policy}).scenarios
    return really.portfolios["PF"], other.portfolios["PF"]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("kind", "policy"), [(Steady, TABLE_POLICY), (Day, None), (Steady, None)])
def test_with_the_actual_policy_it_is_the_actual_history_to_the_byte(
    seed: int, kind: type[Day], policy: Policy | None
) -> None:
    print(f"seed {seed}")
    source, world, count = source_of(kind(seed)), World(DESK, policy), 0
    for step in steps(source, trades=True):
        told = world.take(step)
        assert told.outcome == step.outcome
        assert told.effect == step.effect
        assert told.trades == step.trades
        for made, match in zip(told.outcome.produced, step.matches, strict=True):
            assert match.item is not None
            assert (made.key, made.value) == (match.item.record.key, match.item.record.value)
            count += 1
    assert count > 200


def test_with_the_actual_policy_all_figures_are_the_actual_ones() -> None:
    really, other = what_if(source_of(Steady(3)), {"same": Policy()}).scenarios
    assert other.portfolios == really.portfolios
    assert really.total.trades > 20
    assert (other.policy_id, other.is_looser, really.policy_id) == (TABLE_POLICY.policy_id, False, None)


def test_one_portfolio_of_the_whole() -> None:
    source = source_of(Day(4))
    whole = what_if(source, {"half": HALF}).scenarios
    alone = what_if(source, {"half": HALF}, portfolio="PF-1").scenarios
    for one, all_of_them in zip(alone, whole, strict=True):
        assert one.portfolios == {"PF-1": all_of_them.portfolios["PF-1"]}
    with pytest.raises(UserError, match="portfolio PF-9 has no decision in memory"):
        what_if(source, {}, portfolio="PF-9")


def test_half_the_size_has_half_of_each_fill() -> None:
    account = Account()
    order = account.order()
    account.fill(order, last_qty="0.5", last_px="50", leaves_qty="1.5", commission="0.3")
    account.fill(order, last_qty="1.5", last_px="52", commission="0.1")
    account.close(order, last_qty="0.7", last_px="55")
    account.close(order, last_qty="1.3", last_px="53")
    really, half = under(account, HALF)
    # 0.7 x 55 + 1.3 x 53 - (0.5 x 50 + 1.5 x 52) - 0.4
    assert (really.notional, really.result, really.trades, really.wins) == (100, 4, 1, 1)
    assert (half.notional, half.result, half.trades, half.wins) == (50, 2, 1, 1)
    assert (half.scaled_fills, half.dropped_fills, half.only_here, half.exposure_at_end) == (4, 0, 0, 0)


def test_thirds_are_flat_when_they_were() -> None:
    third = Policy({"base_fraction_1": "0.000333"})
    account = Account()
    for price in ("51", "49"):
        order = account.order(price="70")
        for _ in range(3):
            account.fill(order, last_qty="0.333333333333", last_px="50", leaves_qty="0.1")
        account.fill(order, exec_type="CANCELED")
        for quantity in ("0.1", "0.899999999998", "0.000000000001"):
            account.close(order, last_qty=quantity, last_px=price)
    really, other = under(account, third)
    assert (really.trades, other.trades, other.exposure_at_end) == (2, 2, 0)
    assert other.scaled_fills + other.too_small_fills == 14


@pytest.mark.parametrize("seed", range(4))
def test_all_that_closed_closes_scaled_too(seed: int) -> None:
    """A larger part of the signals is sized at half the size; of those that were sized before, each trade closes."""
    really, half = what_if(source_of(Steady(seed)), {"half": HALF}).scenarios
    assert half.total.dropped_fills == 0
    assert half.total.trades == really.total.trades
    assert half.total.trades > 20


def test_what_is_skipped_here_has_no_fills() -> None:
    account = Account()
    account.trade("-5", confidence=0.7)
    account.trade("3", confidence=0.9)
    really, sure = under(account, SURE)
    assert (really.sized, really.result, really.drawdown) == (2, -2, 5)
    assert (sure.sized, sure.result, sure.drawdown, sure.dropped_fills) == (1, 3, 0, 2)
    assert sure.skipped == {"LOW_CONFIDENCE": 1}


def test_what_was_skipped_has_no_fills_here_and_lapses() -> None:
    account = Account()
    for _ in range(10):
        account.open(account.order())
    account.order()
    account.later(17 * 60)
    account.order()
    really, half = under(account, HALF)
    assert (really.skipped, really.sized) == ({"EXPOSURE_LIMIT": 2}, 10)
    assert (half.skipped, half.sized, half.only_here) == ({}, 12, 2)
    # Ten orders of 50, filled; then one of 50 that lapses, and another one that works.
    assert half.exposure_at_end == 550
    assert half.exposure_max == Decimal("0.0055")
    assert half.limit_used_mean == Decimal("0.320833")  # (5 + ... + 50 + 55 + 55) / 12, of 100


def test_drawdown_by_hand() -> None:
    account = Account()
    for result in ("10", "-4", "1", "-5", "-1", "20", "-2"):
        account.trade(result)
    really, other = under(account, without(Rule.DRAWDOWN))
    assert (really.result, really.drawdown, really.wins, really.losses) == (19, 9, 3, 4)
    # After two losses in a row the last two had half of the size; here they had all, and twice their results.
    assert really.notional == 5 * 100 + 2 * 50
    assert (other.notional, other.result, other.drawdown) == (700, 37, 9)


def test_each_rule_off_by_hand() -> None:
    account = Account()
    account.order(0.7)
    account.order(0.5)
    found = what_if(account.source, rules_off())
    sized = {scenario.name: (scenario.total.sized, scenario.total.notional) for scenario in found.scenarios}
    assert sized == {
        "actual": (1, 75),
        "locked policy": (1, 75),
        "without phases": (1, 375),
        "without confidence steps": (2, 200),
        "without drawdown protection": (1, 75),
        "without exposure limit": (1, 75),
        "fixed sizing within the limit": (2, 1000),
        "fixed sizing": (2, 1000),
    }
    assert [scenario.is_looser for scenario in found.scenarios] == [False, False] + [True] * 6


def test_partitions_add_up() -> None:
    one, two = Day(1), Day(2)
    for record in two.records.values():
        record[:] = [moved._replace(partition=1) for moved in record]
    both = MemorySource(
        {t: list(log) for t, log in one.records.items()}, {t: list(log) for t, log in two.records.items()}
    )
    found = what_if(both, {"half": HALF}, processes=1)
    apart = [what_if(source_of(day), {"half": HALF}) for day in (one, two)]
    for number, scenario in enumerate(found.scenarios):
        totals = [part.scenarios[number].total for part in apart]
        assert scenario.total.result == sum(total.result for total in totals)
        assert scenario.total.sized == sum(total.sized for total in totals)
        assert scenario.total.drawdown >= max(total.drawdown for total in totals)


def test_what_is_published_otherwise_is_told() -> None:
    account = Account()
    account.order()
    log = account.records["sized_orders"]
    log[0] = log[0]._replace(value=(log[0].value or b"").replace(b'"notional":"100"', b'"notional":"101"'))
    found: WhatIf = what_if(account.source, {})
    assert (found.different, found.is_identical) == (1, False)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    export(source_of(Steady(2)), tmp_path / "raw", "jsonl", processes=1)
    return tmp_path / "raw"


def test_the_command_prints_a_row_for_each_policy_and_portfolio(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tighter = tmp_path / "tighter.toml"
    tighter.write_text('base_fraction_1 = "0.0005"\n')
    assert run_what_if([tighter], raw, None, with_rules=False, is_json=False, is_csv=True) == 0
    out, err = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(row["policy"], row["portfolio_id"]) for row in rows] == [
        (policy, portfolio) for policy in ("actual", "tighter") for portfolio in ("PF-0", "PF-1", "PF-2")
    ]
    assert "None of this is for tuning parameters" in err
    assert run_what_if([tighter], raw, None, with_rules=False, is_json=True, is_csv=False) == 0
    document = json.loads(capsys.readouterr().out)
    actual, other = document["scenarios"]
    assert sum(Decimal(row["result"]) for row in rows[3:]) == Decimal(other["total"]["result"])
    difference = Decimal(other["total"]["result"]) - Decimal(actual["total"]["result"])
    assert Decimal(other["total"]["against_actual"]["result"]) == difference
    assert other["policy_id"] == HALF.policy_id
    assert any("tuning" in assumption for assumption in document["assumptions"])


def test_the_command_tells_tables_that_fit(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_what_if([], raw, None, with_rules=False, is_json=False, is_csv=False) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 120
    for name in rules_off():
        assert name in out
    assert "is for tuning parameters" in out
    with pytest.raises(UserError, match="only one of them"):
        run_what_if([], raw, None, with_rules=False, is_json=True, is_csv=True)
