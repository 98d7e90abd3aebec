"""What the librdkafka clients of the worker have in common, and how they tell of errors."""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # its stubs do not say so

from app.errors import Doubt, UserError
from app.settings import Settings
from app.stream.refusals import NOT_ALLOWED, NOT_LET_IN, find_refusal
from app.stream.security import librdkafka_security

REQUEST_SECONDS = 10.0
"""How long one request to the brokers may take before it counts as failed."""
_REACH_SECONDS = 3.0
_FRESH_SECONDS = 60.0
"""So long what a client has said may be the cause of an error."""
_VAGUE = frozenset({KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT})  # noqa: SLF001 - the names of the codes
"""Librdkafka says these too, on top of a more telling one."""
_QUEUED_KILOBYTES = 16_384
"""Of a consumer, read ahead; many partitions may be restored at the same time."""

_silent = logging.getLogger("librdkafka")
_silent.disabled = True


class BrokerUnavailableError(UserError):
    """No broker answers. The worker waits for one, a command of the command line ends with it."""


class BrokerErrors:
    """What a client last said about its brokers: a time-out alone does not tell that, say, a password is wrong."""

    def __init__(self) -> None:
        self.principal: str | None = None
        """Who the client is, where brokers ask."""
        self.code: int | None = None
        self._text: str | None = None
        self._at = 0.0

    def __call__(self, error: KafkaError) -> None:
        """Take note of an error; librdkafka's `error_cb`."""
        code = error.code()
        is_vague = code in _VAGUE and (code == KafkaError._ALL_BROKERS_DOWN or self.code in NOT_LET_IN)  # noqa: SLF001 - the name of the code
        if not is_vague or self.last is None:
            self.code, self._text, self._at = code, error.str(), time.monotonic()

    @property
    def last(self) -> str | None:
        """What was said last, if that is not long ago."""
        return self._text if time.monotonic() - self._at < _FRESH_SECONDS else None

    def explain(self, error: KafkaException | KafkaError) -> str:
        """Return an error in words, with what is known about its cause."""
        kafka_error = error.args[0] if isinstance(error, KafkaException) else error
        text = kafka_error.str() if isinstance(kafka_error, KafkaError) else str(error)
        last = self.last
        if last is not None and last not in text:
            text = f"{text} ({last})"
        codes = {self.code if last else None, kafka_error.code() if isinstance(kafka_error, KafkaError) else None}
        is_ours = self.principal is not None and codes & (NOT_LET_IN | NOT_ALLOWED)
        return f"{text}, as {self.principal}" if is_ours else text


def client_config(settings: Settings, errors: BrokerErrors) -> dict[str, Any]:
    """Return the configuration that all clients share; it has secrets."""
    errors.principal = settings.principal if settings.security_protocol != "PLAINTEXT" else None
    return librdkafka_security(settings) | {
        "bootstrap.servers": settings.bootstrap_servers,
        "client.id": settings.app_id,
        "error_cb": errors,
        # librdkafka writes its log to stderr, line upon line while a broker is away; what matters comes by `errors`.
        "log_level": 0,
        "logger": _silent,
        "enable.metrics.push": False,
        # Small requests must not wait for the acknowledgement of the one before: that alone costs 4 ms and more.
        "socket.nagle.disable": True,
        "socket.keepalive.enable": True,
        "reconnect.backoff.max.ms": 1_000,
    }


def connect_admin(settings: Settings) -> AdminClient:
    """Return an admin client that has reached a broker. Keep it in a variable.

    Raises BrokerUnavailableError, or UserError if brokers are there but will not have us, or we will not have them.
    """
    errors = BrokerErrors()
    admin = AdminClient(client_config(settings, errors))
    try:
        admin.list_topics(timeout=_REACH_SECONDS)
    except KafkaException as error:
        admin.poll(0)  # lets `errors` hear what happened meanwhile
        found = find_refusal(settings, errors.code, errors.last)
        if isinstance(found, UserError):
            raise found from None
        raise BrokerUnavailableError(_no_broker(settings, found or errors.last or errors.explain(error))) from None
    return admin


