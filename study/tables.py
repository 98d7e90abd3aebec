"""The tables of docs/impact.md; all numbers are rounded half-even, to as many digits as the intervals let matter."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import nan
from typing import Final

import numpy as np
from scipy.stats import norm
from statsmodels.stats.multitest import multipletests

from app.replay.counterfactual import Rule
from study.claims import CLAIMS, Claim, Interval
from study.coins import TITLES
from study.panels import FIXED, FIXED_LIMITED, RULES, TEXTBOOK
from study.resampling import Comparison
from study.run import Outcome
from study.textbook import STRATEGIES

SETTINGS: Final[Sequence[tuple[str, str, str, str]]] = (
    ("ETFs", "etf", TEXTBOOK, FIXED),
    ("ETF baskets", "basket", TEXTBOOK, FIXED),
    ("ETF baskets, limit", "basket", TEXTBOOK, FIXED_LIMITED),
    ("EURUSD", "eurusd", TEXTBOOK, FIXED),
    ("E-mini", "emini", TEXTBOOK, FIXED),
)
"""Row, outcome, group, what the rules are compared with."""
RULE_TITLES: Final[Mapping[str, str]] = {
    Rule.CONFIDENCE: "confidence",
    Rule.PHASES: "phases",
    Rule.DRAWDOWN: "drawdown halving",
    Rule.LIMIT: "exposure limit",
}
_KINDS: Final = ("steady 60", "confidence right", "confidence wrong", "in turns", "dying")
"""Coins that a rule is meant for, or against."""
_LEVEL: Final = 0.05


def named(name: str) -> Claim:
    """Return a claim by its name."""
    return next(claim for claim in CLAIMS if claim.name == name)


def number(value: float, digits: int) -> str:
    """Return a number with its sign; none for what rounds to zero."""
    if not np.isfinite(value):
        return "none"
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text


def cell(claim: Claim, one: Interval) -> str:
    """Return a median with its interval, bold if zero lies outside and more than the rounding does."""
    ends = [shown(claim, end) for end in one[1:]]
    middle = shown(claim, one.median) + (" %" if claim.unit == "%" else "")
    if not np.isfinite(one.low):
        return middle
    is_clear = one.is_clear and not any(float(end) == 0 for end in ends)
    return f"{f'**{middle}**' if is_clear else middle} [{ends[0]}, {ends[1]}]"


def shown(claim: Claim, value: float) -> str:
    """Return a value of a claim as its unit's digits allow."""
    return number(value * claim.scale, 2 if not claim.unit else 1 if claim.unit == "points" else 0)


def verdict(claim: Claim, one: Interval) -> str:
    """Return how an interval lies to what was projected; their ends are compared before any rounding."""
    assert claim.projected is not None, "only projections are judged"
    least, most = sorted(abs(end) for end in claim.projected)
    found = one.scaled(claim.scale if claim.projected[1] > 0 else -claim.scale)  # more is better
    low, high = sorted((found.low, found.high))
    if not np.isfinite(found.median):
        return "no figure"
    if low > most:
        return "more than projected"
    if high < 0:
        return "the opposite"
    if high < least:
        return "less than projected" if low > 0 else "no effect to be seen"
    return "as projected" if low >= least else "cannot be told"


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


_COLUMNS: Final = ("drawdown", "at_exposure", "at_volatility", "sharpe", "recovery", "efficiency")
_HEADING: Final = (
    "max drawdown",
    "at equal exposure",
    "at equal volatility",
    "Sharpe",
    "longest recovery",
    "capital efficiency, points a year",
)


def _row(title: str, comparison: Comparison) -> list[str]:
    return [title, str(comparison.pairs), *(cell(named(name), comparison.claims[name]) for name in _COLUMNS)]


