"""An explanation as text: paragraphs and tables that fit the terminal, and plain lines where there is none."""

import io
import sys
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from app.core.exact import ZERO
from app.replay.case import Alternative
from app.replay.explaining import Explained
from app.replay.explanation import Explanation, Outcome
from app.replay.ledger import OpenOrder
from app.replay.published import shown
from app.replay.trades import Trade
from app.replay.words import how_long, number, when

_PLAIN_WIDTH = 120
_WIDE = 116
"""From this width on, tables with ids have a line for each row."""
_TRADES_SHOWN = 10
_ALONE_SHOWN = 3
_RELATIONS = {
    "at_least": "of at least ",
    "at_most": "of at most ",
    "above": "above ",
    "below": "below ",
}
_MARKS = {"taken": "·", "passed": "+", "failed": "x"}
_STYLES = {"taken": "dim", "passed": "green", "failed": "bold red"}


def is_narrow() -> bool:
    """Tell whether standard output is a terminal on which wide tables would fold their numbers."""
    return sys.stdout.isatty() and Console().width < _WIDE


def show(renderable: RenderableType) -> None:
    """Print to a terminal with colours and as wide as it is, elsewhere plainly and of one width."""
    if sys.stdout.isatty():
        Console(highlight=False, markup=False, emoji=False).print(renderable)
        return
    plain = Console(file=io.StringIO(), width=_PLAIN_WIDTH, highlight=False, markup=False, emoji=False, no_color=True)
    with plain.capture() as captured:
        plain.print(renderable)
    for line in captured.get().splitlines():
        print(line.rstrip())


def link(report: Path | None, found: Explanation) -> str | None:
    """Return where a page of `sizer report` has the order; None if there is no page or no order."""
    return None if report is None or found.order_id is None else f"{report}#order-{found.order_id}"


def tell(explained: Explained, *, narrow: bool = False, report: Path | None = None) -> RenderableType:
    """Return all that was found of an id. `narrow`: rows take several lines. `report`: see `link`."""
    parts: list[RenderableType] = []
    if len(explained.explanations) > 1:
        parts += [Text(f"{len(explained.explanations)} records have the id {shown(explained.id)}:"), Text()]
    for explanation in explained.explanations:
        parts += _explanation(explanation, link(report, explanation), narrow=narrow)
    if not explained.explanations:
        parts += [Text(f"{shown(explained.id)}: no signal and no order has this id. Looked through:")]
        parts += [_indented(Text(searched)) for searched in explained.searched]
    parts += [Text(f"cannot be read on: {problem}") for problem in explained.problems]
    return Group(*parts)


def _explanation(found: Explanation, place_in_report: str | None, *, narrow: bool) -> Iterator[RenderableType]:
    yield Text(f"signal {shown(found.signal_id)} of portfolio {found.portfolio_id}", style="bold")
    place = f"{found.topic}, partition {found.partition}, offset {found.offset:,}"
    yield _indented(Text(place + ("" if found.now is None else f"; judged at {when(found.now)} UTC"), style="dim"))
    if found.order_id is not None:
        yield _indented(Text(f"order {found.order_id}", style="dim"))
    if place_in_report is not None:
        yield _indented(Text(f"in the report: {place_in_report}", style="dim"))
    yield Text()
    yield _indented(Text(shown(found.text), style="bold red" if found.outcome is Outcome.LOST else "bold"))
    if found.points:
        yield from _section("step by step")
        yield _indented(_points(found))
        yield from _exposure(found.orders, narrow=narrow)
        yield from _record(found, narrow=narrow)
        yield from _alternatives(found)
    yield from _published(found)
    yield Text()


def _points(found: Explanation) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(width=1)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for point in found.points:
        style = _STYLES[point.result]
        table.add_row(Text(_MARKS[point.result], style), Text(point.step.replace("_", " "), "dim"), Text(point.text))
    return table


def _exposure(orders: Sequence[OpenOrder], *, narrow: bool) -> Iterator[RenderableType]:
    yield from _section("what was open or reserved")
    if not orders:
        yield _indented(Text("nothing"))
        return
    headings = ("order", "signal", "symbol", "opened", "state", "filled", "open cost", "reserved", "exposure")
    rows = [
        (
            order.order_id,
            order.signal_id,
            f"{order.side} {order.symbol}",
            when(order.decided_at),
            "works" if order.is_working else "ended",
            number(order.filled_cost),
            number(order.open_cost),
            number(order.reserved),
            number(order.exposure),
        )
        for order in orders
    ]
    yield _indented(_table(headings, rows, right=4, narrow=narrow))
    total = sum((order.exposure for order in orders), ZERO)
    yield _indented(Text(f"{_count(len(orders), 'order')}, {number(total)} together"))


