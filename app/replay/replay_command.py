"""`sizer replay` and `sizer export` as commands: progress, what was found, the exit status."""

import sys
from pathlib import Path

import orjson

from app.errors import UserError
from app.replay.kafka import KafkaSource
from app.replay.manifest import Format
from app.replay.raw import RawFolder
from app.replay.raw_export import export_raw
from app.replay.source import Source
from app.replay.table_export import export_tables
from app.replay.verdict import Report, Span, replay
from app.replay.watching import watched
from app.settings import load_settings

IDENTICAL = 0
DIFFERENT = 1
INCOMPLETE = 2


def source_of(folder: Path | None) -> Source:
    """Return the source that a command line names: a folder, or the topics of the settings. Raises UserError."""
    return KafkaSource(load_settings()) if folder is None else RawFolder(folder)


def run_replay(
    folder: Path | None,
    portfolio: str | None,
    span: Span,
    state: Path | None,
    save_state: Path | None,
    *,
    as_json: bool,
) -> int:
    """Replay, print the report and return the exit status. Raises UserError if nothing can be read."""
    source = source_of(folder)
    with watched("replay") as progress:
        report = replay(source, portfolio=portfolio, span=span, state=state, save_state=save_state, progress=progress)
    lines = [_document(report)] if as_json else list(_lines(report, save_state))
    try:
        for line in lines:
            print(line, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(f"the report could not be written: {error.strerror}") from None
    if not report.is_identical:
        return DIFFERENT
    return IDENTICAL if report.is_complete else INCOMPLETE


def run_export(folder: Path | None, table_format: Format, out: Path) -> int:
    """Export, say what is new and return the exit status. Raises UserError if it cannot be done."""
    source = source_of(folder)
    with watched("export") as progress:
        if table_format == "jsonl":
            exported = export_raw(source, out, progress)
        else:
            exported = export_tables(source, out, table_format, progress)
    for name, count in exported.records.items():
        print(f"{name}: {count:,} new")
    for note in exported.notes:
        print(f"note: {note}", file=sys.stderr)
    return IDENTICAL


def _document(report: Report) -> str:
    document = {
        "identical": report.is_identical,
        "complete": report.is_complete,
        **report._asdict(),
        "findings": [
            {**finding._asdict(), "differences": [difference._asdict() for difference in finding.differences]}
            for finding in report.findings
        ],
        "replayed": [replayed._asdict() for replayed in report.replayed],
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()


def _lines(report: Report, save_state: Path | None) -> list[str]:
    lines = [finding.text for finding in report.findings]
    lines += [f"note: {note}" for note in report.notes]
    lines += [f"cannot be read on: {problem}" for problem in report.problems]
    lines += [
        f"{topic}, partition {partition}: replayed from offset {first:,} up to {end:,}"
        for topic, partition, first, end in report.replayed
    ]
    lines.append(
        f"{report.inputs:,} inputs replayed: {report.answers:,} orders, {report.events:,} phase events, "
        f"{report.dead_letters:,} dead letters, {report.ignored:,} ignored; {report.different:,} different"
    )
    for count, what in (
        (report.outside, "inputs outside of the span were recomputed, not compared"),
        (report.waiting, "inputs wait, no worker has taken them up"),
        (report.unproved, "records cannot be recomputed: the beginning of their portfolio's history was deleted"),
    ):
        if count:
            lines.append(f"{count:,} {what}")
    is_saved = save_state is not None and report.is_identical and report.is_complete
    if save_state is not None:
        lines.append(f"state saved to {save_state}" if is_saved else "state NOT saved: only one that is proved is")
    verdict = "identical" if report.is_identical else "DIFFERENT"
    lines.append(verdict if report.is_complete else f"{verdict}, but INCOMPLETE: see above what was not replayed")
    return lines
