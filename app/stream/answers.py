"""Answers of a registry within bounds: whoever sits at its address must take neither memory nor a thread for ever."""

import time
from collections.abc import Iterator

from confluent_kafka.schema_registry import SchemaRegistryClient
from httpx2 import Response, SyncByteStream

LARGEST_ANSWER = 2**20
"""Bytes; a schema that is looked at has 65,536 characters."""


class _Bounded(SyncByteStream):
    """An answer's bytes as they come."""

    def __init__(self, stream: SyncByteStream, seconds: float) -> None:
        self._stream = stream
        self._seconds = seconds

    def __iter__(self) -> Iterator[bytes]:
        until = time.monotonic() + self._seconds
        size = 0
        for part in self._stream:
            size += len(part)
            if size > LARGEST_ANSWER:
                raise OSError(f"its answer has more than {LARGEST_ANSWER:,} bytes")
            if time.monotonic() > until:
                raise OSError(f"its answer was not complete after {self._seconds:g} s")
            yield part

    def close(self) -> None:
        self._stream.close()


def bound_answers(client: SchemaRegistryClient, seconds: float) -> None:
    """Have a client take no answer that is too large, or takes longer than `seconds` however steadily it comes.

    The client's own time-out begins anew with each byte. What is too much is an OSError.
    """

    def bound(response: Response) -> None:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise OSError("its answer is compressed, which was not asked for")  # a few bytes could become very many
        assert isinstance(response.stream, SyncByteStream)
        response.stream = _Bounded(response.stream, seconds)

    session = client._rest_client.session  # noqa: SLF001 - there is no other way to its HTTP client
    session.headers["Accept-Encoding"] = "identity"
    session.event_hooks = {"response": [bound]}
