"""What is done to a deployment that answers a steady flow: each fault strikes, lasts, and is taken back.

A fault gets the stage and dice, and returns what exactly it did, for the log. Afterwards everything that it broke is
mended, so that the deployment must catch up by itself.
"""

import random
import resource
import signal
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException, Producer

from tests.faults.desk import MOODS
from tests.faults.fleet import Slot, damage
from tests.faults.proxy import FAIR, Weather
from tests.faults.worker import POINTS

if TYPE_CHECKING:
    from tests.faults.stage import Stage

_LONGER_THAN_TRANSACTIONS = 13.0
"""Seconds. A broker aborts a transaction after 10; sessions of this suite are shorter."""

Fault = Callable[["Stage", random.Random], str]


def _victim(stage: "Stage", dice: random.Random) -> Slot:
    return stage.slots[dice.choice(stage.names)]


def kill(stage: "Stage", dice: random.Random) -> str:
    """Kill -9 of one worker."""
    victim = _victim(stage, dice)
    victim.kill()
    return victim.name


def kill_all(stage: "Stage", dice: random.Random) -> str:
    """Kill -9 of all workers at once."""
    for slot in stage.slots.values():
        slot.kill()
    return "all"


def crash(stage: "Stage", dice: random.Random) -> str:
    """Kill -9 exactly before or after one effect of taking over a partition, or of a commit."""
    victim, point, count = _victim(stage, dice), dice.choice(POINTS), dice.randint(1, 4)
    exits = sum(victim.exits.values())
    if point.startswith(("fence", "restore", "open")):
        victim.kill()  # so that it takes over partitions, and dies of that
        count, exits = 1, exits + 1
    victim.order(f"crash {point} {count}")
    is_reached = stage.wait_until(lambda: sum(victim.exits.values()) > exits, 15)
    victim.order("")
    return f"{victim.name} at {point}, time {count}{'' if is_reached else ', not reached'}"


def wipe(stage: "Stage", dice: random.Random) -> str:
    """Kill -9 of one worker, and its disk is lost."""
    victim = _victim(stage, dice)
    victim.halt()
    victim.wipe()
    victim.start()
    return victim.name


def damaged_disk(stage: "Stage", dice: random.Random) -> str:
    """Kill -9 of one worker, and some of its files are damaged."""
    victim = _victim(stage, dice)
    victim.halt()
    count = damage(victim.data, dice)
    victim.start()
    return f"{victim.name}, {count} files"


def full_disk(stage: "Stage", dice: random.Random) -> str:
    """One worker can write nothing more to its files: what a full disk and one that became read-only do."""
    victim = _victim(stage, dice)
    pid = victim.pid
    if pid is not None:
        exits = sum(victim.exits.values())
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        stage.wait_until(lambda: sum(victim.exits.values()) > exits, 20)
    return victim.name


def pause(stage: "Stage", dice: random.Random) -> str:
    """SIGSTOP of one worker until its session and its transactions have expired; then it goes on as if nothing was."""
    victim = _victim(stage, dice)
    victim.send(signal.SIGSTOP)
    stage.wait(_LONGER_THAN_TRANSACTIONS)
    victim.send(signal.SIGCONT)
    return victim.name


def short_pause(stage: "Stage", dice: random.Random) -> str:
    """SIGSTOP of one worker, about as long as its session."""
    victim, seconds = _victim(stage, dice), dice.uniform(0.5, 2) * stage.session_seconds
    victim.send(signal.SIGSTOP)
    stage.wait(seconds)
    victim.send(signal.SIGCONT)
    return f"{victim.name} for {seconds:.1f} s"


def pause_all(stage: "Stage", dice: random.Random) -> str:
    """SIGSTOP of all workers until their sessions and transactions have expired."""
    for slot in stage.slots.values():
        slot.send(signal.SIGSTOP)
    stage.wait(_LONGER_THAN_TRANSACTIONS)
    for slot in stage.slots.values():
        slot.send(signal.SIGCONT)
    return "all"


def terminate(stage: "Stage", dice: random.Random) -> str:
    """SIGTERM of one worker under load, and it comes back."""
    victim = _victim(stage, dice)
    status = victim.stop()
    victim.start()
    return f"{victim.name}, status {status}"


def rolling_restart(stage: "Stage", dice: random.Random) -> str:
    """SIGTERM and a new start of each worker in turn."""
    statuses = []
    for slot in stage.slots.values():
        statuses.append(slot.stop())
        slot.start()
        stage.catch_up()
    return f"statuses {statuses}"


def come_and_go(stage: "Stage", dice: random.Random) -> str:
    """Add and remove a further worker every few seconds."""
    for _ in range(3):
        stage.guest.start()
        stage.wait(dice.uniform(1, 5))
        if dice.random() < 0.5:
            stage.guest.halt()
        else:
            stage.guest.stop()
    return "three times"


