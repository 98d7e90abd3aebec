"""The page: one HTML file with all that it needs in it, its scripts named to the browser by their hashes."""

import base64
import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson
from jinja2 import Environment, PackageLoader, StrictUndefined

from app.report import charts, text
from app.report.account import Account, OrderRow, Streak
from app.report.charts import Bin, Chart, Moment, StreakRow
from app.report.collect import Collected
from app.report.figures import Figures, figures

SECTIONS = 40
"""Portfolios that have charts of their own: those with the most decisions."""
INDEX_ROWS = 2_000
_POINTS = 120_000
_ORDER_ROWS = 4_000
_CHARTS = 5
_SHOWN_FINDINGS = 50
_SHOWN_LETTERS = 50


class Row(NamedTuple):
    """A line of the index."""

    portfolio_id: str
    anchor: str
    has_section: bool
    account: Account
    actual: Figures
    fixed: Figures


class Section(NamedTuple):
    """A portfolio with all there is to see of it."""

    row: Row
    charts: list[Chart]
    results: list[Bin]
    moments: list[Moment]
    streaks: list[StreakRow]
    wins: int
    longest_wins: int
    longest_losses: int
    orders: list[OrderRow]


class Scope(NamedTuple):
    """What was asked for."""

    where: str
    portfolios: tuple[str, ...]
    since: int | None
    until: int | None


def render(collected: Collected, scope: Scope, made_at: datetime) -> str:
    """Return the page."""
    rows = [_row(account) for account in collected.accounts]
    busiest = sorted(rows, key=lambda row: -row.account.decisions)[:SECTIONS]
    shown = {row.anchor for row in busiest}
    rows = [row._replace(has_section=row.anchor in shown) for row in rows]
    sections = [_section(row, len(busiest)) for row in rows if row.has_section]
    script, style = _assets("uPlot.iife.min.js", "report.js"), _assets("uPlot.min.css", "report.css")
    environment = Environment(
        loader=PackageLoader("app.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_function"] = _json
    environment.policies["json.dumps_kwargs"] = {}
    environment.globals.update(text=text, order_anchor=order_anchor, total=_total)
    return environment.get_template("page.html").render(
        verdict=collected.verdict,
        findings=collected.verdict.findings[:_SHOWN_FINDINGS],
        rows=sorted(rows, key=lambda row: (not row.has_section, row.portfolio_id))[:INDEX_ROWS],
        all_rows=rows,
        sections=sections,
        dead=sorted(collected.dead.items(), key=lambda item: -item[1]),
        letters=sorted(collected.letters, key=lambda letter: -letter.timestamp)[:_SHOWN_LETTERS],
        ignored=collected.ignored,
        reasons=REASONS,
        outcomes=sum((account.outcomes for account in collected.accounts), Counter[str]()),
        scope=scope,
        made_at=made_at.astimezone(UTC),
        data={"charts": [[chart.data | {"kind": chart.kind} for chart in section.charts] for section in sections]},
        script=script,
        style=style,
        policy=_policy(script, style),
        licence=_assets("uPlot.LICENSE"),
    )


def portfolio_anchor(portfolio_id: str) -> str:
    """Return the fragment of a portfolio: `report.html#` and this leads to it."""
    return f"portfolio-{quote(portfolio_id, safe='')}"


def order_anchor(order_id: str) -> str:
    """Return the fragment of an order."""
    return f"order-{quote(order_id, safe='')}"


REASONS: Mapping[str, str] = {
    "SIZED": "sent, with a size",
    "TRADING_HALTED": "trading was halted",
    "SIGNAL_EXPIRED": "the signal came after its own expiry",
    "LOW_CONFIDENCE": "confidence was below the minimum",
    "NO_PORTFOLIO_VALUE": "no value above 0 was known",
    "BELOW_MINIMUM_SIZE": "the size would have been below a cent, or no quantity",
    "EXPOSURE_LIMIT": "exposure would have been above the limit",
}


def _row(account: Account) -> Row:
    start = account.first_time or 0.0
    value = math.nan if account.start_value is None else float(account.start_value)
    trades = account.trades
    actual, fixed = (
        figures(start, value, trades.times, results, account.time) for results in (trades.results, trades.fixed)
    )
    return Row(account.portfolio_id, portfolio_anchor(account.portfolio_id), False, account, actual, fixed)  # noqa: FBT003 - by place, as all of a row


def _section(row: Row, sections: int) -> Section:
    account = row.account
    points = max(150, min(2_000, _POINTS // (_CHARTS * sections)))
    streaks, drawn = account.trades.streaks(), charts.charts(account, points)
    return Section(
        row=row,
        charts=drawn,
        results=charts.histogram(account.trades.results),
        moments=charts.moments(drawn),
        streaks=charts.streak_rows(account),
        wins=sum(result > 0 for result in account.trades.results),
        longest_wins=_longest(streaks, is_win=True),
        longest_losses=_longest(streaks, is_win=False),
        orders=account.orders[: max(20, _ORDER_ROWS // sections)],
    )


def _longest(streaks: Sequence[Streak], *, is_win: bool) -> int:
    return max((streak.length for streak in streaks if streak.is_win is is_win), default=0)


def _assets(*names: str) -> str:
    return "\n".join(_asset(name) for name in names)


def _asset(name: str) -> str:
    return (files("app.report") / "assets" / name).read_text(encoding="utf-8")


def _policy(script: str, style: str) -> str:
    """Return the Content-Security-Policy: this script and this style, and nothing from anywhere."""
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _total(values: Iterator[Any]) -> Any:
    return sum(values)
