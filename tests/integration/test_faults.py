"""Ten faults in a row under load: nothing lost, doubled or contradicted, and every decision recomputed identically."""

import random
import shutil
import signal
from pathlib import Path

import pytest

from app.broker import Broker
from app.replay import recompute_topics
from app.topics import SIGNALS
from tests.integration.cluster import Deployment, Worker, load
from tests.integration.traffic import Traffic

EVENTS_PER_SECOND = 300
FAULTS = ("kill", "pause", "stop", "wipe")
SEED = 20260105


def strike(fault: str, deployment: Deployment, workers: dict[str, Worker], name: str) -> None:
    """Do one fault to a worker, let the other take over, and bring it back."""
    victim = workers[name]
    survivor = next(worker for other, worker in workers.items() if other != name)
    takeovers = survivor.said.count("assigned")
    if fault == "pause":
        victim.send(signal.SIGSTOP)
    elif fault == "stop":
        assert victim.stop() == 0
    else:
        victim.kill()
    survivor.wait_for("assigned", takeovers + 1)
    if fault == "pause":
        resume(victim)
    if fault == "wipe":
        shutil.rmtree(deployment.folder / name)
    if victim.has_ended:
        workers[name] = deployment.started(name)


def resume(zombie: Worker) -> None:
    """Let a paused worker run again: it joins anew, or is in doubt, if it was in a transaction."""
    assignments = zombie.said.count("assigned")
    zombie.send(signal.SIGCONT)
    try:
        zombie.wait_for("assigned", assignments + 1)
    except AssertionError:
        assert zombie.wait() == 70, zombie.said


@pytest.mark.timeout(400)
def test_ten_faults_in_a_row(broker: Broker, tmp_path: Path) -> None:
    dice = random.Random(SEED)
    deployment = Deployment(broker.bootstrap_servers, "ten-faults", tmp_path)
    deployment.create_topics()
    workers = {name: deployment.start(name) for name in ("a", "b")}
    try:
        for worker in workers.values():
            worker.wait_for("ready")
        with load(deployment, Traffic(SEED), EVENTS_PER_SECOND) as sent:
            for number in range(10):
                strike(FAULTS[number % len(FAULTS)], deployment, workers, dice.choice(("a", "b")))
        signals = sum(record.topic == SIGNALS for record in sent)
        deployment.wait_for_answers(signals)
        assert {worker.stop() for worker in workers.values()} == {0}
    finally:
        deployment.close()
    report = recompute_topics(deployment.settings)
    print(report)
    assert report.differences == ()
    assert (report.lost, report.doubled, report.contradicted) == (0, 0, 0)
    assert report.signals == report.orders == report.recomputed == signals
