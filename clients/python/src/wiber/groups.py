"""Members of consumer groups.

The server says which partitions a member may read (the *assignment*) and tells of every change. A member lets go of
what it lost in this order: nothing more is handed out, the running handler ends, ``on_revoked`` is called, the
subscription ends, the server hears what is still read. Only then does somebody else get the partition, so that no
message is in two hands.

Three ways to keep positions:

* at least once, ``auto_commit=True``: the server keeps the first message that is not acknowledged;
* at least once, ``auto_commit=False``: the member reads from the position and keeps one when it is told to;
* at most once: the server keeps the position before it sends a message.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, Optional, Union

from . import _frames
from ._connection import Connection
from ._frames import encode_pairs
from ._lane import Lane
from ._publish import checked_text
from ._subscription import Handler, Subscription
from .errors import NotConnected, ProtocolError, Refused, WiberError
from .message import Message

if TYPE_CHECKING:
    from .client import BrokerClient

log = logging.getLogger("wiber")

#: A topic and one of its partitions.
TopicPartition = tuple[str, int]
PartitionsCallback = Callable[[list[TopicPartition]], object]
#: Partitions with the generation since which they are ours.
Assignment = dict[TopicPartition, int]

_REJOIN_PAUSE_S = 0.5


class GroupMember:
    """A member of a group whose handler gets the messages. Made by :meth:`wiber.BrokerClient.join_group`."""

    def __init__(
        self,
        client: BrokerClient,
        group: str,
        topics: Union[str, Sequence[str]],
        handler: Optional[Handler],
        *,
        auto_commit: bool,
        at_most_once: bool,
        on_assigned: Optional[PartitionsCallback],
        on_revoked: Optional[PartitionsCallback],
        session_timeout: float,
        rebalance_timeout: float,
    ) -> None:
        names = [topics] if isinstance(topics, str) else list(topics)
        if not names:
            raise ValueError("topics is empty")
        self.group = checked_text("group", group)
        self.topics: list[str] = [checked_text("topic", name) for name in names]
        #: The name the server gave this member; empty before it joined.
        self.member_id = ""
        #: Grows with every change of the group's partitions.
        self.generation = 0
        self._client = client
        self._handler = handler
        self._auto_commit = auto_commit
        self._at_most_once = at_most_once
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._session_timeout = session_timeout
        self._rebalance_timeout = rebalance_timeout
        self._heartbeat_s = session_timeout / 3
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._left = threading.Event()
        self._leaving = False
        self._wanted: Optional[Assignment] = None
        self._rejoin = False
        self._reading: dict[TopicPartition, tuple[int, Subscription]] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._requests = client._requests()
        self._lane = self._new_lane()
        #: How often it joined.
        self._joins = 0
        #: While it is joining: the last assignment that came for each member of the group, for the answer that says which
        #: of them it is may be read later than what comes behind it.
        self._early: Optional[dict[str, bytes]] = None
        #: What a heartbeat heard that needs an answer, and the join it is about.
        self._trouble: Optional[tuple[int, WiberError]] = None
        self._thread = threading.Thread(target=self._run, name=f"wiber-{group}-member", daemon=True)
        # Beside the other, because a handler that takes its time must not cost the membership.
        self._heart = threading.Thread(target=self._beat, name=f"wiber-{group}-heartbeat", daemon=True)

    @property
    def assignment(self) -> list[TopicPartition]:
        """The partitions that are read at this moment, in order."""
        with self._lock:
            return sorted(self._reading)

    def commit(self, message: Optional[Message] = None) -> None:
        """Keeps positions: behind everything that was handed out, or behind this message alone.

        Does nothing where positions are kept by themselves (``auto_commit``, ``at_most_once``). Raises any
        :class:`wiber.WiberError`; ``Refused`` with code ``fenced_member`` where a partition went to another member.
        """
        if self._auto_commit or self._at_most_once:
            return
        with self._lock:
            reading = dict(self._reading)
        for place, (generation, subscription) in reading.items():
            if message is None:
                position = subscription.handed_out
            elif place == (message.topic, message.partition):
                position = message.offset + 1
            else:
                continue
            if position is not None and position > self._committed.get(place, -1):
                self._commit_at(place, generation, position)

    def leave(self, timeout: Optional[float] = None) -> None:
        """Lets go of everything, in order, and leaves the group. From within the handler, or a callback of a future, it
        only begins to."""
        self._leaving = True
        self._wake.set()
        if self._thread.ident is None:
            return  # It is joining, and leaves as soon as it has.
        if self._handler is None and self._lane.is_in_my_hands:
            # Who asks for messages, and leaves, asks for no more.
            self._lane.put_down()
        is_waited_for = self._thread is threading.current_thread() or self._requests.is_reading
        if not is_waited_for and not self._lane.is_in_my_hands:
            limits = self._client.limits
            self._left.wait(self._rebalance_timeout + limits.request_timeout if timeout is None else timeout)

    def __enter__(self) -> GroupMember:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.leave()

    # Joining

    def _new_lane(self) -> Lane:
        client = self._client
        return Lane(client.host, client.port, client.limits, client.client_id, f"{client.client_id}-{self.group}")

    def _join(self) -> None:
        client = self._client
        self._requests = client._requests()
        if self._lane.is_closed:
            self._lane = self._new_lane()
        client._open_patiently(self._lane, self._requests)
        with client._lock:
            client._members.append(self)
        try:
            self._ask_to_join()
        except BaseException:
            self._forget()
            self._lane.close()
            raise
        if self._handler is not None:
            threading.Thread(target=self._lane.run_handlers, name=f"wiber-{self.group}-handlers", daemon=True).start()
        self._thread.start()
        self._heart.start()

    def _ask_to_join(self) -> None:
        """JOIN_GROUP; what the member may read is then wanted."""
        pairs = [
            ("wiber.group", self.group),
            ("client_id", self._client.client_id),
            ("wiber.session_timeout_ms", str(int(self._session_timeout * 1000))),
            ("wiber.rebalance_timeout_ms", str(int(self._rebalance_timeout * 1000))),
        ]
        body: dict[str, Any] = {"topics": self.topics}
        if self.member_id:
            pairs.append(("wiber.member", self.member_id))
            body["owned"] = self._owned()
        block, early = encode_pairs(pairs), dict[str, bytes]()
        self._early = early
        try:
            reply = self._requests.call(_frames.JOIN_GROUP, block, json.dumps(body).encode("utf-8"))
            properties = reply.properties()
            self.member_id = properties["wiber.member"]
            self._heartbeat_s = max(0.05, int(properties["wiber.heartbeat_ms"]) / 1000)
        except (KeyError, ValueError) as error:
            raise ProtocolError("the answer to JOIN_GROUP does not name the member and its heartbeat") from error
        finally:
            self._early = None
        self._joins += 1
        self._want(reply.body)
        told = early.get(self.member_id)
        if told is not None:
            self._want(told)

    def _owned(self) -> list[dict[str, Any]]:
        with self._lock:
            return [
                {"topic": topic, "partition": partition, "generation": generation}
                for (topic, partition), (generation, _) in sorted(self._reading.items())
            ]

    def _want(self, body: bytes) -> None:
        generation, wanted = parse_assignment(body)
        with self._lock:
            if generation >= self.generation:
                self.generation = generation
                self._wanted = wanted
        self._wake.set()

    # What the client tells, on its reader's thread

    def _told(self, properties: Mapping[str, str], body: bytes) -> None:
        if properties.get("wiber.group") != self.group:
            return
        early, member = self._early, properties.get("wiber.member", "")
        if early is not None:
            early[member] = body
        if member != self.member_id:
            return
        try:
            self._want(body)
        except ProtocolError as error:
            log.warning("group %s: %s", self.group, error)
        self._wake.set()

    def _reconnected(self) -> None:
        self._rejoin = True
        self._wake.set()

    # The member's own thread

    def _run(self) -> None:
        try:
            while not self._leaving:
                self._wake.clear()
                try:
                    trouble, self._trouble = self._trouble, None
                    if trouble is not None and trouble[0] == self._joins:
                        raise trouble[1]
                    if self._rejoin:
                        self._rejoin = False
                        self._ask_to_join()
                    if self._wanted is not None:
                        self._follow()
                except NotConnected:
                    return
                except WiberError as error:
                    self._cope(error)
                    self._left.wait(_REJOIN_PAUSE_S)
                    continue
                if not (self._leaving or self._rejoin or self._trouble) and self._wanted is None:
                    self._wake.wait()
        except Exception:
            log.exception("member of group %s ends", self.group)
        finally:
            self._say_goodbye()

    def _beat(self) -> None:
        while not self._left.wait(self._heartbeat_s):
            if not self.member_id or self._rejoin or not self._client.is_connected:
                # Joining again comes first; it counts as well.
                continue
            joins = self._joins
            try:
                self._heartbeat(None)
            except NotConnected:
                return
            except Refused as error:
                self._trouble = (joins, error)
                self._wake.set()
            except WiberError as error:
                # A new connection brings the member back.
                log.debug("group %s: %s", self.group, error)

    def _cope(self, error: WiberError) -> None:
        """What to do when the server says no, or nothing."""
        self._client.last_error = error
        log.warning("group %s: %s", self.group, error)
        is_unknown = isinstance(error, Refused) and error.code in ("unknown_member", "fenced_member")
        # On a new connection one asks first: a server that began anew takes back whom it does not know yet.
        if is_unknown and not self._rejoin:
            # The partitions are others' already: nothing of ours counts any more.
            self._release(self.assignment)
            self.member_id = ""
            self.generation = 0
        self._rejoin = True

    def _follow(self) -> None:
        """Reads what is to be read and nothing else, and tells the server."""
        with self._lock:
            wanted, self._wanted = self._wanted, None
            reading = {place: generation for place, (generation, _) in self._reading.items()}
        if wanted is None:
            return
        lost = sorted(place for place, generation in reading.items() if wanted.get(place) != generation)
        self._release(lost)
        gained = sorted(place for place in wanted if place not in reading or place in lost)
        _call(self._on_assigned, gained)
        taken = [place for place in gained if not self._leaving and self._begin(place, wanted[place])]
        if len(taken) < len(gained):
            # Not at once again: what stands in the way may pass.
            self._left.wait(_REJOIN_PAUSE_S)
        with self._lock:
            subscriptions = [subscription for _, subscription in self._reading.values()]
        for subscription in subscriptions:
            self._lane.ask_again(subscription)
        self._heartbeat(self._owned())

    def _heartbeat(self, owned: Optional[list[dict[str, Any]]]) -> None:
        pairs = (("wiber.group", self.group), ("wiber.member", self.member_id))
        body = b""
        if owned is not None:
            body = json.dumps({"owned": [{"topic": o["topic"], "partition": o["partition"]} for o in owned]}).encode(
                "utf-8"
            )
        reply = self._requests.call(_frames.GROUP_HEARTBEAT, encode_pairs(pairs), body)
        if reply.body:
            _, wanted = parse_assignment(reply.body)
            with self._lock:
                known = {place: generation for place, (generation, _) in self._reading.items()}
            if wanted != known:
                self._want(reply.body)

    def _begin(self, place: TopicPartition, generation: int) -> bool:
        topic, partition = place
        extra: tuple[tuple[str, str], ...] = (
            ("wiber.group", self.group),
            ("wiber.member", self.member_id),
            ("wiber.generation", str(generation)),
        )
        start: tuple[tuple[str, str], ...] = (("wiber.start", "committed"),)
        handler = self._handler or _pulled
        if self._auto_commit or self._at_most_once:
            subscription = Subscription(topic, partition, handler, self._at_most_once, start, extra)
        else:
            # Nothing is to keep a position but commit(): so it is read as by nobody in particular.
            offsets = self._client.list_offsets(topic, partition, group=self.group)
            committed = offsets.log_start if offsets.committed is None else offsets.committed
            subscription = Subscription(topic, partition, handler, True, (("offset", str(committed)),))
            subscription.is_anonymous = True
        subscription.on_end = lambda error: self._ended(place, subscription, error)
        subscription.on_refused = self._refused
        # Before the first message comes, whose handler may commit.
        with self._lock:
            self._reading[place] = (generation, subscription)
            self._committed.pop(place, None)
        try:
            self._lane.subscribe(subscription, self._client.limits.request_timeout)
        except WiberError as error:
            with self._lock:
                self._reading.pop(place, None)
            if not isinstance(error, Refused):
                raise
            log.warning("group %s: %s:%s cannot be read: %s", self.group, topic, partition, error)
            self._client.last_error = error
            return False
        return True

    def _release(self, places: list[TopicPartition]) -> None:
        if not places:
            return
        with self._lock:
            subscriptions = [self._reading[place][1] for place in places if place in self._reading]
        patience = self._rebalance_timeout / 2
        timeout = self._client.limits.request_timeout
        for subscription in subscriptions:
            if self._at_most_once:
                # What was delivered counts as dealt with, so it is dealt with.
                _quietly(self._lane.unsubscribe, subscription, timeout, drop=False)
            else:
                self._lane.stop(subscription)
        for subscription in subscriptions:
            if not self._lane.wait_until_idle(subscription, patience, drained=self._at_most_once):
                log.warning("group %s: a handler of %s runs on", self.group, subscription.topic)
            if self._at_most_once:
                self._lane.stop(subscription)
        _call(self._on_revoked, places)
        for subscription in subscriptions:
            if not self._at_most_once:
                _quietly(self._lane.unsubscribe, subscription, timeout)
        with self._lock:
            for place in places:
                self._reading.pop(place, None)

    def _refused(self, error: Exception) -> bool:
        """The server does not go on with a subscription on a new connection. One that began anew does once it has heard
        who we are and what we read; so that is said first."""
        is_unknown = isinstance(error, Refused) and error.code in ("unknown_member", "fenced_member")
        if is_unknown:
            self._rejoin = True
            self._wake.set()
        return is_unknown

    def _ended(self, place: TopicPartition, subscription: Subscription, error: Exception) -> None:
        """The server ended a subscription: the topic is gone, or the partition went to somebody else."""
        log.warning("group %s: %s:%s is not read any more: %s", self.group, place[0], place[1], error)
        with self._lock:
            current = self._reading.get(place)
            if current is not None and current[1] is subscription:
                del self._reading[place]
        self._rejoin = True
        self._wake.set()

    def _commit_at(self, place: TopicPartition, generation: int, position: int) -> None:
        pairs = [
            ("topic", place[0]),
            ("partition", str(place[1])),
            ("offset", str(position)),
            ("wiber.group", self.group),
            ("wiber.member", self.member_id),
            ("wiber.generation", str(generation)),
        ]
        self._requests.call(_frames.COMMIT, encode_pairs(pairs), repeatable=True)
        self._committed[place] = position

    def _say_goodbye(self) -> None:
        try:
            self._release(self.assignment)
            # Acknowledgements go out before the group hears that we go.
            self._lane.close()
            pairs = (("wiber.group", self.group), ("wiber.member", self.member_id))
            if self.member_id:
                self._requests.call(_frames.LEAVE_GROUP, encode_pairs(pairs), timeout=5.0)
        except WiberError as error:
            log.debug("leaving group %s: %s", self.group, error)
        finally:
            self._lane.close()
            self._forget()
            self._left.set()

    def _forget(self) -> None:
        with self._client._lock:
            if self in self._client._members:
                self._client._members.remove(self)

    def _end(self, connection: Connection) -> None:
        """The client is disconnected: nothing is to be waited for any more."""
        if self._requests is connection:
            self._leaving = True
            self._lane.close()
            self._wake.set()


class Consumer:
    """A member of a group that asks for its messages. Made by :meth:`wiber.BrokerClient.consumer`; joins when it is
    entered, or first asked. One thread asks at a time; a message is in its hands until it asks again."""

    def __init__(self, client: BrokerClient, group: str, topics: Union[str, Sequence[str]], **options: Any) -> None:
        self._member = GroupMember(client, group, topics, None, **options)
        self._joined = False
        self._auto_commit = bool(options["auto_commit"])
        self._in_hand: Optional[Message] = None

    def __enter__(self) -> Consumer:
        self._join()
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close(failed=kind is not None)

    def __iter__(self) -> Iterator[Message]:
        while True:
            message = self.poll(None)
            if message is None:
                return
            yield message

    @property
    def assignment(self) -> list[TopicPartition]:
        """The partitions that are read at this moment, in order."""
        return self._member.assignment

    @property
    def member(self) -> GroupMember:
        """The member behind it."""
        return self._member

    def poll(self, timeout: Optional[float] = 1.0) -> Optional[Message]:
        """The next message; ``None`` where none comes within ``timeout`` seconds (``None``: for ever), or after
        :meth:`close`."""
        self._join()
        self._put_down(succeeded=True)
        self._in_hand = self._member._lane.take(timeout)
        return self._in_hand

    def commit(self, message: Optional[Message] = None) -> None:
        """Keeps positions: behind every message that was asked for, the last one included, or behind this one alone."""
        self._member.commit(message)

    def close(self, *, failed: bool = False) -> None:
        """Leaves the group. With ``auto_commit`` the message in hand counts as dealt with, unless ``failed``."""
        if self._joined:
            self._put_down(succeeded=not failed)
            self._member._lane.put_down()
            self._member.leave()

    def _join(self) -> None:
        if not self._joined:
            self._member._join()
            self._joined = True

    def _put_down(self, succeeded: bool) -> None:
        message, self._in_hand = self._in_hand, None
        if message is not None:
            message._of.finish(message.sequence_number, succeeded)


def parse_assignment(body: bytes) -> tuple[int, Assignment]:
    """Generation and partitions of an assignment.

    Raises :class:`wiber.ProtocolError` for what is none.
    """
    try:
        value = json.loads(body)
        assigned = {(str(e["topic"]), int(e["partition"])): int(e["generation"]) for e in value["assigned"]}
        return int(value["generation"]), assigned
    except (ValueError, KeyError, TypeError) as error:
        raise ProtocolError("an assignment that cannot be read") from error


def _pulled(message: Message) -> None:
    """Stands for the handler of messages that are asked for."""


def _call(callback: Optional[PartitionsCallback], places: list[TopicPartition]) -> None:
    if callback is not None and places:
        try:
            callback(places)
        except Exception:
            log.exception("a callback of a group member failed")


def _quietly(unsubscribe: Callable[..., None], *arguments: Any, **options: Any) -> None:
    try:
        unsubscribe(*arguments, **options)
    except WiberError as error:
        log.debug("unsubscribing: %s", error)
