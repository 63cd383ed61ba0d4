"""Record batches of a single record, and the partition of a key. Does no I/O.

PUBLISH cannot say "no value", nor carry a key that is not text; PUBLISH_BATCH can. The format is Apache Kafka's v2.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Optional

Header = tuple[bytes, Optional[bytes]]


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_CRC_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli) of these bytes."""
    table, crc = _CRC_TABLE, 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _varint(value: int) -> bytes:
    rest = (value << 1) ^ (value >> 63)
    out = bytearray()
    while rest >= 0x80:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def _sized(data: Optional[bytes]) -> bytes:
    return _varint(-1) if data is None else _varint(len(data)) + data


def single_record_batch(
    key: Optional[bytes], value: Optional[bytes], headers: Sequence[Header], timestamp: int
) -> bytes:
    """A batch of one record, uncompressed, of no particular producer; a value of ``None`` makes it a tombstone."""
    record = b"".join(
        (
            b"\0",
            _varint(0),
            _varint(0),
            _sized(key),
            _sized(value),
            _varint(len(headers)),
            *(_sized(name) + _sized(content) for name, content in headers),
        )
    )
    tail = struct.pack(">hiqqqhii", 0, 0, timestamp, timestamp, -1, -1, -1, 1) + _varint(len(record)) + record
    return struct.pack(">qiibI", 0, len(tail) + 9, -1, 2, crc32c(tail)) + tail


def murmur2(data: bytes) -> int:
    """The hash by which Kafka's clients, and so the server, choose the partition of a key."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = 0x9747B28C ^ len(data)
    whole = len(data) // 4 * 4
    for (k,) in struct.iter_unpack("<I", data[:whole]):
        k = k * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    rest = data[whole:]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


def partition_of_key(key: bytes, partitions: int) -> int:
    """The partition of a key in a topic of so many."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
