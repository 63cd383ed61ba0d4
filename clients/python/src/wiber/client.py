"""The client: requests over one connection, subscriptions over a second one that is opened when the first of them
begins."""

from __future__ import annotations

import itertools
import json
import logging
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from types import TracebackType
from typing import Any, Optional, Union

from . import _frames
from ._connection import Connection
from ._frames import Frame, encode_pairs
from ._lane import Lane
from ._pending import Listener, now_ms, refusal
from ._publish import (
    ACK_LEVELS,
    AckLevel,
    Body,
    PublishFuture,
    PublishPending,
    checked_body,
    checked_headers,
    checked_partition,
    checked_text,
    message_block,
)
from ._records import partition_of_key, single_record_batch
from ._subscription import Handler, Subscription
from .errors import MISUSE, ConnectionFailed, NotConnected, ProtocolError, Refused, TimedOut, WiberError
from .groups import Consumer, GroupMember, PartitionsCallback
from .limits import Limits
from .message import Receipt, TopicOffsets

log = logging.getLogger("wiber")

#: Where a subscription begins: a word, or milliseconds since the Unix epoch.
Start = Union[str, int]
#: How much later than its time a publish may hear that its time is over.
_LENIENCE_S = 2.0
_STARTS = ("begin", "end", "committed")


