"""The end of the demo: what happened, and the proof that nothing is lost, doubled or contradicted."""

from collections import Counter

from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.demo.board import Board
from app.replay import Audit


def print_closing(console: Console, board: Board, audit: Audit) -> None:
    """Print what happened and what the recomputation found."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    table.add_row("signals", f"{board.taken['signals']:,}", f"{board.duplicates} of them repeated, and answered once")
    table.add_row("sized", f"{board.sized:,}", "")
    table.add_row("skipped", f"{board.skipped.total():,}", _by_count(board.skipped))
    table.add_row("fills", f"{board.taken['fills']:,}", "")
    for topic in ("signals", "fills"):
        codes = Counter({code: count for (of, code), count in board.dead_letters.items() if of == topic})
        table.add_row(f"{topic}.dlq", f"{codes.total()}", _by_count(codes))
    for phase in (3, 2, 1):
        names = sorted(name for name, line in board.lines.items() if line.phase == phase)
        table.add_row(f"in phase {phase}", f"{len(names)}", ", ".join(names))
    breaches = Counter({name: line.breaches for name, line in board.lines.items() if line.breaches})
    table.add_row("above limit", f"{breaches.total()}", f"reported: {_by_count(breaches)}" if breaches else "")
    console.print()
    console.print(table)
    console.print()
    verdict = (
        f"{audit.signals:,} signals, {audit.orders:,} orders, {audit.lost:,} lost, {audit.doubled:,} doubled, "
        f"{audit.contradicted:,} contradicted, {audit.recomputed:,} recomputed identically"
    )
    console.print(Text(verdict, style="bold green" if audit.is_proved else "bold red"), soft_wrap=True)
    for finding in audit.findings:
        console.print(Text(f"{finding.invariant} {finding.text}", style="red"), soft_wrap=True)


def _by_count(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common())
