"""The commands for those who look at what was decided: replay, export, explain, what-if, report."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from app.errors import UserError


def add_commands(commands: typer.Typer) -> None:
    """Add them to the command `sizer`."""
    commands.command()(replay)
    commands.command()(export)
    commands.command()(explain)
    commands.command("what-if")(what_if)
    commands.command()(report)


def replay(
    *,
    portfolio: Annotated[str | None, typer.Option(metavar="ID", help="Only this portfolio.")] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Compare from this time on, e.g. 2026-01-31T12:00:00Z."),
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Compare what is before this time.")] = None,
    from_offset: Annotated[int | None, typer.Option(min=0, help="Compare from this offset of signals on.")] = None,
    to_offset: Annotated[int | None, typer.Option(min=0, help="Stop before this offset of signals.")] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="Raw records of `sizer export --format jsonl` instead of Kafka."),
    ] = None,
    state: Annotated[Path | None, typer.Option(metavar="FILE", help="Go on from a saved state.")] = None,
    save_state: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Save the state at the end, if all is identical.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The report as one JSON document.")] = False,
) -> None:
    """Recompute what was decided, by the worker's own code, and say in what the published records differ.

    Status 0: identical; 1: different, each record and field is named; 2: what was asked for cannot be read or
    recomputed as a whole, and it is told from where on. A span limits what is compared: the recomputation begins where
    the history does, or at a state. Partitions are replayed side by side.

    `sizer verify` is the audit: it also looks at the state in the changelogs, walks the exposure by an arithmetic of
    its own and finds order ids that come twice. `sizer replay` is faster, needs no more than the six topics or a copy
    of them, and can begin and end anywhere.

    For example:

      sizer replay --portfolio PF-1 --since 2026-01-31T12:00:00Z

      sizer replay --from ./raw --save-state january.state

      sizer replay --from ./raw --state january.state --json
    """
    from app.replay.replay_command import run_replay
    from app.replay.verdict import Span

    span = Span(_time("--since", since), _time("--until", until), from_offset, to_offset)
    raise SystemExit(run_replay(source, portfolio, span, state, save_state, as_json=as_json))


class ExportFormat(StrEnum):
    """How an export is written."""

    PARQUET = "parquet"
    CSV = "csv"
    DUCKDB = "duckdb"
    JSONL = "jsonl"


def export(
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write to, or to add to.")],
    form: Annotated[ExportFormat, typer.Option("--format", help="jsonl: raw records.")] = ExportFormat.PARQUET,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="Raw records of `sizer export --format jsonl` instead of Kafka."),
    ] = None,
) -> None:
    """Write what is in the topics to files: typed tables for pandas, Polars and DuckDB, or the raw records.

    The tables are signals, fills, sized_orders, phase_events, dlq, and trades, one row for each closed trade; their
    columns are in docs/tables.md. A second run into the same folder adds what is new. A run that is ended has written
    nothing that counts. `--format jsonl` keeps the records to the byte, so that all else can be done offline.

    For example, from Kafka, and the same offline:

      sizer export --out ./tables

      sizer export --format jsonl --out ./raw

      sizer export --from ./raw --format duckdb --out ./database
    """
    from app.replay.replay_command import run_export

    raise SystemExit(run_export(source, form.value, out))


def explain(
    *,
    wanted: Annotated[str, typer.Argument(metavar="ORDER_ID|SIGNAL_ID", help="What is to be explained.")],
    portfolio: Annotated[
        str | None, typer.Option(metavar="ID", help="Look only here: no other partition is read.")
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="Raw records of `sizer export --format jsonl` instead of Kafka."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A page of `sizer report`: tell where in it the order is.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The explanation as one JSON document.")] = False,
) -> None:
    """Say why a signal got this size, or none: each rule with its numbers, and what would have had to differ.

    It recomputes the portfolio's history up to the decision, and a little on to see when the answer would have been
    another. Status 0: explained, and what was published is as recomputed; 1: it is not, or there is no such id; 2: it
    cannot be read or recomputed as a whole.

    For example:

      sizer explain S-1042 --portfolio PF-1 --report ./report.html

      sizer explain 0b1f6a52-5d7c-5f0e-8f4e-0c4c9b1f2a77 --from ./raw --json
    """
    from app.replay.explain_command import run_explain

    raise SystemExit(run_explain(wanted, source, portfolio, report, is_json=as_json))


def what_if(
    *,
    policy: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A policy file (TOML), tighter; may be repeated.")
    ] = None,
    rules: Annotated[
        bool, typer.Option("--rules", help="The locked policy too, and it without each rule. [without --policy]")
    ] = False,
    portfolio: Annotated[str | None, typer.Option(metavar="ID", help="Only this portfolio.")] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="Raw records of `sizer export --format jsonl` instead of Kafka."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The comparison as one JSON document.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="A row for each policy and portfolio.")] = False,
) -> None:
    """Take the same history through other policies, and hold each against what was.

    Sizes, skips by reason, exposure used, trades, results and drawdown. Fills are scaled with the orders' sizes; what
    is assumed is printed with the figures. With --rules also the locked policy without one rule each, and fixed sizing:
    policies that no worker takes, marked *, to see what a rule costs and brings. None of it is for tuning parameters.

    Status 0: done; 1: what was published is not as recomputed; 2: it cannot be read or recomputed as a whole.

    For example:

      sizer what-if --policy tighter.toml --policy tightest.toml

      sizer what-if --from ./raw --rules --csv > rules.csv
    """
    from app.replay.what_if_command import run_what_if

    raise SystemExit(run_what_if(policy or [], source, portfolio, with_rules=rules, is_json=as_json, is_csv=as_csv))


def report(
    *,
    html: Annotated[Path, typer.Option(metavar="FILE", help="The page to write; one that is there is replaced.")],
    portfolio: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Only this portfolio; may be given several times.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Show from this time on, e.g. 2026-01-31T12:00:00Z.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Show what is before this time.")] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="Raw records of `sizer export --format jsonl` instead of Kafka."),
    ] = None,
) -> None:
    """Make a page of what was decided: one HTML file that needs no network, for reading, sending on and printing.

    It says first what is proved, as `sizer replay` does, and shows of each portfolio equity and drawdown beside fixed
    sizing, exposure beside the limit, phases, skip reasons, streaks, results, costs, the figures that analysts know,
    and the last orders. Status 0: identical; 1: different; 2: incomplete. The page is written in all three cases, and
    says so; 2 without a page: nothing could be read.

    For example:

      sizer report --html ./report.html

      sizer report --html ./january.html --from ./raw --portfolio PF-1 --since 2026-01-01T00:00:00Z
    """
    from app.replay.verdict import Span
    from app.report import run_report

    span = Span(_time("--since", since), _time("--until", until))
    raise SystemExit(run_report(source, html, portfolio or [], span))


def _time(option: str, text: str | None) -> int | None:
    from app.codecs import BadRecord, fields

    try:
        return None if text is None else fields.time(option, text)
    except BadRecord as error:
        raise UserError(error.message) from None