def partition_offsets(
    admin: AdminClient,
    names: Iterable[str],
    partition: int,
    spec: OffsetSpec,
    isolation: IsolationLevel = IsolationLevel.READ_COMMITTED,
) -> dict[str, int]:
    """Return an offset of each topic by real name; the latest one is where what the isolation lets through ends.

    Raises KafkaException, also where a leader is so new that it does not know it: librdkafka gives none then, and no
    error.
    """
    wanted = {TopicPartition(name, partition): spec for name in names}
    # Else the first request of a new client, sent before it has a connection, waits for three seconds now and then.
    admin.list_topics(next(iter(wanted)).topic, timeout=REQUEST_SECONDS)
    futures = admin.list_offsets(wanted, isolation_level=isolation, request_timeout=REQUEST_SECONDS)
    found = {where.topic: int(future.result().offset) for where, future in futures.items()}
    if any(offset < 0 for offset in found.values()):
        raise KafkaException(KafkaError(KafkaError.OFFSET_NOT_AVAILABLE))
    return found


class LogEnds:
    """Where logs end now; to be asked again and again."""

    def __init__(self, settings: Settings) -> None:
        self._config = client_config(settings, BrokerErrors())
        self._admin: AdminClient | None = None

    def find(
        self, places: Iterable[tuple[str, int]], isolation: IsolationLevel = IsolationLevel.READ_COMMITTED
    ) -> dict[tuple[str, int], int]:
        """Return the ends by topic (real name) and partition; blocks. What cannot be learned now is left out."""
        if not (places := list(places)):
            return {}
        if self._admin is None:
            self._admin = AdminClient(self._config)
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # no types
        futures = self._admin.list_offsets(
            {TopicPartition(*place): latest for place in places},
            isolation_level=isolation,
            request_timeout=REQUEST_SECONDS,
        )
        ends = {}
        for where, future in futures.items():
            try:
                ends[where.topic, where.partition] = int(future.result().offset)
            except KafkaException:
                self._admin = None  # it would keep the leaders that it knew
        return ends


def committed_consumer(settings: Settings, errors: BrokerErrors, config: Mapping[str, Any]) -> Consumer:
    """Return a consumer of committed records, to be assigned by hand; it takes no part in the group."""
    return Consumer(
        client_config(settings, errors)
        | {
            "group.id": settings.app_id,  # librdkafka wants one
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "isolation.level": "read_committed",
            "queued.max.messages.kbytes": _QUEUED_KILOBYTES,
            "fetch.queue.backoff.ms": 5,  # else a full queue, once emptied, stays so for up to a second
            **config,
        }
    )


@contextmanager
def committed_reader(settings: Settings, purpose: str) -> Iterator[Consumer]:
    """Give a consumer for committed records of assigned partitions, that tells when it has reached an end.

    Kafka's errors become a Doubt that names the purpose.
    """
    errors = BrokerErrors()
    consumer = committed_consumer(
        settings,
        errors,
        {
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",  # where rows expire, the oldest ones may be gone
            "fetch.wait.max.ms": 10,  # only at an end is there anything to wait for, and that has to be told
        },
    )
    try:
        yield consumer
    except KafkaException as error:
        raise Doubt(f"{purpose}: {errors.explain(error)}") from None
    finally:
        consumer.close()


def _no_broker(settings: Settings, reason: str) -> str:
    message = f"no Kafka broker at {settings.bootstrap_servers}: {reason}"
    if "bootstrap_servers" in settings.model_fields_set:
        return f"{message}; check SIZER_BOOTSTRAP_SERVERS and that the broker runs"
    return f"{message}; start one with `sizer broker`, or set SIZER_BOOTSTRAP_SERVERS to yours"
