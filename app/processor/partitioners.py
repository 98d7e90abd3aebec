"""Which partition a key belongs to, as the producers of the field compute it."""

import zlib
from collections.abc import Callable
from functools import lru_cache

from aiokafka.partitioner import murmur2

_POSITIVE = 0x7FFFFFFF
_KEYS_REMEMBERED = 20_000

PRODUCER_SETTING = {
    "murmur2": "partitioner=murmur2_random on librdkafka producers (the Java client's default)",
    "crc32": "partitioner=consistent_random (librdkafka's default), or a CRC32 partitioner in the Java client",
}
"""What a producer must set, by the name of the partitioner."""


def partitioner(name: str, partition_count: int) -> Callable[[bytes], int] | None:
    """Return the function from a key to its partition; None for `any`, which switches the check off."""
    if name == "murmur2":
        # The library's hash is written in Python, and the same keys come again and again.
        return lru_cache(maxsize=_KEYS_REMEMBERED)(lambda key: (murmur2(key) & _POSITIVE) % partition_count)
    if name == "crc32":
        return lambda key: zlib.crc32(key) % partition_count
    return None
