"""The judgement of the guard against growing slower, with planted numbers."""

from pathlib import Path

import pytest

from app.errors import UserError
from bench.guard import RECORDED, judge, read_recorded


def test_a_ratio_that_is_over_a_fifth_worse_is_found() -> None:
    is_good, line = judge(1.81, recorded=1.5)
    assert not is_good
    assert line == "SLOWER: cpu_vs_plain=1.81, recorded 1.50: +21%, allowed +20%"


@pytest.mark.parametrize("measured", [0.5, 1.5, 1.79])
def test_a_ratio_that_is_better_equal_or_within_the_noise_passes(measured: float) -> None:
    is_good, line = judge(measured, recorded=1.5)
    assert is_good
    assert line.startswith(f"ok: cpu_vs_plain={measured:.2f}, recorded 1.50: ")


def test_the_recorded_ratio_is_there() -> None:
    assert read_recorded(RECORDED) > 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no recorded.json: `python -m bench.guard --record` writes it"),
        ("{", "is no JSON object with cpu_vs_plain"),
        ("[]", "is no JSON object with cpu_vs_plain"),
        ('{"cpu_vs_plain": "fast"}', "cpu_vs_plain is 'fast', expected a number above 0"),
        ('{"cpu_vs_plain": 0}', "cpu_vs_plain is 0, expected a number above 0"),
    ],
)
def test_a_record_that_is_none_is_told(tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "recorded.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UserError, match="--record") as raised:
        read_recorded(file)
    assert message in str(raised.value)
