"""The report: what it gathers against figures by hand, the figures themselves, and the page that is made of them."""

import base64
import hashlib
import math
import re
import sys
from datetime import UTC, datetime
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from app.errors import UserError
from app.replay import Span
from app.report import account as accounts
from app.report import make_report
from app.report import page as pages
from app.report.account import Account
from app.report.charts import charts, histogram, moments, streak_rows
from app.report.collect import collect
from app.report.figures import Basis, curves, figures
from app.report.page import Scope, order_anchor, portfolio_anchor, render
from app.report.series import Series
from app.report.text import UNKNOWN
from app.topics import SIGNALS, SIZED_ORDERS
from tests.history import MINUTE, NOON, Day, MemorySource, Recorder

MADE_AT = datetime(2026, 1, 6, 12, tzinfo=UTC)
HOSTILE = '</script><img src=x onerror="alert(1)"> \'&{{ 7*7 }}'
SECOND = 1_000_000


class Trader(Recorder):
    """A portfolio whose every number can be worked out by hand: value 100,000, phase 1."""

    def __init__(self, portfolio_id: str = "PF-1") -> None:
        super().__init__()
        self.now: int = NOON
        self.portfolio_id = portfolio_id
        self._count = 0

    def signal(self, confidence: float = 0.9, **fields: Any) -> dict[str, Any]:
        self._count += 1
        value = {
            "signal_id": f"S-{self._count}",
            "portfolio_id": self.portfolio_id,
            "symbol": "ESH6",
            "side": "BUY",
            "confidence": confidence,
            "portfolio_value": "100000",
            "generated_at": self.now,
        }
        (order,) = self.take(SIGNALS, self.portfolio_id.encode(), value | fields)
        return order

    def fill(self, order: dict[str, Any], **fields: Any) -> None:
        self._count += 1
        value = {
            "exec_id": f"E-{self._count}",
            "order_id": order["order_id"],
            "portfolio_id": self.portfolio_id,
            "exec_type": "TRADE",
            "last_qty": "1",
            "transact_time": self.now,
        }
        self.take("fills", self.portfolio_id.encode(), value | fields)

    def trade(self, price: str, confidence: float = 0.9, opened_at: str | None = None) -> None:
        """Buy one for the whole notional (or `opened_at`), sell it a minute later, with a commission of 1."""
        order = self.signal(confidence)
        self.fill(order, last_px=opened_at or order["notional"], leaves_qty="0")
        self.now += MINUTE
        self.fill(order, last_px=price, position_effect="CLOSE", commission="1")
        self.now += MINUTE


def gathered(trader: Recorder, **options: Any) -> Account:
    (account,) = collect(MemorySource(trader.records), **options).accounts
    return account


def page_of(*recorders: Recorder, **options: Any) -> str:
    collected = collect(MemorySource(*(recorder.records for recorder in recorders)), processes=1, **options)
    return render(collected, Scope("memory", (), None, None), MADE_AT)


def test_results_and_fixed_sizing_by_hand() -> None:
    trader = Trader()
    trader.trade("110")  # 100 at 0.9: 10 - 1 = 9; at 0.5 % five times that
    trader.trade("70", confidence=0.7)  # 75: -5 - 1 = -6; at 0.5 % 500 / 75 times that
    account = gathered(trader)
    assert list(account.trades.results) == [9, -6]
    assert account.trades.total == Decimal(3)
    assert account.trades.fixed_total == Decimal(45) - Decimal(40)
    assert account.start_value == Decimal(100_000)
    assert list(account.costs.thinned(9).columns) == [[100, 75], [1, 1]]


def test_halved_size_is_made_whole_at_fixed_sizing() -> None:
    trader = Trader()
    for _ in range(2):
        trader.trade("90")  # -11 each, -55 at fixed size; now protected
    trader.trade("60")  # 50: 10 - 1 = 9, at fixed size ten times that
    account = gathered(trader)
    assert account.trades.fixed_total == Decimal(-110 + 90)
    assert account.drawdown_active
    phases = account.phases.thinned(9)
    assert phases.columns == [[1, 1], [0, 1]]


