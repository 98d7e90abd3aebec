"""`sizer explain` as a command: progress, the text or the document, the exit status."""

from pathlib import Path

from app.errors import UserError
from app.replay.documents import as_json
from app.replay.explaining import Explained, explain
from app.replay.replay_command import DIFFERENT, IDENTICAL, INCOMPLETE, source_of
from app.replay.telling import is_narrow, link, show, tell
from app.replay.watching import watched


def run_explain(
    wanted: str, folder: Path | None, portfolio: str | None, report: Path | None = None, *, is_json: bool
) -> int:
    """Explain an id, print it and return the exit status. Raises UserError if nothing can be read.

    `report`: a page of `sizer report`; each order is told with its place in it.
    """
    source = source_of(folder)
    with watched("explain") as progress:
        explained = explain(source, wanted, portfolio=portfolio, progress=progress)
    try:
        if is_json:
            print(as_json(_document(explained, report)), flush=True)
        else:
            show(tell(explained, narrow=is_narrow(), report=report))
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(f"the explanation could not be written: {error.strerror}") from None
    if explained.problems or not explained.is_complete:
        return INCOMPLETE
    return IDENTICAL if explained.is_identical else DIFFERENT


def _document(explained: Explained, report: Path | None) -> dict[str, object]:
    links = [link(report, found) for found in explained.explanations]
    return {
        "identical": explained.is_identical,
        "complete": explained.is_complete,
        **explained._asdict(),
        "report": [place for place in links if place is not None],
    }
