"""One deployment under faults: topics of its own, workers in their slots, the desk's flow, and the proof at the end."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from confluent_kafka import IsolationLevel
from confluent_kafka.admin import AdminClient

from app.replay import verify_topics
from app.settings import Settings
from app.stream.clients import BrokerUnavailableError, LogEnds
from app.stream.topics import create_topics, topic_specs
from tests.faults.brokers import Brokers
from tests.faults.desk import Flow, Watcher
from tests.faults.fleet import Slot

CATCH_UP_SECONDS = 120.0
"""I6: as long after a fault is over, everything sent before is answered, or it is a violation."""

_PAUSE = 0.05


class Stage:
    """A deployment while faults are done to it. `names`: its workers, each with its own way to the brokers."""

    names = ("a", "b")

    def __init__(
        self, brokers: Brokers, app_id: str, folder: Path, *, seed: int, per_second: int, session_seconds: float
    ) -> None:
        self.brokers = brokers
        self.partitions = 4
        self.session_seconds = session_seconds
        self.settings = Settings(bootstrap_servers=brokers.bootstrap_servers, app_id=app_id, topic_prefix=f"{app_id}.")
        self.violations: list[str] = []
        self.wait_until(self._create_topics, CATCH_UP_SECONDS)
        environment = {
            "SIZER_APP_ID": app_id,
            "SIZER_TOPIC_PREFIX": f"{app_id}.",
            "SIZER_SESSION_TIMEOUT": f"{session_seconds:g}",
        }

        def slot(name: str, servers: str) -> Slot:
            return Slot(name, folder / app_id, environment | {"SIZER_BOOTSTRAP_SERVERS": servers})

        self.slots = {name: slot(name, brokers.bootstrap_servers_of(name)) for name in self.names}
        self.guest = slot("guest", brokers.bootstrap_servers)
        for one in self.slots.values():
            one.start()
        self.flow = Flow(self.settings, self.partitions, per_second, seed)
        self.watcher = Watcher(self.settings, self.partitions)

    def _create_topics(self) -> bool:
        try:
            create_topics(self.settings, self.partitions)
        except BrokerUnavailableError:  # the brokers may have just come back from the last deployment's faults
            return False
        return True

    def wait(self, seconds: float) -> None:
        """Let a fault last."""
        threading.Event().wait(seconds)

    def wait_until(self, is_so: Callable[[], bool], seconds: float) -> bool:
        """Wait until something is so, for so long at most; tell whether it is."""
        deadline = time.monotonic() + seconds
        while not (found := is_so()) and time.monotonic() < deadline:
            self.wait(_PAUSE)
        return found

    def catch_up(self) -> float:
        """Wait until every signal that is written by now is answered; return the seconds that it took."""
        began = time.monotonic()
        if not self.watcher.wait_for(self.flow.last_signals(), CATCH_UP_SECONDS):
            said = f"\n{self.watcher.answered} answered, {self.flow.last_signals()} sent{self._hidden()}"
            said += "".join(f"\n--- {slot.name}: {slot.ask()}" for slot in self.slots.values())
            self.violations.append(f"I6: not caught up within {CATCH_UP_SECONDS:.0f} s{said}")
        return time.monotonic() - began

    def _hidden(self) -> str:
        """Tell where records are written that cannot be read: a transaction has not ended, or its end is not told."""
        topics = [spec.name for spec in topic_specs(self.settings)]
        places = [(topic, partition) for topic in topics for partition in range(self.partitions)]
        ends = LogEnds(self.settings)
        readable, written = ends.find(places), ends.find(places, IsolationLevel.READ_UNCOMMITTED)
        hidden = [place for place in places if readable.get(place) != written.get(place)]
        return "".join(f"\n{place}: readable up to {readable.get(place)} of {written.get(place)}" for place in hidden)

    def exits(self) -> Counter[int]:
        """Return how often workers ended unasked, by status."""
        return sum((slot.exits for slot in (*self.slots.values(), self.guest)), Counter[int]())

    def close(self) -> tuple[int, int]:
        """End the flow, let it be answered, stop the workers, and prove everything.

        Returns how many records were sent and how many orders were published; what was wrong is in `violations`.
        """
        self.flow.close()
        self.catch_up()
        for slot in (*self.slots.values(), self.guest):
            slot.stop()
            self.violations += slot.violations
        self.watcher.close()
        audit = verify_topics(self.settings)
        if not audit.is_proved:
            self.violations.append(str(audit))
        if not self.violations:
            self._remove_topics()
        return self.flow.sent, audit.orders

    def _remove_topics(self) -> None:
        admin = AdminClient({"bootstrap.servers": self.settings.bootstrap_servers})
        for future in admin.delete_topics([spec.name for spec in topic_specs(self.settings)]).values():
            future.result()
