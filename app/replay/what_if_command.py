"""`sizer what-if` as a command: policies of files, and the tables, the document or the CSV that it prints."""

import csv
import sys
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from app.codecs.policy_file import load_policy
from app.core.exact import exact, plain
from app.core.policy import Policy
from app.errors import UserError
from app.replay.comparing import ACTUAL, Portrait, Scenario, WhatIf, rules_off, what_if
from app.replay.documents import as_json
from app.replay.replay_command import DIFFERENT, IDENTICAL, INCOMPLETE, source_of
from app.replay.telling import is_narrow, show
from app.replay.watching import watched
from app.replay.words import number

_HEADINGS = (
    *("sized", "notional", "exposure", "highest", "limit", "trades", "won"),
    *("result", "against", "drawdown", "phases"),
)
_WIDE_ONLY = ("notional", "highest", "limit", "won", "phases")
_AGAINST = ("signals", "sized", "notional", "trades", "result", "drawdown", "exposure_mean")


def run_what_if(
    files: Sequence[Path],
    folder: Path | None,
    portfolio: str | None,
    *,
    with_rules: bool,
    is_json: bool,
    is_csv: bool,
) -> int:
    """Compare, print and return the exit status. Raises UserError if a policy or the history cannot be read."""
    if is_json and is_csv:
        raise UserError("--json, --csv: only one of them; the CSV has a row for each policy and portfolio")
    policies = _policies(files)
    if with_rules or not policies:
        policies |= rules_off()
    source = source_of(folder)
    with watched("what-if") as progress:
        found = what_if(source, policies, portfolio=portfolio, progress=progress)
    try:
        if is_json:
            print(as_json(_document(found)), flush=True)
        elif is_csv:
            _write_csv(found)
        else:
            show(_tables(found, narrow=is_narrow()))
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(f"the comparison could not be written: {error.strerror}") from None
    if is_csv:
        for line in _remarks(found):
            print(line, file=sys.stderr)
    if not found.is_identical:
        return DIFFERENT
    return IDENTICAL if found.is_complete else INCOMPLETE


def _policies(files: Sequence[Path]) -> dict[str, Policy]:
    policies: dict[str, Policy] = {}
    for path in files:
        name = path.stem if path.stem not in (ACTUAL, *policies, *rules_off()) else str(path)
        if name in policies:
            raise UserError(f"--policy {path}: is given twice")
        policies[name] = load_policy(path)
    return policies


def _remarks(found: WhatIf) -> Iterator[str]:
    """Yield what has to be said with the figures: assumptions, and what is not as it should be."""
    for assumption in found.assumptions:
        yield f"- {assumption}"
    for note in found.notes:
        yield f"note: {note}"
    for problem in found.problems:
        yield f"cannot be read on: {problem}"
    if found.different:
        yield f"{found.different:,} inputs have a published outcome that is not as recomputed: see `sizer replay`"
    if found.unproved:
        yield f"{found.unproved:,} records cannot be recomputed: the beginning of their portfolio's history was deleted"


@exact
def against(portrait: Portrait, actual: Portrait) -> dict[str, Any]:
    """Return by how much a portfolio fared otherwise than it did."""
    return {name: getattr(portrait, name) - getattr(actual, name) for name in _AGAINST}


def _document(found: WhatIf) -> dict[str, Any]:
    actual = found.scenarios[0]
    return {
        "identical": found.is_identical,
        "complete": found.is_complete,
        **found._asdict(),
        "scenarios": [
            {
                "name": scenario.name,
                "policy_id": scenario.policy_id,
                "is_looser": scenario.is_looser,
                "total": _one(scenario.total, actual.total),
                "portfolios": {
                    portfolio_id: _one(portrait, actual.portfolios.get(portfolio_id, Portrait()))
                    for portfolio_id, portrait in scenario.portfolios.items()
                },
            }
            for scenario in found.scenarios
        ],
    }


def _one(portrait: Portrait, actual: Portrait) -> dict[str, Any]:
    return {**portrait._asdict(), "against_actual": against(portrait, actual)}


