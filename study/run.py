"""The whole study: panels in processes beside each other, each with its comparisons."""

import os
import queue
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from typing import Final, NamedTuple

import numpy as np

from app.replay.counterfactual import Rule
from study import markets
from study.claims import CLAIMS
from study.figures import Figures, figures
from study.panels import FIXED, FIXED_LIMITED, RULES, Panel, Plan, build
from study.resampling import LEAST_TRADES, RESAMPLES, Comparison, compare

UNIVERSES: Final[Mapping[str, Callable[[], markets.Universe]]] = {
    "etf": markets.etfs,
    "eurusd": markets.eurusd,
    "emini": markets.emini,
}
THIRDS: Final = 3
_EACH: Final = (RULES, FIXED, Rule.CONFIDENCE, Rule.PHASES, Rule.DRAWDOWN)
_BASKET: Final = (RULES, FIXED, FIXED_LIMITED, *Rule)

# The longest first: two processors are then busy to the end.
PLANS: Final[Sequence[Plan]] = (
    Plan("etf-coins", "ETFs, coins", "etf", is_textbook=False, is_basket=False, sizings=_EACH),
    Plan("etf", "ETFs", "etf", is_textbook=True, is_basket=False, sizings=_EACH),
    Plan("basket", "ETF baskets", "etf", is_textbook=True, is_basket=True, sizings=_BASKET),
    Plan(
        "basket-coins",
        "ETF baskets, coins",
        "etf",
        is_textbook=False,
        is_basket=True,
        sizings=(RULES, FIXED, FIXED_LIMITED),
    ),
    Plan("eurusd", "EURUSD", "eurusd", is_textbook=True, is_basket=False, sizings=_EACH),
    Plan("emini", "E-mini", "emini", is_textbook=True, is_basket=False, sizings=_EACH),
)


class Scale(NamedTuple):
    """How much of it is run; less only for tests."""

    strategies: int | None = None
    resamples: int = RESAMPLES


WHOLE: Final = Scale()


class Outcome(NamedTuple):
    """What came out of a plan."""

    plan: Plan
    bars: int
    accounts: int
    comparisons: Sequence[Comparison]
    counts: Mapping[str, Mapping[str, Counter[str]]]
    """By sizing and group."""
    thirds: Sequence[Mapping[str, float]]
    """By third of the time, first to last: the claims of the rules against fixed sizing, for the textbook."""
    unrecovered: Mapping[str, float]
    """By sizing: share of the accounts below a former peak at the end."""

    def comparison(self, group: str, others: str) -> Comparison:
        """Return the comparison of the rules with another sizing."""
        return next(one for one in self.comparisons if (one.group, one.others) == (group, others))


def run(tell: Callable[[str], None], scale: Scale = WHOLE, plans: Sequence[Plan] = PLANS) -> dict[str, Outcome]:
    """Run plans, as many at once as there are processors; return the outcomes by name, in the plans' order."""
    outcomes: dict[str, Outcome] = {}
    context = get_context("spawn")  # the same on every system, and sound beside threads
    processes = min(len(plans), os.cpu_count() or 1)
    with context.Manager() as manager, ProcessPoolExecutor(processes, mp_context=context) as pool:
        lines = manager.Queue()
        waiting: set[Future[Outcome]] = {pool.submit(_told, plan, scale, lines) for plan in plans}
        while waiting:
            done, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
            _tell_all(lines, tell)
            for future in done:
                outcome = future.result()
                outcomes[outcome.plan.name] = outcome
        _tell_all(lines, tell)
    return {plan.name: outcomes[plan.name] for plan in plans}


def outcome_of(plan: Plan, scale: Scale) -> Iterator[str | Outcome]:
    """Yield lines of progress, and at last the outcome of a plan."""
    universe = UNIVERSES[plan.universe]()
    panel: Panel | None = None
    for step in build(plan, universe, scale.strategies):
        if isinstance(step, str):
            yield step
        else:
            panel = step
    assert panel is not None, "the panel comes last"
    pairs = [(RULES, other) for other in plan.sizings if other != RULES]
    comparisons: list[Comparison] = []
    for made in compare(panel, universe.block, universe.period, pairs, scale.resamples):
        if isinstance(made, str):
            yield made
        else:
            comparisons = made
    yield Outcome(
        plan,
        len(universe.markets[0].closes),
        len(panel.groups),
        comparisons,
        panel.counts,
        _thirds(panel, universe.period),
        {sizing: _unrecovered(panel, sizing) for sizing in (RULES, FIXED)},
    )


def _told(plan: Plan, scale: Scale, lines: "queue.Queue[str]") -> Outcome:
    for step in outcome_of(plan, scale):
        if isinstance(step, Outcome):
            return step
        lines.put(step)
    raise AssertionError("the outcome comes last")


def _tell_all(lines: "queue.Queue[str]", tell: Callable[[str], None]) -> None:
    while not lines.empty():
        tell(lines.get())


def _chosen(panel: Panel) -> list[int]:
    """Return the columns of the first group (the textbook) that both sides traded enough."""
    return [
        column
        for column, group in enumerate(panel.groups)
        if group == panel.groups[0] and min(panel.trades[RULES][column], panel.trades[FIXED][column]) >= LEAST_TRADES
    ]


def _thirds(panel: Panel, period: int) -> list[dict[str, float]]:
    columns = _chosen(panel)
    bars = len(panel.returns[RULES])
    thirds = []
    for third in range(THIRDS):
        part = slice(bars * third // THIRDS, bars * (third + 1) // THIRDS)
        ours, others = (_part(panel, sizing, part, columns, period) for sizing in (RULES, FIXED))
        with np.errstate(divide="ignore", invalid="ignore"):
            thirds.append({claim.name: claim.value(ours, others) for claim in CLAIMS})
    return thirds


def _part(panel: Panel, sizing: str, part: slice, columns: Sequence[int], period: int) -> Figures:
    exposure = panel.exposure[sizing][part][:, columns].mean(axis=0)
    return figures(panel.returns[sizing][part][:, columns], exposure, period)


def _unrecovered(panel: Panel, sizing: str) -> float:
    value = np.cumprod(1 + panel.returns[sizing][:, _chosen(panel)], axis=0)
    below = value[-1] < np.maximum(value.max(axis=0), 1)
    return float(below.mean())
