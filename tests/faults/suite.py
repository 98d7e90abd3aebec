"""The fault suite: deployment after deployment, fault after fault, and a proof of each deployment's whole history."""

import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

from tests.faults.brokers import Brokers
from tests.faults.faults import FAULTS
from tests.faults.stage import Stage

_SESSIONS = (2.0, 6.0)
"""Seconds: the fast failover of the documentation, and the default."""

_FAULTS_PER_DEPLOYMENT = 20
_CALM_SECONDS = (0.5, 4.0)
_SHOWN = 40_000


@dataclass
class Result:
    """What a run of the suite saw."""

    seed: int
    faults: Counter[str] = field(default_factory=Counter)
    slowest: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """By fault: the longest time from its end until everything sent before was answered, in seconds."""
    exits: Counter[int] = field(default_factory=Counter)
    """By status: how often workers ended unasked. -9: killed by a fault."""
    sent: int = 0
    orders: int = 0
    deployments: int = 0
    violations: list[str] = field(default_factory=list)

    def table(self) -> str:
        """Return the faults as a Markdown table."""
        rows = ["| fault | times | slowest catch-up |", "|---|---|---|"]
        rows += [f"| {name} | {self.faults[name]} | {self.slowest[name]:.1f} s |" for name in sorted(self.faults)]
        return "\n".join(rows)

    def line(self) -> str:
        """Return the run in one line."""
        return (
            f"seed={self.seed} deployments={self.deployments} faults={self.faults.total()} events={self.sent}"
            f" orders={self.orders} doubts={self.exits[70]} violations={len(self.violations)}"
        )


def endure(
    folder: Path,
    *,
    seed: int,
    seconds: float,
    per_second: int,
    names: Sequence[str] = tuple(FAULTS),
    tell: Callable[[str], None] = print,
) -> Result:
    """Do faults to deployments for so many seconds, and prove each deployment's history at its end.

    A violation ends the run; its deployment's logs and data stay in `folder`.
    """
    result = Result(seed)
    dice = random.Random(seed)
    deadline = time.monotonic() + seconds
    weights = [FAULTS[name][1] for name in names]
    with Brokers(folder, Stage.names) as brokers:
        while time.monotonic() < deadline and not result.violations:
            session = _SESSIONS[result.deployments % len(_SESSIONS)]
            plan = dice.choices(names, weights, k=_FAULTS_PER_DEPLOYMENT)
            until_then = takewhile(lambda _: time.monotonic() < deadline, plan)
            play(brokers, folder, until_then, dice, result, per_second=per_second, session_seconds=session, tell=tell)
    return result


def play(
    brokers: Brokers,
    folder: Path,
    plan: Iterable[str],
    dice: random.Random,
    result: Result,
    *,
    per_second: int,
    session_seconds: float,
    tell: Callable[[str], None] = print,
) -> None:
    """Do one fault after the other to one new deployment, prove its history, and add what was seen to the result."""
    result.deployments += 1
    app_id = f"faults-{result.seed}-{result.deployments}"
    tell(f"deployment {app_id}, session timeout {session_seconds:g} s")
    seed = dice.randrange(10**6)
    stage = Stage(brokers, app_id, folder, seed=seed, per_second=per_second, session_seconds=session_seconds)
    try:
        stage.catch_up()
        for name in plan:
            if stage.violations:
                break
            _strike(stage, name, dice, result, tell)
        sent, orders = stage.close()
    finally:
        for slot in (*stage.slots.values(), stage.guest):
            slot.halt()
    result.sent += sent
    result.orders += orders
    result.exits += stage.exits()
    result.violations += stage.violations
    tell(f"deployment {app_id}: {sent} events, {orders} orders, violations {len(stage.violations)}")
    for violation in stage.violations:
        tell(violation[:_SHOWN])


def _strike(stage: Stage, name: str, dice: random.Random, result: Result, tell: Callable[[str], None]) -> None:
    stage.wait(dice.uniform(*_CALM_SECONDS))
    began = time.monotonic()
    done = FAULTS[name][0](stage, dice)
    lasted = time.monotonic() - began
    seconds = stage.catch_up()
    result.faults[name] += 1
    result.slowest[name] = max(result.slowest[name], seconds)
    tell(f"{name}: {done}; lasted {lasted:.1f} s, caught up {seconds:.1f} s later; {stage.flow.sent} events")