def _write_csv(found: WhatIf) -> None:
    reasons = sorted({reason for scenario in found.scenarios for reason in scenario.total.skipped})
    names = [name for name in Portrait._fields if name != "skipped"]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["policy", "policy_id", "portfolio_id", *names, *reasons])
    for scenario in found.scenarios:
        for portfolio_id, portrait in scenario.portfolios.items():
            values = [getattr(portrait, name) for name in names]
            cells = [plain(value) if isinstance(value, Decimal) else value for value in values]
            counts = [portrait.skipped.get(reason, 0) for reason in reasons]
            writer.writerow([scenario.name, scenario.policy_id or "", portfolio_id, *cells, *counts])


def _tables(found: WhatIf, *, narrow: bool) -> RenderableType:
    parts: list[RenderableType] = [Text("all portfolios", style="bold"), _all(found.scenarios, narrow=narrow), Text()]
    parts += [Text("skipped, by reason", style="bold"), _skips(found.scenarios), Text()]
    parts += [Text("by portfolio", style="bold")]
    for portfolio_id in sorted({portfolio_id for scenario in found.scenarios for portfolio_id in scenario.portfolios}):
        parts += [Text(portfolio_id, style="bold"), _portfolio(found.scenarios, portfolio_id, narrow=narrow)]
    parts += [Text(), Text("what is assumed, and what the figures are", style="bold")]
    parts += [_no_fills(found.scenarios), *(Text(line) for line in _remarks(found))]
    if narrow:
        parts += [Text(), Text(f"On a wider terminal also: {', '.join(_WIDE_ONLY)}.")]
    return Group(*parts)


def _name(scenario: Scenario) -> Text:
    return Text(scenario.name + (" *" if scenario.is_looser else ""))


def _all(scenarios: Sequence[Scenario], *, narrow: bool) -> Table:
    actual = scenarios[0].total
    return _compared([(scenario, scenario.total) for scenario in scenarios], actual, narrow=narrow)


def _portfolio(scenarios: Sequence[Scenario], portfolio_id: str, *, narrow: bool) -> Table:
    rows = [(scenario, scenario.portfolios.get(portfolio_id, Portrait())) for scenario in scenarios]
    return _compared(rows, rows[0][1], narrow=narrow)


def _compared(rows: Sequence[tuple[Scenario, Portrait]], actual: Portrait, *, narrow: bool) -> Table:
    shown = [heading for heading in _HEADINGS if not (narrow and heading in _WIDE_ONLY)]
    table = _table("policy", *shown)
    for scenario, portrait in rows:
        figures = dict(zip(_HEADINGS, _figures(portrait, actual), strict=True))
        table.add_row(_name(scenario), *(figures[heading] for heading in shown))
    return table


def _figures(portrait: Portrait, actual: Portrait) -> Iterator[str]:
    yield f"{portrait.sized:,}"
    yield number(_short(portrait.notional))
    yield f"{portrait.exposure_mean:.2%}"
    yield f"{portrait.exposure_max:.2%}"
    yield f"{portrait.limit_used_mean:.0%}"
    yield f"{portrait.trades:,}"
    yield f"{portrait.wins:,}"
    yield number(_short(portrait.result))
    difference = _short(against(portrait, actual)["result"])
    yield "·" if not difference else f"{'+' if difference > 0 else ''}{number(difference)}"
    yield number(_short(portrait.drawdown))
    yield f"{portrait.upgrades:,}"


def _skips(scenarios: Sequence[Scenario]) -> Table:
    reasons = sorted({reason for one in scenarios for reason in one.total.skipped})
    table = _table("policy", *reasons, "together")
    for scenario in scenarios:
        skipped = scenario.total.skipped
        counts = [f"{skipped.get(reason, 0):,}" for reason in reasons]
        table.add_row(_name(scenario), *counts, f"{sum(skipped.values()):,}")
    return table


def _no_fills(scenarios: Sequence[Scenario]) -> Table:
    table = _table(
        "policy", "orders without fills", "fills scaled", "fills dropped", "too small", "exposure at the end"
    )
    for scenario in scenarios:
        total = scenario.total
        counts = (total.only_here, total.scaled_fills, total.dropped_fills, total.too_small_fills)
        table.add_row(_name(scenario), *(f"{count:,}" for count in counts), number(_short(total.exposure_at_end)))
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim", pad_edge=False)
    table.add_column(first, overflow="fold")
    for other in others:
        table.add_column(other, overflow="fold", justify="right")
    return table


def _short(value: Decimal) -> Decimal:
    """Return an amount to the cent: the document and the CSV have it exactly."""
    return round(value, 2)
