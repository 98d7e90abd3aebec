"""How the demo looks: a live table on a terminal, plain lines through a pipe."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from statistics import quantiles
from typing import Final, NamedTuple

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from app.core.policy import TABLE_POLICY
from app.demo.board import Board, Line, News
from app.demo.market import SECOND

WIDTH: Final = 100
_BAR: Final = 8
_PHASE_STYLES: Final = {1: "white", 2: "bold cyan", 3: "bold green"}
_REASONS: Final = {
    "LOW_CONFIDENCE": "conf.",
    "EXPOSURE_LIMIT": "limit",
    "SIGNAL_EXPIRED": "late",
    "NO_PORTFOLIO_VALUE": "value",
    "BELOW_MINIMUM_SIZE": "small",
}
_NEWS_STYLES: Final = {
    "PHASE_UPGRADED": "green",
    "EXPOSURE_BREACHED": "yellow",
    "DLQ": "dim",
    "WORKER": "bold magenta",
    "DEMO": "bold",
}
_LEGEND: Final = "▲ won ▼ lost in a row   ½ drawdown protection   conf. limit late value small: why skipped"
_ROWS_BESIDE_NEWS: Final = 23


class Situation(NamedTuple):
    """What the table shows beside the board."""

    elapsed: float  # seconds since the market opened
    length: float  # seconds of the wall for which it is open
    market_time: int  # exchange time, microseconds
    speed: int
    workers: Sequence[tuple[str, int | None]]  # name, and process id while it runs
    rate: float  # events (signals and fills) a second
    oldest_waiting: float  # seconds; 0 if nothing waits


def picture(board: Board, now: Situation, news: Sequence[tuple[float, News]], *, width: int, height: int) -> Group:
    """Return the whole picture for a terminal of this size."""
    rows: list[RenderableType] = [_market(board, now), _pulse(board, now), _portfolios(board, width), _totals(board)]
    room = max(2, height - _ROWS_BESIDE_NEWS)
    for elapsed, item in news[-room:]:
        text = Text(f"{elapsed:5.1f} s  ", style="dim", no_wrap=True, overflow="ellipsis")
        rows.append(text.append(item.text, style=_NEWS_STYLES[item.kind]))
    return Group(*rows)


def plain_line(board: Board, now: Situation) -> str:
    """Return one line on how things stand; the last two are events a second and the median latency."""
    half, _ = latency(board)
    return (
        f"{now.elapsed:5.1f} s  {board.taken['signals']:,} signals: {board.sized:,} sized, "
        f"{board.skipped.total():,} skipped; {board.taken['fills']:,} fills; DLQ {board.dead_letters.total()}; "
        f"{len(board.waiting):,} waiting; {now.rate:,.0f}/s; {half} ms"
    )


def latency(board: Board) -> tuple[int, int]:
    """Return median and 99th percentile of the latest answers' latency, in milliseconds, from log to log."""
    if not board.latencies:
        return 0, 0
    cuts = quantiles([*board.latencies, board.latencies[-1]], n=100, method="inclusive")
    return round(cuts[49]), round(cuts[98])


def _market(board: Board, now: Situation) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(" position sizer ", style="bold white on blue")
    text.append(f"  {min(now.elapsed, now.length):4.1f} of {now.length:.0f} s", style="bold")
    text.append(f"   E-mini S&P 500 {board.last_price:.2f}", style="bold")
    text.append(f"   {_clock(now.market_time)} in Chicago, {now.speed} times as fast", style="dim")
    return text


def _pulse(board: Board, now: Situation) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    for name, pid in now.workers:
        mark, style = ("●", "green") if pid else ("✖", "bold red")
        text.append(f" {mark} ", style=style).append(name).append(f" {pid or 'killed'}   ", style="dim")
    half, most = latency(board)
    waiting = f"{len(board.waiting):4d} waiting"
    if board.waiting:
        waiting += f" {now.oldest_waiting:.1f} s"
    text.append(f"{waiting:16}", style="bold red" if now.oldest_waiting > 1 else "")
    text.append(f" {now.rate:5,.0f} events/s   p50 {half} ms  p99 {most} ms")
    return text


