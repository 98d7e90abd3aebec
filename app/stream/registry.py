"""The Schema Registry: which schema a number stands for, looked up once; and waiting for it as long as it takes.

A registry that cannot be reached is no bad input: what it alone can tell is waited for. That it does not know a number
is bad input, for a while: schemas are registered late.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import structlog
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from app.codecs import BadRecord, SchemaPending
from app.codecs.avro_binary import Layout
from app.codecs.records import RECORDS, Record
from app.codecs.writer_schema import accept
from app.core.messages import ErrorCode
from app.errors import UserError
from app.settings import Settings
from app.stream.answers import bound_answers

ABSENT_SECONDS = 10.0
"""How long a number that the registry did not know is not asked for again."""
KNOWN_LIMIT = 2_000
"""Numbers remembered, known and unknown: anybody can make up four billion."""

_SUBJECT_NOT_FOUND, _VERSION_NOT_FOUND, _SCHEMA_NOT_FOUND = 40401, 40402, 40403
_ABSENT = frozenset({_SUBJECT_NOT_FOUND, _VERSION_NOT_FOUND, _SCHEMA_NOT_FOUND})
"""What a registry says of what it does not have; another 404 is that of a server which is none."""
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _CONFLICT, _UNPROCESSABLE = 401, 403, 404, 409, 422
_REQUEST_SECONDS = 5.0
_BACKOFF_SECONDS = 0.25
_BACKOFF_LIMIT_SECONDS = 4.0
_LARGEST_ID = 2**31 - 1
"""A registry's numbers are signed 32-bit integers: what is beyond is not asked for."""
_THREADS = 4

_log = structlog.get_logger("sizer")

T = TypeVar("T")


class RegistryUnavailableError(UserError):
    """The registry cannot be asked. The worker waits for it, a command of the command line ends with it."""

    def __init__(self, kind: str, message: str) -> None:
        """`kind`: the same as long as the cause is, whatever else the message says."""
        super().__init__(message)
        self.kind = kind


def connect_registry(settings: Settings) -> SchemaRegistryClient:
    """Return a client of the registry, that tries each request once. Raises UserError."""
    if settings.schema_registry_url is None:
        raise UserError("SIZER_SCHEMA_REGISTRY_URL is not set: set it to your registry, such as http://localhost:8081")
    config: dict[str, object] = {
        "url": settings.schema_registry_url,
        "timeout": _REQUEST_SECONDS,
        "max.retries": 0,
    }
    if settings.schema_registry_username is not None and settings.schema_registry_password is not None:
        password = settings.schema_registry_password.get_secret_value()
        config["basic.auth.user.info"] = f"{settings.schema_registry_username}:{password}"
    files = {
        "ssl.ca.location": settings.schema_registry_ca_file,
        "ssl.certificate.location": settings.schema_registry_certificate_file,
        "ssl.key.location": settings.schema_registry_key_file,
    }
    config |= {name: str(path) for name, path in files.items() if path is not None}
    if settings.schema_registry_certificate_file is not None:
        config["ssl.key.password"] = ""  # else OpenSSL would ask whoever sits at the terminal
    try:
        client = SchemaRegistryClient(config)
    except OSError as error:  # `ssl.SSLError` is one
        raise UserError(
            f"SIZER_SCHEMA_REGISTRY_CERTIFICATE_FILE={settings.schema_registry_certificate_file} and …_KEY_FILE="
            f"{settings.schema_registry_key_file} cannot be used ({error.strerror or error}): name a certificate and"
            " its key without a password, in PEM"
        ) from None
    bound_answers(client, _REQUEST_SECONDS)
    return client


@contextmanager
def asking(url: str | None) -> Iterator[None]:
    """Make RegistryUnavailableError of whatever keeps the block from an answer of the registry.

    What it does not have or will not take stays a SchemaRegistryError.
    """
    try:
        yield
    except SchemaRegistryError as error:
        status, code = error.http_status_code, error.error_code
        if (status == _NOT_FOUND and code in _ABSENT) or status in (_CONFLICT, _UNPROCESSABLE):
            raise
        raise _unavailable(url, status) from None
    except Exception as error:  # noqa: BLE001 - its HTTP library's, and what comes of an answer that is no registry's
        reason = str(error) or type(error).__name__
        if isinstance(error, (ValueError, TypeError, KeyError, AttributeError)):
            raise _no_registry(url) from None
        if "certificate" in reason.lower() or "ssl" in reason.lower():
            raise RegistryUnavailableError(
                "tls",
                f"no secure connection to the schema registry at {url}: {reason}; check SIZER_SCHEMA_REGISTRY_CA_FILE"
                " and, if it asks for one, …_CERTIFICATE_FILE",
            ) from None
        raise RegistryUnavailableError(
            "unreachable", f"no schema registry at {url}: {reason}; check SIZER_SCHEMA_REGISTRY_URL and that it runs"
        ) from None


