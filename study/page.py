"""docs/impact.md and its pictures, of what came out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from app.replay.counterfactual import Rule
from study import tables
from study.chart import Axis, Panel, Row, svg
from study.claims import CLAIMS, Claim
from study.coins import BASKET_SEEDS, SEEDS, TITLES
from study.panels import FIXED, FIXED_LIMITED, TEXTBOOK
from study.resampling import LEAST_TRADES, RESAMPLES, SEED, Comparison
from study.run import Outcome
from study.textbook import STRATEGIES

DOCS: Final = Path(__file__).parent.parent / "docs"
TEMPLATE: Final = Path(__file__).with_name("impact.template.md")
_AXES: Final[Mapping[str, tuple[str, Axis]]] = {
    "drawdown": ("change in %; less is better", Axis(-100, 20, 20)),
    "at_exposure": ("change in %; less is better", Axis(-60, 60, 20)),
    "sharpe": ("difference; more is better", Axis(-0.6, 0.6, 0.2)),
    "recovery": ("change in %; less is better", Axis(-60, 60, 20)),
}
"""An axis is chosen for what was projected, not for what came out."""


def pages(outcomes: Mapping[str, Outcome]) -> dict[str, str]:
    """Return the files of docs/ by their names."""
    return {
        "impact.md": _page(outcomes),
        "impact-textbook.svg": svg(_textbook(outcomes)),
        "impact-edges.svg": svg(_edges(outcomes)),
    }


def _page(outcomes: Mapping[str, Outcome]) -> str:
    return TEMPLATE.read_text().format(
        strategy_count=len(STRATEGIES),
        seeds=len(SEEDS),
        seed=SEED,
        resamples=RESAMPLES,
        least_trades=LEAST_TRADES,
        headline=tables.headline(outcomes),
        verdicts=tables.verdicts(outcomes),
        edges=tables.edges(outcomes, "etf-coins", FIXED),
        basket_edges=tables.edges(outcomes, "basket-coins", FIXED),
        limited_edges=tables.edges(outcomes, "basket-coins", FIXED_LIMITED),
        basket_seeds=len(BASKET_SEEDS),
        rules=tables.rules(outcomes),
        levels=tables.levels(outcomes),
        phases=tables.phases(outcomes),
        thirds=tables.thirds(outcomes),
        many=tables.many(outcomes),
        strategies=tables.strategies(),
        unrecovered=_unrecovered(outcomes),
        **_said(outcomes),
    )


def _said(outcomes: Mapping[str, Outcome]) -> dict[str, Mapping[str, str]]:
    """Return the medians that the words of the page tell: by setting, kind of coin or rule, and claim."""
    found: dict[str, Comparison] = {
        name: outcomes[name].comparison(TEXTBOOK, FIXED) for name in ("etf", "basket", "eurusd", "emini")
    }
    found["limited"] = outcomes["basket"].comparison(TEXTBOOK, FIXED_LIMITED)
    for kind in TITLES:
        found[kind.replace(" ", "_")] = outcomes["etf-coins"].comparison(kind, FIXED)
    for kind in outcomes["basket-coins"].counts[FIXED]:
        found[f"basket_{kind.replace(' ', '_')}"] = outcomes["basket-coins"].comparison(kind, FIXED)
        found[f"limited_{kind.replace(' ', '_')}"] = outcomes["basket-coins"].comparison(kind, FIXED_LIMITED)
    found["told_by_confidence"] = outcomes["etf-coins"].comparison("confidence right", Rule.CONFIDENCE)
    found["halved_in_turns"] = outcomes["etf-coins"].comparison("in turns", Rule.DRAWDOWN)
    return {name: _Said(comparison) for name, comparison in found.items()}


class _Said(dict[str, str]):
    """A comparison's medians as the words have them: by claim, and `NAME_cell` with the interval."""

    def __init__(self, comparison: Comparison) -> None:
        super().__init__()
        for claim in CLAIMS:
            one = comparison.claims[claim.name]
            self[claim.name] = tables.shown(claim, one.median)
            self[f"{claim.name}_size"] = self[claim.name].lstrip("+-")
            self[f"{claim.name}_cell"] = tables.cell(claim, one).replace("**", "")


def _unrecovered(outcomes: Mapping[str, Outcome]) -> str:
    """Return how many textbook accounts end below a former peak, in words."""
    ours, others = (
        [
            f"{100 * share:.0f} %"
            for name in ("etf", "basket", "eurusd", "emini")
            if (share := outcomes[name].unrecovered[sizing]) >= 0
        ]
        for sizing in ("the rules", FIXED)
    )
    return f"{', '.join(ours)} under the rules and {', '.join(others)} under fixed sizing"


def _textbook(outcomes: Mapping[str, Outcome]) -> list[Panel]:
    rows = [(title, outcomes[name].comparison(group, others)) for title, name, group, others in tables.SETTINGS]
    yearly = [row for row in rows if row[0] != "E-mini"]  # from two days no year can be told
    return [_panel(tables.named(name), yearly if name == "sharpe" else rows) for name in _AXES]


def _edges(outcomes: Mapping[str, Outcome]) -> list[Panel]:
    rows = [(kind, outcomes["etf-coins"].comparison(kind, FIXED)) for kind in TITLES]
    return [_panel(tables.named(name), rows) for name in _AXES]


def _panel(claim: Claim, rows: Sequence[tuple[str, Comparison]]) -> Panel:
    unit, axis = _AXES[claim.name]
    intervals = [(label, comparison.claims[claim.name].scaled(claim.scale)) for label, comparison in rows]
    return Panel(claim.title, unit, axis, claim.projected, [Row(label, *one) for label, one in intervals])
