"""The way from a process to the cluster: requests that are lost or late, answers that never come, brokers away."""

from collections.abc import Callable
from enum import Enum
from typing import Any, ClassVar, TypeVar

from confluent_kafka import KafkaError, KafkaException

from tests.simulation.cluster import BrokerError, Cluster
from tests.simulation.scheduler import SECOND, Killed, Scheduler

T = TypeVar("T")

_RETRY_SECONDS = 0.1
_STUCK_CHANCE = 0.3
_ON_THE_WIRE_CHANCE = 0.5
_RETRIED = frozenset({KafkaError.CONCURRENT_TRANSACTIONS})


def failure(code: int, *, fatal: bool = False, retriable: bool = False, abort: bool = False) -> KafkaException:
    """Return an error as librdkafka raises it."""
    return KafkaException(KafkaError(code, KafkaError(code).str(), fatal, retriable, abort))


class _Fate(Enum):
    """What becomes of a request."""

    OK = "ok"
    LOST = "lost"
    UNANSWERED = "unanswered"
    LATE = "late"


class Network:
    """Between processes and the cluster."""

    active: ClassVar["Network"]
    """That of the schedule that is running; the clients below take it from here."""

    def __init__(self, cluster: Cluster, scheduler: Scheduler) -> None:
        self.cluster = cluster
        self.scheduler = scheduler
        self.fault_chance = 0.0
        """Of each request."""
        self.back_at = 0
        """Until then no broker answers, in virtual microseconds."""
        self.late: list[tuple[str, Callable[[], Any]]] = []
        """Requests that are still on their way, though nobody waits for the answer."""
        self.faults = 0

    @property
    def process(self) -> Any:
        """The process whose code is running."""
        fiber = self.scheduler.current
        assert fiber is not None, "clients are used by processes only"
        return fiber.process

    def is_away(self) -> bool:
        """Tell whether no broker answers."""
        return self.scheduler.now < self.back_at

    def is_leader_new(self) -> bool:
        """Tell whether a leader does not know the end of its log yet."""
        return self.fault_chance > 0 and self.scheduler.random.random() < self.fault_chance

    def read(self, what: str, effect: Callable[[], T], seconds: float) -> T:
        """Make a request that changes nothing; raises KafkaException if there is no answer in time."""
        return self._request(what, effect, seconds, is_write=False)

    def write(self, what: str, effect: Callable[[], T], seconds: float) -> T:
        """Make a request that changes something, again and again until it is answered; so it may take effect twice.

        Raises BrokerError if it is refused, KafkaException if nothing is known in time: then it may have had its
        effect, or have it later.
        """
        return self._request(what, effect, seconds, is_write=True)

    def _request(self, what: str, effect: Callable[[], T], seconds: float, *, is_write: bool) -> T:
        scheduler = self.scheduler
        deadline = scheduler.now + int(seconds * SECOND)
        is_cut_off = False
        while True:
            self._sent(what, effect, is_write=is_write)
            fate = self._fate()
            if fate is _Fate.OK and not is_cut_off and not self.is_away():
                try:
                    return self._answered(what, effect, is_write=is_write)
                except BrokerError as error:
                    if error.code not in _RETRIED:
                        raise
            elif fate is _Fate.UNANSWERED:
                self._unheard(what, effect)
            elif fate is _Fate.LATE:
                self.late.append((what, effect))
            if fate is not _Fate.OK and scheduler.random.random() < _STUCK_CHANCE:
                is_cut_off = True  # this connection brings no answer any more
            if scheduler.now >= deadline:
                raise failure(KafkaError._TIMED_OUT, retriable=True)
            scheduler.sleep(min(_RETRY_SECONDS * (30 if is_cut_off else 1), (deadline - scheduler.now) / SECOND))

    def _answered(self, what: str, effect: Callable[[], T], *, is_write: bool) -> T:
        try:
            result = effect()
        except BrokerError as error:
            if is_write and error.code not in _RETRIED:
                self.scheduler.effect(f"{what}: {error}")
            raise
        if is_write:
            self.scheduler.effect(f"{what}: done")
        return result

    def _sent(self, what: str, effect: Callable[[], Any], *, is_write: bool) -> None:
        try:
            self.scheduler.effect(what)
        except Killed:
            if is_write and self.scheduler.random.random() < _ON_THE_WIRE_CHANCE:
                self.late.append((what, effect))
            raise

    def _fate(self) -> _Fate:
        if self.fault_chance and self.scheduler.random.random() < self.fault_chance:
            self.faults += 1
            return self.scheduler.random.choice((_Fate.LOST, _Fate.UNANSWERED, _Fate.LATE))
        return _Fate.OK

    def _unheard(self, what: str, effect: Callable[[], Any]) -> None:
        try:
            effect()
        except BrokerError as error:
            self.scheduler.trace(f"{what}: {error}, unanswered")
        else:
            self.scheduler.trace(f"{what}: done, unanswered")

    def arrive(self) -> None:
        """Let one of the late requests arrive."""
        what, effect = self.late.pop(self.scheduler.random.randrange(len(self.late)))
        self._unheard(f"late {what}", effect)
