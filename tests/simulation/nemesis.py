"""What goes wrong: by chance, at any step, several things at a time. Nothing destroys what Kafka has acknowledged."""

from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING

from tests.simulation.process import Process
from tests.simulation.scheduler import DAY, HOUR, MILLISECOND, SECOND

if TYPE_CHECKING:
    from tests.simulation.world import World

_MINUTE = 60 * SECOND
_KIND_CHANCE = 0.4
KINDS = {
    "kill": 4,
    "power cut": 1,
    "wipe": 1,
    "damage": 1,
    "freeze": 5,
    "thaw": 5,
    "usurp": 3,
    "rebalance": 3,
    "broker away": 2,
    "compact": 3,
    "expire": 2,
    "local compaction": 1,
    "clock jump": 2,
    "minutes": 4,
    "hours": 1,
    "days": 1,
}


class Nemesis:
    """Draws faults for a world."""

    def __init__(self, world: "World", kinds: Collection[str] | None = None) -> None:
        """`kinds`: what may go wrong; None: each schedule has a mixture of its own."""
        self.world = world
        self.counts: Counter[str] = Counter()
        self._long_passes = 2
        dice = world.scheduler.random
        if kinds is None:  # some kinds not at all, so that others show what they do alone
            kinds = [kind for kind in KINDS if dice.random() < _KIND_CHANCE] or ["kill"]
        self._kinds = list(kinds)
        self._weights = [KINDS[kind] for kind in self._kinds]

    def act(self) -> None:
        """Let something go wrong, if it can."""
        kind = self.world.scheduler.random.choices(self._kinds, self._weights)[0]
        if getattr(self, "_" + kind.replace(" ", "_"))():
            self.counts[kind] += 1

    def _processes(self) -> list[Process]:
        return [process for process in self.world.processes() if not process.is_frozen]

    def _victim(self) -> Process | None:
        processes = self._processes()
        return self.world.scheduler.random.choice(processes) if processes else None

    def _say(self, text: str) -> bool:
        self.world.scheduler.trace(f"nemesis: {text}")
        return True

    def _kill(self) -> bool:
        processes = self.world.processes()
        if not processes:
            return False
        process = self.world.scheduler.random.choice(processes)
        self._say(f"kill {process.name}")
        process.end(0, "killed")
        return True

    def _power_cut(self) -> bool:
        worker = self.world.scheduler.random.choice(self.world.workers)
        if worker.process is not None:
            worker.process.end(0, "power cut")
        worker.disk.lose_power()
        return self._say(f"power cut of {worker.name}")

    def _wipe(self) -> bool:
        worker = self.world.scheduler.random.choice(self.world.workers)
        if worker.process is not None:
            worker.process.end(0, "killed, its disk lost")
        worker.disk.wipe()
        return self._say(f"disk of {worker.name} lost")

    def _damage(self) -> bool:
        idle = [worker for worker in self.world.workers if worker.process is None]
        if not idle:
            return False
        worker = self.world.scheduler.random.choice(idle)
        worker.disk.damage()
        return self._say(f"a database of {worker.name} damaged")

    def _freeze(self) -> bool:
        process = self._victim()
        if process is None:
            return False
        process.is_frozen = True
        process.frozen_at = self.world.scheduler.now
        return self._say(f"freeze {process.name}")

    def _thaw(self) -> bool:
        frozen = [process for process in self.world.processes() if process.is_frozen]
        if not frozen:
            return False
        process = self.world.scheduler.random.choice(frozen)
        process.is_frozen = False
        return self._say(f"thaw {process.name}")

    def _usurp(self) -> bool:
        """Give the partitions to others while a member that lives hears nothing of it."""
        processes = self._processes()
        if len(processes) < 2:
            return False
        deaf = self.world.scheduler.random.choice(processes)
        others = [process for process in processes if process is not deaf]
        self._say(f"{deaf.name} is cut off from the group")
        self.world.group.rebalance(others, others)
        return True

    def _rebalance(self) -> bool:
        processes = self._processes()
        if not processes:
            return False
        self._say("rebalance")
        self.world.group.rebalance(processes, processes)
        return True

    def _broker_away(self) -> bool:
        dice = self.world.scheduler.random
        network = self.world.network
        network.back_at = self.world.scheduler.now + dice.choice((SECOND // 2, 5 * SECOND, 15 * SECOND, 90 * SECOND))
        return self._say("no broker answers")

    def _compact(self) -> bool:
        scheduler = self.world.scheduler
        log = scheduler.random.choice(self.world.changelogs())
        end = scheduler.random.randrange(log.stable + 1)
        return log.compact(end, scheduler.now) > 0 and self._say(f"{log.topic}/{log.partition} compacted to {end}")

    def _expire(self) -> bool:
        now = self.world.scheduler.now
        gone = sum(log.expire(now, 7 * DAY) for log in self.world.changelogs("signal_ids"))
        return gone > 0 and self._say(f"{gone} old offsets of signal_ids deleted")

    def _local_compaction(self) -> bool:
        gone = self.world.scheduler.random.choice(self.world.workers).disk.compact()
        return gone > 0 and self._say(f"{gone} expired local rows dropped")

    def _clock_jump(self) -> bool:
        dice = self.world.scheduler.random
        worker = dice.choice(self.world.workers)
        spread = dice.choice((20 * MILLISECOND, 10 * SECOND, 20 * _MINUTE, 6 * HOUR))
        worker.clock_ahead = dice.randrange(-spread, spread)
        return self._say(f"clock of {worker.name} is {worker.clock_ahead / SECOND} s ahead")

    def _minutes(self) -> bool:
        return self._pass(self.world.scheduler.random.randrange(40 * _MINUTE))

    def _hours(self) -> bool:
        return self._pass(self.world.scheduler.random.randrange(30 * HOUR))

    def _days(self) -> bool:
        return self._pass(self.world.scheduler.random.randrange(9 * DAY))

    def _pass(self, time: int) -> bool:
        if time > HOUR:
            if self._long_passes == 0:
                return False
            self._long_passes -= 1
        self.world.scheduler.now += time
        return self._say(f"{time / SECOND} s pass")
