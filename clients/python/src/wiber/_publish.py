"""A publish: what it may carry, how its answer becomes a receipt."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Literal, Optional, TypeVar, Union

from ._frames import Frame, encode_pairs
from ._pending import Pending, refusal
from .errors import ProtocolError
from .message import Receipt

AckLevel = Literal["durable", "leader", "none"]

if TYPE_CHECKING:
    _ReceiptFuture = Future[Receipt]
else:
    _ReceiptFuture = Future

Body = Union[bytes, bytearray, memoryview]
ACK_LEVELS: tuple[AckLevel, ...] = ("durable", "leader", "none")

#: Names that steer the server, and so cannot be headers.
RESERVED = frozenset(
    ("topic", "client_id", "partition", "key", "id", "offset", "auto_ack", "created_at", "version", "wiber.ack")
)

#: How successful answers begin, and what that says: a publisher gets the same beginnings over and over.
_places: dict[bytes, tuple[str, int]] = {}
#: How the properties of publishes begin, by what they are made of.
_beginnings: dict[tuple[str, str, Optional[int], Optional[str]], bytes] = {}
_REMEMBERED_MAX = 4_096

_K = TypeVar("_K")
_V = TypeVar("_V")


def _remember(known: dict[_K, _V], key: _K, value: _V) -> None:
    if len(known) >= _REMEMBERED_MAX:
        known.clear()
    known[key] = value


class PublishFuture(_ReceiptFuture):
    """The receipt of a message that is on its way. What has left cannot be called back, so it cannot be cancelled."""

    def cancel(self) -> bool:
        return False


class PublishPending(Pending):
    """A publish without an answer."""

    __slots__ = ("future",)

    def __init__(self, frame: bytes, deadline: float, repeatable: bool, future: PublishFuture) -> None:
        self.frame = frame
        self.end = 0
        self.deadline = deadline
        self.repeatable = repeatable
        self.counted = True
        self.session = 0
        self.future = future

    def settle(self, reply: Frame) -> None:
        block = reply.block
        at = block.rfind(b"offset=")
        place = _places.get(block[:at])
        if place is None:
            return self._settle_slowly(reply, at)
        try:
            receipt = Receipt(place[0], place[1], int(block[at + 7 : -1]))
        except ValueError:
            return self._settle_slowly(reply, at)
        self.future.set_result(receipt)

    def _settle_slowly(self, reply: Frame, offset_at: int) -> None:
        wrong = refusal(reply)
        if wrong is None:
            try:
                found = reply.properties()
                receipt = Receipt(found["topic"], int(found["partition"]), int(found["offset"]))
                # status, topic, partition, offset: the order in which servers write them.
                begin = f"status=success\0topic={receipt.topic}\0partition={receipt.partition}\0".encode("utf-8")
                if reply.block[:offset_at] == begin:
                    _remember(_places, begin, (receipt.topic, receipt.partition))
                self.future.set_result(receipt)
                return
            except (KeyError, ValueError, ProtocolError):
                wrong = ProtocolError("the answer to a publish does not say where the message is")
        self.future.set_exception(wrong)

    def fail(self, error: Exception) -> None:
        self.future.set_exception(error)


def message_block(
    topic: str,
    client_id: str,
    partition: Optional[int],
    key: Optional[str],
    message_id: Optional[str],
    headers: Optional[Mapping[str, str]],
    level: Optional[str],
) -> bytes:
    """The properties of a PUBLISH."""
    made_of = (topic, client_id, partition, level)
    block = _beginnings.get(made_of)
    if block is None:
        pairs = [("topic", checked_text("topic", topic)), ("client_id", client_id)]
        if partition is not None:
            pairs.append(("partition", str(checked_partition(partition))))
        if level is not None:
            pairs.append(("wiber.ack", level))
        block = encode_pairs(pairs)
        _remember(_beginnings, made_of, block)
    if key is None and not message_id and not headers:
        return block
    pairs = [] if key is None else [("key", key)]
    if message_id:
        pairs.append(("id", checked_text("id", message_id)))
    if headers:
        pairs.extend(checked_headers(headers))
    return block + encode_pairs(pairs)


def checked_headers(headers: Optional[Mapping[str, str]]) -> list[tuple[str, str]]:
    """The pairs of these headers.

    Raises ``ValueError`` for a name that would not arrive as a header, ``TypeError`` for what is not text.
    """
    pairs = []
    for name, value in (headers or {}).items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"header {name!r} is not a str with a str")
        if name in RESERVED:
            raise ValueError(f"{name!r} means something to the server and cannot be a header")
        pairs.append((name, value))
    return pairs


def checked_body(data: Body) -> bytes:
    """The bytes of a payload; ``TypeError`` for what is none."""
    if isinstance(data, bytes):
        return data
    if isinstance(data, (bytearray, memoryview)):
        return bytes(data)
    raise TypeError(f"data is a {type(data).__name__}; it must be bytes (publish_text takes a str)")


def checked_text(name: str, value: str) -> str:
    """A text that is not empty."""
    if not isinstance(value, str):
        raise TypeError(f"{name} is a {type(value).__name__}; it must be a str")
    if not value:
        raise ValueError(f"{name} is empty")
    return value


def checked_partition(partition: int) -> int:
    """The number of a partition."""
    if not isinstance(partition, int) or isinstance(partition, bool):
        raise TypeError(f"partition is a {type(partition).__name__}; it must be an int")
    if partition < 0:
        raise ValueError(f"partition is {partition}; it must be at least 0")
    return partition
