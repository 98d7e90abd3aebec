"""The notebooks of the documentation run, on a history of today's code; they are kept without outputs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.core.exposure import order_exposure
from app.replay import export, steps
from tests.history import Day, MemorySource

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))
SEED = 5


def code(notebook: Path) -> Iterator[dict[str, Any]]:
    return (cell for cell in orjson.loads(notebook.read_bytes())["cells"] if cell["cell_type"] == "code")


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_kept_without_outputs(notebook: Path) -> None:
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code(notebook))


def test_replay_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    print(f"seed {SEED}")
    source = MemorySource({topic: list(log) for topic, log in Day(SEED).records.items()})
    export(source, tmp_path / "raw", "jsonl")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAW", "raw")
    names: dict[str, Any] = {}
    notebook = next(path for path in NOTEBOOKS if path.stem == "replay")
    for cell in code(notebook):
        exec("".join(cell["source"]), names)
    assert "identical" in capsys.readouterr().out.splitlines()
    trades = [trade for step in steps(source, trades=True) for trade in step.trades]
    found = {row[0]: row[3] for row in names["by_portfolio"].fetchall()}
    for portfolio, profit in found.items():
        assert profit == sum(trade.result for trade in trades if trade.portfolio_id == portfolio)
    assert sum(row[1] for row in names["outcomes"].fetchall()) > 200
    assert names["skipped"].skip_reason == "EXPOSURE_LIMIT"
    assert sum(map(order_exposure, names["exposing"])) == names["skipped"].exposure_before