def headline(outcomes: Mapping[str, Outcome]) -> str:
    """Return the textbook strategies, by setting."""
    rows = [_row(title, outcomes[name].comparison(group, others)) for title, name, group, others in SETTINGS]
    projected = ["*projected*", "", "*-40 to -30 %*", "", "", "*+0.2 to +0.3*", "*-50 %*", "*+15 to +25 % (relative)*"]
    return table(("textbook strategies", "pairs", *_HEADING), [projected, *rows])


def verdicts(outcomes: Mapping[str, Outcome]) -> str:
    """Return each projection, judged in each setting."""
    judged = [claim for claim in CLAIMS if claim.projected is not None]
    heading = ("", *(title for title, *_ in SETTINGS))
    rows = []
    for claim in judged:
        row = [f"{claim.title}, {_projection(claim)}"]
        for _, name, group, others in SETTINGS:
            comparison = outcomes[name].comparison(group, others)
            row.append(_judged(claim, comparison, name))
        rows.append(row)
    return table(heading, rows)


def _judged(claim: Claim, comparison: Comparison, name: str) -> str:
    if claim.name == "sharpe" and name == "emini":
        return "two days are no year"
    if claim.name == "efficiency_change" and comparison.levels["per_exposure"][1].low <= 0:
        change = comparison.claims["efficiency"]
        return "no profit to compare with" + (
            "" if not change.is_clear else ", " + ("better" if change.low > 0 else "worse")
        )
    return verdict(claim, comparison.claims[claim.name])


def _projection(claim: Claim) -> str:
    assert claim.projected is not None, "only projections are asked for"
    low, high = claim.projected
    digits = 0 if claim.unit == "%" else 1
    unit = " %" if claim.unit == "%" else ""
    texts = dict.fromkeys(number(value, digits) for value in (low, high))
    return " to ".join(texts) + unit


def edges(outcomes: Mapping[str, Outcome], name: str, others: str) -> str:
    """Return the coins, kind by kind."""
    rows = []
    for kind in outcomes[name].counts[RULES]:
        title = f"*{kind}*: {TITLES[kind]}"
        comparison = outcomes[name].comparison(kind, others)
        change = comparison.claims["efficiency_change"]
        _, fixed = comparison.levels["per_exposure"]
        has_profit = fixed.low > 0
        rows.append(
            [
                *_row(title, comparison),
                cell(named("efficiency_change"), change) if has_profit else "no profit to compare with",
            ]
        )
    return table(("each idea is", "pairs", *_HEADING, "the same, relative"), rows)


def rules(outcomes: Mapping[str, Outcome]) -> str:
    """Return what each rule adds to the other three."""
    rows = []
    for title, name, group in (
        ("ETFs, textbook", "etf", TEXTBOOK),
        ("ETF baskets, textbook", "basket", TEXTBOOK),
        ("EURUSD, textbook", "eurusd", TEXTBOOK),
        ("E-mini, textbook", "emini", TEXTBOOK),
        *((f"ETFs, {TITLES[kind]}", "etf-coins", kind) for kind in _KINDS),
    ):
        outcome = outcomes[name]
        for rule in Rule:
            if rule in outcome.plan.sizings:
                comparison = outcome.comparison(group, rule)
                cells = [cell(named(column), comparison.claims[column]) for column in _COLUMNS]
                rows.append([title, RULE_TITLES[rule], *cells])
    return table(("", "what the rule adds", *_HEADING), rows)


def levels(outcomes: Mapping[str, Outcome]) -> str:
    """Return what accounts are like under both."""
    rows = []
    for title, name, group in (
        ("ETFs, textbook", "etf", TEXTBOOK),
        ("ETF baskets, textbook", "basket", TEXTBOOK),
        ("EURUSD, textbook", "eurusd", TEXTBOOK),
        ("E-mini, textbook", "emini", TEXTBOOK),
        *((f"ETFs, {TITLES[kind]}", "etf-coins", kind) for kind in TITLES),
    ):
        found = outcomes[name].comparison(group, FIXED).levels
        rows.append(
            [
                title,
                *(
                    _two(found[figure], 100, digits, " %")
                    for figure, digits in (("exposure", 3), ("drawdown", 3), ("profit", 3))
                ),
                _two(found["per_exposure"], 100, 1, " %"),
                _two(found["sharpe"], 1, 2, ""),
            ]
        )
    heading = (
        "medians, rules / fixed",
        "mean exposure",
        "max drawdown",
        "profit a year",
        "profit on exposure",
        "Sharpe",
    )
    return table(heading, rows)


