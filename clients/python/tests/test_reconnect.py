"""What becomes of calls, publishes and subscriptions when the server dies, stops, stays silent or talks nonsense."""

from __future__ import annotations

import struct
import threading
import time
import unittest
import uuid
from typing import Any

from wiber import BrokerClient, ConnectionFailed, ConnectionLost, Limits, ProtocolError, Receipt, TimedOut
from wiber._frames import ACK, DATA, HEARTBEAT, PUBLISH, SUBSCRIBE, Frame, encode

from .server import BOUND, Gathered, ServerTestCase, until
from .stand_in import Session, StandIn


class AfterALoss(ServerTestCase):
    def test_publishes_with_an_id_survive_kills(self) -> None:
        client = self.client("survivor")
        topic = self.topic(client)
        futures = []
        for number in range(6_000):
            futures.append(client.publish_async(topic, b"%d" % number, partition=0, id=f"m{number}"))
            if number in (1_500, 3_000, 4_500):
                self.server.kill()
                self.server.start()
        self.assertTrue(client.flush(BOUND))
        offsets = {future.result().offset for future in futures}
        self.assertEqual(offsets, set(range(6_000)), "each is stored once, whatever was sent twice")

    def test_a_call_waits_for_the_server_to_come_back(self) -> None:
        client = self.client()
        topic = self.topic(client)
        self.server.kill()
        until(lambda: not client.is_connected, "the loss")
        results: list[bool] = []
        thread = threading.Thread(target=lambda: results.append(client.publish(topic, b"patience")))
        thread.start()
        self.server.start()
        thread.join(BOUND)
        self.assertEqual(results, [True])
        self.assertEqual(client.list_offsets(topic).log_end, 1)

    def test_a_call_gives_up_in_time(self) -> None:
        client = self.client(request_timeout=0.3)
        topic = self.topic(client)
        self.server.kill()
        try:
            until(lambda: not client.is_connected, "the loss")
            self.assertFalse(client.publish(topic, b"x"))
            self.assertIsInstance(client.last_error, TimedOut)
            self.assertFalse(client.create_topic("other"))
            self.assertFalse(client.subscribe(topic, handler=Gathered()))
            self.assertIsInstance(client.publish_async(topic, b"x").exception(BOUND), TimedOut)
            with self.assertRaises(TimedOut):
                client.list_topics()
        finally:
            self.server.start()
        until(lambda: client.is_connected, "the connection")
        self.assertEqual(client.list_offsets(topic).log_end, 0, "what was given up was not sent later")

    def test_a_subscription_may_begin_while_the_server_is_away(self) -> None:
        client = self.client()
        topic = self.topic(client)
        self.assertTrue(client.publish(topic, b"0"))
        self.server.kill()
        until(lambda: not client.is_connected, "the loss")
        gathered = Gathered()
        results: list[bool] = []
        thread = threading.Thread(target=lambda: results.append(client.subscribe(topic, handler=gathered)))
        thread.start()
        self.server.start()
        thread.join(BOUND)
        self.assertEqual(results, [True])
        gathered.wait_for(1)

    def test_subscriptions_go_on_where_they_were(self) -> None:
        client = self.client("reader")
        topic, careful = self.topic(client), self.topic(client)
        once, least = Gathered(), Gathered()
        self.assertTrue(client.subscribe(topic, handler=once))
        self.assertTrue(client.subscribe(careful, auto_ack=False, handler=least))
        for round_ in range(3):
            for number in range(100):
                for name in (topic, careful):
                    client.publish_async(name, b"%d" % (100 * round_ + number), id=uuid.uuid4().hex)
            self.assertTrue(client.flush(BOUND))
            once.wait_for(100 * (round_ + 1))
            least.wait_for(100 * (round_ + 1))
            self.server.kill()
            self.server.start()
        self.assertTrue(client.publish(topic, b"300"))
        self.assertTrue(client.publish(careful, b"300"))
        once.wait_for(301)
        least.wait_for(301)
        self.assertEqual(once.bodies(), [b"%d" % number for number in range(301)])
        self.assertEqual(least.bodies(), [b"%d" % number for number in range(301)])

    def test_what_waits_for_a_slow_handler_is_not_handed_out_twice(self) -> None:
        client = self.client("slow")
        topic = self.topic(client)
        for number in range(50):
            client.publish(topic, b"%d" % number)
        go_on = threading.Event()
        gathered = Gathered(lambda message: go_on.wait(BOUND) if message.offset == 10 else None)
        self.assertTrue(client.subscribe(topic, auto_ack=False, handler=gathered))
        gathered.wait_for(11)
        self.server.kill()
        self.server.start()
        self.assertTrue(client.publish(topic, b"50"))
        lane = client._lane
        assert lane is not None
        until(lambda: lane.connection.is_up, "the connection")
        go_on.set()
        gathered.wait_for(51)
        self.assertEqual(gathered.bodies(), [b"%d" % number for number in range(51)])

    def test_a_server_that_ends_in_order(self) -> None:
        client = self.client()
        topic = self.topic(client)
        futures = [client.publish_async(topic, b"x", partition=0, id=str(number)) for number in range(3_000)]
        self.server.terminate()
        self.server.start()
        self.assertTrue(client.flush(BOUND))
        self.assertEqual({future.result().offset for future in futures}, set(range(3_000)))


