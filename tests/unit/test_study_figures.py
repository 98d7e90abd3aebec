"""The impact study's figures and intervals; needs what `make study` and `make test` install."""

import math
import re
import xml.etree.ElementTree as ET
from decimal import Decimal

import numpy as np
import pytest
from empyrical import max_drawdown, sharpe_ratio

from app.replay.counterfactual import fixed_sizing
from study import chart, tables
from study.chart import Axis, Row, svg
from study.claims import CLAIMS, Interval, interval
from study.curves import curve
from study.desk import Desk
from study.figures import figures, longest_recovery
from study.ideas import Idea
from study.markets import Costs, Market, etfs, eurusd
from study.page import DOCS, TEMPLATE
from study.panels import FIXED, RULES, TEXTBOOK, Panel, build
from study.resampling import compare
from study.run import PLANS, Outcome, Scale, outcome_of, run

SMALL = Scale(strategies=3, resamples=20)
MARKET = Market(
    "M", [3_600_000_000 * bar for bar in range(6)], [100, 100, 104, 90, 92, 95], Decimal(1), Costs(*2 * [Decimal(0)])
)


def test_a_curve_is_marked_to_each_price() -> None:
    account = Desk([MARKET], fixed_sizing()).run([Idea(0, 2, 4, 1, 0.9)])
    made = curve(account, [MARKET])
    quantity = 48.07692307  # 5,000 / 104
    value = 1_000_000 - 14 * quantity
    assert made.returns == pytest.approx([0, 0, 0, -14 * quantity / 1_000_000, 2 * quantity / value, 0], rel=1e-9)
    assert made.exposure == pytest.approx([0, 0, 0.005, 0.005, 0, 0], rel=1e-8)


def test_figures_are_those_of_the_library() -> None:
    seed = 7
    returns = np.random.default_rng(seed).normal(0.0001, 0.01, (500, 40))
    made = figures(returns, np.full(40, 0.005), 252)
    assert made.drawdown == pytest.approx(-max_drawdown(returns)), f"seed {seed}"
    assert made.sharpe == pytest.approx(sharpe_ratio(returns)), f"seed {seed}"
    assert made.per_exposure == pytest.approx(returns.mean(axis=0) * 252 / 0.005), f"seed {seed}"


def test_a_recovery_lasts_until_the_peak_is_reached_again() -> None:
    #                     peak            peak  not reached any more
    drawdowns = np.array([0, -0.1, -0.2, -0.1, 0, -0.1, -0.1])[:, np.newaxis]
    assert longest_recovery(drawdowns).tolist() == [3]
    assert longest_recovery(np.zeros((4, 1))).tolist() == [0]
    assert longest_recovery(np.full((4, 1), -0.1)).tolist() == [4]


def test_twice_the_size_has_twice_the_drawdown_and_the_same_of_all_else() -> None:
    returns = np.random.default_rng(8).normal(0, 1e-5, (400, 5))
    one, two = (figures(size * returns, np.full(5, size * 0.001), 252) for size in (1, 2))
    values = {claim.name: claim.value(two, one) for claim in CLAIMS}
    assert values.pop("drawdown") == pytest.approx(1, abs=0.01)
    assert list(values.values()) == pytest.approx([0] * len(values), abs=0.01)


def test_an_interval_holds_95_percent() -> None:
    assert interval(5.0, list(range(1001))) == Interval(5.0, 25.0, 975.0)
    assert math.isnan(interval(5.0, []).low)


def test_bold_is_what_differs_from_zero_by_more_than_rounding() -> None:
    sharpe = tables.named("sharpe")
    assert tables.cell(sharpe, Interval(0.2, 0.1, 0.3)) == "**+0.20** [+0.10, +0.30]"
    assert tables.cell(sharpe, Interval(0.2, -0.1, 0.3)) == "+0.20 [-0.10, +0.30]"
    assert tables.cell(sharpe, Interval(0.002, 0.001, 0.003)) == "0.00 [0.00, 0.00]"
    assert tables.cell(tables.named("drawdown"), Interval(-0.5, math.nan, math.nan)) == "-50 %"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-0.9, -0.8, "more than projected"),
        (-0.39, -0.31, "as projected"),
        (-0.25, -0.1, "less than projected"),
        (-0.2, 0.1, "no effect to be seen"),
        (-0.5, 0.1, "cannot be told"),
        (0.1, 0.3, "the opposite"),
    ],
)
def test_a_projection_is_judged_by_the_whole_interval(low: float, high: float, expected: str) -> None:
    assert tables.verdict(tables.named("drawdown"), Interval((low + high) / 2, low, high)) == expected


