"""What can go wrong, told apart as a program needs it.

Wrong usage raises Python's own ``TypeError`` and ``ValueError`` (and :class:`NotConnected`); everything else is a
:class:`WiberError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

#: Codes of refusals after which the same request may succeed later, without anybody changing it.
RETRIABLE = frozenset({"not_leader", "storage_full", "overloaded", "shutting_down", "timed_out"})


class WiberError(Exception):
    """The base of all errors of this package."""


class NotConnected(WiberError, RuntimeError):
    """The client was used before ``connect()`` or after ``disconnect()``."""


class ConnectionFailed(WiberError, ConnectionError):
    """No connection came about: nobody listens, or the server turned it away."""


class ConnectionLost(WiberError, ConnectionError):
    """The connection ended before the answer came. Whether the request took effect is unknown."""


class TimedOut(WiberError, TimeoutError):
    """No answer came in the time allowed. Whether the request took effect is unknown."""


class LimitReached(WiberError):
    """A limit of the client's own (see :class:`wiber.Limits`) is reached where waiting would be waiting for oneself."""


class ProtocolError(WiberError):
    """The server sent what the protocol does not allow."""


class Refused(WiberError):
    """The server said no.

    ``code`` is a stable name such as ``unknown_topic``, ``properties`` holds what else came with the refusal, for
    example ``log_start`` and ``log_end`` of ``offset_out_of_range``.
    """

    def __init__(self, code: str, text: str, properties: Optional[Mapping[str, str]] = None) -> None:
        super().__init__(f"{text} ({code})" if text else code)
        self.code = code
        self.text = text
        self.properties = dict(properties or {})

    @property
    def retriable(self) -> bool:
        """Whether the same request may succeed later."""
        return self.code in RETRIABLE


#: Errors that are the caller's own: no method turns them into ``False``.
MISUSE = (NotConnected, LimitReached)