def test_outcomes_are_counted_and_orders_know_their_results() -> None:
    trader = Trader()
    trader.signal(0.5)
    trader.trade("110")
    account = gathered(trader)
    assert account.outcomes == {"LOW_CONFIDENCE": 1, "SIZED": 1}
    assert [(row.order.signal_id, row.result) for row in account.orders] == [("S-2", Decimal(9)), ("S-1", None)]


def test_use_of_the_limit_is_weighted_by_time() -> None:
    trader = Trader()
    order = trader.signal()  # 100 of 1,000 for 30 minutes, then nothing for 10
    trader.fill(order, last_px="100", leaves_qty="0")
    trader.now += 30 * MINUTE
    trader.fill(order, last_px="100", position_effect="CLOSE")
    trader.now += 10 * MINUTE
    trader.signal(0.5)
    account = gathered(trader)
    assert account.mean_use == pytest.approx(0.1 * 30 / 40)
    assert account.peak_use == pytest.approx(0.1)


def test_time_of_a_fill_goes_neither_back_nor_beyond_its_record() -> None:
    trader = Trader()
    order = trader.signal()
    trader.now += MINUTE
    trader.fill(order, last_px="100", leaves_qty="0", transact_time=NOON - 60 * MINUTE)
    trader.fill(order, last_px="100", position_effect="CLOSE", transact_time=NOON + 6_000 * MINUTE)
    times = gathered(trader).exposure.thinned(9).times
    assert times == [NOON / 1e6, NOON / 1e6, (NOON + MINUTE) / 1e6]


def test_span_shows_what_is_in_it_and_recomputes_the_rest() -> None:
    trader = Trader()
    trader.trade("110")
    since = trader.now
    trader.trade("90")
    collected = collect(MemorySource(trader.records), span=Span(since=since))
    (account,) = collected.accounts
    assert list(account.trades.results) == [-11]
    assert account.outcomes == {"SIZED": 1}
    assert collected.verdict.outside == 3
    assert collected.verdict.is_identical


def test_portfolios_that_are_asked_for_and_one_that_is_not_there() -> None:
    source = MemorySource(Day(5, signals=120).records)
    found = collect(source, portfolios=["PF-0", "PF-2"], processes=1)
    assert [account.portfolio_id for account in found.accounts] == ["PF-0", "PF-2"]
    alone = {account.portfolio_id: account for account in collect(source).accounts}
    assert found.accounts[0].trades.total == alone["PF-0"].trades.total != 0
    with pytest.raises(UserError, match="portfolio PF-9 has no record in memory"):
        collect(source, portfolios=["PF-0", "PF-9"], processes=1)


def test_all_of_a_day_is_counted() -> None:
    day = Day(3)
    collected = collect(MemorySource(day.records))
    assert sum(account.decisions for account in collected.accounts) == len(day.records[SIZED_ORDERS])
    assert collected.dead.total() == len(day.records["signals.dlq"]) + len(day.records["fills.dlq"]) > 0
    published = [orjson.loads(record.value or b"")["type"] for record in day.records["phase_events"]]
    assert sum(account.event_counts.total() for account in collected.accounts) == len(published)
    assert sum(account.event_counts["EXPOSURE_BREACHED"] for account in collected.accounts) == published.count(
        "EXPOSURE_BREACHED"
    )


