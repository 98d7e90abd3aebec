"""The topics as a source: read by a consumer that takes no part in any group, beside workers or without them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property

from app.codecs import WriterSchemas
from app.errors import UserError
from app.processor import TABLES
from app.processor.rows import PARTITION_KEY
from app.replay.history import TOPICS
from app.replay.kept import read_partition_row
from app.replay.reading import PartitionReader, partition_reader
from app.replay.schemas import schema_text, schemas_of
from app.replay.source import Give, Offsets
from app.settings import Settings
from app.stream.acls import Role, check_acls
from app.stream.clients import REQUEST_SECONDS, connect_admin
from app.stream.topics import changelog_topic, check_partition_counts, topic_ids
from app.topics import INPUTS, OUTPUTS

_TAIL = 5_000
"""Offsets at the end of a changelog among which the partition's row is sought first: each transaction ends with it."""


class Topics:
    """What is to be read: the six topics of the desk, and the changelogs if they are there."""

    def __init__(self, settings: Settings) -> None:
        """Look them up. Raises UserError if there is no broker, or a topic is missing or may not be read."""
        self.settings = settings
        check_acls(settings, Role.ANALYST)  # to clients, topics that they may not see do not exist
        known = connect_admin(settings).list_topics(timeout=REQUEST_SECONDS).topics
        desk = {topic: settings.topic(topic) for topic in TOPICS}
        for name in desk.values():
            if name not in known:
                raise UserError(f"topic {name} does not exist: create it with `sizer topics create`")
        changelogs = {table: changelog_topic(settings, table) for table in TABLES}
        counts = {name: len(known[name].partitions) for name in (*desk.values(), *changelogs.values()) if name in known}
        self.partition_count = check_partition_counts(settings, counts)
        self.missing_changelogs = [name for name in changelogs.values() if name not in known]
        self.names: Mapping[str, str] = desk if self.missing_changelogs else desk | changelogs
        self.has_state = not self.missing_changelogs

    @cached_property
    def schemas(self) -> WriterSchemas | None:
        """The schemas of the configured registry; None if there is none. Each process asks for itself."""
        return schemas_of(self.settings)

    def __getstate__(self) -> dict[str, object]:
        # A registry's connections stay where they are: another process makes its own.
        return {name: value for name, value in self.__dict__.items() if name != "schemas"}


class KafkaSource:
    """The six topics that the settings name, as they are when a partition is opened."""

    def __init__(self, settings: Settings) -> None:
        """Look the topics up. Raises UserError if there is no broker or a topic is missing."""
        topics = Topics(settings)
        admin = connect_admin(settings)
        desk = {topic: settings.topic(topic) for topic in TOPICS}
        ids = topic_ids(admin, desk.values())
        self.where = f"topics at {settings.bootstrap_servers}"
        self.partition_count = topics.partition_count
        self.partitioner: str = settings.partitioner
        self.topic_names: Mapping[str, str] = desk
        self.topic_ids: Mapping[str, str] = {topic: ids[name] for topic, name in desk.items()}
        self._topics = topics

    @property
    def schemas(self) -> WriterSchemas | None:
        """The schemas of the configured registry; None if there is none."""
        return self._topics.schemas

    def schema_text(self, schema_id: int) -> str | None:
        """Return the text of one of them, None if the registry has it not. Raises UserError if it does not answer."""
        return schema_text(self._topics.settings, schema_id)

    @contextmanager
    def open(self, partition: int) -> Iterator["KafkaLog"]:
        """Open a partition for reading up to its present ends. Raises UserError."""
        with partition_reader(self._topics.settings, partition, self._topics.names, lambda: False) as reader:
            yield KafkaLog(partition, reader, has_state=self._topics.has_state)


class KafkaLog:
    """One partition of the topics, up to the ends that they had when it was opened."""

    def __init__(self, partition: int, reader: PartitionReader, *, has_state: bool) -> None:
        """`has_state`: the changelogs are there."""
        self.partition = partition
        self.starts: Offsets = {topic: reader.starts[topic] for topic in TOPICS}
        self._reader = reader
        self.settled: Offsets = reader.ends(OUTPUTS)
        self.taken: Offsets | None = self._positions() if has_state else None
        self.ends: Offsets = {**reader.settled_ends(OUTPUTS), **reader.ends(INPUTS)}

    def pull(self, starts: Offsets) -> Give:
        """Begin to read from these offsets, or from the topics' starts."""
        for topic, start in self.starts.items():
            self._reader.seek(topic, max(start, starts.get(topic, 0)))
        return self._reader.pull(self.ends)

    def _positions(self) -> Offsets | None:
        """Return where the worker's committed state stands; None if there is none."""
        reader = self._reader
        end = reader.settled_ends(["portfolios"])["portfolios"]
        start = reader.starts["portfolios"]
        for first in sorted({max(start, end - _TAIL), start}, reverse=True):
            reader.seek("portfolios", first)
            found = [record for record in reader.read({"portfolios": end}) if record.key == PARTITION_KEY]
            if found:
                row = read_partition_row({"portfolios": {PARTITION_KEY: found[-1].value}})
                return None if row is None else row.positions
        return None
