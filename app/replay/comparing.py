"""`what_if`: a history under other policies, each held against what was. For comparing, not for tuning."""

from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

from app.core.exact import ZERO, exact, to_statistic
from app.core.messages import PhaseEventType, Refused, SkipReason
from app.core.policy import TABLE_POLICY, Policy
from app.errors import UserError
from app.processor.partitioners import partitioner
from app.replay.counterfactual import Counterfactual, Rule, fixed_sizing, without
from app.replay.parallel import each_partition
from app.replay.recompute import Effect
from app.replay.replaying import PartitionReplay, Progress, no_progress
from app.replay.source import BrokenSourceError, Source
from app.replay.step import Step
from app.replay.trades import Trade
from app.replay.walk import Desk
from app.replay.world import Told, World

ACTUAL = "actual"
NOT_FOR_TUNING = (
    "None of this is for tuning parameters: a policy that is chosen by one history is fitted to it, and the next one "
    "will be another."
)
ASSUMPTIONS = (
    "Signals, their times and the portfolio values are as they were, though the account would be worth something else.",
    "Fills of an order that has another size here are scaled by the ratio of the notionals, at the same prices.",
    "Fills of an order that is skipped here are dropped.",
    "An order that was skipped in reality has no fills: it stays unfilled and holds its notional until that lapses.",
    "Result: realised results less commissions of the trades that closed.",
    "Drawdown: the most that the sum of a portfolio's results, from 0, fell from its highest point before.",
    "Exposure: what is open and reserved after each decision, as a share of the portfolio's value, and of the limit.",
)


class Portrait(NamedTuple):
    """How one portfolio, or all of them together, fared. Money in the portfolio's currency."""

    signals: int = 0
    """Decided ones."""
    sized: int = 0
    skipped: Mapping[str, int] = {}
    """By reason, those that came up."""
    notional: Decimal = ZERO
    """Of all sized orders."""
    trades: int = 0
    """Closed ones."""
    wins: int = 0
    losses: int = 0
    result: Decimal = ZERO
    drawdown: Decimal = ZERO
    """Of the realised results; of several portfolios the largest of theirs."""
    valued: int = 0
    """Decisions at which a portfolio value was known."""
    exposure_mean: Decimal = ZERO
    """Open and reserved after those, as a share of that value; 6 decimals."""
    exposure_max: Decimal = ZERO
    limit_used_mean: Decimal = ZERO
    """The same as a share of the limit then."""
    breaches: int = 0
    """EXPOSURE_BREACHED events."""
    upgrades: int = 0
    exposure_at_end: Decimal = ZERO
    """Open or reserved when the history ends: no result of it is counted."""
    only_here: int = 0
    """Orders that were skipped in reality: they have no fills."""
    scaled_fills: int = 0
    dropped_fills: int = 0
    too_small_fills: int = 0
    """Scaled, nothing was left of them."""


class Scenario(NamedTuple):
    """A history under one policy."""

    name: str
    policy_id: str | None
    """None: as it was, whatever policies that were."""
    is_looser: bool
    """No worker would take this policy: it is for comparing only."""
    portfolios: Mapping[str, Portrait]

    @property
    def total(self) -> Portrait:
        """All portfolios together."""
        return _together(list(self.portfolios.values()))


class WhatIf(NamedTuple):
    """What was, and what would have been."""

    scenarios: tuple[Scenario, ...]
    """The first is `actual`."""
    different: int
    """Inputs whose published outcome is not as recomputed: what was is not what the rules make."""
    unproved: int
    """Records that cannot be recomputed: the beginning of their portfolio's history is not there."""
    waiting: int
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    assumptions: tuple[str, ...] = (*ASSUMPTIONS, NOT_FOR_TUNING)

    @property
    def is_complete(self) -> bool:
        """All that was asked for could be recomputed."""
        return not self.problems and not self.unproved

    @property
    def is_identical(self) -> bool:
        """All that was published is as recomputed."""
        return not self.different