def test_figures_of_trades_by_hand() -> None:
    found = figures(0, 1000, [60, 120, 180, 240], [100, -110, 99, -21.78], 300)
    # Returns: 10 %, -10 %, 10 %, -2 %; equity 1100, 990, 1089, 1067.22.
    returns = [0.1, -0.1, 0.1, -0.02]
    mean = sum(returns) / 4
    deviation = math.sqrt(sum((each - mean) ** 2 for each in returns) / 3)
    assert found.sharpe == pytest.approx(mean / deviation)
    assert found.sortino == pytest.approx(mean / math.sqrt((0.1**2 + 0.02**2) / 4))
    assert found.basis == Basis(4, None)
    assert found.max_drawdown == pytest.approx(-0.1)
    assert found.profit_factor == pytest.approx(199 / 131.78)
    assert found.expectancy == pytest.approx(67.22 / 4)
    assert (found.average_win, found.average_loss) == (pytest.approx(99.5), pytest.approx(-131.78 / 2))
    assert found.result_share == pytest.approx(0.06722)
    assert (found.recovery, found.is_recovered) == (240, False)


def test_recovery_is_the_longest_way_back_to_a_peak() -> None:
    found = figures(0, 1000, [10, 20, 50, 60, 65], [10, -5, 5, -1, 2], 1000)
    assert (found.recovery, found.is_recovered) == (40, True)
    assert figures(0, 1000, [10], [10], 1000).recovery == 0
    first_trade_loses = figures(5, 1000, [10, 20], [-10, 20], 1000)
    assert (first_trade_loses.recovery, first_trade_loses.is_recovered) == (15, True)


def test_ratios_are_of_days_once_there_are_twenty() -> None:
    monday = datetime(2026, 1, 5, 12, tzinfo=UTC).timestamp()
    workdays = [monday + day * 86_400 for day in range(28) if day % 7 < 5]
    results = [10.0 if number % 2 else -4.0 for number in range(len(workdays))]
    found = figures(monday, 1000, workdays, results, workdays[-1])
    assert found.basis == Basis(20, 252)
    per_trade = figures(monday, 1000, workdays[:19], results[:19], workdays[-1])
    assert per_trade.basis == Basis(19, None)
    value, returns = 1000.0, []
    for result in results:
        returns.append(result / value)
        value += result
    mean = sum(returns) / 20
    deviation = math.sqrt(sum((each - mean) ** 2 for each in returns) / 19)
    assert found.sharpe == pytest.approx(mean / deviation * math.sqrt(252))
    weekend = figures(monday, 1000, [*workdays, monday + 26 * 86_400], [*results, 1.0], workdays[-1])
    assert weekend.basis == Basis(27, 365)


def test_figures_that_there_are_not() -> None:
    nothing = figures(0, math.nan, [], [], 10)
    assert math.isnan(nothing.sharpe)
    assert math.isnan(nothing.profit_factor)
    assert nothing.max_drawdown == 0
    assert figures(0, 100, [1], [5], 10).profit_factor == math.inf
    ruined = figures(0, 100, [1, 2], [-150, 10], 10)
    assert ruined.result == -140
    assert list(curves(100, [-150, 10]).equity) == [-50, -40]


def test_series_keeps_the_shape_and_tells_how_much_it_left_out() -> None:
    series = Series(1, limit=100)
    for number in range(10_000):
        series.add(number, 1_000_000 if number == 4_321 else -7 if number == 8_765 else number % 10)
    drawn = series.thinned(50)
    assert drawn.of == 10_000
    assert len(series) < 200
    assert len(drawn.times) <= 60
    assert (drawn.times[0], drawn.times[-1]) == (0, 9_999)
    assert drawn.times == sorted(drawn.times)
    points = dict(zip(drawn.times, drawn.columns[0], strict=True))
    assert (points[4_321], points[8_765]) == (1_000_000, -7)


def test_series_of_points_at_one_time_is_bounded_too() -> None:
    series = Series(2, limit=50)
    for number in range(1_000):
        series.add(7, number, math.nan)
    assert len(series) < 100
    assert {0, 999} <= set(series.thinned(20).columns[0])


