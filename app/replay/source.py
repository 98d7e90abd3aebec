"""Where a history comes from: Kafka (`kafka`), or a folder that was exported (`raw`). One protocol for both.

The order in which a source looks at running topics makes reading them sound, as in `verify`: first where the outputs
end (`settled`), then where the worker's state stands (`taken`), then up to where outputs are read, then the inputs of
all that.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from app.codecs import WriterSchemas
from app.errors import UserError
from app.processor import Record

Offsets = Mapping[str, int]
"""By logical topic."""

Give = Callable[[str], list[Record]]
"""Gives the next records of a topic, by logical name, in offset order: at least one, or none at its end."""


class BrokenSourceError(UserError):
    """A history cannot be read on: a file is cut short or was changed, records were deleted meanwhile.

    What was read before is right.
    """


class PartitionLog(Protocol):
    """One partition of the six topics, up to ends that were settled when it was opened."""

    @property
    def partition(self) -> int:
        """Its number."""

    @property
    def starts(self) -> Offsets:
        """The first offset that each topic still has; 0 where nothing was deleted."""

    @property
    def ends(self) -> Offsets:
        """Up to where each topic is read, not included."""

    @property
    def taken(self) -> Offsets | None:
        """The worker's positions: inputs before them have all their outputs below `ends`. None: nobody knows."""

    @property
    def settled(self) -> Offsets:
        """Outputs below these were published before `taken` was looked at: inputs before that caused them."""

    def pull(self, starts: Offsets) -> Give:
        """Begin to read, once: from these offsets, by topic, or where it starts if one is not given, to the end.

        Committed records only. What is returned raises BrokenSourceError where it cannot go on.
        """


class Source(Protocol):
    """All partitions of the six topics. It can be pickled: each process opens its partitions for itself."""

    @property
    def where(self) -> str:
        """What it is, for people."""

    @property
    def partition_count(self) -> int:
        """How many partitions each topic has."""

    @property
    def partitioner(self) -> str:
        """By which keys are spread: `murmur2`, `crc32` or `any`."""

    @property
    def topic_names(self) -> Mapping[str, str]:
        """Real names by logical name: dead letters tell them."""

    @property
    def topic_ids(self) -> Mapping[str, str]:
        """Kafka's own ids by logical name; empty if not known. A topic that was created again has another one."""

    @property
    def schemas(self) -> WriterSchemas | None:
        """The schemas of the registry that records are numbered by; None: there is none."""

    def schema_text(self, schema_id: int) -> str | None:
        """Return the text of such a schema, None if there is none. Raises UserError if nobody answers."""

    def open(self, partition: int) -> AbstractContextManager[PartitionLog]:
        """Open a partition for reading. Raises UserError."""
