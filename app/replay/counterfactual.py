"""What would have been without a rule: policies that no worker accepts, for comparing only.

The locked policy may only be tightened, so to see what a rule costs and brings takes a policy that lacks it. The rules
stay the product's own (`app.core`), told other numbers; with none of them switched off it is the policy itself, to the
digit. The worker is a lower floor and cannot import this module; what it reads goes through `Policy`, which refuses
whatever is looser than the table.

Pure; for `decide` and `apply` of `app.core` and for `app.processor.Processor`, wherever a `Policy` goes.
"""

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum

from app.core.policy import TABLE_POLICY, Policy

_UNLIMITED = Decimal(1_000_000)
"""Exposure in multiples of a portfolio's value."""


class Rule(StrEnum):
    """A rule that can be switched off; each leaves the others as they are."""

    CONFIDENCE = "confidence"
    """Off: no signal is skipped for its confidence, and each has the full multiplier."""
    PHASES = "phases"
    """Off: each phase has the base fraction of the last one. Phases still change, and change nothing."""
    DRAWDOWN = "drawdown"
    """Off: protection goes on and off as ever, with the multiplier 1."""
    LIMIT = "limit"
    """Off: the open and reserved money of a portfolio has no limit."""


class Counterfactual(Policy):
    """A policy without some of its rules. It is looser than the table: for no order that is sent."""

    def __init__(self, *off: Rule, of: Policy = TABLE_POLICY) -> None:
        """Switch off rules of a policy; all its other parameters stay."""
        changed: dict[str, Decimal | int] = {}
        for rule in off:
            changed.update(_without(rule, of))
        self._take({**of.parameters, **changed})
        self.off = frozenset(off)


def without(*off: Rule, of: Policy = TABLE_POLICY) -> Policy:
    """Return a policy without some of its rules; with none switched off, the policy itself."""
    return Counterfactual(*off, of=of) if off else of


def fixed_sizing(*, limited: bool = False, of: Policy = TABLE_POLICY) -> Policy:
    """Return fixed sizing: the last phase's fraction of the value for each signal. `limited`: the limit stays."""
    return without(*(rule for rule in Rule if not (limited and rule is Rule.LIMIT)), of=of)


def _without(rule: Rule, policy: Policy) -> Mapping[str, Decimal | int]:
    match rule:
        case Rule.CONFIDENCE:
            return {"confidence_minimum": Decimal(0), "multiplier_reduced": policy.multiplier_full}
        case Rule.PHASES:
            last = policy.base_fractions[-1]
            return {"base_fraction_1": last, "base_fraction_2": last}
        case Rule.DRAWDOWN:
            return {"drawdown_multiplier": Decimal(1)}
        case Rule.LIMIT:
            return {"exposure_limit": _UNLIMITED}