class OfAStandIn(unittest.TestCase):
    """Servers as there should be none."""

    def stand_in(self, answer: Any, **options: Any) -> StandIn:
        stand_in = StandIn(answer, **options)
        self.addCleanup(stand_in.close)
        return stand_in

    def client(self, stand_in: StandIn, **limits: Any) -> BrokerClient:
        chosen: dict[str, Any] = {"request_timeout": BOUND, "backoff_most": 0.1, **limits}
        client = BrokerClient("127.0.0.1", stand_in.port, "tested", limits=Limits(**chosen))
        client.connect()
        self.addCleanup(lambda: client.disconnect(0.1))
        return client

    def test_without_an_id_it_fails_and_with_one_it_goes_again(self) -> None:
        def answer(session: Session, frame: Frame) -> None:
            if session is session.stand_in.sessions[0]:
                if frame.body == b"last":
                    session.close()
            else:
                session.succeed(frame, topic="t", partition=0, offset=7)

        stand_in = self.stand_in(answer)
        client = self.client(stand_in)
        plain = client.publish_async("t", b"plain")
        named = client.publish_async("t", b"named", id="n")
        last = client.publish_async("t", b"last", id="l")
        self.assertIsInstance(plain.exception(BOUND), ConnectionLost)
        self.assertEqual(named.result(BOUND), Receipt("t", 0, 7))
        self.assertEqual(last.result(BOUND), Receipt("t", 0, 7))
        again = [f.body for s, f in stand_in.frames if s is not stand_in.sessions[0] and f.type == PUBLISH]
        self.assertEqual(again, [b"named", b"last"])

    def test_what_a_stopping_server_did_not_begin_goes_again(self) -> None:
        def answer(session: Session, frame: Frame) -> None:
            if session is session.stand_in.sessions[0]:
                session.refuse(frame, "shutting_down")
                if frame.body == b"2":
                    session.close()
            else:
                session.succeed(frame, topic="t", partition=0, offset=int(frame.body))

        client = self.client(self.stand_in(answer))
        futures = [client.publish_async("t", b"%d" % number) for number in range(3)]
        self.assertEqual([future.result(BOUND).offset for future in futures], [0, 1, 2])

    def test_an_answer_that_never_comes(self) -> None:
        client = self.client(self.stand_in(lambda session, frame: None), request_timeout=0.2)
        self.assertFalse(client.publish("t", b"x"))
        self.assertIsInstance(client.last_error, TimedOut)

    def test_a_server_that_falls_silent(self) -> None:
        def answer(session: Session, frame: Frame) -> None:
            if session is not session.stand_in.sessions[0]:
                session.succeed(frame, topic="t", partition=0, offset=1)

        stand_in = self.stand_in(answer)
        client = self.client(stand_in, heartbeat_interval=0.4, connect_timeout=2.0)
        stand_in.wait_for(HEARTBEAT)
        stand_in._beats = False
        future = client.publish_async("t", b"x", id="i")
        stand_in.wait_for(HEARTBEAT, 2, where=lambda frame: frame.sequence == 0)
        stand_in._beats = True
        self.assertEqual(future.result(BOUND).offset, 1)

    def test_what_was_given_up_does_not_leave_late(self) -> None:
        stand_in = StandIn(lambda session, frame: None)
        client = self.client(stand_in, request_timeout=0.1, backoff_first=0.5, backoff_most=0.5)
        port = stand_in.port
        stand_in.close()
        until(lambda: not client.is_connected, "the loss")
        given_up = client.publish_async("t", b"late")
        over = time.monotonic() + client.limits.request_timeout
        until(lambda: time.monotonic() > over, "the end of its time")
        again = self.stand_in(lambda session, frame: None, port=port)
        until(lambda: client.is_connected, "the connection")
        self.assertIsInstance(given_up.exception(BOUND), TimedOut)
        self.assertEqual(again.types(), [])

    def test_it_is_turned_away(self) -> None:
        listener = StandIn(lambda session, frame: None, beats=False)
        self.addCleanup(listener.close)
        client = BrokerClient("127.0.0.1", listener.port, limits=Limits(connect_timeout=0.2))
        with self.assertRaises(ConnectionFailed):
            client.connect()

    def test_nonsense_ends_the_connection_and_nothing_else(self) -> None:
        nonsense = [
            struct.pack(">I", 0),
            struct.pack(">I", 2**32 - 1) + bytes(64),
            struct.pack(">IIQqI", 40, ACK, 1, 0, 2**32 - 1) + bytes(12),
            b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(64),
        ]

        def answer(session: Session, frame: Frame) -> None:
            number = session.stand_in.sessions.index(session)
            if number < len(nonsense):
                session.send(nonsense[number])
            else:
                session.succeed(frame, topic="t", partition=0, offset=3)

        client = self.client(self.stand_in(answer))
        self.assertEqual(client.publish_async("t", b"x", id="i").result(BOUND).offset, 3)

    def test_answers_that_make_no_sense(self) -> None:
        def answer(session: Session, frame: Frame) -> None:
            if frame.body == b"number":
                session.succeed(frame, topic="t", partition="many", offset=3)
            elif frame.body == b"order":
                session.frame(ACK, frame.sequence, {"offset": 3, "partition": 0, "topic": "t", "status": "success"})
            elif frame.body == b"none":
                session.succeed(frame)
            else:
                session.send(encode(ACK, frame.sequence, 0, b"\xff\xff"))
            session.frame(ACK, 999_999, {"status": "success"})
            session.frame(77, 5, {"what": "ever"})

        client = self.client(self.stand_in(answer))
        for body in (b"number", b"none", b"bytes"):
            self.assertIsInstance(client.publish_async("t", body).exception(BOUND), ProtocolError)
        self.assertEqual(client.publish_async("t", b"order").result(BOUND), Receipt("t", 0, 3))

    def test_numbers_of_requests_and_offsets_meet(self) -> None:
        """An offset equal to the number of a request under way is no reply to it."""

        def answer(session: Session, frame: Frame) -> None:
            if frame.type == SUBSCRIBE:
                session.succeed(frame, topic="t", partition=0, client_id="tested", start_offset=0)
                for offset in range(50):
                    session.frame(DATA, offset, {"topic": "t", "partition": 0}, b"%d" % offset)

        client = self.client(self.stand_in(answer))
        gathered = Gathered()
        self.assertTrue(client.subscribe("t", handler=gathered))
        self.assertEqual([m.offset for m in gathered.wait_for(50)], list(range(50)))

    def test_acknowledgements_name_what_they_are_for(self) -> None:
        def answer(session: Session, frame: Frame) -> None:
            if frame.type == SUBSCRIBE:
                session.succeed(frame, topic="t", partition=3, client_id="tested", start_offset=5)
                session.frame(DATA, 5, {"topic": "t", "partition": 3}, b"five")

        stand_in = self.stand_in(answer)
        client = self.client(stand_in)
        self.assertTrue(client.subscribe("t", 3, 5, auto_ack=False, handler=Gathered()))
        ack = stand_in.wait_for(ACK)
        properties = ack.properties()
        self.assertEqual((ack.sequence, properties["topic"], properties["partition"]), (5, "t", "3"))
        self.assertEqual(stand_in.wait_for(SUBSCRIBE).properties()["auto_ack"], "false")

    def test_escaped_properties_come_back_as_they_were(self) -> None:
        def answer(session: Session, frame: Frame) -> None:
            if frame.type == SUBSCRIBE:
                session.succeed(frame, topic="t", partition=0, client_id="tested", start_offset=0)
                headers = {
                    "key.b64": "/wA=",
                    "header.topic": "x",
                    "raw.b64": "AAE=",
                    "header.a%3Db": "y",
                    "odd.b64": "?",
                }
                session.frame(DATA, 0, {"topic": "t", "partition": 0, **headers}, b"")

        client = self.client(self.stand_in(answer))
        gathered = Gathered()
        self.assertTrue(client.subscribe("t", handler=gathered))
        (message,) = gathered.wait_for(1)
        self.assertEqual((message.key, message.key_bytes), (None, b"\xff\0"))
        expected: list[Any] = [("topic", b"x"), ("raw", b"\0\1"), ("a=b", b"y"), ("odd.b64", b"?")]
        self.assertEqual(message.headers, expected)


if __name__ == "__main__":
    unittest.main()
