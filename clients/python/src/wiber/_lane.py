"""Subscriptions over a connection of their own, and the bounded queue between it and who handles messages.

Why of its own: when handlers are slow the queue fills, the reader stops reading, and TCP makes the server wait. Answers
on the same connection would wait as well, and a handler that publishes would wait for itself. So requests go over the
client's other connection, which is always read. Only SUBSCRIBE and UNSUBSCRIBE have to go over this one; while one of
them is without an answer the queue takes up to :data:`_OVERDRAFT_BYTES` beyond its bound, so that the answer is
reached. What a server sends before it answers is far less: about 1 MiB, and what the kernels hold.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Callable, Optional

from . import _frames
from ._connection import Connection
from ._frames import ACK, COMMIT, DATA, SUBSCRIBE, UNSUBSCRIBE, Frame
from ._pending import Listener, Tell, Told, now_ms, refusal
from ._subscription import Subscription
from .errors import ConnectionLost, NotConnected, ProtocolError, Refused, TimedOut, WiberError
from .limits import MIB, Limits
from .message import Message

log = logging.getLogger("wiber")

_OVERDRAFT_BYTES = 64 * MIB
#: How often a subscription is refused on new connections before it ends, although somebody wants to keep it.
_REFUSALS_MOST = 5
#: What a message costs beside its bytes.
_MESSAGE_BYTES = 300


class Lane(Listener):
    """See the module. Methods may be called from any thread."""

    def __init__(self, host: str, port: int, limits: Limits, client_id: str, name: str) -> None:
        self._limits = limits
        self._client_id = client_id
        self._lock = threading.Lock()
        self._filled = threading.Condition(self._lock)
        self._changed = threading.Condition(self._lock)
        self._queue: deque[tuple[Subscription, Message]] = deque()
        self._queue_bytes = 0
        self._subscriptions: dict[bytes, Subscription] = {}
        #: Held while SUBSCRIBE or UNSUBSCRIBE is decided on and sent, so that they leave in the order of the decisions.
        self._asking = threading.RLock()
        self._urgent = 0
        self._running: Optional[Message] = None
        self._runner: Optional[threading.Thread] = None
        self._is_closed = False
        self.connection = Connection(host, port, limits, self, name)

    def open(self) -> None:
        """Connects. Raises :class:`wiber.ConnectionFailed`."""
        self.connection.open()

    def close(self) -> None:
        """Ends everything. What is in the queue is handed out no more."""
        with self._lock:
            self._is_closed = True
            subscriptions = list(self._subscriptions.values())
            self._subscriptions.clear()
            self._queue.clear()
            self._queue_bytes = 0
            self._filled.notify_all()
            self._changed.notify_all()
        self.connection.close()
        for subscription in subscriptions:
            subscription.on_end = None
            subscription.ended(ConnectionLost("the client disconnected"))

    # Subscribing

    def subscribe(self, subscription: Subscription, timeout: float) -> int:
        """Begins it; the offset at which it starts.

        Raises any :class:`wiber.WiberError`.
        """
        with self._lock:
            if self._is_closed:
                raise NotConnected("the client is not connected")
            if subscription.prefix in self._subscriptions:
                where = f"{subscription.topic}:{subscription.partition}"
                raise Refused("already_subscribed", f"this client is subscribed to {where} already")
            self._subscriptions[subscription.prefix] = subscription
        topic, partition = subscription.topic, subscription.partition
        subscription.send_ack = self._acknowledging(topic, partition)
        with _Urgent(self, subscription.outcome):
            self._request(subscription)
            try:
                return subscription.outcome.result(timeout)
            except FutureTimeoutError:
                subscription.stopped = True
                self._remove(subscription)
                self._tell_unsubscribe(subscription)
                raise TimedOut(f"no answer within {timeout:g} s") from None

    def unsubscribe(self, subscription: Subscription, timeout: float, *, drop: bool = True) -> None:
        """Ends it. ``drop``: what is in the queue is not handed out any more.

        Raises any :class:`wiber.WiberError`; it is over all the same.
        """
        if drop:
            self.stop(subscription)
        outcome: Future[None] = Future()
        with _Urgent(self, outcome):
            try:
                self._tell_unsubscribe(subscription, outcome)
                outcome.result(timeout)
            except FutureTimeoutError:
                raise TimedOut(f"no answer within {timeout:g} s") from None
            finally:
                self._remove(subscription)

    def find(self, topic: str, partition: int) -> Optional[Subscription]:
        """The subscription to this partition."""
        prefix = _frames.encode_pairs((("topic", topic), ("partition", str(partition))))
        with self._lock:
            return self._subscriptions.get(prefix)

    def stop(self, subscription: Subscription) -> None:
        """Hands out nothing more of it; what is queued goes."""
        with self._lock:
            subscription.stopped = True
            kept: deque[tuple[Subscription, Message]] = deque()
            for entry in self._queue:
                if entry[0] is subscription:
                    self._queue_bytes -= _cost(entry[1])
                    subscription.dropped(entry[1].sequence_number)
                else:
                    kept.append(entry)
            self._queue = kept
            self._changed.notify_all()

    def wait_until_idle(self, subscription: Subscription, timeout: float, *, drained: bool = False) -> bool:
        """Waits until no message of it is in somebody's hands (and, ``drained``, none in the queue)."""
        deadline = time.monotonic() + timeout

        def is_busy() -> bool:
            in_hand = self._running is not None and self._running._of is subscription
            return in_hand or (drained and any(entry[0] is subscription for entry in self._queue))

        with self._lock:
            if self._running is not None and self._runner is threading.current_thread():
                return True
            while is_busy() and not self._is_closed:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
        return True

    def _remove(self, subscription: Subscription) -> None:
        with self._lock:
            if self._subscriptions.get(subscription.prefix) is subscription:
                del self._subscriptions[subscription.prefix]

    def _request(self, subscription: Subscription) -> None:
        """Sends SUBSCRIBE, once on each connection; where none stands, :meth:`up` will."""
        with self._asking:
            session = self.connection.session
            if subscription.leaving or not self.connection.is_up or subscription.session == session:
                return
            subscription.session = session
            subscription.is_refused = False
            self._subscribe_on(session, subscription)

    def ask_again(self, subscription: Subscription) -> None:
        """Sends SUBSCRIBE once more for one that was kept although it was refused."""
        with self._asking:
            if subscription.is_refused:
                subscription.session = 0
                self._request(subscription)

    def _subscribe_on(self, session: int, subscription: Subscription) -> None:
        def tell(reply: Optional[Frame], error: Optional[Exception]) -> None:
            if reply is None:
                if not isinstance(error, ConnectionLost):
                    self._end(subscription, error or ProtocolError("no reply"))
                return
            wrong = refusal(reply)
            if wrong is None:
                subscription.live_on, subscription.refusals = session, 0
                self._tell_position(subscription, session)
                try:
                    subscription.started(int(reply.properties()["start_offset"]))
                except (KeyError, ValueError, ProtocolError):
                    self._end(subscription, ProtocolError("the answer to SUBSCRIBE has no start_offset"))
            elif isinstance(wrong, Refused) and wrong.code in ("shutting_down", "timed_out"):
                log.debug("the server stops; subscribing again on the next connection")
            else:
                self._refused(subscription, wrong)

        named = [] if subscription.is_anonymous else [("client_id", self._client_id)]
        block = _frames.encode_pairs([*subscription.request(), *named])
        # Its time never ends by itself. Who subscribes gives up himself; and one that is begun again may be answered behind
        # messages that wait for slow handlers.
        self._tell(SUBSCRIBE, block, session, tell, math.inf)

    def _refused(self, subscription: Subscription, error: Exception) -> None:
        keep, is_first = subscription.on_refused, not subscription.outcome.done()
        subscription.refusals += 1
        if keep is None or is_first or subscription.refusals > _REFUSALS_MOST:
            return self._end(subscription, error)
        subscription.is_refused = True
        if not keep(error):
            self._end(subscription, error)

    def _tell_position(self, subscription: Subscription, session: int) -> None:
        """Keeps the position of a subscription that began again: acknowledgements that were lost with the connection
        never come to the server otherwise, unless more messages do."""
        position = subscription.position()
        if position is None or subscription.is_anonymous:
            return
        where = [("topic", subscription.topic), ("partition", str(subscription.partition)), ("offset", str(position))]
        block = _frames.encode_pairs([*where, *(subscription.extra or [("client_id", self._client_id)])])

        def tell(reply: Optional[Frame], error: Optional[Exception]) -> None:
            wrong = error if reply is None else refusal(reply)
            if wrong is not None:
                log.debug("keeping the position of %s:%s: %s", subscription.topic, subscription.partition, wrong)

        try:
            self._tell(COMMIT, block, session, tell)
        except NotConnected as error:
            tell(None, error)

    def _tell_unsubscribe(self, subscription: Subscription, outcome: Optional[Future[None]] = None) -> None:
        def tell(reply: Optional[Frame], error: Optional[Exception]) -> None:
            wrong = error if reply is None else refusal(reply)
            if outcome is None or outcome.done():
                return
            # A connection that is lost has taken the subscription with it.
            if wrong is None or isinstance(wrong, ConnectionLost):
                outcome.set_result(None)
            else:
                outcome.set_exception(wrong)

        pairs = [("topic", subscription.topic), ("partition", str(subscription.partition))]
        named = [] if subscription.is_anonymous else [("client_id", self._client_id)]
        block = _frames.encode_pairs([*pairs, *named])
        with self._asking:
            subscription.leaving = True
            self._tell(UNSUBSCRIBE, block, subscription.session, tell)

    def _tell(self, type: int, block: bytes, session: int, tell: Tell, seconds: Optional[float] = None) -> None:
        number = self.connection.number()
        deadline = time.monotonic() + (self._limits.request_timeout if seconds is None else seconds)
        frame = _frames.encode(type, number, now_ms(), block)
        self.connection.start(number, Told(frame, deadline, session or -1, tell), at_once=True)

    def _end(self, subscription: Subscription, error: Exception) -> None:
        self._remove(subscription)
        self.stop(subscription)
        subscription.ended(error)

    def _acknowledging(self, topic: str, partition: int) -> Callable[[int], None]:
        pairs = (("topic", topic), ("partition", str(partition)), ("client_id", self._client_id))
        block = _frames.encode_pairs(pairs)

        def send_ack(offset: int) -> None:
            self.connection.post(_frames.encode(ACK, offset, now_ms(), block))

        return send_ack

    # What the connection tells

    def up(self) -> None:
        with self._lock:
            subscriptions = [s for s in self._subscriptions.values() if not s.stopped and not s.leaving]
        for subscription in subscriptions:
            self._request(subscription)

    def came(self, frames: list[Frame]) -> None:
        messages: list[tuple[Subscription, Message]] = []
        find, session = self._subscriptions.get, self.connection.session
        for frame in frames:
            if frame.type == DATA:
                block = frame.block
                prefix = block[: block.find(b"\0", block.find(b"\0") + 1) + 1]
                subscription = find(prefix)
                if subscription is None or subscription.stopped or subscription.live_on != session:
                    continue
                message = subscription.take_in(frame)
                if message is not None and subscription.handler is not None:
                    messages.append((subscription, message))
            elif frame.type == ACK:
                self._ended_by_server(frame)
        if messages:
            self._enqueue(messages)

    def _ended_by_server(self, frame: Frame) -> None:
        wrong = refusal(frame)
        if isinstance(wrong, Refused) and "topic" in wrong.properties:
            try:
                partition = int(wrong.properties.get("partition", "0"))
            except ValueError:
                return
            subscription = self.find(wrong.properties["topic"], partition)
            if subscription is not None and subscription.live_on == self.connection.session:
                self._end(subscription, wrong)
        elif wrong is not None:
            log.warning("the server says: %s", wrong)

    def _enqueue(self, messages: list[tuple[Subscription, Message]]) -> None:
        limits = self._limits
        queue = self._queue
        with self._lock:
            for entry in messages:
                cost = _cost(entry[1])
                while not self._is_closed and not entry[0].stopped and self._queue:
                    if len(self._queue) < limits.queue and self._queue_bytes + cost <= limits.queue_bytes:
                        break
                    if self._urgent and self._queue_bytes + cost <= limits.queue_bytes + _OVERDRAFT_BYTES:
                        break
                    self._changed.wait(1.0)
                    if self.connection.is_tick_due:
                        self._lock.release()
                        try:
                            self.connection.tick()
                        finally:
                            self._lock.acquire()
                if self._is_closed:
                    return
                if entry[0].stopped:
                    continue
                queue = self._queue
                if not queue:
                    self._filled.notify()
                queue.append(entry)
                self._queue_bytes += cost

    # Handing out

    def take(self, timeout: Optional[float] = None) -> Optional[Message]:
        """The next message; whatever was taken before is in nobody's hands any more. ``None``: none came in time, or
        the lane is closed."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            if self._running is not None:
                self._running = None
                self._changed.notify_all()
            while True:
                while not self._queue:
                    left = None if deadline is None else deadline - time.monotonic()
                    if self._is_closed or (left is not None and left <= 0):
                        return None
                    self._filled.wait(left)
                subscription, message = self._queue.popleft()
                self._queue_bytes -= _cost(message)
                self._changed.notify_all()
                if subscription.begin(message.sequence_number):
                    self._running = message
                    self._runner = threading.current_thread()
                    return message

    @property
    def is_in_my_hands(self) -> bool:
        """Whether the calling thread is the one that is dealing with a message."""
        return self._running is not None and self._runner is threading.current_thread()

    def put_down(self) -> None:
        """What was taken is in nobody's hands any more."""
        with self._lock:
            self._running = None
            self._changed.notify_all()

    def run_handlers(self) -> None:
        """Takes messages and hands them to their handlers, until the lane is closed."""
        while not self._is_closed:
            message = self.take()
            if message is not None:
                handle(message)

    @property
    def is_closed(self) -> bool:
        """Whether it was ended."""
        return self._is_closed


