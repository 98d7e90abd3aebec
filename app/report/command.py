"""`sizer report` as a command: progress, the verdict in a line, the exit status."""

from collections.abc import Sequence
from pathlib import Path

from app.replay import Span
from app.replay.replay_command import DIFFERENT, IDENTICAL, INCOMPLETE, source_of
from app.replay.watching import watched
from app.report.making import make_report


def run_report(folder: Path | None, out: Path, portfolios: Sequence[str], span: Span) -> int:
    """Write the page, say what is proved and return the exit status, as of a replay. Raises UserError."""
    source = source_of(folder)
    with watched("report") as progress:
        verdict = make_report(source, out, portfolios=portfolios, span=span, progress=progress)
    told = "identical" if verdict.is_identical else "DIFFERENT: the page names what is"
    whole = "" if verdict.is_complete else ", but INCOMPLETE: the page says from where on"
    print(f"{out}: {out.stat().st_size:,} bytes, {verdict.inputs:,} inputs recomputed, {told}{whole}")
    if not verdict.is_identical:
        return DIFFERENT
    return IDENTICAL if verdict.is_complete else INCOMPLETE
