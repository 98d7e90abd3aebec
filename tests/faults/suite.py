"""The fault suite: deployment after deployment, fault after fault, and a proof of each deployment's whole history."""

import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.brokers import Brokers
from tests.faults.faults import FAULTS
from tests.faults.stage import Stage

_SESSIONS = (2.0, 6.0)
"""Seconds: the fast failover of the documentation, and the default."""

_CALM_SECONDS = (1.0, 5.0)
_SHOWN = 3_000


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


def run(
    folder: Path,
    *,
    seed: int,
    seconds: float,
    per_second: int,
    faults_per_deployment: int = 20,
    names: Sequence[str] = tuple(FAULTS),
    tell: Callable[[str], None] = print,
) -> Result:
    """Do faults to deployments for so many seconds, and prove each deployment at its end.

    A violation ends the run; its deployment's topics, logs and data stay in `folder` as long as the brokers live.
    """
    result = Result(seed)
    dice = random.Random(seed)
    deadline = time.monotonic() + seconds
    with Brokers(folder, Stage.names) as brokers:
        while time.monotonic() < deadline and not result.violations:
            result.deployments += 1
            session = _SESSIONS[result.deployments % len(_SESSIONS)]
            app_id = f"faults-{seed}-{result.deployments}"
            tell(f"deployment {app_id}, session timeout {session:g} s")
            stage = Stage(
                brokers, app_id, folder, seed=dice.randrange(10**6), per_second=per_second, session_seconds=session
            )
            try:
                stage.catch_up()
                chosen = dice.choices(names, [FAULTS[name][1] for name in names], k=faults_per_deployment)
                for name in chosen:
                    if time.monotonic() > deadline or stage.violations:
                        break
                    _strike(stage, name, dice, result, tell)
                sent, orders = stage.close()
                result.sent += sent
                result.orders += orders
                result.exits += stage.exits()
                result.violations += stage.violations
                tell(f"deployment {app_id}: {sent} events, {orders} orders, violations {len(stage.violations)}")
            finally:
                for slot in (*stage.slots.values(), stage.guest):
                    slot.halt()
        for violation in result.violations:
            tell(violation[:_SHOWN])
    return result


def _strike(stage: Stage, name: str, dice: random.Random, result: Result, tell: Callable[[str], None]) -> None:
    stage.wait(dice.uniform(*_CALM_SECONDS))
    began = time.monotonic()
    done = FAULTS[name][0](stage, dice)
    lasted = time.monotonic() - began
    seconds = stage.catch_up()
    result.faults[name] += 1
    result.slowest[name] = max(result.slowest[name], seconds)
    tell(f"{name}: {done}; lasted {lasted:.1f} s, caught up {seconds:.1f} s later; {stage.flow.sent} events")