def test_more_is_better_where_more_was_projected() -> None:
    sharpe = tables.named("sharpe")
    assert tables.verdict(sharpe, Interval(0.25, 0.21, 0.29)) == "as projected"
    assert tables.verdict(sharpe, Interval(-0.25, -0.29, -0.21)) == "the opposite"
    assert tables.verdict(sharpe, Interval(math.nan, math.nan, math.nan)) == "no figure"


def test_a_study_is_the_same_twice_and_on_any_machine() -> None:
    plan = next(plan for plan in PLANS if plan.name == "emini")
    first = run(lambda _line: None, SMALL, [plan])["emini"]  # in a process of its own
    *_, second = outcome_of(plan, SMALL)
    assert isinstance(second, Outcome)
    found = first.comparison(TEXTBOOK, FIXED)
    again = second.comparison(TEXTBOOK, FIXED)
    assert (found.claims, found.levels, first.counts) == (again.claims, again.levels, second.counts)
    cells = [tables.cell(tables.named(name), found.claims[name]) for name in ("drawdown", "at_exposure", "sharpe")]
    assert cells == ["**-93 %** [-94, -92]", "**-11 %** [-21, -2]", "**+1.09** [+0.66, +1.57]"]
    assert first.counts[RULES][TEXTBOOK]["ideas"] == 775


def test_accounts_of_coins_are_drawn_anew_where_there_are_enough() -> None:
    plan = next(plan for plan in PLANS if plan.name == "etf-coins")
    universe = etfs()
    few = universe._replace(markets=universe.markets[:2])
    *_, panel = build(plan._replace(sizings=(RULES, FIXED)), few, limit=12)
    assert isinstance(panel, Panel)
    *_, comparisons = compare(panel, 20, 252, [(RULES, FIXED)], resamples=50)
    (fair, steady) = comparisons
    assert (fair.pairs, steady.pairs) == (16, 8), "fewer than are drawn from"
    assert math.isnan(fair.claims["drawdown"].low)
    *_, comparisons = compare(panel._replace(groups=["one"] * 24), 20, 252, [(RULES, FIXED)], resamples=50)
    drawdown = comparisons[0].claims["drawdown"]
    assert -1 < drawdown.low <= drawdown.median <= drawdown.high < 0


def test_the_page_has_the_words_of_its_template() -> None:
    words = [part for part in re.split(r"{[^}]*}", TEMPLATE.read_text()) if part.strip()]
    page = (DOCS / "impact.md").read_text()
    at = 0
    for part in words:
        at = page.find(part, at)
        assert at >= 0, f"run make study: {part!r} is not in docs/impact.md, or not in its place"
    pictures = re.findall(r"\]\((impact-[a-z]+\.svg)\)", page)
    assert pictures
    assert all((DOCS / picture).exists() for picture in pictures)


def test_a_chart_shows_what_lies_beyond_its_axis_by_an_arrow() -> None:
    panel = chart.Panel(
        "Title & more", "unit", Axis(-0.6, 0.6, 0.2), (0.2, 0.3), [Row("in", 0, -0.5, 0.5), Row("out", 2, 0.5, 3)]
    )
    root = ET.fromstring(svg([panel]))
    kinds = [element.get("class") for element in root.iter()]
    assert (kinds.count("interval"), kinds.count("projected")) == (2, 1)
    ticks = [element.text for element in root.iter() if element.get("text-anchor") == "middle"]
    assert ticks == ["-0.6", "-0.4", "-0.2", "0", "0.2", "0.4", "0.6"]
    assert [element.tag.rsplit("}")[-1] for element in root.iter() if element.get("class") == "median"] == [
        "circle",
        "path",
    ]


def test_euro_prices_are_real_and_whole() -> None:
    market = eurusd().markets[0]
    assert (len(market.closes), market.price(0)) == (6225, Decimal("1.05227"))