class _Tally:
    """Adds up one portfolio."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.notional = self.result = self.peak = self.drawdown = ZERO
        self.share = self.most = self.used = self.exposure = ZERO
        """Of exposure: the sum and the most of its shares of value, the sum of its shares of the limit, the last."""

    def take(self, effect: Effect | None, trades: tuple[Trade, ...]) -> None:
        """Add what a step changed."""
        if effect is None:
            return
        self.exposure = effect.after.exposure
        for event in effect.events:
            self.counts["breaches"] += event.type is PhaseEventType.EXPOSURE_BREACHED
            self.counts["upgrades"] += event.type is PhaseEventType.PHASE_UPGRADED
        for trade in trades:
            self.counts["trades"] += 1
            self.counts["wins"] += trade.result > ZERO
            self.counts["losses"] += trade.result < ZERO
            self.result += trade.result
            self.peak = max(self.peak, self.result)
            self.drawdown = max(self.drawdown, self.peak - self.result)
        answer = effect.sized_order
        if answer is None:
            return
        self.counts["signals"] += 1
        if answer.skip_reason is None:
            self.counts["sized"] += 1
            self.notional += answer.notional
        else:
            self.skipped[answer.skip_reason] += 1
        if answer.exposure_limit and answer.portfolio_value:
            self.counts["valued"] += 1
            share = answer.exposure_after / answer.portfolio_value
            self.share += share
            self.most = max(self.most, to_statistic(share))
            self.used += answer.exposure_after / answer.exposure_limit

    def note(self, told: Told) -> None:
        """Count what was assumed."""
        self.counts["only_here"] += told.is_only_here
        self.counts["scaled_fills"] += told.is_scaled
        self.counts["dropped_fills"] += told.is_dropped
        self.counts["too_small_fills"] += told.is_too_small

    @exact
    def portrait(self) -> Portrait:
        """Return the sums."""
        valued = self.counts["valued"]
        return Portrait(
            notional=self.notional,
            result=self.result,
            drawdown=self.drawdown,
            skipped={str(reason): self.skipped[reason] for reason in SkipReason if self.skipped[reason]},
            exposure_mean=to_statistic(self.share / valued) if valued else ZERO,
            exposure_max=self.most,
            limit_used_mean=to_statistic(self.used / valued) if valued else ZERO,
            exposure_at_end=self.exposure,
            **self.counts,
        )


def rules_off() -> dict[str, Policy]:
    """Return the locked policy, and it without each of its rules in turn: looser, for comparing only."""
    return {
        "locked policy": TABLE_POLICY,
        "without phases": without(Rule.PHASES),
        "without confidence steps": without(Rule.CONFIDENCE),
        "without drawdown protection": without(Rule.DRAWDOWN),
        "without exposure limit": without(Rule.LIMIT),
        "fixed sizing within the limit": fixed_sizing(limited=True),
        "fixed sizing": fixed_sizing(),
    }


def what_if(
    source: Source,
    policies: Mapping[str, Policy],
    *,
    portfolio: str | None = None,
    progress: Progress = no_progress,
    processes: int | None = None,
) -> WhatIf:
    """Recompute a history as it was and under each of these policies, by their names.

    `portfolio`: only this one. Raises UserError if it cannot be read at all, or the portfolio is nowhere in it.
    """
    partition_of = partitioner(source.partitioner, source.partition_count)
    if portfolio is None or partition_of is None:
        partitions = list(range(source.partition_count))
    else:
        partitions = [partition_of(portfolio.encode())]
    task = partial(_partition, source, dict(policies), portfolio)
    found = dict(each_partition(task, partitions, progress, processes))
    parts = [found[partition] for partition in partitions]
    if portfolio is not None and not any(part.scenarios[0].portfolios or part.unproved for part in parts):
        raise UserError(f"portfolio {portfolio} has no decision in {source.where}: check its name")
    first = parts[0]
    scenarios = tuple(
        scenario._replace(portfolios=_joined([part.scenarios[number].portfolios for part in parts]))
        for number, scenario in enumerate(first.scenarios)
    )
    return WhatIf(
        scenarios,
        different=sum(part.different for part in parts),
        unproved=sum(part.unproved for part in parts),
        waiting=sum(part.waiting for part in parts),
        problems=tuple(problem for part in parts for problem in part.problems),
        notes=tuple(note for part in parts for note in part.notes),
    )


def _partition(
    source: Source, policies: dict[str, Policy], portfolio: str | None, partition: int, progress: Progress
) -> WhatIf:
    desk = Desk(partition, source.partition_count, source.partitioner, source.topic_names)
    worlds = [World(desk, policy) for policy in policies.values()]
    tallies: list[dict[str, _Tally]] = [{} for _ in range(len(worlds) + 1)]
    different, problems = 0, list[str]()
    with source.open(partition) as log:
        walk = PartitionReplay(source, log, trades=True, portfolio=portfolio, progress=progress)
        try:
            for step in walk.steps():
                different += step.is_recomputed and not step.is_identical
                really = Told(step.outcome, step.effect, step.trades)
                for tally, told in zip(tallies, (really, *(world.take(step) for world in worlds)), strict=True):
                    _add(tally, step, told)
        except BrokenSourceError as error:
            problems.append(f"partition {partition}: {error}")
        audit = walk.audit()
    names = [(ACTUAL, None, False), *((name, policy, _is_looser(policy)) for name, policy in policies.items())]
    scenarios = tuple(
        Scenario(
            name,
            None if policy is None else policy.policy_id,
            is_looser,
            {portfolio_id: tally.portrait() for portfolio_id, tally in tallied.items()},
        )
        for (name, policy, is_looser), tallied in zip(names, tallies, strict=True)
    )
    return WhatIf(scenarios, different, audit.unprovable, audit.waiting, tuple(problems), audit.notes)


@exact
def _add(tallies: dict[str, _Tally], step: Step, told: Told) -> None:
    if isinstance(step.message, Refused) or (step.effect is None and told.effect is None):
        return
    portfolio_id = step.message.portfolio_id
    tally = tallies.get(portfolio_id)
    if tally is None:
        tally = tallies[portfolio_id] = _Tally()
    tally.take(told.effect, told.trades)
    tally.note(told)


def _is_looser(policy: Policy) -> bool:
    return isinstance(policy, Counterfactual)


def _joined(parts: list[Mapping[str, Portrait]]) -> dict[str, Portrait]:
    """Return the portfolios of all partitions by name; of one that lies in several, which none should, all together."""
    joined: dict[str, list[Portrait]] = {}
    for part in parts:
        for portfolio_id, portrait in part.items():
            joined.setdefault(portfolio_id, []).append(portrait)
    return {portfolio_id: _together(joined[portfolio_id]) for portfolio_id in sorted(joined)}


@exact
def _together(portraits: list[Portrait]) -> Portrait:
    if len(portraits) == 1:
        return portraits[0]
    summed: Counter[str] = Counter()
    for portrait in portraits:
        summed.update(portrait.skipped)
    valued = sum(portrait.valued for portrait in portraits)
    weighted = {
        name: sum((getattr(portrait, name) * portrait.valued for portrait in portraits), ZERO)
        for name in ("exposure_mean", "limit_used_mean")
    }
    means: dict[str, Any] = {name: to_statistic(of / valued) if valued else ZERO for name, of in weighted.items()}
    largest: dict[str, Any] = {
        name: max((getattr(portrait, name) for portrait in portraits), default=ZERO)
        for name in ("drawdown", "exposure_max")
    }
    sums: dict[str, Any] = {
        name: sum((getattr(portrait, name) for portrait in portraits), default)
        for name, default in Portrait()._asdict().items()
        if name not in (*largest, *means, "skipped")
    }
    skipped = {str(reason): summed[reason] for reason in SkipReason if summed[reason]}
    return Portrait(**sums, **largest, **means, skipped=skipped)