def handle(message: Message) -> None:
    """Gives a message to its handler, and sees to the acknowledgement."""
    subscription = message._of
    handler = subscription.handler
    succeeded = False
    try:
        if handler is not None:
            handler(message)
        succeeded = True
    except BaseException:
        # Of SystemExit as well: nobody would hear of it on this thread, which has others' messages to hand out.
        log.exception("the handler of %s:%s failed at offset %s", message.topic, message.partition, message.offset)
    try:
        subscription.finish(message.sequence_number, succeeded)
    except WiberError as error:
        log.warning("%r could not be acknowledged: %s", message, error)


def _cost(message: Message) -> int:
    return len(message.body) + len(message._block) + _MESSAGE_BYTES


class _Urgent:
    """While it is held, and the outcome is not known, the reader goes on although the queue is full."""

    def __init__(self, lane: Lane, outcome: Future[Any]) -> None:
        self._lane = lane
        self._outcome = outcome
        self._is_held = False

    def __enter__(self) -> None:
        with self._lane._lock:
            self._is_held = True
            self._lane._urgent += 1
            self._lane._changed.notify_all()
        # On the reader's thread, before it takes in what comes behind the answer.
        self._outcome.add_done_callback(self._release)

    def __exit__(self, *_: object) -> None:
        self._release()

    def _release(self, *_: object) -> None:
        with self._lane._lock:
            if self._is_held:
                self._is_held = False
                self._lane._urgent -= 1
