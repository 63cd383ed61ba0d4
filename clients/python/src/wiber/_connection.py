"""A connection that comes back: frames out, replies to whom they belong, everything else to a listener.

Two threads serve it. The *reader* connects, reads, settles replies, and connects again when the connection is lost. The
*writer* sends what has gathered in the buffer, as much as there is in one piece; a caller who waits for an answer sends
it himself where nobody else is sending.

What happens to a request when the connection is lost: one that had not left whole goes again, one that may be done
twice (``repeatable``) as well; any other fails with :class:`wiber.ConnectionLost`.
"""

from __future__ import annotations

import itertools
import logging
import random
import selectors
import socket
import threading
import time
from collections.abc import Sequence
from typing import Callable, Optional

from . import _frames
from ._dial import RECEIVE_BYTES, dial, shut
from ._frames import ACK, HEARTBEAT, Decoder, Frame
from ._pending import Call, Listener, Pending, now_ms, refusal
from .errors import ConnectionFailed, ConnectionLost, LimitReached, NotConnected, ProtocolError, TimedOut
from .limits import Limits

log = logging.getLogger("wiber")

_TICK_S = 1.0
_DRAIN_S = 5.0
#: Where a request ends that has not left, whatever was sent.
_NEVER = 1 << 62


class Connection:
    """See the module. All methods may be called from any thread."""

    def __init__(self, host: str, port: int, limits: Limits, listener: Listener, name: str) -> None:
        self._host, self._port = host, port
        self._limits = limits
        self._listener = listener
        self._name = name
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._writable = threading.Condition(self._lock)
        self._changed = threading.Condition(self._lock)
        #: Who wants to be told of changes: room among the publishes in flight, all settled, all sent.
        self._waiting = 0
        self._sending = threading.Lock()
        self._socket: Optional[socket.socket] = None
        self._is_up = False
        self._session = 0
        self._is_closed = False
        self._closing = threading.Event()
        self._pending: dict[int, Pending] = {}
        self._in_flight = 0
        self._in_flight_bytes = 0
        #: Outcomes that are being told at the moment.
        self._telling = 0
        self._buffer: list[bytes] = []
        self._buffered_bytes = 0
        self._queued = 0
        self._sent = 0
        self._heard = 0.0
        self._asked = 0.0
        #: How often it was asked for a sign of life since something was heard.
        self._asks = 0
        self._reader = threading.Thread(target=self._read_for_ever, name=f"wiber-{name}-reader", daemon=True)
        self._writer = threading.Thread(target=self._write_for_ever, name=f"wiber-{name}-writer", daemon=True)

    # Life

    def open(self) -> None:
        """Connects.

        Raises :class:`wiber.ConnectionFailed`.
        """
        ready = dial(self._host, self._port, self._limits, self.number(), self._while_dialing)
        self._reader_start = ready
        if not self._stand(*ready):
            raise NotConnected("the client was disconnected")
        self._reader.start()
        self._writer.start()

    def close(self, drain: bool = True) -> None:
        """Ends it: what waits to be sent goes out first, for a moment. Requests without an answer fail."""
        with self._lock:
            if self._is_closed:
                return
            if drain and self._is_up and not self.is_reading:
                self._wait_until(lambda: self._sent >= self._queued or not self._is_up, time.monotonic() + _DRAIN_S)
            self._is_closed = True
            self._is_up = False
            self._closing.set()
            self._writable.notify_all()
            self._changed.notify_all()
            sock = self._socket
        if sock is not None:
            shut(sock)
        for thread in (self._reader, self._writer):
            if thread is not threading.current_thread() and thread.is_alive():
                thread.join(_DRAIN_S)
        self._fail_all(ConnectionLost("the client disconnected"))

    @property
    def is_up(self) -> bool:
        """Whether the connection stands, as far as one knows."""
        return self._is_up

    def wait_for_end(self, seconds: float) -> bool:
        """Waits until it is ended, or so long; says which."""
        return self._closing.wait(seconds)

    @property
    def session(self) -> int:
        """The number of the present connection, or of the last one; it grows with each."""
        return self._session

    @property
    def is_closed(self) -> bool:
        """Whether it was ended."""
        return self._is_closed

    def break_off(self, why: str) -> None:
        """Gives this connection up, as if it had been lost."""
        log.debug("%s: %s", self._name, why)
        with self._lock:
            sock = self._socket
        if sock is not None:
            shut(sock)

    # Requests

    def number(self) -> int:
        """A number for a request."""
        return next(self._numbers)

    def call(
        self, type: int, block: bytes, body: bytes = b"", *, timeout: Optional[float] = None, repeatable: bool = False
    ) -> Frame:
        """Sends a request and waits for its answer, which is returned where it is no refusal.

        Raises any :class:`wiber.WiberError`.
        """
        self.must_not_be_reading()
        timeout = self._limits.request_timeout if timeout is None else timeout
        number = self.number()
        deadline = time.monotonic() + timeout
        call = Call(_frames.encode(type, number, now_ms(), block, body), deadline, repeatable)
        self.start(number, call, at_once=True)
        if not call.done.wait(max(0.0, deadline - time.monotonic())):
            self.forget(number)
            if not call.done.is_set():
                raise TimedOut(f"no answer within {timeout:g} s")
        if call.error is not None:
            raise call.error
        assert call.reply is not None
        wrong = refusal(call.reply)
        if wrong is not None:
            raise wrong
        return call.reply

    @property
    def is_reading(self) -> bool:
        """Whether the calling thread is the one that reads answers."""
        return threading.current_thread() is self._reader

    def must_not_be_reading(self) -> None:
        """Raises :class:`wiber.LimitReached` on the thread that reads answers, where waiting for one would never
        end."""
        if self.is_reading:
            raise LimitReached(
                "a callback of a future must not wait for an answer: it holds up the thread that reads it"
            )

    def start(self, number: int, pending: Pending, at_once: bool) -> None:
        """Sends a request; its answer goes to ``pending``. ``at_once``: somebody waits for it.

        Raises :class:`wiber.TimedOut` where there is no room by its deadline.
        """
        frame = pending.frame
        size = len(frame)
        with self._lock:
            if pending.counted:
                limits = self._limits
                if self._in_flight and (
                    self._in_flight >= limits.in_flight or self._in_flight_bytes + size > limits.in_flight_bytes
                ):
                    self._wait_for_room(size, pending.deadline)
                self._in_flight += 1
                self._in_flight_bytes += size
            if self._is_closed:
                self._uncount(pending)
                raise NotConnected("the client is not connected")
            is_late = pending.session != 0 and not (self._is_up and pending.session == self._session)
            if not is_late:
                self._pending[number] = pending
                if not self._is_up:
                    return
                # As in _put; the way of every publish.
                buffer = self._buffer
                buffer.append(frame)
                self._buffered_bytes += size
                self._queued = pending.end = self._queued + size
                if not at_once and len(buffer) == 1:
                    self._writable.notify()
        if is_late:
            pending.fail(ConnectionLost("the connection was lost before the request left"))
        elif at_once:
            self._send_now()

    def post(self, frame: bytes, at_once: bool = False, until: Optional[float] = None) -> bool:
        """Sends a frame that gets no answer. With ``until`` it waits for the connection and for room in the buffer, at
        most until then; without, it goes into the buffer, or nowhere where the connection is lost. Says which."""
        with self._lock:
            if until is not None:
                self._wait_to_post(until)
            if not self._is_up:
                return False
            self._put(frame, len(frame), at_once)
        if at_once:
            self._send_now()
        return True

    def _wait_to_post(self, until: float) -> None:
        most = self._limits.in_flight_bytes

        def is_over() -> bool:
            return self._is_closed or (self._is_up and self._buffered_bytes < most)

        if self.is_reading and not is_over():
            raise LimitReached("a callback of a future publishes while there is no connection, or no room")
        self._wait_until(is_over, until)

    def forget(self, number: int) -> Optional[Pending]:
        """Takes a request back: its answer is of no interest any more."""
        with self._lock:
            pending = self._pending.pop(number, None)
            if pending is not None:
                self._uncount(pending)
            return pending

    def wait_until_settled(self, timeout: Optional[float]) -> bool:
        """Waits until no publish is in flight and everything is sent; says whether it came to that."""
        self.must_not_be_reading()
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            return self._wait_until(
                lambda: not (self._in_flight or self._telling) and (not self._is_up or self._sent >= self._queued),
                deadline,
            )

    def _wait_for_room(self, size: int, deadline: float) -> None:
        if self.is_reading:
            raise LimitReached("a callback of a future publishes while the limit of publishes in flight is reached")
        limits = self._limits

        def has_room() -> bool:
            return (
                self._is_closed
                or not self._in_flight
                or (self._in_flight < limits.in_flight and self._in_flight_bytes + size <= limits.in_flight_bytes)
            )

        if not self._wait_until(has_room, deadline):
            raise TimedOut("too many publishes in flight, and none was answered in time; this one was not sent")

    def _wait_until(self, condition: Callable[[], bool], deadline: Optional[float]) -> bool:
        self._waiting += 1
        try:
            while not condition():
                left = _TICK_S if deadline is None else min(_TICK_S, deadline - time.monotonic())
                if left <= 0:
                    return False
                self._changed.wait(left)
            return True
        finally:
            self._waiting -= 1

    def _uncount(self, pending: Pending) -> None:
        if pending.counted:
            self._in_flight -= 1
            self._in_flight_bytes -= len(pending.frame)
            if self._waiting:
                self._changed.notify_all()

    # Sending

    def _put(self, frame: bytes, size: int, at_once: bool) -> None:
        self._buffer.append(frame)
        self._buffered_bytes += size
        self._queued += size
        if not at_once and len(self._buffer) == 1:
            self._writable.notify()

    def _take(self) -> tuple[Optional[socket.socket], bytes]:
        """What is to be sent next; the caller holds the right to send."""
        data = self._buffer[0] if len(self._buffer) == 1 else b"".join(self._buffer)
        self._buffer = []
        self._buffered_bytes = 0
        return self._socket, data

    def _send_now(self) -> None:
        """Sends what is in the buffer unless somebody is sending already; leaves to the writer what would have to
        wait."""
        while self._sending.acquire(blocking=False):
            with self._lock:
                if not self._buffer or not self._is_up:
                    self._sending.release()
                    return
                sock, data = self._take()
            try:
                sent = sock.send(data) if sock is not None else 0
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                if sock is not None:
                    shut(sock)
                sent = 0
            with self._lock:
                if sock is self._socket:
                    self._sent += sent
                    if sent < len(data):
                        self._buffer.insert(0, data[sent:])
                        self._buffered_bytes += len(data) - sent
                        self._writable.notify()
                if self._waiting:
                    self._changed.notify_all()
                self._sending.release()
                if sent < len(data) or not self._buffer:
                    return

    def _write_for_ever(self) -> None:
        while True:
            with self._lock:
                while not self._is_closed and not (self._is_up and self._buffer):
                    self._writable.wait()
                if self._is_closed:
                    return
            with self._sending:
                with self._lock:
                    if not self._is_up or not self._buffer:
                        continue
                    sock, data = self._take()
                if sock is not None:
                    self._send_whole(sock, data)

    def _send_whole(self, sock: socket.socket, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                sent = sock.send(rest)
            except (BlockingIOError, InterruptedError):
                if self._wait_to_send(sock):
                    continue
                return
            except OSError:
                shut(sock)
                return
            rest = rest[sent:]
            with self._lock:
                if sock is not self._socket:
                    return
                self._sent += sent
                if self._waiting:
                    self._changed.notify_all()

    def _wait_to_send(self, sock: socket.socket) -> bool:
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(sock, selectors.EVENT_WRITE)
                while not selector.select(_TICK_S):
                    if sock is not self._socket:
                        return False
        except (ValueError, OSError) as error:
            # It ended, or the process has no file descriptor left. What was taken to be sent cannot be put back.
            log.debug("%s: %s", self._name, error)
            shut(sock)
            return False
        return True

    # Reading

    def _read_for_ever(self) -> None:
        sock, decoder = self._reader_start
        del self._reader_start
        while True:
            try:
                self._listener.up()
                self._read(sock, decoder)
            except (OSError, ProtocolError) as error:
                if not self._is_closed:
                    log.warning("connection to %s:%s lost: %s", self._host, self._port, error)
            except Exception:
                if not self._is_closed:
                    log.exception("connection to %s:%s given up", self._host, self._port)
            self._fall(sock)
            if self._is_closed:
                return
            again = self._reconnect()
            if again is None:
                return
            sock, decoder = again

    def _read(self, sock: socket.socket, decoder: Decoder) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(sock, selectors.EVENT_READ)
            while not self._is_closed:
                try:
                    data = sock.recv(RECEIVE_BYTES)
                except (BlockingIOError, InterruptedError):
                    if not selector.select(_TICK_S):
                        self.tick()
                        self._check_silence()
                    continue
                if not data:
                    raise ConnectionLost("closed by the server")
                self._handle(decoder.feed(data))
                # Behind the handling, which may have been held up for long: that is no silence of the server's.
                self._heard = time.monotonic()
                self._asks = 0
                if self.is_tick_due:
                    self.tick()

    _ticked = 0.0

    @property
    def is_tick_due(self) -> bool:
        """Whether it is time for :meth:`tick`."""
        return time.monotonic() - self._ticked >= _TICK_S

    def tick(self) -> None:
        """What is due about once a second: signs of life, requests whose time is over. For the reader's thread."""
        now = self._ticked = time.monotonic()
        if now - max(self._heard, self._asked) >= self._limits.heartbeat_interval:
            self._asked = now
            self._asks += 1
            self.post(_frames.encode(HEARTBEAT, 0, now_ms(), b""), at_once=True)
        late: list[Pending] = []
        with self._lock:
            # All of them: deadlines need not be in the order of the requests, for some waited for room.
            for number, pending in list(self._pending.items()):
                if pending.deadline <= now and not isinstance(pending, Call):
                    del self._pending[number]
                    self._uncount(pending)
                    late.append(pending)
            self._telling += 1
        self._fail(late, TimedOut("no answer in time"))

    def _check_silence(self) -> None:
        silence = time.monotonic() - self._heard
        # Asked twice: where this process was suspended itself, or the interval is short, the server had no time to answer.
        if self._asks >= 2 and silence >= 3 * self._limits.heartbeat_interval:
            raise ConnectionLost(f"nothing came for {silence:.0f} s")

    def _handle(self, frames: Sequence[Frame]) -> None:
        others: list[Frame] = []
        replies: list[Frame] = []
        for frame in frames:
            if frame.sequence and (frame.type == ACK or frame.type == HEARTBEAT):
                if others:
                    self._listener.came(others)
                    others = []
                replies.append(frame)
            elif frame.type != HEARTBEAT:
                if replies:
                    self._settle(replies)
                    replies = []
                others.append(frame)
        if others:
            self._listener.came(others)
        if replies:
            self._settle(replies)

    def _settle(self, replies: Sequence[Frame]) -> None:
        settled: list[tuple[Pending, Frame]] = []
        with self._lock:
            waiting = self._pending
            for frame in replies:
                pending = waiting.get(frame.sequence)
                if pending is None:
                    continue
                if pending.counted and b"\0code=shutting_down\0" in frame.block:
                    # It was not begun. The connection is about to end, and what waits goes again on the next one, in
                    # its place among the others.
                    pending.end = _NEVER
                    continue
                del waiting[frame.sequence]
                if pending.counted:
                    self._in_flight -= 1
                    self._in_flight_bytes -= len(pending.frame)
                settled.append((pending, frame))
            self._telling += 1
        for pending, frame in settled:
            try:
                pending.settle(frame)
            except BaseException:
                self._complain()
        self._told()

    def _fail(self, pendings: Sequence[Pending], error: Exception) -> None:
        """Tells these; the caller has counted itself among those who tell."""
        for pending in pendings:
            try:
                pending.fail(error)
            except BaseException:
                self._complain()
        self._told()

    def _complain(self) -> None:
        # Of SystemExit as well: a callback must not end the thread that reads, on which everybody waits.
        log.exception("%s: whoever was told of an outcome failed", self._name)

    def _told(self) -> None:
        with self._lock:
            self._telling -= 1
            if self._waiting:
                self._changed.notify_all()

    # Coming and going

    def _stand(self, sock: socket.socket, decoder: Decoder) -> bool:
        """The connection stands: everything that waits goes out. False where it was ended meanwhile."""
        del decoder
        with self._lock:
            if self._is_closed:
                sock.close()
                return False
            self._socket = sock
            self._heard = self._asked = self._ticked = time.monotonic()
            self._asks = 0
            self._buffer = []
            self._buffered_bytes = self._queued = self._sent = 0
            self._is_up = True
            self._session += 1
            for pending in self._pending.values():
                self._put(pending.frame, len(pending.frame), True)
                pending.end = self._queued
            self._writable.notify()
            self._changed.notify_all()
            return True

    def _fall(self, sock: socket.socket) -> None:
        """The connection is lost: some requests wait for the next one, the others fail."""
        shut(sock)
        with self._lock:
            self._is_up = False
        with self._sending, self._lock:
            self._socket = None
            failed: list[Pending] = []
            for number, pending in list(self._pending.items()):
                if not pending.session and (pending.repeatable or not pending.end or pending.end > self._sent):
                    pending.end = 0
                else:
                    del self._pending[number]
                    self._uncount(pending)
                    failed.append(pending)
            self._buffer = []
            self._buffered_bytes = 0
            self._telling += 1
            self._changed.notify_all()
        sock.close()
        self._fail(failed, ConnectionLost("the connection was lost before the answer came"))
        self._listener.down()

    def _reconnect(self) -> Optional[tuple[socket.socket, Decoder]]:
        limits = self._limits
        pause = 0.0
        while not self._rest(pause * random.uniform(0.5, 1.0)):
            pause = min(limits.backoff_most, pause * 2 or limits.backoff_first)
            try:
                ready = dial(self._host, self._port, self._limits, self.number(), self._while_dialing)
            except ConnectionFailed as error:
                log.debug("%s", error)
                self.tick()
                continue
            # What was given up is not to leave late.
            self.tick()
            if not self._stand(*ready):
                return None
            log.info("connection to %s:%s is back", self._host, self._port)
            return ready
        return None

    def _rest(self, seconds: float) -> bool:
        """Waits before the next attempt; says whether the connection was ended."""
        end = time.monotonic() + seconds
        while not self._closing.wait(max(0.0, min(_TICK_S, end - time.monotonic()))):
            if time.monotonic() >= end:
                return False
            self.tick()
        return True

    def _while_dialing(self) -> None:
        if self._is_closed:
            raise ConnectionFailed("the client disconnected")
        if self.is_tick_due:
            self.tick()

    def _fail_all(self, error: Exception) -> None:
        with self._lock:
            failed = list(self._pending.values())
            self._pending.clear()
            self._in_flight = self._in_flight_bytes = 0
            self._telling += 1
        self._fail(failed, error)
