"""A client for Wiber, a durable, partitioned message broker.

>>> from wiber import BrokerClient
>>> with BrokerClient() as client:                                     # doctest: +SKIP
...     client.create_topic("orders", partitions=3)
...     client.publish_text("orders", "two coffees", key="table-7")
"""

from ._publish import AckLevel
from .client import BrokerClient
from .errors import (
    ConnectionFailed,
    ConnectionLost,
    LimitReached,
    NotConnected,
    ProtocolError,
    Refused,
    TimedOut,
    WiberError,
)
from .groups import Consumer, GroupMember
from .limits import Limits
from .message import Message, Receipt, TopicOffsets

__version__ = "0.1.0"

__all__ = [
    "AckLevel",
    "BrokerClient",
    "ConnectionFailed",
    "ConnectionLost",
    "Consumer",
    "GroupMember",
    "LimitReached",
    "Limits",
    "Message",
    "NotConnected",
    "ProtocolError",
    "Receipt",
    "Refused",
    "TimedOut",
    "TopicOffsets",
    "WiberError",
]
