"""Policies without a rule: each changes what its rule does, by numbers worked out by hand, and nothing else."""

from pathlib import Path

import pytest

from app.core.policy import TABLE_POLICY, Policy, PolicyError
from app.processor.simulation import Simulation
from app.replay.counterfactual import Counterfactual, Rule, fixed_sizing, without
from tests.desk import Desk

GOLDEN = Path(__file__).parent.parent / "golden" / "a_day.input.jsonl"


def desk(policy: Policy) -> Desk:
    made = Desk()  # worth 100,000
    made.simulation = Simulation(policy)
    return made


def lose_twice(made: Desk) -> None:
    made.trade("-1")
    made.trade("-1")


def prove_phase_2(made: Desk) -> None:
    """Twenty trades, twelve wins of 30, the last two won."""
    for result in ["-10"] * 8 + ["30"] * 12:
        made.trade(result)


def test_with_all_rules_it_is_the_product_to_the_byte() -> None:
    lines = GOLDEN.read_bytes().splitlines()
    product, model = Simulation(Policy()), Simulation(Counterfactual())
    assert list(model.run(lines)) == list(product.run(lines))


def test_without_no_rule_is_the_policy_itself() -> None:
    assert without() is TABLE_POLICY
    tighter = Policy({"base_fraction_3": "0.004"})
    assert without(of=tighter) is tighter


@pytest.mark.parametrize("confidence", [0.0, 0.3, 0.6, 0.85, 0.9])
def test_fixed_sizing_is_half_a_percent_whatever_happens(confidence: float) -> None:
    made = desk(fixed_sizing())
    lose_twice(made)
    orders = [made.sized(confidence) for _ in range(30)]
    assert [order["notional"] for order in orders] == ["500"] * 30
    prove_phase_2(made)
    assert made.sized(confidence)["notional"] == "500"


def test_fixed_sizing_within_the_limit_stops_at_one_percent() -> None:
    made = desk(fixed_sizing(limited=True))
    assert [made.sized(0.1)["notional"] for _ in range(2)] == ["500", "500"]
    refused = made.signal(0.9).order
    assert refused is not None
    assert refused["skip_reason"] == "EXPOSURE_LIMIT"


def test_without_confidence_all_signals_count_in_full() -> None:
    made = desk(without(Rule.CONFIDENCE))
    assert [made.sized(confidence)["notional"] for confidence in (0.0, 0.59, 0.7, 0.9)] == ["100"] * 4
    lose_twice(made)
    assert made.sized(0.1)["notional"] == "50"


def test_without_phases_each_has_the_last_ones_fraction() -> None:
    made = desk(without(Rule.PHASES))
    assert [made.sized(confidence)["notional"] for confidence in (0.9, 0.7)] == ["500", "375"]
    refused = made.signal(0.9).order
    assert refused is not None
    assert refused["skip_reason"] == "EXPOSURE_LIMIT"
    made = desk(without(Rule.PHASES))
    prove_phase_2(made)
    order = made.sized()
    assert (order["phase"], order["notional"]) == (2, "500")


def test_without_drawdown_two_losses_halve_nothing() -> None:
    made = desk(without(Rule.DRAWDOWN))
    lose_twice(made)
    assert [made.sized(confidence)["notional"] for confidence in (0.9, 0.7)] == ["100", "75"]


def test_without_the_limit_the_eleventh_order_is_sized() -> None:
    made = desk(without(Rule.LIMIT))
    assert [made.sized()["notional"] for _ in range(11)] == ["100"] * 11


def test_a_tighter_policy_keeps_what_is_not_switched_off() -> None:
    tighter = Policy({"base_fraction_3": "0.004", "multiplier_full": "0.9", "multiplier_reduced": "0.5"})
    made = desk(fixed_sizing(of=tighter))
    assert made.sized(0.1)["notional"] == "360"


@pytest.mark.parametrize("rule", Rule)
def test_no_worker_takes_one(rule: Rule) -> None:
    with pytest.raises(PolicyError, match="looser than the locked policy"):
        Policy(Counterfactual(rule).parameters)
