"""Requests without an answer, and who hears of it. Does no I/O."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Optional

from ._frames import HEARTBEAT, Frame
from .errors import ProtocolError, Refused

Tell = Callable[[Optional[Frame], Optional[Exception]], None]


class Pending:
    """A request without an answer. Whoever asked derives from this."""

    __slots__ = ("frame", "end", "deadline", "repeatable", "counted", "session")

    def __init__(self, frame: bytes, deadline: float, repeatable: bool, counted: bool) -> None:
        self.frame = frame
        #: Where it ends in the bytes of this connection; 0 where it waits for one.
        self.end = 0
        self.deadline = deadline
        self.repeatable = repeatable
        #: Whether it takes room among the publishes in flight.
        self.counted = counted
        #: The only session it may be sent in; 0 is any.
        self.session = 0

    def settle(self, reply: Frame) -> None:
        """Takes the answer, on the reader's thread."""
        raise NotImplementedError

    def fail(self, error: Exception) -> None:
        """Hears that no answer will come."""
        raise NotImplementedError


class Call(Pending):
    """A request somebody waits for."""

    __slots__ = ("done", "reply", "error")

    def __init__(self, frame: bytes, deadline: float, repeatable: bool) -> None:
        super().__init__(frame, deadline, repeatable, counted=False)
        self.done = threading.Event()
        self.reply: Optional[Frame] = None
        self.error: Optional[Exception] = None

    def settle(self, reply: Frame) -> None:
        self.reply = reply
        self.done.set()

    def fail(self, error: Exception) -> None:
        self.error = error
        self.done.set()


class Told(Pending):
    """A request whose outcome is told to a function: the reply, or what became of it instead. It belongs to one
    session, and is lost with it."""

    __slots__ = ("tell",)

    def __init__(self, frame: bytes, deadline: float, session: int, tell: Tell) -> None:
        super().__init__(frame, deadline, repeatable=False, counted=False)
        self.session = session
        self.tell = tell

    def settle(self, reply: Frame) -> None:
        self.tell(reply, None)

    def fail(self, error: Exception) -> None:
        self.tell(None, error)


class Listener:
    """What a connection tells, on its reader's thread."""

    def came(self, frames: list[Frame]) -> None:
        """Frames that answer nothing. May wait: nothing is read meanwhile."""

    def up(self) -> None:
        """The connection stands (again). Must not wait for an answer."""

    def down(self) -> None:
        """The connection is lost."""


def refusal(reply: Frame) -> Optional[Exception]:
    """What an ACK says went wrong; ``None`` where it says success."""
    if reply.block.startswith(b"status=success\0"):
        return None
    try:
        properties = reply.properties()
    except ProtocolError as error:
        return error
    if properties.get("status") == "success" or reply.type == HEARTBEAT:
        return None
    rest = {name: value for name, value in properties.items() if name not in ("status", "code", "error")}
    return Refused(properties.get("code", "unknown"), properties.get("error", ""), rest)


def now_ms() -> int:
    """Milliseconds since the Unix epoch, as frames carry them."""
    return time.time_ns() // 1_000_000
