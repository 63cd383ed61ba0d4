"""The frame of the native protocol, to bytes and back. Does no I/O.

Big-endian::

    total_length u32 | type u32 | sequence u64 | timestamp i64 | n u32 | n bytes | m u32 | m bytes
                                                                 properties       body

Properties are UTF-8 ``key=value`` pairs, each ended by NUL.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from .errors import ProtocolError

DATA = 1
ACK = 2
HEARTBEAT = 3
CREATE_TOPIC = 4
SUBSCRIBE = 5
UNSUBSCRIBE = 6
PUBLISH = 7
DELETE_TOPIC = 8
METADATA = 9
COMMIT = 11
PUBLISH_BATCH = 12
ALTER_TOPIC = 14
LIST_OFFSETS = 15
JOIN_GROUP = 18
GROUP_HEARTBEAT = 19
LEAVE_GROUP = 20
ASSIGNMENT = 21
LIST_GROUPS = 22
DESCRIBE_GROUP = 23
RESET_GROUP = 24
DELETE_GROUP = 25

#: Bytes of a frame without properties and body.
EMPTY_BYTES = 32

_HEAD = struct.Struct(">IIQqI")
_LENGTH = struct.Struct(">I")
_pack_head = _HEAD.pack
_pack_length = _LENGTH.pack

Pairs = Iterable[tuple[str, str]]


class Frame:
    """A frame that came. Its properties are taken apart when somebody asks for them."""

    __slots__ = ("type", "sequence", "timestamp", "block", "body")

    def __init__(self, type: int, sequence: int, timestamp: int, block: bytes, body: bytes) -> None:
        self.type = type
        self.sequence = sequence
        self.timestamp = timestamp
        self.block = block
        self.body = body

    def pairs(self) -> list[tuple[str, str]]:
        """All properties, in their order and as often as they came."""
        return parse_pairs(self.block)

    def properties(self) -> dict[str, str]:
        """The properties by name; of one that came more than once, the last."""
        return dict(parse_pairs(self.block))


def parse_pairs(block: bytes) -> list[tuple[str, str]]:
    """The pairs of a block of properties.

    Raises :class:`ProtocolError` where it breaks its rules.
    """
    if not block:
        return []
    if not block.endswith(b"\0"):
        raise ProtocolError("properties that do not end in NUL")
    try:
        text = str(block, "utf-8")
    except UnicodeDecodeError as error:
        raise ProtocolError("properties that are not UTF-8") from error
    pairs = []
    for pair in text[:-1].split("\0"):
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise ProtocolError(f"a property that is no key=value pair: {pair[:80]!r}")
        pairs.append((name, value))
    return pairs


def encode(type: int, sequence: int, timestamp: int, block: bytes, body: bytes = b"") -> bytes:
    """The bytes of a frame."""
    return b"".join(
        (
            _pack_head(EMPTY_BYTES + len(block) + len(body), type, sequence, timestamp, len(block)),
            block,
            _pack_length(len(body)),
            body,
        )
    )


def encode_pairs(pairs: Pairs) -> bytes:
    """The block of these properties.

    Raises ``ValueError`` for a name or value that no property can have.
    """
    parts = []
    for name, value in pairs:
        if not name or "=" in name or "\0" in name:
            raise ValueError(f"{name!r} cannot be the name of a property: it is empty, or has '=' or NUL in it")
        if "\0" in value:
            raise ValueError(f"the value of property {name!r} has NUL in it")
        parts.append(f"{name}={value}\0")
    return "".join(parts).encode("utf-8")


class Decoder:
    """Takes bytes as they come and gives the frames that are whole.

    Holds no more than the bytes that came: a length is believed only when what it announces is there.
    """

    def __init__(self, frame_bytes_max: int) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._rest = bytearray()
        #: Bytes that must be there before another look is worth the while.
        self._wanted = 4

    def feed(self, data: bytes) -> list[Frame]:
        """The frames completed by these bytes.

        Raises :class:`ProtocolError` for lengths that disagree or exceed the limit; the stream is then lost.
        """
        whole: bytes
        if self._rest:
            self._rest += data
            if len(self._rest) < self._wanted:
                return []
            whole = bytes(self._rest)
            self._rest = bytearray()
        else:
            whole = data
        frames: list[Frame] = []
        at, end = 0, len(whole)
        self._wanted = 4
        unpack_head, unpack_length, add = _HEAD.unpack_from, _LENGTH.unpack_from, frames.append
        while end - at >= 4:
            (total,) = unpack_length(whole, at)
            if total < EMPTY_BYTES or total > self._frame_bytes_max:
                raise ProtocolError(
                    f"a frame of {total} bytes, where {EMPTY_BYTES} to {self._frame_bytes_max} are allowed"
                )
            if end - at < total:
                self._wanted = total
                break
            _, type, sequence, timestamp, block_length = unpack_head(whole, at)
            body_at = at + EMPTY_BYTES + block_length
            next_at = at + total
            if body_at > next_at:
                raise ProtocolError("properties that are longer than their frame")
            (body_length,) = unpack_length(whole, body_at - 4)
            if body_at + body_length != next_at:
                raise ProtocolError("lengths of a frame that do not add up")
            add(Frame(type, sequence, timestamp, whole[at + 28 : body_at - 4], whole[body_at:next_at]))
            at = next_at
        if at < end:
            self._rest += memoryview(whole)[at:]
        return frames
