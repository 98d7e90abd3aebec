"""The command against the reference model: two implementations that share nothing but the contract."""

import sys

import pytest

from tests.model.compare import BAD_LINES, compare_bad_line, compare_seed

COMMAND = f"{sys.executable} -m app.cli simulate"


@pytest.mark.parametrize(("seed", "count"), [(0, 500), *((seed, 400) for seed in range(1, 9))])
def test_the_command_answers_as_the_model(seed: int, count: int) -> None:
    difference, coverage = compare_seed(COMMAND, seed, count)
    assert difference is None, f"seed {seed}\n{difference}"
    assert coverage["decision SIZED"]


@pytest.mark.parametrize("line", BAD_LINES[::3], ids=range(len(BAD_LINES[::3])))
def test_the_command_refuses_what_the_model_refuses(line: bytes) -> None:
    assert compare_bad_line(COMMAND, line) is None
