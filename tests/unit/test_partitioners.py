"""Partitions by key, as the producers of the field compute them."""

import pytest

from app.processor.partitioners import partitioner

# Kafka's own cases (UtilsTest.testMurmur2): Java's hash as a signed integer.
JAVA = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
    # Of lengths that leave 1, 2, 3 and 0 bytes to a tail.
    "1": -1993445489,
    "12": 126087238,
    "123": -267702483,
    "1234": -1614185708,
    "12345": -1188365604,
}


@pytest.mark.parametrize(("key", "hashed"), JAVA.items())
@pytest.mark.parametrize("count", [1, 2, 3, 16, 1_000])
def test_murmur2_is_that_of_java_and_its_sign_is_cut_off(key: str, hashed: int, count: int) -> None:
    partition_of = partitioner("murmur2", count)
    assert partition_of is not None
    assert partition_of(key.encode()) == (hashed & 0x7FFFFFFF) % count


def test_crc32_is_that_of_librdkafka() -> None:
    partition_of = partitioner("crc32", 1_000)
    assert partition_of is not None
    assert partition_of(b"123456789") == 0xCBF43926 % 1_000  # the check value of CRC-32


def test_any_checks_nothing() -> None:
    assert partitioner("any", 3) is None