def kill_broker(stage: "Stage", dice: random.Random) -> str:
    """Kill -9 of one of three brokers, which is away for some seconds."""
    node, seconds = dice.choice(list(stage.brokers.nodes)), dice.uniform(1, 20)
    stage.brokers.kill(node)
    stage.wait(seconds)
    stage.brokers.start(node)
    return f"{node} for {seconds:.0f} s"


def kill_brokers(stage: "Stage", dice: random.Random) -> str:
    """Kill -9 of all brokers; 30 seconds without any."""
    stage.brokers.kill()
    stage.wait(30)
    stage.brokers.start()
    return "all for 30 s"


def _weather(stage: "Stage", dice: random.Random, weather: Weather, seconds: float) -> str:
    name = dice.choice(stage.names)
    network = stage.brokers.networks[name]
    network.become(weather)
    stage.wait(seconds)
    network.become(FAIR)
    return f"{name} for {seconds:.0f} s"


def latency(stage: "Stage", dice: random.Random) -> str:
    """One worker's way to the brokers takes 50 to 400 ms longer, both ways."""
    return _weather(stage, dice, Weather(delay=dice.uniform(0.05, 0.4)), 8)


def slow_network(stage: "Stage", dice: random.Random) -> str:
    """One worker's way to the brokers carries 20 to 200 kB a second."""
    return _weather(stage, dice, Weather(bytes_per_second=dice.uniform(20e3, 200e3)), 8)


def black_hole(stage: "Stage", dice: random.Random) -> str:
    """One worker's way to the brokers carries nothing, and no connection ends."""
    return _weather(stage, dice, Weather(carries_up=False, carries_down=False), dice.choice((3, 8, 15)))


def one_way(stage: "Stage", dice: random.Random) -> str:
    """One worker's way carries only requests (their answers are lost to it), or only answers."""
    carries_up = dice.random() < 0.7
    said = _weather(stage, dice, Weather(carries_up=carries_up, carries_down=not carries_up), dice.choice((3, 8, 15)))
    return f"{said}, only {'requests' if carries_up else 'answers'}"


def reset(stage: "Stage", dice: random.Random) -> str:
    """All connections of one worker are reset, several times."""
    name = dice.choice(stage.names)
    for _ in range(5):
        stage.brokers.networks[name].reset()
        stage.wait(dice.uniform(0.05, 1.5))
    return name


def clock(stage: "Stage", dice: random.Random) -> str:
    """One worker's clock jumps by two hours, forth or back, and later is right again."""
    victim, hours = _victim(stage, dice), dice.choice((2, -2))
    victim.order(f"clock {hours * 3600}")
    stage.wait(5)
    victim.order("")
    return f"{victim.name} by {hours:+} h"


def thief(stage: "Stage", dice: random.Random) -> str:
    """Another program takes a transactional id of a worker."""
    name = f"{stage.settings.app_id}-{dice.randrange(stage.partitions)}-{dice.randrange(2)}"
    producer = Producer(
        {"bootstrap.servers": stage.brokers.bootstrap_servers, "transactional.id": name, "log_level": 0}
    )
    try:
        producer.init_transactions(20)
    except KafkaException as error:
        return f"{name}: {error.args[0].name()}"
    finally:
        producer.close()
    return name


def moody_desk(stage: "Stage", dice: random.Random) -> str:
    """Have the desk send bad, misplaced, repeated, late or very large records among the good ones."""
    stage.flow.mood = dice.choice([mood for mood in MOODS if mood != "good"])
    said = stage.flow.mood
    stage.wait(5)
    stage.flow.mood = "good"
    return said


def sleepy_consumer(stage: "Stage", dice: random.Random) -> str:
    """Let the consumer of the answers stand still."""
    stage.watcher.asleep.set()
    stage.wait(5)
    stage.watcher.asleep.clear()
    return ""


FAULTS: Mapping[str, tuple[Fault, float]] = {
    "kill": (kill, 3),
    "kill-all": (kill_all, 2),
    "crash-point": (crash, 8),
    "wipe": (wipe, 2),
    "damaged-disk": (damaged_disk, 2),
    "full-disk": (full_disk, 2),
    "pause": (pause, 2),
    "short-pause": (short_pause, 3),
    "pause-all": (pause_all, 1),
    "terminate": (terminate, 2),
    "rolling-restart": (rolling_restart, 1),
    "come-and-go": (come_and_go, 2),
    "kill-broker": (kill_broker, 3),
    "kill-brokers": (kill_brokers, 1),
    "latency": (latency, 1),
    "slow-network": (slow_network, 1),
    "black-hole": (black_hole, 2),
    "one-way": (one_way, 2),
    "reset": (reset, 2),
    "clock": (clock, 2),
    "thief": (thief, 2),
    "moody-desk": (moody_desk, 4),
    "sleepy-consumer": (sleepy_consumer, 1),
}
"""By name: the fault, and how often it is chosen, relative to the others."""