def _record(found: Explanation, *, narrow: bool) -> Iterator[RenderableType]:
    proof = found.proof
    assert proof is not None, "it was decided"
    yield from _section("track record")
    since = "" if proof.since is None else f" since {when(proof.since)}"
    yield _indented(
        Text(
            f"phase {proof.phase}{since}: {_count(proof.trades, 'trade')}, {proof.wins} won, {proof.losses} lost; "
            f"gross profit {number(proof.gross_profit)}, gross loss {number(proof.gross_loss)}"
        )
    )
    if proof.next_phase is None:
        yield _indented(Text("there is no further phase"))
    else:
        missing = "; ".join(proof.missing) or "nothing: the next trade that closes is judged"
        yield _indented(Text(f"for phase {proof.next_phase} it lacks {missing}"))
    yield _indented(Text("drawdown protection is " + ("off" if not found.drawdown else _since(found))))
    if found.streak:
        won = found.streak[0].result > ZERO
        yield _indented(Text(f"{'won' if won else 'lost'} in a row: {len(found.streak)}"))
        yield _indented(_trades(found.streak, narrow=narrow))


def _since(found: Explanation) -> str:
    if found.drawdown_since is None:
        return "on"
    results = ", ".join(number(trade.result) for trade in found.drawdown_trades)
    return f"on since {when(found.drawdown_since)}, for the results {results}"


def _trades(trades: Sequence[Trade], *, narrow: bool) -> RenderableType:
    headings = ("order", "signal", "closed", "phase", "result")
    rows = [
        (trade.order_id, trade.signal_id, when(trade.closed_at), str(trade.phase), number(trade.result))
        for trade in trades[-_TRADES_SHOWN:]
    ]
    return _table(headings, rows, right=2, narrow=narrow)


def _alternatives(found: Explanation) -> Iterator[RenderableType]:
    yield from _section("what would have had to differ")
    if not found.alternatives:
        yield _indented(Text("no single change would have done"))
    alone = [alternative for alternative in found.alternatives if alternative.change == "without_order"]
    for alternative in found.alternatives:
        if alternative not in alone[1:] or len(alone) <= _ALONE_SHOWN:
            others = len(alone) - 1 if alternative in alone and len(alone) > _ALONE_SHOWN else 0
            more = f", or any one of {others} others" if others else ""
            yield _indented(Text(f"{in_words(alternative)}{more}: {answer_of(alternative)}"))


def in_words(alternative: Alternative) -> str:
    """Return the change of an alternative as a person tells it."""
    change, to, relation = alternative.change, alternative.to, alternative.relation
    named = change.replace("_", " ")
    match change:
        case "later":
            assert alternative.seconds is not None, "a later moment is some time away"
            told = f"{how_long(int(alternative.seconds * 1_000_000))} later, at {to}: {alternative.because}"
        case "expires_at":
            told = f"with an end of its own not before {to}, when it was decided"
        case "without_order" | "without_orders":
            orders = to.split(",")
            told = f"without order{'s' if len(orders) > 1 else ''} {', '.join(orders)}"
        case "drawdown":
            told = f"with drawdown protection {to}"
        case "phase":
            told = f"in phase {to}"
        case _:
            amount = to if change == "confidence" else number(Decimal(to))
            told = f"with {'an' if named[0] in 'aeiou' else 'a'} {named} {_RELATIONS[relation]}{amount}"
    return told


def answer_of(alternative: Alternative) -> str:
    """Return the answer of an alternative."""
    if alternative.skip_reason is not None:
        return f"skipped, {alternative.skip_reason}"
    quantity = "" if alternative.quantity is None else f", quantity {number(alternative.quantity)}"
    return f"{number(alternative.notional)}{quantity}"


def _published(found: Explanation) -> Iterator[RenderableType]:
    if found.is_identical is None and found.published is None:
        return
    yield from _section("published")
    if found.published is not None:
        yield _indented(Text(shown_whole(found.published), overflow="fold"))
    if found.is_identical:
        yield _indented(Text("identical to what was recomputed, to the byte"))
    elif found.is_identical is not None:
        yield _indented(Text("NOT as recomputed:", style="bold red"))
        for difference in found.differences:
            yield _indented(Text(difference, overflow="fold"))
        if found.recomputed is not None:
            yield _indented(Text(f"recomputed: {found.recomputed}", overflow="fold"))


def shown_whole(text: str) -> str:
    """Return a record's text on one line."""
    return text if text.isprintable() else ascii(text)[1:-1]


def _section(title: str) -> Iterator[RenderableType]:
    yield Text()
    yield Text(title, style="bold")


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], right: int, *, narrow: bool) -> RenderableType:
    if narrow:
        named = [[f"{heading} {cell}" for heading, cell in zip(headings, row, strict=True)] for row in rows]
        return Group(*(part for first, *rest in named for part in (Text(first), _indented(Text(", ".join(rest))))))
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim", pad_edge=False)
    for place, heading in enumerate(headings):
        is_number = place >= len(headings) - right
        table.add_column(heading, overflow="fold", justify="right" if is_number else "left")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def _indented(renderable: RenderableType) -> Padding:
    return Padding(renderable, (0, 0, 0, 2))
