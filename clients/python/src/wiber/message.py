"""What a handler gets, and what a publisher hears."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime, timezone
from typing import TYPE_CHECKING, NamedTuple, Optional
from urllib.parse import unquote_to_bytes

from ._frames import DATA, Frame

if TYPE_CHECKING:
    from ._subscription import Subscription

#: Names of headers that DATA carries as ``header.<name>``, because they mean something else there.
_ESCAPED = frozenset(
    "topic client_id partition key key.b64 id offset auto_ack created_at version wiber.tombstone".split()
)


class Receipt(NamedTuple):
    """Where a published message is stored. Partition and offset are -1 where no answer was asked for
    (``ack="none"``)."""

    topic: str
    partition: int
    offset: int


class TopicOffsets(NamedTuple):
    """Where a partition begins and ends."""

    log_start: int
    """The oldest offset that is kept."""
    high_watermark: int
    """The end of what consumers see."""
    log_end: int
    """The offset the next message will get."""
    committed: Optional[int]
    """The position kept for the client or group that was asked for."""
    at_time: Optional[int]
    """The first message of the time that was asked for, or later."""


class Message:
    """A message of a subscription.

    ``body`` (bytes), ``properties`` (dict of str) and ``sequence_number`` (the offset) are as they came; the rest is
    made of them.
    """

    __slots__ = (
        "body",
        "sequence_number",
        "timestamp",
        "topic",
        "partition",
        "redelivered",
        "_block",
        "_properties",
        "_of",
    )

    def __init__(self, frame: Frame, topic: str, partition: int, of: Subscription) -> None:
        self.body: bytes = frame.body
        self.sequence_number: int = frame.sequence
        #: Milliseconds since the Unix epoch.
        self.timestamp: int = frame.timestamp
        self.topic: str = topic
        self.partition: int = partition
        #: Whether it may have been handed out before.
        self.redelivered: bool = False
        self._block = frame.block
        self._properties: Optional[dict[str, str]] = None
        self._of = of

    @property
    def message_type(self) -> int:
        """The type of its frame: 1, DATA."""
        return DATA

    @property
    def offset(self) -> int:
        """Its place in its partition; the same as ``sequence_number``."""
        return self.sequence_number

    @property
    def properties(self) -> dict[str, str]:
        """What came with it: topic, partition, key and headers by name; of a name that came twice, the last."""
        if self._properties is None:
            self._properties = dict(self._pairs())
        return self._properties

    @property
    def headers(self) -> list[tuple[str, bytes]]:
        """Its headers as the publisher gave them, in their order and as often as they were given."""
        headers = []
        pairs = self._pairs()
        for name, value in pairs:
            if name in ("topic", "partition", "key", "key.b64", "wiber.tombstone"):
                continue
            content = value.encode("utf-8")
            if name.endswith(".b64"):
                plain = _decode(value)
                if plain is not None:
                    name, content = name[:-4], plain
            if name.startswith("header."):
                rest = name[7:]
                if rest in _ESCAPED or rest == "" or "%" in rest:
                    name = unquote_to_bytes(rest).decode("utf-8", "replace")
            headers.append((name, content))
        return headers

    @property
    def key(self) -> Optional[str]:
        """Its key, where it has one that is text."""
        return self.properties.get("key")

    @property
    def key_bytes(self) -> Optional[bytes]:
        """Its key as bytes, text or not."""
        key = self.properties.get("key")
        if key is not None:
            return key.encode("utf-8")
        encoded = self.properties.get("key.b64")
        return None if encoded is None else _decode(encoded)

    @property
    def text(self) -> str:
        """The body as UTF-8 text. Raises ``UnicodeDecodeError`` where it is none."""
        return self.body.decode("utf-8")

    @property
    def time(self) -> datetime:
        """When it was published, in UTC."""
        return datetime.fromtimestamp(self.timestamp / 1000, timezone.utc)

    @property
    def is_tombstone(self) -> bool:
        """Whether it says that its key has no value any more."""
        return self.properties.get("wiber.tombstone") == "true"

    def ack(self) -> None:
        """Says that it is dealt with. Where the subscription acknowledges by itself, or it was done before, nothing
        happens."""
        self._of.ack(self.sequence_number)

    def hold(self) -> None:
        """Takes the acknowledgement on oneself: the client leaves it to a later :meth:`ack` of yours, on any thread.

        Without one, the server sends the message again once its ``ack_timeout`` has passed.
        """
        self._of.hold(self.sequence_number)

    def _pairs(self) -> list[tuple[str, str]]:
        # What is no pair was never made by a server; a message is worth more than a complaint about it.
        parts = self._block.decode("utf-8", "replace").split("\0")
        return [(name, value) for name, equals, value in (part.partition("=") for part in parts) if name and equals]

    def __repr__(self) -> str:
        return f"<Message {self.topic}:{self.partition}@{self.sequence_number}, {len(self.body)} bytes>"


def _decode(text: str) -> Optional[bytes]:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
