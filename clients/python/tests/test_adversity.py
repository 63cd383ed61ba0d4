"""What the client makes of unlucky moments: each test brings one about on purpose."""

from __future__ import annotations

import socket
import sys
import threading
import time
import unittest
from typing import Any

from wiber import BrokerClient, LimitReached, Limits, Refused, TimedOut
from wiber._connection import Connection
from wiber._dial import is_to_itself
from wiber._frames import (
    ACK,
    ASSIGNMENT,
    COMMIT,
    DATA,
    GROUP_HEARTBEAT,
    HEARTBEAT,
    JOIN_GROUP,
    LEAVE_GROUP,
    LIST_OFFSETS,
    PUBLISH,
    SUBSCRIBE,
    UNSUBSCRIBE,
    Frame,
    encode,
    encode_pairs,
)
from wiber._pending import Listener
from wiber._publish import PublishFuture, PublishPending

from .server import BOUND, Gathered, until
from .stand_in import Answer, Session, StandIn
from .test_groups import Coordinator, assignment

#: Longer than a test lasts.
NEVER = 100 * BOUND


def threads(client_id: str) -> list[str]:
    """The threads that run for a client."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(f"wiber-{client_id}")]


def data(session: Session, *offsets: int) -> None:
    """Sends messages of t:0."""
    for offset in offsets:
        session.frame(DATA, offset, {"topic": "t", "partition": 0}, b"%d" % offset)


def begin(session: Session, frame: Frame, *offsets: int) -> None:
    """Answers SUBSCRIBE, and sends messages."""
    session.succeed(frame, topic="t", partition=0, client_id="tested", start_offset=0)
    data(session, *offsets)


class Adversity(unittest.TestCase):
    def stand_in(self, answer: Answer, **options: Any) -> StandIn:
        stand_in = StandIn(answer, **options)
        self.addCleanup(stand_in.close)
        return stand_in

    def client(self, port: int, client_id: str = "tested", **limits: Any) -> BrokerClient:
        chosen: dict[str, Any] = {"request_timeout": BOUND, "backoff_most": 0.1, **limits}
        client = BrokerClient("127.0.0.1", port, client_id, limits=Limits(**chosen))
        client.connect()
        self.addCleanup(lambda: client.disconnect(0.1))
        return client


class Connections(Adversity):
    def test_one_that_meets_itself(self) -> None:
        with socket.socket() as sock, socket.create_server(("127.0.0.1", 0)) as listener:
            sock.bind(("127.0.0.1", 0))
            sock.connect(sock.getsockname())
            self.assertTrue(is_to_itself(sock))
            with socket.create_connection(listener.getsockname()) as other:
                self.assertFalse(is_to_itself(other))

    def test_one_that_cannot_be_waited_for_is_given_up(self) -> None:
        connection = Connection("127.0.0.1", 1, Limits(), Listener(), "tested")
        sock = socket.socket()
        sock.close()
        self.assertFalse(connection._wait_to_send(sock))


class Publishes(Adversity):
    def test_what_a_stopping_server_refused_keeps_its_place(self) -> None:
        def answer(session: Session, frame: Frame) -> None:
            if session is not session.stand_in.sessions[0]:
                session.succeed(frame, topic="t", partition=0, offset=int(frame.body))
            elif frame.body == b"0":
                session.refuse(frame, "shutting_down")
            elif frame.body == b"2":
                session.close()

        stand_in = self.stand_in(answer)
        client = self.client(stand_in.port)
        futures = [client.publish_async("t", b"%d" % number, id=f"m{number}") for number in range(3)]
        self.assertEqual([future.result(BOUND).offset for future in futures], [0, 1, 2])
        again = [f.body for s, f in stand_in.frames if s is not stand_in.sessions[0] and f.type == PUBLISH]
        self.assertEqual(again, [b"0", b"1", b"2"])

    def test_each_ends_in_its_own_time(self) -> None:
        """Also behind one that has more time, because it waited less for room."""
        client = self.client(self.stand_in(lambda session, frame: None).port)
        connection = client._connection
        assert connection is not None
        futures = [PublishFuture(), PublishFuture()]
        for future, seconds in zip(futures, (NEVER, 0.1)):
            number = connection.number()
            frame = encode(PUBLISH, number, 0, b"")
            connection.start(number, PublishPending(frame, time.monotonic() + seconds, False, future), True)
        self.assertIsInstance(futures[1].exception(BOUND), TimedOut)
        self.assertFalse(futures[0].done())

    def test_its_time_ends_while_the_server_lets_one_wait(self) -> None:
        """The server is connected to and says nothing: what waits fails in time, and disconnecting does not wait."""
        stand_in = self.stand_in(lambda session, frame: None)
        client = self.client(stand_in.port, "waiting", request_timeout=0.3, connect_timeout=NEVER)
        stand_in._beats = False
        stand_in.sessions[0].close()
        stand_in.wait_for(HEARTBEAT, 2)
        self.assertIsInstance(client.publish_async("t", b"x").exception(BOUND), TimedOut)
        client.disconnect()
        self.assertEqual(threads("waiting"), [])

    def test_its_time_ends_between_two_attempts_to_connect(self) -> None:
        stand_in = self.stand_in(lambda session, frame: None)
        client = self.client(stand_in.port, request_timeout=0.3, backoff_first=NEVER, backoff_most=NEVER)
        stand_in.close()
        until(lambda: not client.is_connected, "the loss")
        self.assertIsInstance(client.publish_async("t", b"x").exception(BOUND), TimedOut)

    def test_a_callback_never_waits_for_the_connection(self) -> None:
        client = self.client(self.stand_in(lambda session, frame: session.close()).port)
        heard: list[Exception] = []
        over = threading.Event()

        def then(_: object) -> None:
            try:
                client.publish_async("t", b"x", ack="none")
            except Exception as error:
                heard.append(error)
            over.set()

        client.publish_async("t", b"x").add_done_callback(then)
        self.assertTrue(over.wait(BOUND))
        self.assertEqual([type(error) for error in heard], [LimitReached])

    def test_a_callback_that_wants_to_end_the_thread(self) -> None:
        release = threading.Event()

        def answer(session: Session, frame: Frame) -> None:
            release.wait(BOUND)
            session.succeed(frame, topic="t", partition=0, offset=0)

        client = self.client(self.stand_in(answer).port)
        client.publish_async("t", b"x").add_done_callback(lambda _: sys.exit(1))
        with self.assertLogs("wiber", "ERROR"):
            release.set()
            self.assertTrue(client.publish("t", b"y"))
            self.assertTrue(client.flush(BOUND))


class Subscriptions(Adversity):
    def test_what_was_acknowledged_while_it_waited_once_more(self) -> None:
        def answer(session: Session, frame: Frame) -> None:
            if frame.type == SUBSCRIBE:
                begin(session, frame, 0, 1)

        stand_in = self.stand_in(answer)
        client = self.client(stand_in.port)
        go_on = threading.Event()
        gathered = Gathered(lambda m: m.hold() if m.offset == 0 else go_on.wait(BOUND))
        self.assertTrue(client.subscribe("t", auto_ack=False, handler=gathered))
        held = gathered.wait_for(2)[0]
        data(stand_in.sessions[1], 0, 2)
        lane = client._lane
        assert lane is not None
        until(lambda: len(lane._queue) == 2, "the second copy, and what comes behind it")
        held.ack()
        go_on.set()
        gathered.wait_until(lambda messages: messages[-1].offset == 2, "the last")
        self.assertEqual(gathered.bodies(), [b"0", b"1", b"2"])

    def test_what_comes_of_a_subscription_that_was_given_up(self) -> None:
        """It is no message of the next subscription, whose answer comes behind it."""
        asked: list[Frame] = []

        def answer(session: Session, frame: Frame) -> None:
            if frame.type == SUBSCRIBE and not asked:
                asked.append(frame)
            elif frame.type == SUBSCRIBE:
                begin(session, asked[0], 100, 101)
                properties = {"status": "error", "code": "internal", "error": "", "topic": "t", "partition": 0}
                session.frame(ACK, 0, properties)
                begin(session, frame, 0, 1, 2)

        stand_in = self.stand_in(answer)
        client = self.client(stand_in.port, request_timeout=1.0)
        self.assertFalse(client.subscribe("t", offset=100, handler=Gathered()))
        self.assertIsInstance(client.last_error, TimedOut)
        gathered = Gathered()
        self.assertTrue(client.subscribe("t", handler=gathered))
        self.assertEqual([m.offset for m in gathered.wait_for(3)], [0, 1, 2])

    def test_acknowledgements_that_were_lost_are_made_up_for(self) -> None:
        def answer(session: Session, frame: Frame) -> None:
            if frame.type == SUBSCRIBE:
                asked = frame.properties()
                again = "offset" in asked and asked["offset"] != "4"
                session.succeed(frame, topic="t", partition=0, client_id="tested", start_offset=asked["offset"])
                data(session, *(() if again else (4, 5)))
            elif frame.type == ACK and frame.sequence == 5:
                session.close()

        stand_in = self.stand_in(answer)
        client = self.client(stand_in.port)
        self.assertTrue(client.subscribe("t", offset=4, auto_ack=False, handler=Gathered()))
        self.assertEqual(stand_in.wait_for(SUBSCRIBE, 2).properties()["offset"], "6")
        self.assertEqual(
            stand_in.wait_for(COMMIT).properties(),
            {"topic": "t", "partition": "0", "offset": "6", "client_id": "tested"},
        )
        for session in stand_in.sessions[1:]:
            session.close()
        stand_in.wait_for(SUBSCRIBE, 3)
        stand_in.wait_for(COMMIT, 2)

    def test_where_nothing_was_acknowledged_no_position_is_kept(self) -> None:
        def answer(session: Session, frame: Frame) -> None:
            if frame.type == SUBSCRIBE:
                session.succeed(frame, topic="t", partition=0, client_id="tested", start_offset=7)

        stand_in = self.stand_in(answer)
        client = self.client(stand_in.port)
        self.assertTrue(client.subscribe("t", start="end", auto_ack=False, handler=Gathered()))
        stand_in.sessions[1].close()
        self.assertEqual(stand_in.wait_for(SUBSCRIBE, 2).properties()["offset"], "7")
        # A position would have left before this.
        self.assertTrue(client.subscribe("t", 1, auto_ack=False, handler=Gathered()))
        self.assertNotIn(COMMIT, stand_in.types())

    def test_one_that_is_being_ended_is_not_begun_again(self) -> None:
        def answer(session: Session, frame: Frame) -> None:
            if frame.type == SUBSCRIBE:
                begin(session, frame)
            elif frame.type == UNSUBSCRIBE:
                session.succeed(frame)

        stand_in = self.stand_in(answer)
        client = self.client(stand_in.port)
        self.assertTrue(client.subscribe("t", handler=Gathered()))
        lane = client._lane
        assert lane is not None
        subscription = lane.find("t", 0)
        assert subscription is not None
        self.assertTrue(client.unsubscribe("t"))
        # The reader, that has looked at the subscriptions of a new connection just before.
        subscription.session = 0
        lane._request(subscription)
        self.assertTrue(client.subscribe("t", 1, handler=Gathered()))
        asked = [f.properties()["partition"] for _, f in stand_in.frames if f.type == SUBSCRIBE]
        self.assertEqual(asked, ["0", "1"])

    def test_signs_of_life_while_handlers_are_slow(self) -> None:
        count = 5_000

        def answer(session: Session, frame: Frame) -> None:
            if frame.type == SUBSCRIBE:
                begin(session, frame, *range(count))

        stand_in = self.stand_in(answer)
        client = self.client(stand_in.port, queue=1, heartbeat_interval=0.5)
        hurry = threading.Event()
        gathered = Gathered(lambda _: hurry.wait(0.02))
        self.assertTrue(client.subscribe("t", handler=gathered))

        def came() -> bool:
            lane = stand_in.sessions[1]
            return any(s is lane and f.type == HEARTBEAT and f.sequence == 0 for s, f in list(stand_in.frames))

        until(came, "a sign of life")
        self.assertLess(len(gathered.messages), count)
        hurry.set()
        gathered.wait_for(count)

    def test_one_that_begins_again_behind_messages_that_wait(self) -> None:
        """The answer is read when the handler has dealt with them, however long that takes."""

        def answer(session: Session, frame: Frame) -> None:
            if frame.type != SUBSCRIBE:
                return
            asked = frame.properties()
            first, partition = int(asked["offset"]), asked["partition"]
            session.succeed(frame, topic="t", partition=partition, client_id="tested", start_offset=first)
            is_again = session is not session.stand_in.sessions[1]
            for offset in range(first, first + (5 if is_again else 1)):
                session.frame(DATA, offset, {"topic": "t", "partition": partition}, b"%d" % offset)

        stand_in = self.stand_in(answer)
        client = self.client(stand_in.port, queue=1, request_timeout=1.0)
        go_on = threading.Event()
        go_on.set()
        gathered = Gathered(lambda _: go_on.wait(BOUND))
        for partition in (0, 1):
            self.assertTrue(client.subscribe("t", partition, handler=gathered))
        gathered.wait_for(2)
        go_on.clear()
        stand_in.sessions[1].close()
        stand_in.wait_for(SUBSCRIBE, 4)
        lane = client._lane
        assert lane is not None
        over = time.monotonic() + 2 * client.limits.request_timeout
        until(lambda: lane.connection._ticked > over, "the end of the time of requests")
        go_on.set()
        gathered.wait_for(12)
        self.assertIsNone(client.last_error)

    def test_a_handler_that_wants_to_end_the_thread(self) -> None:
        def answer(session: Session, frame: Frame) -> None:
            if frame.type == SUBSCRIBE:
                begin(session, frame, 0, 1)

        client = self.client(self.stand_in(answer).port)
        gathered = Gathered(lambda message: sys.exit(1))
        with self.assertLogs("wiber", "ERROR"):
            self.assertTrue(client.subscribe("t", handler=gathered))
            gathered.wait_for(2)

    def test_one_that_begins_while_the_client_disconnects(self) -> None:
        publishes: list[tuple[Session, Frame]] = []

        def answer(session: Session, frame: Frame) -> None:
            if frame.type == PUBLISH:
                publishes.append((session, frame))
            elif frame.type == SUBSCRIBE:
                begin(session, frame)

        client = self.client(self.stand_in(answer).port, "parting")
        connection = client._connection
        assert connection is not None
        client.publish_async("t", b"x")
        until(lambda: bool(publishes), "the publish")
        thread = threading.Thread(target=client.disconnect)
        thread.start()
        until(lambda: connection._waiting > 0, "disconnecting")
        self.assertTrue(client.subscribe("t", handler=Gathered()))
        session, frame = publishes[0]
        session.succeed(frame, topic="t", partition=0, offset=0)
        thread.join(BOUND)
        until(lambda: threads("parting") == [], "the end of its threads")


class Groups(Adversity):
    def coordinator(self, first: bytes, **options: Any) -> Coordinator:
        coordinator = Coordinator(first, **options)
        self.addCleanup(coordinator.stand_in.close)
        return coordinator

    def test_an_assignment_right_behind_the_answer(self) -> None:
        """It is heard, although who joined does not know its name yet."""
        coordinator = self.coordinator(assignment(1))
        plain = coordinator.answer

        def answer(session: Session, frame: Frame) -> None:
            if frame.type != JOIN_GROUP:
                return plain(session, frame)
            coordinator.joined.append(session)
            named = [("wiber.member", "member-1"), ("wiber.generation", "1")]
            properties = encode_pairs([("status", "success"), *named, ("wiber.heartbeat_ms", "60000")])
            pushed = encode_pairs([("wiber.group", "g"), *named])
            session.send(
                encode(ACK, frame.sequence, 0, properties, assignment(1))
                + encode(ASSIGNMENT, 0, 0, pushed, assignment(2, ("t", 0, 2)))
            )
            coordinator.current = assignment(2, ("t", 0, 2))

        coordinator.stand_in._answer = answer
        gathered = Gathered()
        member = self.client(coordinator.stand_in.port).join_group("g", "t", gathered)
        gathered.wait_for(5)
        self.assertEqual(member.generation, 2)

    def refuses_once(
        self, coordinator: Coordinator, type: int, refused: threading.Event, code: str = "overloaded"
    ) -> None:
        """Has the first frame of this type from now on refused."""
        plain = coordinator.answer

        def answer(session: Session, frame: Frame) -> None:
            if frame.type == type and not refused.is_set():
                refused.set()
                session.refuse(frame, code)
            else:
                plain(session, frame)

        coordinator.stand_in._answer = answer

    def test_what_is_refused_for_now_is_asked_for_again(self) -> None:
        for type in (LIST_OFFSETS, GROUP_HEARTBEAT, SUBSCRIBE):
            with self.subTest(type=type):
                coordinator = self.coordinator(assignment(1, ("t", 0, 1)))
                refused = threading.Event()
                self.refuses_once(coordinator, type, refused)
                gathered = Gathered()
                client = self.client(coordinator.stand_in.port)
                client.join_group("g", "t", gathered, auto_commit=False)
                gathered.wait_for(5)
                seen = coordinator.stand_in
                seen.wait_for(GROUP_HEARTBEAT, where=lambda f: f.body == b'{"owned": [{"topic": "t", "partition": 0}]}')
                self.assertTrue(refused.is_set())

    def test_joining_again_is_refused_for_now(self) -> None:
        coordinator = self.coordinator(assignment(1, ("t", 0, 1)))
        gathered = Gathered()
        self.client(coordinator.stand_in.port).join_group("g", "t", gathered)
        gathered.wait_for(5)
        seen = coordinator.stand_in
        seen.wait_for(ACK, 5)
        self.refuses_once(coordinator, JOIN_GROUP, threading.Event())
        for session in list(seen.sessions):
            session.close()
        again = seen.wait_for(JOIN_GROUP, 3)
        self.assertEqual(again.properties()["wiber.member"], "member-1")

    def test_a_server_that_began_anew_hears_first_who_we_are(self) -> None:
        coordinator = self.coordinator(assignment(3, ("t", 0, 2)))
        gathered, events = Gathered(), list[Any]()
        client, seen = self.client(coordinator.stand_in.port), coordinator.stand_in
        client.join_group("g", "t", gathered, on_revoked=events.append, on_assigned=events.append)
        gathered.wait_for(5)
        seen.wait_for(ACK, 5)
        self.refuses_once(coordinator, SUBSCRIBE, threading.Event(), "unknown_member")
        for session in list(seen.sessions):
            session.close()
        asked = seen.wait_for(SUBSCRIBE, 3).properties()
        self.assertEqual((asked["offset"], asked["wiber.member"], asked["wiber.generation"]), ("5", "member-1", "2"))
        gathered.wait_for(10)
        self.assertEqual([m.offset for m in gathered.messages], list(range(10)))
        self.assertEqual(events, [[("t", 0)]])

    def test_one_that_is_refused_for_good_ends(self) -> None:
        coordinator = self.coordinator(assignment(3, ("t", 0, 2)))
        gathered = Gathered()
        client, seen = self.client(coordinator.stand_in.port), coordinator.stand_in
        client.join_group("g", "t", gathered)
        gathered.wait_for(5)
        plain = coordinator.answer

        def answer(session: Session, frame: Frame) -> None:
            if frame.type == SUBSCRIBE and "offset" in frame.properties():
                session.refuse(frame, "fenced_member")
            else:
                plain(session, frame)

        seen._answer = answer
        for session in list(seen.sessions):
            session.close()
        seen.wait_for(SUBSCRIBE, 2, where=lambda frame: frame.properties().get("wiber.start") == "committed")
        gathered.wait_for(10)

    def test_what_was_said_of_an_earlier_join_counts_no_more(self) -> None:
        coordinator = self.coordinator(assignment(1, ("t", 0, 1)))
        revoked: list[Any] = []
        gathered = Gathered()
        member = self.client(coordinator.stand_in.port).join_group("g", "t", gathered, on_revoked=revoked.append)
        gathered.wait_for(5)
        seen = coordinator.stand_in
        for session in list(seen.sessions):
            session.close()
        seen.wait_for(JOIN_GROUP, 2)
        until(lambda: member._joins == 2, "joining again")
        member._trouble = (1, Refused("unknown_member", "late"))
        member._wake.set()
        until(lambda: member._trouble is None, "a look at it")
        coordinator.push(assignment(2, ("t", 0, 1), ("t", 1, 2)))
        until(lambda: len(member.assignment) == 2, "both")
        self.assertEqual((revoked, member.member_id), ([], "member-1"))

    def test_a_consumer_that_was_refused_may_ask_again(self) -> None:
        coordinator = self.coordinator(assignment(1, ("t", 0, 1)))
        self.refuses_once(coordinator, JOIN_GROUP, threading.Event())
        client = self.client(coordinator.stand_in.port)
        consumer = client.consumer("g", "t")
        with self.assertRaises(Refused):
            consumer.poll(BOUND)
        self.assertEqual(client._members, [])
        message = consumer.poll(BOUND)
        assert message is not None
        self.assertEqual(message.offset, 2)
        consumer.close()

    def test_joining_waits_for_the_server_to_come_back(self) -> None:
        coordinator = self.coordinator(assignment(1, ("t", 0, 1)))
        client = self.client(coordinator.stand_in.port)
        port = coordinator.stand_in.port
        coordinator.stand_in.close()
        until(lambda: not client.is_connected, "the loss")
        gathered = Gathered()
        thread = threading.Thread(target=lambda: client.join_group("g", "t", gathered))
        thread.start()
        coordinator.stand_in = self.stand_in(coordinator.answer, port=port)
        gathered.wait_for(5)
        thread.join(BOUND)

    def test_disconnecting_with_a_message_in_hand_leaves_the_group(self) -> None:
        coordinator = self.coordinator(assignment(1, ("t", 0, 1)))
        client = self.client(coordinator.stand_in.port)
        consumer = client.consumer("g", "t")
        self.assertIsNotNone(consumer.poll(BOUND))
        client.disconnect()
        coordinator.stand_in.wait_for(LEAVE_GROUP)
        self.assertIsNone(consumer.poll(BOUND))

    def test_disconnecting_in_a_callback_waits_for_no_group(self) -> None:
        coordinator = self.coordinator(assignment(1, ("t", 0, 1)))
        plain, over = coordinator.answer, threading.Event()

        def answer(session: Session, frame: Frame) -> None:
            if frame.type == PUBLISH:
                session.succeed(frame, topic="t", partition=0, offset=0)
            else:
                plain(session, frame)

        coordinator.stand_in._answer = answer
        client = self.client(coordinator.stand_in.port, "leaving", request_timeout=NEVER)
        client.join_group("leaving", "t", Gathered(), rebalance_timeout=NEVER)
        heard: list[bool] = []

        def then(_: object) -> None:
            client.disconnect()
            heard.append(client.is_connected)
            over.set()

        client.publish_async("t", b"x").add_done_callback(then)
        self.assertTrue(over.wait(BOUND))
        self.assertEqual(heard, [False])
        until(lambda: threads("leaving") == [], "the end of its threads")

    def test_disconnecting_from_a_server_that_says_nothing_more(self) -> None:
        coordinator = self.coordinator(assignment(1, ("t", 0, 1), ("t", 1, 1)))
        client = self.client(coordinator.stand_in.port, "leaving")
        gathered = Gathered()
        client.join_group("leaving", "t", gathered)
        gathered.wait_for(10)
        coordinator.stand_in.wait_for(GROUP_HEARTBEAT)
        coordinator.stand_in._answer = lambda session, frame: None
        client.disconnect(0.1)
        until(lambda: threads("leaving") == [], "the end of its threads")


if __name__ == "__main__":
    unittest.main()