def _portfolios(board: Board, width: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=0, header_style="dim")
    reasons = list(_REASONS) if width >= WIDTH else []
    left = {"portfolio": 13, "phase": 5}
    right = {"proof": 11, "streak": 6, "limit used": _BAR + 5, "sized": 5}
    right |= dict.fromkeys((_REASONS[reason] for reason in reasons), 5) if reasons else {"skipped": 7}
    right["profit"] = 9
    for heading, columns in (left | right).items():
        table.add_column(heading, justify="left" if heading in left else "right", width=columns, no_wrap=True)
    for portfolio_id in sorted(board.lines, key=_by_style_and_length):
        line = board.lines[portfolio_id]
        skipped = [line.skipped[reason] for reason in reasons] if reasons else [line.skipped.total()]
        table.add_row(
            portfolio_id,
            _phase(line),
            _proof(line),
            _streak(line),
            _exposure(line),
            f"{line.sized}",
            *(Text(f"{count}" if count else "·", style="" if count else "dim") for count in skipped),
            _profit(line.profit),
        )
    return table


def _totals(board: Board) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f" {board.taken['signals']:,} signals", style="bold")
    text.append(f": {board.sized:,} sized, {board.skipped.total():,} skipped, {board.duplicates} repeated")
    text.append(f"   {board.taken['fills']:,} fills", style="bold")
    text.append(f"   {board.dead_letters.total()} bad records", style="bold")
    text.append(f" in DLQs\n {_LEGEND}\n", style="dim")
    return text


def _by_style_and_length(portfolio_id: str) -> tuple[str, int, str]:
    style, _, minutes = portfolio_id.partition("-")
    digits = minutes.removesuffix("m")
    return (style, int(digits), "") if digits.isdigit() else ("~", 0, portfolio_id)


def _phase(line: Line) -> Text:
    return Text("▮" * line.phase + "▯" * (3 - line.phase) + f" {line.phase}", style=_PHASE_STYLES[line.phase])


def _proof(line: Line) -> Text:
    """Show how many trades have closed, of those that the next phase asks for, and the share that was won."""
    won = f" {line.wins / line.trades:4.0%}" if line.trades else " " * 5
    proof = TABLE_POLICY.proofs.get(line.phase + 1)
    if proof is None:
        return Text(f"{line.trades}{won}", style="dim")
    enough = line.trades >= proof.trades
    is_good = bool(line.trades) and Decimal(line.wins) / line.trades > proof.win_rate
    text = Text(f"{line.trades}/{proof.trades}", style="" if enough else "dim")
    return text.append(won, style="green" if is_good else "red" if enough else "dim")


def _streak(line: Line) -> Text:
    if line.wins_in_row:
        text = Text(f"▲{line.wins_in_row}", style="green")
    else:
        text = Text(f"▼{line.losses_in_row}", style="red") if line.losses_in_row else Text("·", style="dim")
    return text.append(" ½" if line.drawdown else "  ", style="bold yellow")


def _exposure(line: Line) -> Text:
    if not line.limit:
        return Text("no value", style="dim")
    share = line.exposure / line.limit
    blocks = min(_BAR, math.ceil(share * _BAR))
    style = "bold red" if share > 1 else "yellow" if share > Decimal("0.9") else "blue"
    return (
        Text("█" * blocks, style=style).append("░" * (_BAR - blocks), style="dim").append(f" {share:4.0%}", style=style)
    )


def _profit(profit: Decimal) -> Text:
    text = f"{profit:+,.2f}"
    if text in ("+0.00", "-0.00"):
        return Text("·", style="dim")
    return Text(text, style="green" if profit > 0 else "red")


def _clock(market_time: int) -> str:
    return f"{datetime.fromtimestamp(market_time / SECOND, UTC):%H:%M:%S}"