class BrokerClient:
    """A client of a Wiber server.

    >>> with BrokerClient("127.0.0.1", 9999) as client:                 # doctest: +SKIP
    ...     client.create_topic("orders", partitions=3)
    ...     client.publish("orders", b"two coffees", key="table-7")
    ...     client.subscribe("orders", partition=0, handler=lambda message: print(message.offset, message.body))

    It may be used from any number of threads. A connection that is lost comes back by itself; meanwhile calls wait, for
    ``limits.request_timeout`` at most. ``create_topic``, ``delete_topic``, ``delete_group``, ``publish``,
    ``publish_text``, ``subscribe`` and ``unsubscribe`` say by ``True`` or ``False`` whether it worked: ``False`` for
    what the server refuses and for a connection that stays lost; the reason is logged, and kept in :attr:`last_error`.
    All other methods raise a :class:`wiber.WiberError`. Wrong usage raises everywhere.

    Handlers run one after another on a thread of the client's. They may call everything the client offers.

    ``ack`` is what an answer to a publish is to mean: ``"durable"`` (the disk has it), ``"leader"`` (the operating
    system has it), ``"none"`` (no answer); without it, what the server is configured for.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 9999,
        client_id: Optional[str] = None,
        *,
        ack: Optional[AckLevel] = None,
        limits: Optional[Limits] = None,
    ) -> None:
        self.host = checked_text("host", host)
        self.port = port
        self.client_id = checked_text("client_id", client_id) if client_id else f"client_{uuid.uuid4().hex[:8]}"
        self.limits = limits or Limits()
        #: Why something did not work, the last time.
        self.last_error: Optional[Exception] = None
        self._ack = _checked_ack(ack)
        self._lock = threading.RLock()
        #: Held while the connection of subscriptions is made.
        self._lane_lock = threading.Lock()
        self._connection: Optional[Connection] = None
        self._lane: Optional[Lane] = None
        self._members: list[GroupMember] = []
        self._partitions: dict[str, tuple[int, float]] = {}
        self._turn = itertools.count()

    # Life

    def connect(self) -> bool:
        """Connects; ``True`` once the server has shown a sign of life. Does nothing where it is connected.

        Raises :class:`wiber.ConnectionFailed`.
        """
        with self._lock:
            if self._connection is None:
                connection = Connection(self.host, self.port, self.limits, _Requests(self), self.client_id)
                connection.open()
                self._connection = connection
        return True

    def disconnect(self, timeout: Optional[float] = None) -> None:
        """Ends everything. Groups are left, and publishes in flight are waited for where the connection stands; each
        takes ``timeout`` seconds at most, or as long as the limits allow. Does nothing where it is not connected. A
        client may connect again."""
        with self._lock:
            connection, lane, members = self._connection, self._lane, list(self._members)
        if connection is None:
            return
        for member in members:
            member.leave(timeout)
        if connection.is_up:
            try:
                connection.wait_until_settled(self.limits.request_timeout if timeout is None else timeout)
            except WiberError as error:
                log.debug("disconnecting at once: %s", error)
        if lane is not None:
            lane.close()
        connection.close()
        with self._lock:
            # What began meanwhile ends as well.
            members = list(self._members)
            late = self._lane if self._connection is connection else None
            if self._connection is connection:
                self._connection = self._lane = None
        if late is not None:
            late.close()
        for member in members:
            member._end(connection)

    def __enter__(self) -> BrokerClient:
        self.connect()
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.disconnect()

    @property
    def is_connected(self) -> bool:
        """Whether the connection stands at this moment, as far as one knows."""
        return self._connection is not None and self._connection.is_up

    # Topics

    def create_topic(
        self,
        name: str,
        partitions: int = 1,
        retention_hours: Optional[int] = 24,
        *,
        retention_ms: Optional[int] = None,
        retention_bytes: Optional[int] = None,
        max_message_size: Optional[int] = None,
        cleanup_policy: Optional[str] = None,
        segment_bytes: Optional[int] = None,
    ) -> bool:
        """Creates a topic; also ``True`` where it exists with as many partitions.

        ``retention_hours=0`` keeps messages for ever; ``None`` leaves it to the server, as everything else that is not
        given. ``retention_ms`` stands instead of ``retention_hours``.
        """
        pairs = [("topic", checked_text("name", name)), ("partitions", str(_whole("partitions", partitions, 1)))]
        if retention_ms is not None:
            pairs.append(("wiber.retention_ms", str(_whole("retention_ms", retention_ms, -1))))
        elif retention_hours is not None:
            pairs.append(("retention_hours", str(_whole("retention_hours", retention_hours, 0))))
        for setting, value in (
            ("retention_bytes", retention_bytes),
            ("max_message_size", max_message_size),
            ("segment_bytes", segment_bytes),
        ):
            if value is not None:
                pairs.append((f"wiber.{setting}", str(_whole(setting, value, -1))))
        if cleanup_policy is not None:
            pairs.append(("wiber.cleanup_policy", checked_text("cleanup_policy", cleanup_policy)))
        return self._succeeds(f"creating topic {name!r}", _frames.CREATE_TOPIC, pairs, repeatable=True)

    def delete_topic(self, name: str) -> bool:
        """Deletes a topic and all it holds."""
        return self._succeeds(f"deleting topic {name!r}", _frames.DELETE_TOPIC, [("topic", checked_text("name", name))])

    def list_topics(self) -> dict[str, int]:
        """All topics by name, with their numbers of partitions."""
        topics: dict[str, int] = {}
        after: list[tuple[str, str]] = []
        while True:
            reply = self._requests().call(_frames.METADATA, encode_pairs(after), repeatable=True)
            for entry in _json(reply)["topics"]:
                topics[str(entry["topic"])] = int(entry["partitions"])
            following = reply.properties().get("wiber.next")
            if following is None:
                return topics
            after = [("wiber.after", following)]

    def describe_topic(self, name: str) -> dict[str, Any]:
        """What the server says of a topic: ``topic_id``, ``created_at_ms``, ``partitions`` (each with its offsets and
        status), ``settings`` and ``effective``."""
        pairs = [("topic", checked_text("name", name))]
        return _json(self._requests().call(_frames.METADATA, encode_pairs(pairs), repeatable=True))

    # Publishing

    def publish(self, topic: str, data: Body, partition: Optional[int] = None, **properties: object) -> bool:
        """Publishes a message and waits for the answer: ``True`` once it is stored as safely as ``ack`` asks for.

        Of the properties, ``key`` is the message's key and ``id`` lets the server recognise a repetition; all others
        are headers, but for names that mean something to the server (those beginning with ``wiber.``, as
        ``wiber.ack``). Their values are written as ``str`` does. Without ``partition``, the key decides on it; without
        a key as well, each has its turn.
        """
        headers = {name: str(value) for name, value in properties.items() if value is not None}
        key, message_id = headers.pop("key", None), headers.pop("id", None)
        ack = _checked_ack(headers.pop("wiber.ack", None))
        try:
            self.send(topic, data, partition=partition, key=key, id=message_id, headers=headers, ack=ack)
        except WiberError as error:
            if isinstance(error, MISUSE):
                raise
            return self._failed(f"publishing to {topic!r}", error)
        return True

    def publish_text(self, topic: str, text: str, partition: Optional[int] = None, **properties: object) -> bool:
        """Publishes a text, as UTF-8. See :meth:`publish`."""
        if not isinstance(text, str):
            raise TypeError(f"text is a {type(text).__name__}; it must be a str")
        return self.publish(topic, text.encode("utf-8"), partition, **properties)

    def send(
        self,
        topic: str,
        data: Optional[Body],
        *,
        partition: Optional[int] = None,
        key: Union[str, bytes, None] = None,
        id: Optional[str] = None,
        headers: Optional[Mapping[str, str]] = None,
        ack: Optional[AckLevel] = None,
        timestamp: Optional[int] = None,
    ) -> Receipt:
        """Like :meth:`publish_async`, and waits: says where the message is stored, or raises why it is not."""
        self._requests().must_not_be_reading()
        future = self.publish_async(
            topic,
            data,
            partition=partition,
            key=key,
            id=id,
            headers=headers,
            ack=ack,
            timestamp=timestamp,
            _at_once=True,
        )
        try:
            return future.result(self.limits.request_timeout + _LENIENCE_S)
        except FutureTimeoutError as error:
            raise error if isinstance(error, TimedOut) else TimedOut("no answer in time") from None

    def publish_async(
        self,
        topic: str,
        data: Optional[Body],
        *,
        partition: Optional[int] = None,
        key: Union[str, bytes, None] = None,
        id: Optional[str] = None,
        headers: Optional[Mapping[str, str]] = None,
        ack: Optional[AckLevel] = None,
        timestamp: Optional[int] = None,
        _at_once: bool = False,
    ) -> Future[Receipt]:
        """Publishes without waiting for the answer: a future of the :class:`wiber.Receipt`.

        Many may be under way, up to ``limits.in_flight`` and ``limits.in_flight_bytes``; then the call waits for room.
        The future holds a receipt, or the :class:`wiber.WiberError` that came instead, after
        ``limits.request_timeout`` seconds at the latest. It cannot be cancelled. Callbacks of the future run on the
        thread that reads answers: they may publish more with this method, but must not wait for anything.

        * ``data=None`` is a tombstone: it says that the ``key``, which it needs, has no value any more.
        * ``id`` (at most 255 bytes) makes a repetition harmless. After a loss of the connection, a message with an id
          goes again by itself; one without goes again only where it had not left.
        * ``ack`` stands instead of the client's own; with ``"none"`` the future is done at once.
        * ``timestamp`` in milliseconds since the Unix epoch is the message's time, instead of now.
        """
        level = self._ack if ack is None else _checked_ack(ack)
        body = None if data is None else checked_body(data)
        if isinstance(key, bytes):
            key = _text_if_possible(key)
        elif key is not None and not isinstance(key, str):
            raise TypeError(f"key is a {type(key).__name__}; it must be str or bytes")
        connection = self._requests()
        future = PublishFuture()
        deadline = time.monotonic() + self.limits.request_timeout
        time_ms = now_ms() if timestamp is None else timestamp
        if body is None or isinstance(key, bytes):
            kind = _frames.PUBLISH_BATCH
            block, body = self._as_batch(topic, body, partition, key, id, headers, level, time_ms)
            id = None
        else:
            kind = _frames.PUBLISH
            block = message_block(topic, self.client_id, partition, key, id, headers, level)
        number = connection.number()
        frame = _frames.encode(kind, number, time_ms, block, body)
        if level == "none":
            if not connection.post(frame, until=deadline):
                raise TimedOut("no connection in time; the message was not sent")
            future.set_result(Receipt(topic, -1 if partition is None else partition, -1))
        else:
            connection.start(number, PublishPending(frame, deadline, bool(id), future), _at_once)
        return future

    def flush(self, timeout: Optional[float] = None) -> bool:
        """Waits until every publish so far has its answer (or its error); ``False`` where that takes longer than
        ``timeout`` seconds."""
        return self._requests().wait_until_settled(timeout)

    # Subscribing

    def subscribe(
        self,
        topic: str,
        partition: int = 0,
        offset: int = 0,
        auto_ack: bool = True,
        handler: Optional[Handler] = None,
        *,
        start: Optional[Start] = None,
    ) -> bool:
        """Has every message of a partition, from ``offset`` on, handed to ``handler``.

        ``start`` stands instead of ``offset``: ``"begin"``, ``"end"``, ``"committed"`` (the position the server keeps
        for this ``client_id``), or milliseconds since the Unix epoch.

        With ``auto_ack`` a message is delivered at most once. Without, at least once: it is acknowledged when the
        handler has returned, unless the handler has called :meth:`Message.ack` or :meth:`Message.hold`; a handler that
        raises has not dealt with it, and the server sends it again after a while. What a handler raises is logged, and
        harms nothing else.
        """
        checked_text("topic", topic)
        checked_partition(partition)
        if handler is not None and not callable(handler):
            raise TypeError("handler cannot be called")
        if start is None:
            begin = (("offset", str(_whole("offset", offset, 0))),)
        elif isinstance(start, str):
            if start not in _STARTS:
                raise ValueError(f"start is {start!r}; it must be one of {', '.join(_STARTS)}, or milliseconds")
            begin = (("wiber.start", start),)
        else:
            begin = (("wiber.start", str(_whole("start", start, 0))),)
        subscription = Subscription(topic, partition, handler, bool(auto_ack), begin)
        subscription.on_end = lambda error: self._subscription_ended(subscription, error)
        try:
            self._subscriptions().subscribe(subscription, self.limits.request_timeout)
        except WiberError as error:
            if isinstance(error, MISUSE):
                raise
            return self._failed(f"subscribing to {topic}:{partition}", error)
        return True

    def unsubscribe(self, topic: str, partition: int = 0) -> bool:
        """Ends a subscription. Its handler is not called any more; a call that is running goes on."""
        checked_text("topic", topic)
        checked_partition(partition)
        self._requests()
        lane = self._lane
        subscription = None if lane is None else lane.find(topic, partition)
        what = f"unsubscribing from {topic}:{partition}"
        if lane is None or subscription is None:
            return self._failed(what, Refused("not_subscribed", "this client holds no such subscription"))
        try:
            lane.unsubscribe(subscription, self.limits.request_timeout)
        except WiberError as error:
            if isinstance(error, MISUSE):
                raise
            return self._failed(what, error)
        return True

    # Positions

    def list_offsets(
        self,
        topic: str,
        partition: int = 0,
        *,
        time_ms: Optional[int] = None,
        client_id: Optional[str] = None,
        group: Optional[str] = None,
    ) -> TopicOffsets:
        """Where a partition begins and ends; the first offset of a time; the position kept for a client or a group."""
        pairs = [("topic", checked_text("topic", topic)), ("partition", str(checked_partition(partition)))]
        if time_ms is not None:
            pairs.append(("wiber.time", str(_whole("time_ms", time_ms, 0))))
        if group is not None:
            pairs.append(("wiber.group", checked_text("group", group)))
        elif client_id is not None:
            pairs.append(("client_id", checked_text("client_id", client_id)))
        reply = self._requests().call(_frames.LIST_OFFSETS, encode_pairs(pairs), repeatable=True).properties()

        def offset(name: str) -> Optional[int]:
            value = int(reply.get(name, "-1"))
            return None if value < 0 else value

        ends = [int(reply.get(name, "0")) for name in ("log_start", "high_watermark", "log_end")]
        return TopicOffsets(ends[0], ends[1], ends[2], offset("committed"), offset("offset"))

    def commit(self, topic: str, partition: int, offset: int) -> int:
        """Keeps a position of this ``client_id``: the next offset to be read. It never goes back; the position that is
        kept now is returned."""
        pairs = [
            ("topic", checked_text("topic", topic)),
            ("partition", str(checked_partition(partition))),
            ("offset", str(_whole("offset", offset, 0))),
            ("client_id", self.client_id),
        ]
        reply = self._requests().call(_frames.COMMIT, encode_pairs(pairs), repeatable=True)
        return int(reply.properties().get("offset", str(offset)))

    def committed(self, topic: str, partition: int = 0) -> Optional[int]:
        """The position the server keeps for this ``client_id``; ``None`` where there is none."""
        return self.list_offsets(topic, partition, client_id=self.client_id).committed

    # Groups

    def join_group(
        self,
        group: str,
        topics: Union[str, Sequence[str]],
        handler: Handler,
        *,
        auto_commit: bool = True,
        at_most_once: bool = False,
        on_assigned: Optional[PartitionsCallback] = None,
        on_revoked: Optional[PartitionsCallback] = None,
        session_timeout: float = 10.0,
        rebalance_timeout: float = 30.0,
    ) -> GroupMember:
        """Joins a consumer group: the partitions of the topics (names, or patterns such as ``logs.*``) are divided
        among its members, and the messages of those that are ours go to ``handler``, on a thread of the member's own.

        * By default at least once: a message is committed when its handler has returned.
        * ``auto_commit=False``: positions are kept by :meth:`GroupMember.commit` alone.
        * ``at_most_once=True``: positions are kept before messages are delivered.

        ``on_assigned`` and ``on_revoked`` are called with lists of ``(topic, partition)``: the first before their
        messages come, the second while the partitions are still ours, so that it may commit.

        Raises any :class:`wiber.WiberError`.
        """
        if not callable(handler):
            raise TypeError("handler cannot be called")
        member = GroupMember(
            self,
            group,
            topics,
            handler,
            auto_commit=auto_commit,
            at_most_once=at_most_once,
            on_assigned=on_assigned,
            on_revoked=on_revoked,
            session_timeout=session_timeout,
            rebalance_timeout=rebalance_timeout,
        )
        member._join()
        return member

    def consumer(
        self,
        group: str,
        topics: Union[str, Sequence[str]],
        *,
        auto_commit: bool = False,
        at_most_once: bool = False,
        on_assigned: Optional[PartitionsCallback] = None,
        on_revoked: Optional[PartitionsCallback] = None,
        session_timeout: float = 10.0,
        rebalance_timeout: float = 30.0,
    ) -> Consumer:
        """A member of a group that asks for its messages instead of having them handed to it.

        >>> with client.consumer("billing", ["orders"]) as consumer:      # doctest: +SKIP
        ...     for message in consumer:
        ...         bill(message.body)
        ...         consumer.commit()

        See :meth:`join_group`. With ``auto_commit`` a message is committed when the next one is asked for.
        """
        return Consumer(
            self,
            group,
            topics,
            auto_commit=auto_commit,
            at_most_once=at_most_once,
            on_assigned=on_assigned,
            on_revoked=on_revoked,
            session_timeout=session_timeout,
            rebalance_timeout=rebalance_timeout,
        )

    def list_groups(self) -> list[dict[str, Any]]:
        """All groups: ``group``, ``kind``, ``state``, ``members`` (how many) and ``generation`` of each."""
        groups: list[dict[str, Any]] = _json(self._requests().call(_frames.LIST_GROUPS, b"", repeatable=True))["groups"]
        return groups

    def describe_group(self, group: str) -> dict[str, Any]:
        """What the server says of a group: its ``members``, and its ``partitions`` with owner, position and lag."""
        block = encode_pairs([("wiber.group", checked_text("group", group))])
        return _json(self._requests().call(_frames.DESCRIBE_GROUP, block, repeatable=True))

    def reset_group(self, group: str, positions: Mapping[tuple[str, int], int]) -> None:
        """Sets positions of a group without members anew, also backwards: ``{("orders", 0): 120}``."""
        entries = [{"topic": t, "partition": p, "offset": offset} for (t, p), offset in positions.items()]
        block = encode_pairs([("wiber.group", checked_text("group", group))])
        body = json.dumps({"positions": entries}).encode("utf-8")
        self._requests().call(_frames.RESET_GROUP, block, body, repeatable=True)

    def delete_group(self, group: str) -> bool:
        """Forgets a group without members, and its positions."""
        pairs = [("wiber.group", checked_text("group", group))]
        return self._succeeds(f"deleting group {group!r}", _frames.DELETE_GROUP, pairs)

    # Within

    def _requests(self) -> Connection:
        connection = self._connection
        if connection is None:
            raise NotConnected("the client is not connected: call connect(), or use it in a with statement")
        return connection

    def _subscriptions(self) -> Lane:
        with self._lane_lock:
            connection = self._requests()
            lane = self._lane
            if lane is None:
                lane = Lane(self.host, self.port, self.limits, self.client_id, f"{self.client_id}-subscriptions")
                self._open_patiently(lane, connection)
                with self._lock:
                    is_wanted = self._connection is connection and not connection.is_closed
                    if is_wanted:
                        self._lane = lane
                if not is_wanted:
                    lane.close()
                    raise NotConnected("the client was disconnected")
                threading.Thread(target=lane.run_handlers, name=f"wiber-{self.client_id}-handlers", daemon=True).start()
            return lane

    def _open_patiently(self, lane: Lane, connection: Connection) -> None:
        """Connects, also where the server is away for a while."""
        deadline = time.monotonic() + self.limits.request_timeout
        pause = self.limits.backoff_first
        while True:
            try:
                return lane.open()
            except ConnectionFailed:
                if time.monotonic() + pause > deadline or connection.wait_for_end(pause):
                    raise
            pause = min(2 * pause, self.limits.backoff_most)

    def _succeeds(self, what: str, type: int, pairs: list[tuple[str, str]], repeatable: bool = False) -> bool:
        try:
            self._requests().call(type, encode_pairs(pairs), repeatable=repeatable)
        except WiberError as error:
            if isinstance(error, MISUSE):
                raise
            return self._failed(what, error)
        return True

    def _failed(self, what: str, error: Exception) -> bool:
        self.last_error = error
        log.warning("%s failed: %s", what, error)
        return False

    def _subscription_ended(self, subscription: Subscription, error: Exception) -> None:
        self._failed(f"the subscription to {subscription.topic}:{subscription.partition}", error)

    def _as_batch(
        self,
        topic: str,
        value: Optional[bytes],
        partition: Optional[int],
        key: Union[str, bytes, None],
        message_id: Optional[str],
        headers: Optional[Mapping[str, str]],
        level: Optional[str],
        time_ms: int,
    ) -> tuple[bytes, bytes]:
        """Properties and body of a PUBLISH_BATCH, for what PUBLISH cannot say."""
        if key is None:
            raise ValueError("a tombstone (data=None) needs the key it is about")
        if message_id:
            raise ValueError("a tombstone, or a message whose key is not text, cannot have an id")
        raw_key = key.encode("utf-8") if isinstance(key, str) else key
        if partition is None:
            partition = partition_of_key(raw_key, self._partitions_of(topic))
        pairs = [("topic", checked_text("topic", topic)), ("partition", str(checked_partition(partition)))]
        if level is not None:
            pairs.append(("wiber.ack", level))
        named = [(name.encode("utf-8"), text.encode("utf-8")) for name, text in checked_headers(headers)]
        named.append((b"wiber.client_id", self.client_id.encode("utf-8")))
        return encode_pairs(pairs), single_record_batch(raw_key, value, named, time_ms)

    def _partitions_of(self, topic: str) -> int:
        count, until = self._partitions.get(topic, (0, 0.0))
        if time.monotonic() >= until:
            count = len(self.describe_topic(topic)["partitions"])
            if len(self._partitions) >= 10_000:
                self._partitions.clear()
            self._partitions[topic] = (count, time.monotonic() + 30.0)
        return count


class _Requests(Listener):
    """What the connection for requests tells."""

    def __init__(self, client: BrokerClient) -> None:
        self._client = client

    def came(self, frames: list[Frame]) -> None:
        for frame in frames:
            if frame.type == _frames.ASSIGNMENT:
                properties = frame.properties()
                for member in list(self._client._members):
                    member._told(properties, frame.body)
            elif frame.type == _frames.ACK:
                log.warning("the server says: %s", refusal(frame))

    def up(self) -> None:
        for member in list(self._client._members):
            member._reconnected()


def _checked_ack(ack: Optional[str]) -> Optional[AckLevel]:
    for level in ACK_LEVELS:
        if ack == level:
            return level
    if ack is None:
        return None
    raise ValueError(f"ack is {ack!r}; it must be one of {', '.join(ACK_LEVELS)}")


def _whole(name: str, value: int, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} is a {type(value).__name__}; it must be an int")
    if value < least:
        raise ValueError(f"{name} is {value}; it must be at least {least}")
    return value


def _text_if_possible(key: bytes) -> Union[str, bytes]:
    try:
        text = key.decode("utf-8")
    except UnicodeDecodeError:
        return key
    return key if "\0" in text else text


def _json(reply: Frame) -> dict[str, Any]:
    try:
        value = json.loads(reply.body)
    except ValueError as error:
        raise ProtocolError("an answer whose body is no JSON") from error
    if not isinstance(value, dict):
        raise ProtocolError("an answer whose body is no object")
    return value
