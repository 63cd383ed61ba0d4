"""A subscription as its client sees it: what it has read, what is being handled, where it goes on after a loss. Does no
I/O.

A message of an at-least-once subscription is::

    QUEUED ──► RUNNING ──► acknowledged
       ▲          ├──────► LOOSE      the handler failed, or took the acknowledgement on itself
       └──────────┴──────────┘        the server sends it again

What the server sends again while the message is QUEUED or RUNNING is a duplicate. What is acknowledged while it is
QUEUED, by who held it before, is not handed out. What came before and is in none of
these states was acknowledged, perhaps on a connection that was lost or while it was on its way a second time: it is
acknowledged again and not handed out.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Callable, Optional

from . import _frames
from ._frames import Frame
from .message import Message

Handler = Callable[[Message], object]

QUEUED, RUNNING, LOOSE = 1, 2, 3


class Subscription:
    """See the module. Methods may be called from any thread."""

    def __init__(
        self,
        topic: str,
        partition: int,
        handler: Optional[Handler],
        auto_ack: bool,
        start: tuple[tuple[str, str], ...],
        extra: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.handler = handler
        self.auto_ack = auto_ack
        #: Properties that say where to begin, until something was read.
        self._start = start
        #: Further properties of its SUBSCRIBE and UNSUBSCRIBE.
        self.extra = extra
        #: How its messages and those of no other begin.
        self.prefix = _frames.encode_pairs((("topic", topic), ("partition", str(partition))))
        #: Answered with ``start_offset`` once the server has it, or with what became of it instead.
        self.outcome: Future[int] = Future()
        #: Whether it is read under no client's name, so that no position is kept for it.
        self.is_anonymous = False
        #: The connection on which it was asked for last.
        self.session = 0
        #: The connection on which the server has said that it has it: what comes before that is another one's.
        self.live_on = 0
        #: Set once it is being ended.
        self.leaving = False
        #: Set once nothing more is to be handed out.
        self.stopped = False
        #: Asked when the server refuses to go on with it on a new connection: whether to keep it until
        #: :meth:`Lane.ask_again`.
        self.on_refused: Optional[Callable[[Exception], bool]] = None
        #: Whether it is kept so.
        self.is_refused = False
        #: How often it was refused since the server last had it.
        self.refusals = 0
        #: Says why it ended, where it did by itself.
        self.on_end: Optional[Callable[[Exception], None]] = None
        #: How an acknowledgement leaves; set by who serves it.
        self.send_ack: Callable[[int], None] = lambda offset: None
        self._lock = threading.Lock()
        #: The offset behind the last message that came, or where it began.
        self.next_offset: Optional[int] = None
        #: Where it began, the first time.
        self._began = 0
        #: The offset behind the last message that was handed out.
        self.handed_out: Optional[int] = None
        #: The state of each message that came and was not acknowledged, by its offset.
        self._unacked: dict[int, int] = {}

    def request(self) -> list[tuple[str, str]]:
        """The properties of its SUBSCRIBE: from the beginning the first time, later from where it stands."""
        resume = self.resume_offset()
        start = self._start if resume is None else (("offset", str(resume)),)
        auto_ack = ("auto_ack", "true" if self.auto_ack else "false")
        return [("topic", self.topic), ("partition", str(self.partition)), auto_ack, *start, *self.extra]

    def resume_offset(self) -> Optional[int]:
        """The first offset not dealt with; ``None`` while nothing is known."""
        with self._lock:
            return min(self._unacked) if self._unacked else self.next_offset

    def position(self) -> Optional[int]:
        """The first offset not acknowledged, where acknowledgements may have been lost; ``None`` where none was made."""
        resume = None if self.auto_ack else self.resume_offset()
        return None if resume is None or resume <= self._began else resume

    def started(self, start_offset: int) -> None:
        """The server has it, and begins here."""
        with self._lock:
            if self.next_offset is None:
                self.next_offset = self._began = start_offset
        if not self.outcome.done():
            self.outcome.set_result(start_offset)

    def ended(self, error: Exception) -> None:
        """The server has it no more, or never had."""
        self.stopped = True
        if not self.outcome.done():
            self.outcome.set_exception(error)
        elif self.on_end is not None:
            self.on_end(error)

    def take_in(self, frame: Frame) -> Optional[Message]:
        """The message of a frame that came, unless it is to be passed over."""
        offset = frame.sequence
        with self._lock:
            known = self.next_offset is not None and offset < self.next_offset
            is_acked = False
            if self.auto_ack:
                if known:
                    return None
            else:
                state = self._unacked.get(offset)
                if state in (QUEUED, RUNNING):
                    return None
                is_acked = known and state is None
                if not is_acked:
                    self._unacked[offset] = QUEUED
            if not known:
                self.next_offset = offset + 1
        if is_acked:
            self.send_ack(offset)
            return None
        message = Message(frame, self.topic, self.partition, self)
        message.redelivered = known
        return message

    def begin(self, offset: int) -> bool:
        """It is about to be handed out; ``False`` where it is not to be, because it was acknowledged while it waited: by
        who held it when it came before."""
        if not self.auto_ack:
            with self._lock:
                if self._unacked.get(offset) != QUEUED:
                    return False
                self._unacked[offset] = RUNNING
        if self.handed_out is None or offset >= self.handed_out:
            self.handed_out = offset + 1
        return True

    def finish(self, offset: int, succeeded: bool) -> None:
        """Its handler returned, or failed."""
        if self.auto_ack:
            return
        with self._lock:
            if self._unacked.get(offset) != RUNNING:
                return
            if not succeeded:
                self._unacked[offset] = LOOSE
                return
        self.ack(offset)

    def hold(self, offset: int) -> None:
        """See :meth:`wiber.Message.hold`."""
        with self._lock:
            # Where it waits once more, it is not in the hands of who speaks.
            if self._unacked.get(offset) == RUNNING:
                self._unacked[offset] = LOOSE

    def ack(self, offset: int) -> None:
        """See :meth:`wiber.Message.ack`."""
        if self.auto_ack:
            return
        with self._lock:
            if self._unacked.pop(offset, None) is None:
                return
        self.send_ack(offset)

    def dropped(self, offset: int) -> None:
        """It left the queue without being handed out."""
        if not self.auto_ack:
            with self._lock:
                if self._unacked.get(offset) == QUEUED:
                    self._unacked[offset] = LOOSE
