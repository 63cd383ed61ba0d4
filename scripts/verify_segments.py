#!/usr/bin/env python3
"""Checks segment files by the published format alone: Kafka's record batches, magic 2, as docs/format.md has them.

    verify_segments.py PATH...        # .log files, or directories in which to look for them

Independent of the broker: it shares no line with it. Needs Python 3.9 and nothing else; blocks of lz4, zstd and snappy are
looked into where Python has a module for them, otherwise their records are only counted as unread. Of a repaired partition it
reports the gap, which partition.json knows. Prints a line for each file; ends with 1 at the first damage, naming file, byte and cause, and with 2 where there is nothing to check.
"""

from __future__ import annotations

import importlib
import struct
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn, Optional

HEADER = struct.Struct(">qiibIhiqqqhii")
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
#: What a block may decompress to.
BLOCK_BYTES_MAX = 1 << 30
_CRC_FROM = 21
_LENGTH_FROM = 12
_CONTROL = 0x20


class Damage(Exception):
    """What does not stand, and at which byte of its file."""

    def __init__(self, position: int, cause: str) -> None:
        super().__init__(cause)
        self.position = position


class Record(NamedTuple):
    """A record as it is stored."""

    offset: int
    timestamp: int
    key: Optional[bytes]
    value: Optional[bytes]
    headers: list[tuple[bytes, Optional[bytes]]]


class Batch(NamedTuple):
    """A batch: where it stands, what its header says, and its records, None where its codec cannot be read here."""

    position: int
    length: int
    base_offset: int
    next_offset: int
    epoch: int
    codec: str
    producer: tuple[int, int, int]
    is_control: bool
    records: Optional[list[Record]]


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return tuple(table)


_CRC_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli, RFC 3720), bit by bit as the polynomial says, a byte at a time."""
    crc, table = 0xFFFFFFFF, _CRC_TABLE
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


class _Reader:
    """Reads a block of records; every complaint is one about the batch at ``position``."""

    def __init__(self, data: bytes, position: int) -> None:
        self.data = data
        self.at = 0
        self.position = position

    def fail(self, cause: str) -> NoReturn:
        raise Damage(self.position, f"{cause}, at byte {self.at} of its records")

    def varint(self, what: str, bytes_max: int = 5) -> int:
        value = shift = 0
        for _ in range(bytes_max):
            if self.at >= len(self.data):
                self.fail(f"{what} is cut off")
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1)
            shift += 7
        self.fail(f"{what} has more than {bytes_max} bytes")

    def content(self, what: str) -> Optional[bytes]:
        length = self.varint(f"the length of {what}")
        if length == -1:
            return None
        if length < 0 or self.at + length > len(self.data):
            self.fail(f"{what} has a length of {length}")
        self.at += length
        return self.data[self.at - length : self.at]

    def record(self, base_offset: int, base_timestamp: int) -> Record:
        length = self.varint("a record's length")
        end = self.at + length
        if length < 1 or end > len(self.data):
            self.fail(f"a record has a length of {length}")
        self.at += 1  # attributes, unused
        timestamp = base_timestamp + self.varint("a timestamp delta", 10)
        offset = base_offset + self.varint("an offset delta")
        key, value = self.content("a key"), self.content("a value")
        headers = []
        count = self.varint("the number of headers")
        if count < 0 or count > length:
            self.fail(f"a record has {count} headers")
        for _ in range(count):
            name = self.content("a header's name")
            if name is None:
                self.fail("a header's name is null")
            headers.append((name, self.content("a header's value")))
        if self.at != end:
            self.fail(f"a record ends {abs(self.at - end)} bytes {'behind' if self.at > end else 'before'} its length")
        return Record(offset, timestamp, key, value, headers)


def _gunzip(data: bytes) -> bytes:
    plain = b""
    while data:
        inflate = zlib.decompressobj(31)
        plain += inflate.decompress(data, BLOCK_BYTES_MAX)
        if not inflate.eof:
            raise ValueError("the gzip stream is cut off or too long")
        data = inflate.unused_data
    return plain


def _unsnap(raw: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Snappy blocks as Java's stream writes them, 16 bytes before blocks with their lengths, or one bare block."""

    def decompress(data: bytes) -> bytes:
        if not data.startswith(b"\x82SNAPPY\x00"):
            return raw(data)
        plain, at = b"", 16
        while at < len(data):
            (length,) = struct.unpack_from(">i", data, at)
            if length < 0 or at + 4 + length > len(data):
                raise ValueError("a block of the snappy stream is cut off")
            plain += raw(data[at + 4 : at + 4 + length])
            at += 4 + length
        return plain

    return decompress


def _module(name: str) -> Optional[object]:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _decompressors() -> dict[str, Callable[[bytes], bytes]]:
    known: dict[str, Callable[[bytes], bytes]] = {"none": bytes, "gzip": _gunzip}
    lz4, zstd, snappy = _module("lz4.frame"), _module("zstandard"), _module("snappy")
    if lz4 is not None:
        known["lz4"] = lz4.decompress  # type: ignore[attr-defined]
    if zstd is not None:
        known["zstd"] = lambda data: zstd.ZstdDecompressor().decompressobj().decompress(data)  # type: ignore[attr-defined]
    if snappy is not None:
        known["snappy"] = _unsnap(snappy.uncompress)  # type: ignore[attr-defined]
    return known


_DECOMPRESSORS = _decompressors()


