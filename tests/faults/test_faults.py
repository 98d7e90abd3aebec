"""A short run of the fault suite on three real brokers: nothing lost, doubled or wrong. `make faults` lasts longer."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.brokers import Brokers
from tests.faults.stage import Stage
from tests.faults.suite import Result, play

SEED = 20260119
EVENTS_PER_SECOND = 200
FAST_SECONDS, DEFAULT_SECONDS = 2.0, 6.0


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers]:
    with Brokers(tmp_path_factory.mktemp("brokers"), Stage.names) as running:
        yield running


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("seed", "plan", "session_seconds"),
    [
        (SEED, ["crash-point", "wipe", "damaged-disk", "full-disk", "pause", "terminate"], FAST_SECONDS),
        (SEED + 1, ["kill-broker", "one-way", "reset", "black-hole", "thief"], DEFAULT_SECONDS),
        (SEED + 2, ["moody-desk", "clock", "crash-point", "come-and-go", "kill-all"], FAST_SECONDS),
    ],
    ids=["worker and disk", "brokers and network", "desk and clock"],
)
def test_faults(brokers: Brokers, tmp_path: Path, seed: int, plan: list[str], session_seconds: float) -> None:
    result = Result(seed)  # a deployment's name: the topics of the one before are deleted, but not at once
    dice = random.Random(seed)
    play(brokers, tmp_path, plan, dice, result, per_second=EVENTS_PER_SECOND, session_seconds=session_seconds)
    print(result.line())
    assert result.violations == []
    assert result.faults.total() == len(plan)
    assert result.orders > 0