def _unavailable(url: str | None, status: int) -> RegistryUnavailableError:
    if status == _UNAUTHORIZED:
        cure = "check SIZER_SCHEMA_REGISTRY_USERNAME and SIZER_SCHEMA_REGISTRY_PASSWORD"
        return RegistryUnavailableError("401", f"the schema registry at {url} does not let us in (HTTP 401): {cure}")
    if status == _FORBIDDEN:
        cure = "give SIZER_SCHEMA_REGISTRY_USERNAME the right to read schemas, and to write subjects to register them"
        return RegistryUnavailableError("403", f"the schema registry at {url} refuses it (HTTP 403): {cure}")
    if status == _NOT_FOUND:
        return _no_registry(url)
    return RegistryUnavailableError("failing", f"the schema registry at {url} fails (HTTP {status}): see its own log")


def _no_registry(url: str | None) -> RegistryUnavailableError:
    return RegistryUnavailableError(
        "none",
        f"what answers at {url} is no schema registry: check the path in SIZER_SCHEMA_REGISTRY_URL (Apicurio's ends"
        " with /apis/ccompat/v7)",
    )


async def wait_for_registry(ask: Callable[[], Awaitable[T]], tell: Callable[[RegistryUnavailableError], None]) -> T:
    """Return what the registry answers, however long it takes until it does; `tell` hears of each failure."""
    backoff = _BACKOFF_SECONDS
    while True:
        try:
            return await ask()
        except RegistryUnavailableError as error:
            tell(error)
        await asyncio.sleep(backoff)
        backoff = min(backoff * 2, _BACKOFF_LIMIT_SECONDS)


class _Answer(NamedTuple):
    """What is known of a number: by record, how it is laid out, or why it is not taken."""

    layouts: dict[str, Layout | str]
    until: float
    """Monotonic seconds."""


class Registry:
    """Schemas by number. `layout` never waits; `fetch` blocks, `await_schema` waits for the registry."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is connected yet. Raises UserError."""
        self._url = settings.schema_registry_url
        self._client = connect_registry(settings)
        self._known: dict[int, _Answer] = {}
        self._told: dict[int, str] = {}
        """Numbers that are waited for, and the kind of the reason that was told."""
        self._executor = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="registry")

    def layout(self, schema_id: int, record: Record) -> Layout:
        """Return how a record is laid out by a schema. Raises BadRecord (UNKNOWN_SCHEMA) or SchemaPending."""
        answer = self._known.get(schema_id)
        if answer is None or answer.until < time.monotonic():
            if schema_id > _LARGEST_ID:
                raise BadRecord(ErrorCode.UNKNOWN_SCHEMA, _absent(schema_id))
            raise SchemaPending(schema_id)
        layout = answer.layouts[record.name]
        if isinstance(layout, str):
            raise BadRecord(ErrorCode.UNKNOWN_SCHEMA, layout)
        return layout

    def fetch(self, schema_id: int) -> None:
        """Ask for a schema, so that `layout` knows it; blocks. Raises RegistryUnavailableError."""
        self._keep(schema_id, self._ask(schema_id))

    async def await_schema(self, schema_id: int) -> None:
        """Ask for a schema until the registry answers, however long that takes; said once, not at each try."""
        loop = asyncio.get_running_loop()

        def tell(error: RegistryUnavailableError) -> None:
            if self._told.get(schema_id) != error.kind:
                self._told[schema_id] = error.kind
                _log.warning("waiting for the schema registry", schema_id=schema_id, reason=str(error))

        answer = await wait_for_registry(lambda: loop.run_in_executor(self._executor, self._ask, schema_id), tell)
        self._keep(schema_id, answer)
        if self._told.pop(schema_id, None) is not None:
            _log.info("the schema registry answers", schema_id=schema_id, url=self._url)

    def _ask(self, schema_id: int) -> _Answer:
        try:
            with asking(self._url):
                text = self._client.get_schema(schema_id).schema_str or ""
                if not isinstance(text, str):  # the client takes what it is given
                    raise TypeError
        except SchemaRegistryError:
            reasons: dict[str, Layout | str] = {record.name: _absent(schema_id) for record in RECORDS}
            return _Answer(reasons, time.monotonic() + ABSENT_SECONDS)
        finally:
            self._client.clear_caches()  # type: ignore[no-untyped-call]  # no types; they have no bound
        return _Answer({record.name: _judge(schema_id, text, record) for record in RECORDS}, float("inf"))

    def _keep(self, schema_id: int, answer: _Answer) -> None:
        self._known.pop(schema_id, None)
        while len(self._known) >= KNOWN_LIMIT:
            del self._known[next(iter(self._known))]
        self._known[schema_id] = answer


def _judge(schema_id: int, text: str, record: Record) -> Layout | str:
    try:
        return accept(text, record)
    except BadRecord as bad:
        return f"schema {schema_id} of the registry: {bad.message}"


def _absent(schema_id: int) -> str:
    return (
        f"the schema registry has no schema {schema_id}: register it before it is written by (`sizer schemas"
        " register`), and let producer and sizer use the same registry"
    )
