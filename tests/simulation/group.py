"""The consumer group: who has which partition, in which generation. It sees only those members that it can see."""

from typing import Any

from tests.simulation.scheduler import SECOND, Scheduler

_REBALANCE_SECONDS = 2


class Assignment:
    """What one generation of the group decided."""

    def __init__(
        self, generation: int, owners: dict[int, str], standbys: dict[int, str], told: list[Any], by: int
    ) -> None:
        self.generation = generation
        self.owners = owners
        self.standbys = standbys
        self.told = told
        self.paused: set[str] = set()
        self._by = by

    def of(self, worker: str) -> tuple[list[int], list[int]]:
        """Return the partitions that a worker owns, and those it stands by for."""
        return (
            [partition for partition, owner in self.owners.items() if owner == worker],
            [partition for partition, standby in self.standbys.items() if standby == worker],
        )

    def is_through(self, now: int) -> bool:
        """Tell whether all members have joined, or are not waited for any more."""
        return now >= self._by or all(
            process.is_dead or process.is_frozen or process.name in self.paused for process in self.told
        )


class Group:
    """The coordinator."""

    def __init__(self, scheduler: Scheduler, partitions: int) -> None:
        self._scheduler = scheduler
        self._partitions = partitions
        self.generation = 0
        self.assignment: Assignment | None = None

    def needs_rebalance(self, processes: list[Any]) -> bool:
        """Tell whether members came or went."""
        return self.assignment is None or self.assignment.told != processes

    def rebalance(self, processes: list[Any], told: list[Any]) -> None:
        """Assign all partitions to these members; only `told` ones hear of it."""
        dice = self._scheduler.random
        self.generation += 1
        names = [process.worker.name for process in processes]
        owners = {partition: dice.choice(names) for partition in range(self._partitions)}
        standbys = {partition: dice.choice(names) for partition in owners}
        standbys = {partition: name for partition, name in standbys.items() if name != owners[partition]}
        by = self._scheduler.now + dice.randrange(_REBALANCE_SECONDS * SECOND)
        self.assignment = Assignment(self.generation, owners, standbys, told, by)
        self._scheduler.trace(f"generation {self.generation}: {owners}, told {[process.name for process in told]}")
        for process in told:
            process.assign(self.assignment)