def _two(both: tuple[Interval, Interval], scale: float, digits: int, unit: str) -> str:
    ours, others = (number(one.median * scale, digits).removeprefix("+") for one in both)
    return f"{ours} / {others}{unit}"


def phases(outcomes: Mapping[str, Outcome]) -> str:
    """Return how far accounts get, and what the rules do to their ideas."""
    rows = []
    for outcome in outcomes.values():
        for group, count in outcome.counts[RULES].items():
            title = "textbook" if group == TEXTBOOK else TITLES[group]
            rows.append([f"{outcome.plan.title.removesuffix(', coins')}, {title}", *_phases_row(count)])
    heading = (
        "",
        "accounts",
        "end in phase 1, 2, 3",
        "ideas",
        "of low confidence",
        "beyond the limit",
        "under protection",
        "trades won",
    )
    return table(heading, rows)


def _phases_row(count: Counter[str]) -> list[str]:
    ends = " · ".join(_share(count[f"ended in phase {phase}"], count["accounts"]) for phase in (1, 2, 3))
    return [
        f"{count['accounts']:,}",
        ends,
        f"{count['ideas']:,}",
        _share(count["skipped LOW_CONFIDENCE"], count["ideas"]),
        _share(count["skipped EXPOSURE_LIMIT"], count["ideas"]),
        _share(count["protected"], count["ideas"]),
        _share(count["won"], count["trades"]),
    ]


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "none"


def thirds(outcomes: Mapping[str, Outcome]) -> str:
    """Return the claims in each third of the time, for the textbook strategies."""
    rows = []
    for title, name, _, others in SETTINGS:
        if others == FIXED:
            for third, claims in zip(("first", "second", "last"), outcomes[name].thirds, strict=True):
                values = [cell(named(column), Interval(claims[column], nan, nan)) for column in _COLUMNS]
                rows.append([title, third, *values])
    return table(("textbook strategies", "third", *_HEADING), rows)


def many(outcomes: Mapping[str, Outcome]) -> str:
    """Return how many single pairs differ in their Sharpe ratios, before and after counting how many were looked at."""
    rows = [[title, *_discoveries(outcomes[name].comparison(group, others))] for title, name, group, others in SETTINGS]
    heading = ("", "pairs", "better, alone", "worse, alone", "better, of all", "worse, of all")
    return table(heading, rows)


def _discoveries(comparison: Comparison) -> list[str]:
    assert comparison.sharpe_errors is not None, "histories were resampled"
    differences, errors = comparison.sharpe_errors
    known = np.isfinite(differences) & np.isfinite(errors) & (errors > 0)
    differences, errors = differences[known], errors[known]
    probabilities = 2 * norm.sf(np.abs(differences) / errors)
    alone = probabilities < _LEVEL
    of_all = multipletests(probabilities, _LEVEL, method="fdr_by")[0]
    counts = [int(np.sum(found & (differences * sign > 0))) for found in (alone, of_all) for sign in (1, -1)]
    return [str(len(differences)), *map(str, counts)]


def strategies() -> str:
    """Return the textbook strategies by family."""
    families: dict[str, list[str]] = {}
    for strategy in STRATEGIES:
        families.setdefault(strategy.family, []).append(strategy.name)
    return "\n".join(f"- *{family}*: {'; '.join(names)}" for family, names in families.items())
