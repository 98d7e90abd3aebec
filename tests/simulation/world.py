"""One schedule: a cluster, workers, neighbours and what goes wrong, step by step, all by one seed."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from app.core.policy import TABLE_POLICY, Policy
from app.processor import TABLES
from app.settings import Settings
from app.stream.store import _OFFSET_KEY, LocalTable
from app.stream.topics import TopicFacts, changelog_topic, topic_specs
from app.topics import INPUTS
from tests.simulation import checks
from tests.simulation.checks import ViolationError, Watch
from tests.simulation.cluster import TOMBSTONE_SECONDS, Cluster, Log
from tests.simulation.disk import Rdict
from tests.simulation.group import Group
from tests.simulation.nemesis import Nemesis
from tests.simulation.network import Network
from tests.simulation.patches import installed
from tests.simulation.planted import planted
from tests.simulation.process import Process, Worker
from tests.simulation.producing import Producer
from tests.simulation.scheduler import MILLISECOND, SECOND, Scheduler
from tests.simulation.workload import Workload

SETTINGS = Settings(
    bootstrap_servers="simulated:9092", app_id="sizer", topic_prefix="", policy_file=None, partitioner="murmur2"
)
TIGHTER = Policy({"confidence_minimum": "0.65", "reservation_ttl": 300})
HEAL_STEPS = 8_000
REFUSED = 2
_SESSION = 6 * SECOND
_LOOK_EVERY = 16
_IDLE_NEMESIS_CHANCE = 0.3
_TIME_CHANCE = 0.02
_INPUT_WEIGHT = 60


@dataclass
class Result:
    """How a schedule went."""

    seed: int
    violations: list[str]
    steps: int
    trace_hash: str
    faults: Counter[str]
    events: int
    orders: int
    endings: Counter[int] = field(default_factory=Counter)
    lines: list[str] = field(default_factory=list)


def run(seed: int, *, kinds: Collection[str] | None = None, bug: str | None = None, keep_trace: bool = False) -> Result:
    """Run one schedule and check it.

    `kinds`: of what goes wrong; None: by the seed. `bug`: planted while it runs, not while it is checked.
    """
    world = World(seed, kinds, keep_trace=keep_trace)
    with installed(**world.limits), planted(bug):
        world.play()
    return world.check()


class World:
    """All parts of a schedule."""

    def __init__(self, seed: int, kinds: Collection[str] | None = None, *, keep_trace: bool = False) -> None:
        self.seed = seed
        self.scheduler = scheduler = Scheduler(seed, keep_trace=keep_trace)
        self.dice = dice = scheduler.random
        scheduler.stay = dice.choice((0.4, 0.7, 0.85, 0.93))
        topics = {spec.name: f"id-{spec.name}" for spec in topic_specs(SETTINGS)}
        self.cluster = Cluster(topics, dice.choice((1, 1, 2)), lambda: scheduler.now)
        self.network = Network(self.cluster, scheduler)
        self.network.fault_chance = dice.choice((0, 0, 0.01, 0.05))
        self.group = Group(scheduler, self.cluster.partitions)
        self.workers = [Worker(scheduler, name) for name in "abc"[: dice.choice((1, 2, 2, 3))]]
        self.workload = Workload(
            scheduler, self.cluster, {topic: SETTINGS.topic(topic) for topic in INPUTS}, dice.randrange(10, 70)
        )
        self.nemesis = Nemesis(self, kinds)
        self.watch = Watch(self.cluster, SETTINGS)
        self.ended: list[Process] = []
        self.is_idle = False
        self.violations: list[str] = []
        self.chaos_steps = dice.randrange(100, 900)
        self.nemesis_chance = dice.choice((0.002, 0.005, 0.015, 0.04))
        self.policies = dice.choice(([TABLE_POLICY], [TABLE_POLICY], [TABLE_POLICY], [TABLE_POLICY, TIGHTER]))
        self.limits = {
            "task__BATCH_LIMIT": dice.choice((1, 4, 12)),
            "task___SLICE": dice.choice((1, 3)),
            "reader__READY_LIMIT": dice.choice((2, 30)),
            "reader__HELD_UP_LIMIT": dice.choice((2, 8)),
            "reader___READ_RECORDS": dice.choice((2, 20)),
            "reader___READ_SECONDS": dice.choice((1, 5)),
            "standby___READ_SECONDS": dice.choice((1, 5)),
            "restore___LOADED_ROWS": dice.choice((1, 10, 1_000)),
        }
        self.queue_limit = dice.choice((3, 10_000))
        self.facts = TopicFacts(
            self.cluster.partitions,
            {table: topics[changelog_topic(SETTINGS, table)] for table in TABLES},
            dict.fromkeys(TABLES, float(TOMBSTONE_SECONDS)),
        )

    def play(self) -> None:
        """Let things happen and go wrong, then heal, until all that was sent is processed."""
        Network.active = self.network
        Rdict.disks = {worker.disk.name: worker.disk for worker in self.workers}
        Producer.queue_limit = self.queue_limit
        try:
            self._chaos()
            self._heal()
            self.violations += self._local_differences()
        except ViolationError as violation:
            self.violations.append(str(violation))
        finally:
            for process in self.processes():
                process.end(0, "the schedule is over")
            self._bury()

    def check(self) -> Result:
        """Check what was published, and how processes ended."""
        if not self.violations:
            self.violations += checks.final(self.cluster, SETTINGS)
        self.violations += [
            f"{process.name} ended with {process.status}: {process.reason} {process.error!r}"
            for process in self.ended
            if process.status == REFUSED or process.error is not None
        ]
        return Result(
            self.seed,
            self.violations,
            self.scheduler.steps,
            self.scheduler.trace_hash,
            self.nemesis.counts + Counter({"request": self.network.faults}),
            self.workload.sent,
            self.watch.orders,
            Counter(process.status or 0 for process in self.ended),
            self.scheduler.lines or [],
        )

    def processes(self) -> list[Process]:
        """Return the processes that live."""
        return [worker.process for worker in self.workers if worker.process is not None and not worker.process.is_dead]

    def changelogs(self, *tables: str) -> list[Log]:
        """Return all partitions of these tables' changelogs, of all if none is given."""
        return [
            self.cluster.log(changelog_topic(SETTINGS, table), number)
            for table in tables or TABLES
            for number in range(self.cluster.partitions)
        ]

    def _chaos(self) -> None:
        scheduler = self.scheduler
        while scheduler.steps < self.chaos_steps:
            if self.dice.random() < (_IDLE_NEMESIS_CHANCE if self.is_idle else self.nemesis_chance):
                self.nemesis.act()
                self._bury()
            self._step()

    def _heal(self) -> None:
        """Let everything work again, and all that was sent be processed."""
        scheduler = self.scheduler
        scheduler.trace("heal")
        self.network.fault_chance = 0
        self.network.back_at = 0
        self.workload.budget = 0
        self.workload.settle()
        for process in self.processes():
            process.is_frozen = False
        limit = scheduler.steps + HEAL_STEPS
        while not self._is_settled():
            for _ in range(20):
                self._step()
            if scheduler.steps > limit:
                raise ViolationError(f"I6: nothing goes on: {self._state()}")
        self.watch.look()

    def _is_settled(self) -> bool:
        """Tell whether all inputs are processed for good, and nothing is in the air."""
        processes = self.processes()
        assignment = self.group.assignment
        if self.cluster.pending() or self.network.late or assignment is None or assignment.told != processes:
            return False
        if any(process.settled is not assignment for process in processes):
            return False
        for number, owner in assignment.owners.items():
            worker = next(worker for worker in self.workers if worker.name == owner)
            task = worker.process and worker.process.partitions.tasks.get(number)
            if task is None or any(
                task.committed_positions[topic] < self.cluster.log(SETTINGS.topic(topic), number).end
                for topic in INPUTS
            ):
                return False
        return len(processes) == len(self.workers)

    def _state(self) -> str:
        where = {
            f"{topic}/{number}": self.cluster.log(SETTINGS.topic(topic), number).end
            for topic in INPUTS
            for number in range(self.cluster.partitions)
        }
        tasks = {
            f"{process.name}/{number}": dict(task.committed_positions)
            for process in self.processes()
            if process.is_member
            for number, task in process.partitions.tasks.items()
        }
        endings = [(process.name, process.status, process.reason) for process in self.ended[-3:]]
        return f"inputs end at {where}, committed {tasks}, last endings {endings}"

    def _step(self) -> None:
        """Choose who goes on, and let it."""
        scheduler = self.scheduler
        choices: list[tuple[Any, ...]] = []
        weights: list[int] = []

        def add(weight: int, function: Any, *args: Any) -> None:
            choices.append((function, *args))
            weights.append(weight)

        for fiber in scheduler.runnable():
            add(8, scheduler.run, fiber)
        self._brokers(add)
        self._producers(add)
        self._members(add)
        scheduler.steps += 1
        self.is_idle = not choices
        if self.is_idle or self.dice.random() < _TIME_CHANCE:
            self._pass_time()
        else:
            function, *args = self.dice.choices(choices, weights)[0]
            scheduler.now += self.dice.randrange(2 * MILLISECOND)
            function(*args)
        self._bury()
        if scheduler.steps % _LOOK_EVERY == 0:
            self.watch.look()

    def _brokers(self, add: Any) -> None:
        pending = self.cluster.pending()
        if pending:
            add(8, self._mark, pending)
        for overdue in self.cluster.overdue():
            add(4, self._abort, overdue)
        if self.network.late:
            add(1, self.network.arrive)

    def _producers(self, add: Any) -> None:
        if self.workload.budget > 0 and self.dice.random() < self.workload.budget / max(
            1, self.chaos_steps - self.scheduler.steps
        ):
            add(_INPUT_WEIGHT, self.workload.act)

    def _members(self, add: Any) -> None:
        for worker in self.workers:
            if worker.process is None:
                add(2, self._start, worker)
        now = self.scheduler.now
        members = [
            process
            for process in self.processes()
            if process.is_member and (not process.is_frozen or now - process.frozen_at < _SESSION)
        ]
        if members and self.group.needs_rebalance(members):
            add(3, self.group.rebalance, members, members)

    def _start(self, worker: Worker) -> None:
        policy = self.dice.choice(self.policies)
        process = Process(worker, self.scheduler, self.cluster, SETTINGS, policy, self.facts)
        self.scheduler.trace(f"start {process.name}")

    def _mark(self, pending: list[Any]) -> None:
        found, log = self.dice.choice(pending)
        self.scheduler.trace(f"marker of {found.owner} in {log.topic}/{log.partition}: commit {found.is_commit}")
        self.cluster.write_marker(found, log)

    def _abort(self, overdue: Any) -> None:
        self.scheduler.trace(f"transaction of {overdue.owner} timed out")
        self.nemesis.counts["transaction timed out"] += 1
        self.cluster.abort_overdue(overdue)

    def _pass_time(self) -> None:
        scheduler = self.scheduler
        times = [scheduler.next_deadline(), self.network.back_at or None]
        times += [process.loop.next_timer for process in self.processes() if not process.is_frozen]
        due = min((time for time in times if time is not None and time > scheduler.now), default=None)
        if self.is_idle:
            scheduler.now = scheduler.now + SECOND if due is None else due
        else:
            scheduler.now += self.dice.randrange(SECOND)
        scheduler.trace("time passes")

    def _bury(self) -> None:
        for worker in self.workers:
            process = worker.process
            if process is not None and process.is_dead:
                process.unwind()
                self.ended.append(process)

    def _local_differences(self) -> list[str]:
        """Compare local rows with their changelogs: the owners' with all of it, the standbys' with what they read."""
        found = []
        for process in self.processes():
            tables = process.partitions.local_tables
            for number in process.standby_partitions | set(process.partitions.tasks):
                is_owned = number in process.partitions.tasks
                for table, local in tables.partition(number).items():
                    log = self.cluster.log(changelog_topic(SETTINGS, table), number)
                    expected = checks.compacted(log, None if is_owned else _written(local) + 1)
                    rows = dict(local.scan(b""))
                    if table == "signal_ids":  # expired rows may be gone from either
                        expected = {key: row for key, row in expected.items() if key in rows}
                    if table == "signal_ids" or not is_owned:  # later rows may have let the changelog be compacted
                        rows = {key: row for key, row in rows.items() if key in expected}
                    if rows != expected:
                        keys = sorted(key for key in rows | expected if rows.get(key) != expected.get(key))
                        found.append(
                            f"I4: local {table}/{number} of {process.name} differs from its changelog:"
                            f" {[(key, rows.get(key), expected.get(key)) for key in keys][:3]}"
                        )
        return found


def _written(local: LocalTable) -> int:
    """Return the offset that was written with the rows; in memory it may be ahead by a batch that is being written."""
    raw = local.get(_OFFSET_KEY)
    return -1 if raw is None else int(raw.split()[0])
