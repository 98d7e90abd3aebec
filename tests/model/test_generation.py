"""The generator of the model's input: deterministic, and it reaches everything."""

from tests.model.coverage import EXPECTED, coverage
from tests.model.generate import generate
from tests.model.reference import simulate


def test_same_seed_same_lines() -> None:
    assert generate(3, 300) == generate(3, 300)
    assert generate(3, 50) != generate(4, 50)


def test_everything_is_reached() -> None:
    counts = coverage(output for seed in (3, 9) for output in simulate(generate(seed, 1200)))
    assert [name for name in EXPECTED if not counts[name]] == []