def test_streaks_and_distribution() -> None:
    trader = Trader()
    for price in (
        "110",
        "110",
        "101",
        "60",
        "30",
        "70",
        "80",
        "150",
    ):  # 9, 9, 0, -41, -71, and at half the size 19, 29, then whole again 49
        trader.trade(price)
    account = gathered(trader)
    signs = [(result > 0) - (result < 0) for result in account.trades.results]
    assert signs == [1, 1, 0, -1, -1, 1, 1, 1]
    assert list(account.trades.results) == [9, 9, 0, -41, -71, 19, 29, 49]
    assert [(streak.is_win, streak.length) for streak in account.trades.streaks()] == [(True, 2), (False, 2), (True, 3)]
    assert [tuple(row) for row in streak_rows(account)] == [(1, 0, 0), (2, 1, 1), (3, 1, 0)]
    bins = histogram(account.trades.results)
    assert sum(each.trades for each in bins) == 8
    assert bins[0].low <= -71 < bins[0].high
    assert bins[-1].low <= 49 < bins[-1].high


@pytest.mark.parametrize(
    "values",
    [
        [5.0],
        [0.0, 0.0],
        [-3.0, -3.0],
        [-1.0, 0.0, 1.0],
        [*(0.01 * number for number in range(999)), 1e12],
        [-7e-9, 1e15],
    ],
)
def test_no_bar_has_both_losses_and_wins_and_an_outlier_makes_no_million_bars(values: list[float]) -> None:
    bins = histogram(values)
    assert sum(each.trades for each in bins) == len(values)
    assert sum(each.trades for each in bins if each.low + each.high < 0) == sum(value < 0 for value in values)
    assert len(bins) < 30


def test_trades_without_a_value_above_zero_have_no_drawdown() -> None:
    trader = Trader()
    order = trader.signal()
    trader.fill(order, last_px="100", leaves_qty="0")
    trader.now += MINUTE
    since = trader.now
    trader.fill(order, last_px="110", position_effect="CLOSE", portfolio_value="-5")
    page = page_of(trader, span=Span(since=since))
    account = gathered(trader, span=Span(since=since))
    assert account.start_value is None
    assert account.trades.total == Decimal(10)
    assert f"Lowest {UNKNOWN} as sized, {UNKNOWN} at fixed size." in page


def test_charts_span_the_same_time_and_the_table_behind_them_agrees() -> None:
    trader = Trader()
    trader.trade("110")
    trader.trade("90")
    trader.signal(0.5)
    account = gathered(trader)
    drawn = charts(account, 100)
    assert [chart.kind for chart in drawn] == ["equity", "drawdown", "exposure", "phase", "cost"]
    assert {(chart.data["times"][0], chart.data["times"][-1]) for chart in drawn} == {(0, 240_000)}
    table = moments(drawn)
    assert (table[0].equity, table[0].exposure, table[0].limit) == (100_000, 100, 1_000)
    assert (table[-1].equity, table[-1].fixed_equity) == (99_998, 99_990)
    assert table[-1].drawdown == pytest.approx(-11 / 100_009, rel=1e-5)
    assert table[-1].phase == 1


