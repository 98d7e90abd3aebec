"""Making a report from a source, for the command and for programs."""

import os
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from app.errors import UserError
from app.replay import Report as Verdict
from app.replay import Source, Span
from app.replay.replaying import Progress, no_progress


def make_report(
    source: Source,
    out: Path | str,
    *,
    portfolios: Sequence[str] = (),
    span: Span = Span(),  # noqa: B008 - a value, never changed
    progress: Progress = no_progress,
    processes: int | None = None,
) -> Verdict:
    """Write the page of a history, and return what the history proves; the page says it too.

    `portfolios`: only these; none: all. `span`: only what is in it is shown. A page that was there is replaced, whole.
    Raises UserError if the history cannot be read at all, a portfolio is nowhere in it, packages are missing, or the
    page cannot be written.
    """
    try:
        from app.report.page import Scope, render
    except ModuleNotFoundError as error:
        raise UserError(
            f"a report needs the package {error.name}: `make analysts`, or install position-sizer[report]"
        ) from None
    from app.report.collect import collect

    out = Path(out)
    if not out.parent.is_dir():
        raise UserError(f"{out}: there is no folder {out.parent}")
    collected = collect(source, portfolios=portfolios, span=span, progress=progress, processes=processes)
    scope = Scope(source.where, tuple(portfolios), span.since, span.until)
    _write(out, render(collected, scope, datetime.now(UTC)))
    return collected.verdict


def _write(out: Path, page: str) -> None:
    try:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=out.parent, delete=False) as file:
            try:
                file.write(page)
                file.flush()
                umask = os.umask(0)
                os.umask(umask)
                os.fchmod(file.fileno(), 0o666 & ~umask)
                Path(file.name).replace(out)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror})") from None
