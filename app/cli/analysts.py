"""The commands for those who look at what was decided: replay, export."""

from pathlib import Path
from typing import Annotated

import typer

from app.errors import UserError


def add_commands(commands: typer.Typer) -> None:
    """Add them to the command `sizer`."""
    commands.command()(replay)


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
    from app.replay.replay import Span
    from app.replay.replay_command import run_replay

    span = Span(_time("--since", since), _time("--until", until), from_offset, to_offset)
    raise SystemExit(run_replay(source, portfolio, span, state, save_state, as_json=as_json))


def _time(option: str, text: str | None) -> int | None:
    from app.codecs import BadRecord, fields

    try:
        return None if text is None else fields.time(option, text)
    except BadRecord as error:
        raise UserError(error.message) from None