def _records(position: int, codec: str, header: tuple[int, ...], block: bytes) -> Optional[list[Record]]:
    base_offset, attributes, last_delta, base_timestamp, max_timestamp = (header[i] for i in (0, 5, 6, 7, 8))
    count = header[12]
    decompress = _DECOMPRESSORS.get(codec)
    if decompress is None:
        return None
    try:
        reader = _Reader(decompress(block) if count else b"", position)
    except Exception as error:  # each module has errors of its own
        raise Damage(position, f"its {codec} block cannot be decompressed: {error}") from None
    records = [reader.record(base_offset, base_timestamp) for _ in range(count)]
    if reader.at != len(reader.data):
        reader.fail(f"{len(reader.data) - reader.at} bytes behind the last of {count} records")
    offsets = [record.offset for record in records]
    if offsets != sorted(set(offsets)) or (offsets and not base_offset <= offsets[0] <= offsets[-1] <= base_offset + last_delta):
        raise Damage(position, "its records' offsets do not grow within those of the batch")
    is_create_time = not attributes & 8
    if records and is_create_time and max(record.timestamp for record in records) != max_timestamp:
        raise Damage(position, f"the largest timestamp is not {max_timestamp}")
    return records


def _batch(data: bytes, position: int, expected_offset: Optional[int]) -> Batch:
    if len(data) - position < HEADER.size:
        raise Damage(position, f"{len(data) - position} bytes are too few for a batch")
    header = HEADER.unpack_from(data, position)
    base_offset, length, epoch, magic, crc, attributes, last_delta = header[:7]
    whole = length + _LENGTH_FROM
    if magic != 2:
        raise Damage(position, f"its magic is {magic}, not 2")
    if length < HEADER.size - _LENGTH_FROM or position + whole > len(data):
        raise Damage(position, f"its length is {length}, where {len(data) - position - _LENGTH_FROM} bytes are left")
    found = crc32c(data[position + _CRC_FROM : position + whole])
    if found != crc:
        raise Damage(position, f"its CRC-32C is {crc:08x}, that of its bytes {found:08x}")
    if base_offset < 0 or (expected_offset is not None and base_offset != expected_offset):
        raise Damage(position, f"its base offset is {base_offset}, not {expected_offset}")
    count = header[12]
    if last_delta < 0 or not 0 <= count <= last_delta + 1:
        raise Damage(position, f"it has {count} records and a last offset delta of {last_delta}")
    if attributes & ~0x7F or attributes & 7 >= len(CODECS):
        raise Damage(position, f"its attributes are {attributes:#06x}")
    codec = CODECS[attributes & 7]
    records = _records(position, codec, header, data[position + HEADER.size : position + whole])
    return Batch(
        position, whole, base_offset, base_offset + last_delta + 1, epoch, codec, header[9:12], bool(attributes & _CONTROL), records
    )


def walk(path: Path) -> Iterator[Batch]:
    """The batches of a segment, each checked. Raises :class:`Damage` at the first that does not stand.

    Zeros behind the last batch are space that was reserved.
    """
    data = path.read_bytes()
    position = 0
    expected: Optional[int] = int(path.name.split(".")[0])
    epoch = -1
    while position < len(data):
        if not any(data[position : position + HEADER.size]):
            rest = data[position:].lstrip(b"\0")
            if rest:
                raise Damage(len(data) - len(rest), "bytes behind the zeros that end the segment")
            return
        batch = _batch(data, position, expected)
        if batch.epoch < epoch:
            raise Damage(position, f"its epoch {batch.epoch} is older than {epoch}, the one before")
        yield batch
        position, expected, epoch = position + batch.length, batch.next_offset, batch.epoch


def verify(path: Path) -> tuple[str, int]:
    """Checks a segment: what it holds, in a few words, and the offset behind it. Raises :class:`Damage`."""
    batches: Counter[str] = Counter()
    records = unread = 0
    last: Optional[Batch] = None
    for last in walk(path):
        batches[last.codec] += 1
        if last.records is None:
            unread += 1
        else:
            records += len(last.records)
    next_offset = last.next_offset if last else int(path.name.split(".")[0])
    codecs = ", ".join(f"{count} {codec}" for codec, count in sorted(batches.items()))
    said = f"{sum(batches.values())} batches ({codecs or 'none'}), {records} records, next offset {next_offset}"
    return said + (f", {unread} batches not looked into" if unread else ""), next_offset


def segments(paths: list[Path]) -> Iterator[Path]:
    """The segments among these files and under these directories; what recovery has set aside is none."""
    for path in paths:
        if path.is_dir():
            found = (one for one in sorted(path.rglob("*.log")) if one.name.split(".")[0].isdigit())
            yield from (one for one in found if not {"set-aside", ".deleted", ".snapshots"} & set(one.parts))
        else:
            yield path


def main(arguments: list[str]) -> int:
    """See the module."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 2
    checked = 0
    ends: dict[Path, int] = {}
    for path in segments([Path(argument) for argument in arguments]):
        try:
            said, next_offset = verify(path)
            base = int(path.name.split(".")[0])
            if base != ends.get(path.parent, base):
                raise Damage(0, f"the segment begins at {base}; the one before ends at {ends[path.parent]}")
            ends[path.parent] = next_offset
            print(f"{path}: {said}")
        except Damage as damage:
            print(f"{path}: byte {damage.position}: {damage}")
            return 1
        checked += 1
    print(f"{checked} segments are whole")
    return 0 if checked else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
