"""Hundreds of schedules with everything that goes wrong; the same seed is the same schedule; planted bugs are found."""

import os
import subprocess
import sys

import pytest

from tests.simulation.runner import run_many
from tests.simulation.world import run

SEEDS = range(200)
REPLAYED = 7
JOBS = 2

FOUND_WITHIN = {
    "position_moves_back": (60, "rebalance,freeze,thaw"),
    "restore_before_fence": (700, "freeze,thaw,broker away"),
    "write_before_commit": (150, "kill,broker away"),
    "duplicates_forgotten": (60, "kill,wipe"),
    "expired_row_counted": (300, "days,kill"),
}
"""Seeds among which the simulation finds a planted bug, at least ten times as many as it takes on average; and the
faults that show it, because schedules with others too need more."""


def test_schedules_with_faults_break_nothing() -> None:
    print(f"seeds {SEEDS}")
    summary = run_many(SEEDS, jobs=JOBS)
    print(summary)
    assert summary.failures == {}
    assert summary.orders > 1_000
    assert len(summary.faults) > 12, "too little goes wrong"


def test_the_same_seed_is_the_same_schedule_in_another_process_too() -> None:
    here = run(REPLAYED)
    assert run(REPLAYED).trace_hash == here.trace_hash
    assert run(REPLAYED + 1).trace_hash != here.trace_hash
    for hash_seed in ("1", "2"):
        told = subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--seed", str(REPLAYED)],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        assert f"trace {here.trace_hash}," in told


@pytest.mark.parametrize("bug", FOUND_WITHIN)
def test_a_planted_bug_is_found(bug: str) -> None:
    limit, kinds = FOUND_WITHIN[bug]
    summary = run_many(range(limit), jobs=1, kinds=kinds.split(","), bug=bug, is_first_enough=True)
    print(summary)
    assert summary.failures