class Reader(HTMLParser):
    """Takes down what a browser would act on."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def ids(self) -> list[str]:
        return [attributes["id"] or "" for _, attributes in self.tags if "id" in attributes]


def test_names_from_outside_stay_text() -> None:
    trader = Trader(HOSTILE)
    order = trader.signal(symbol=HOSTILE, signal_id=HOSTILE)
    trader.fill(order, last_px="100", leaves_qty="0")
    trader.fill(order, last_px="110", position_effect="CLOSE")
    trader.take(SIGNALS, HOSTILE.encode(), {"signal_id": HOSTILE, "portfolio_id": 7})
    page = page_of(trader)
    read = Reader(page)
    assert not [tag for tag, _ in read.tags if tag == "img"]
    assert not [name for _, attributes in read.tags for name in attributes if name.startswith("on")]
    assert sum(tag == "script" for tag, _ in read.tags) == page.count("</script") == 2
    assert HOSTILE in read.texts
    assert f"portfolio-{quote(HOSTILE, safe='')}" in read.ids()


def test_page_needs_nothing_from_outside_and_allows_nothing_else() -> None:
    page = page_of(Day(3))
    read = Reader(page)
    for _, attributes in read.tags:
        assert not attributes.keys() & {"src", "srcset", "style", "action", "data", "background"}
        assert (attributes.get("href") or "#").startswith("#")
    assert not re.search(r"url\(|@import|\bfetch\(|XMLHttpRequest|WebSocket|\bimport\(", page)
    (policy,) = [a["content"] or "" for _, a in read.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for kind in ("script", "style"):
        (content,) = re.findall(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_orders_and_portfolios_can_be_linked_to() -> None:
    day = Day(3)
    ids = Reader(page_of(day)).ids()
    assert len(ids) == len(set(ids))
    published = [orjson.loads(record.value or b"") for record in day.records[SIZED_ORDERS]]
    assert {order_anchor(order["order_id"]) for order in published} <= set(ids)
    assert {portfolio_anchor(order["portfolio_id"]) for order in published} <= set(ids)


def test_page_says_that_all_is_identical() -> None:
    page = page_of(Day(3))
    assert "Proved: recomputed, and identical to the byte" in page
    assert 'class="proof good"' in page


def test_page_names_what_differs() -> None:
    day = Day(3)
    log = day.records[SIZED_ORDERS]
    log[5] = log[5]._replace(value=(log[5].value or b"").replace(b'"exposure_before":"', b'"exposure_before":"1'))
    page = page_of(day)
    assert "Not proved: what was published differs" in page
    assert 'class="proof bad"' in page
    assert f"offset {log[5].offset}" in page.split("Offsets that this is about", maxsplit=1)[0]


def test_page_says_what_cannot_be_recomputed() -> None:
    day = Day(3)
    log = day.records[SIGNALS]
    day.records[SIGNALS] = log[50:]
    source = MemorySource(day.records, starts={SIGNALS: log[50].offset})
    collected = collect(source)
    page = render(collected, Scope("memory", (), None, None), MADE_AT)
    assert collected.verdict.unproved
    assert "not complete" in page
    assert "cannot be recomputed" in page


def test_drawn_and_listed_is_told_where_it_is_not_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "_POINTS", 1)
    monkeypatch.setattr(pages, "SECTIONS", 2)
    monkeypatch.setattr(accounts, "KEPT_ORDERS", 7)
    day = Day(3, signals=1_200)
    counts = sorted((account.decisions for account in collect(MemorySource(day.records)).accounts), reverse=True)
    page = page_of(day)
    assert re.search(r"Drawn: [\d,]+ of [\d,]+ points", page)
    assert f"Orders: the last 7 of {counts[0]:,}" in page
    assert "Charts are of the 2 portfolios with the most signals, of 3" in page


def test_empty_history_makes_a_page_that_says_so() -> None:
    page = page_of(Recorder())
    assert "Nothing to prove" in page


def test_file_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    verdict = make_report(MemorySource(Day(3).records), out)
    assert verdict.is_identical
    assert out.read_text().endswith("</html>")
    before = out.read_bytes()
    with pytest.raises(UserError, match="portfolio nobody has no record"):
        make_report(MemorySource(Day(3).records), out, portfolios=["nobody"])
    assert out.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(UserError, match="there is no folder"):
        make_report(MemorySource(Day(3).records), tmp_path / "nowhere" / "report.html")


def test_missing_package_is_named_before_anything_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.delitem(sys.modules, "app.report.page")
    with pytest.raises(UserError, match=r"a report needs the package jinja2: .*position-sizer\[report\]"):
        make_report(MemorySource(), tmp_path / "report.html")


def test_charts_are_drawn_by_the_files_that_were_released() -> None:
    told = (Path(__file__).parents[2] / "docs/decisions/0016-report.md").read_text()
    hashes = dict(re.findall(r"\| `(uPlot\S+)` \| `([0-9a-f]{64})` \|", told))
    assert hashes.keys() == {"uPlot.iife.min.js", "uPlot.min.css"}
    for name, digest in hashes.items():
        content = (Path(pages.__file__).parent / "assets" / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest
