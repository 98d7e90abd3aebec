"""The bytes that are published, kept: a change of any of them is a change of the contract."""

from pathlib import Path

from app.core.policy import TABLE_POLICY
from app.processor.simulation import Simulation

FOLDER = Path(__file__).parent


def test_a_day_at_the_desk() -> None:
    lines = (FOLDER / "a_day.input.jsonl").read_bytes().splitlines()
    answers = b"".join(Simulation(TABLE_POLICY).run(lines))
    assert answers == (FOLDER / "a_day.expected.jsonl").read_bytes()
