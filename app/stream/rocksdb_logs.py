"""Whether RocksDB may be let near a database's logs, which it reads when it opens it.

Over some damage there it loops for ever (one damaged file in some hundred), and with it the whole process, because
rocksdict keeps the GIL meanwhile. So whoever wants to open a database looks first whether its records are what was
written, by their checksums.
"""

import struct
from pathlib import Path

from aiokafka.record.util import calc_crc32c

_BLOCK_BYTES = 32 * 1024
"""A record lies within a block; too little room for a header at its end is left empty."""
_HEADER = struct.Struct("<IHB")
"""Masked checksum of type and content, length of the content, type."""
_TYPE_AT = 6
_TYPES = frozenset({1, 2, 3, 4})
"""Whole, first, middle and last part. Others come only with options that are not set."""
_UNWRITTEN = 0


def find_damage(folder: Path) -> str | None:
    """Tell what is wrong with the list of files (MANIFEST) and the write-ahead logs of a database, if anything is.

    A last record that is not there to its end is not wrong: a power cut leaves one, and RocksDB knows that.
    """
    for file in sorted([*folder.glob("MANIFEST-*"), *folder.glob("*.log")]):
        if (offset := _first_damage(file.read_bytes())) is not None:
            return f"Corruption: {file.name}: the record at offset {offset} is not what was written"
    return None


def _first_damage(log: bytes) -> int | None:
    view, offset, end = memoryview(log), 0, len(log)
    while end - offset >= _HEADER.size:
        left = _BLOCK_BYTES - offset % _BLOCK_BYTES
        if left < _HEADER.size:
            offset += left
            continue
        checksum, length, kind = _HEADER.unpack_from(log, offset)
        if (checksum, length, kind) == (0, 0, _UNWRITTEN):
            offset += left
            continue
        size = _HEADER.size + length
        if kind not in _TYPES or size > left:
            return offset
        if size > end - offset:
            return None
        if checksum != _masked(calc_crc32c(view[offset + _TYPE_AT : offset + size])):
            return offset
        offset += size
    return None


def _masked(crc: int) -> int:
    """Return a checksum as logs have it (LevelDB's way: the checksum of data with checksums in it would be weak)."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
