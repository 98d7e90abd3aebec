"""What probes are told: whether the worker gets on at all, and whether it processes what is its to process."""

import time
from collections.abc import Callable

from app.stream.partitions import Partitions
from app.stream.producers import TRANSACTION_SECONDS
from app.stream.progress import RESTORES
from app.stream.totals import Totals
from app.stream.watchdog import Pulse

_SILENCE_SECONDS = 60.0
"""The watchdog looks every five seconds; brokers that do not answer hold it up for ten."""
_STANDSTILL_SECONDS = 15.0
"""A commit that waits for a broker to come back takes some seconds; the watchdog ends the process after 45."""


class Health:
    """Judges by what the parts of the worker know; asks nobody, and takes no time."""

    def __init__(self, pulse: Pulse, totals: Totals) -> None:
        """At first no broker is known."""
        self.partitions: Partitions | None = None
        """From the moment on at which a broker was found and the topics are in order."""
        self.waits_for = "a broker"
        """What it waits for until then."""
        self.knows_coordinator: Callable[[], bool] = lambda: True
        """Tells whether the broker that leads the group is known and, by the last that was heard, answers."""
        self.is_stopping = False
        self._pulse = pulse
        self._totals = totals

    def why_not_alive(self) -> str | None:
        """Return why a supervisor should end and restart the process, None if it should not.

        Waiting is no reason, however long, nor is doubt: in doubt the worker ends by itself, and so it does when its
        partitions stand still. That the event loop stands still is told by no answer at all.
        """
        silence = self._pulse.silence
        return None if silence <= _SILENCE_SECONDS else f"the watchdog has not looked for {silence:.0f} s"

    def why_not_ready(self) -> str | None:
        """Return why the worker does not process at the moment, None if it does or has nothing to process."""
        if self.is_stopping:
            return "stopping"
        if self.partitions is None:
            return f"waiting for {self.waits_for}"
        return self._why_not_assigned(self.partitions) or self._why_not_processing(self.partitions)

    def _why_not_assigned(self, partitions: Partitions) -> str | None:
        if partitions.waits_for_group:
            return "waiting for the group"
        if not self.knows_coordinator():
            return "the group's coordinator does not answer"
        if partitions.is_moving:
            remaining = RESTORES.remaining
            return f"restoring, {remaining} offsets remain" if remaining else "taking up partitions"
        return "the group's assignment is incomplete" if partitions.is_incomplete else None

    def _why_not_processing(self, partitions: Partitions) -> str | None:
        if partitions.waits_for_registry:
            return "waiting for the schema registry"
        now = time.monotonic()
        for partition, begun in self._totals.begun.items():
            if now - begun > TRANSACTION_SECONDS:
                return f"partition {partition}: a transaction has been under way for {now - begun:.0f} s"
        for partition, seconds in self._pulse.standstill.items():
            if seconds >= _STANDSTILL_SECONDS:
                return f"partition {partition}: nothing was processed for {seconds:.0f} s, though there is input"
        return None
