"""The client against a real server: every method, what it refuses, what comes back."""

from __future__ import annotations

import threading
import unittest
import uuid
from concurrent.futures import Future
from typing import Any

from wiber import BrokerClient, ConnectionFailed, LimitReached, Limits, NotConnected, Receipt, Refused, WiberError

from .server import BOUND, Gathered, Server, ServerTestCase, until


class Contract(ServerTestCase):
    """What clients of the original interface rely on."""

    def test_positional_arguments_and_results(self) -> None:
        with BrokerClient("127.0.0.1", self.server.port, "original") as client:
            name = f"t-{uuid.uuid4().hex}"
            self.assertIs(client.create_topic(name, 2, 24), True)
            self.assertIs(client.create_topic(name, partitions=2), True)
            self.assertIs(client.create_topic(name, partitions=3), False)
            self.assertIs(client.publish(name, b"one", 0, kind="text", number=7), True)
            self.assertIs(client.publish_text(name, "zażółć 🎷", 0, key="k", id="unique"), True)
            self.assertIs(client.publish_text(name, "again", 0, id="unique"), True)
            self.assertIs(client.publish("absent", b"x"), False)
            gathered = Gathered()
            self.assertIs(client.subscribe(name, 0, 0, True, gathered), True)
            self.assertIs(client.subscribe(name, 0, 0, True, gathered), False)
            one, two = gathered.wait_for(2)
            self.assertEqual((one.body, one.sequence_number, one.properties["kind"]), (b"one", 0, "text"))
            self.assertEqual(one.properties["number"], "7")
            self.assertEqual((two.body.decode("utf-8"), two.sequence_number), ("zażółć 🎷", 1))
            self.assertEqual((two.topic, two.partition, two.offset, two.key), (name, 0, 1, "k"))
            self.assertIsInstance(two.properties, dict)
            self.assertGreater(two.timestamp, 1_600_000_000_000)
            self.assertIs(client.unsubscribe(name, 0), True)
            self.assertIs(client.unsubscribe(name, 0), False)
            self.assertIs(client.subscribe("absent", handler=gathered), False)
            self.assertIs(client.subscribe(name, 9, handler=gathered), False)
            self.assertEqual(len(gathered.messages), 2)

    def test_why_it_failed_is_kept(self) -> None:
        client = self.client()
        self.assertFalse(client.publish("absent", b"x"))
        error = client.last_error
        assert isinstance(error, Refused)
        self.assertEqual((error.code, error.retriable), ("unknown_topic", False))
        self.assertFalse(client.create_topic("not a name"))
        assert isinstance(client.last_error, Refused)
        self.assertEqual(client.last_error.code, "invalid_topic")

    def test_wrong_usage_raises(self) -> None:
        client = self.client()
        topic = self.topic(client)
        wrong: Any = client
        misuses: list[Any] = [
            (TypeError, lambda: wrong.publish(topic, "text")),
            (TypeError, lambda: wrong.publish_text(topic, b"bytes")),
            (TypeError, lambda: wrong.publish(3, b"x")),
            (ValueError, lambda: wrong.publish("", b"x")),
            (ValueError, lambda: wrong.publish(topic, b"x", partition=-1)),
            (TypeError, lambda: wrong.publish(topic, b"x", partition="0")),
            (ValueError, lambda: wrong.publish(topic, b"x", client_id="other")),
            (ValueError, lambda: wrong.publish(topic, b"x", **{"a=b": "x"})),
            (ValueError, lambda: wrong.publish(topic, b"x", note="nul\0")),
            (ValueError, lambda: wrong.publish_async(topic, b"x", ack="maybe")),
            (TypeError, lambda: wrong.publish_async(topic, b"x", key=7)),
            (ValueError, lambda: wrong.publish_async(topic, None)),
            (ValueError, lambda: wrong.create_topic(topic, 0)),
            (TypeError, lambda: wrong.create_topic(topic, "1")),
            (ValueError, lambda: wrong.subscribe(topic, offset=-1)),
            (TypeError, lambda: wrong.subscribe(topic, handler="print")),
            (ValueError, lambda: wrong.subscribe(topic, start="middle")),
            (ValueError, lambda: wrong.join_group("g", [], print)),
            (ValueError, lambda: Limits(in_flight=0)),
        ]
        for kind, misuse in misuses:
            with self.assertRaises(kind):
                misuse()

    def test_before_and_after_the_connection(self) -> None:
        client = BrokerClient("127.0.0.1", self.server.port)
        calls: list[Any] = [lambda: client.publish("t", b"x"), client.list_topics, lambda: client.subscribe("t")]
        for call in calls:
            self.assertRaises(NotConnected, call)
        client.disconnect()
        self.assertTrue(client.connect())
        self.assertTrue(client.connect())
        topic = self.topic(client)
        client.disconnect()
        client.disconnect()
        for call in calls:
            self.assertRaises(NotConnected, call)
        with client:
            self.assertTrue(client.publish(topic, b"x"))

    def test_silence_ends_no_connection_whose_server_answers(self) -> None:
        """However short the interval is."""
        client = self.client(heartbeat_interval=0.01)
        connection = client._connection
        assert connection is not None
        asked = set()

        def has_asked() -> bool:
            asked.add(connection._asked)
            return len(asked) > 2

        until(has_asked, "signs of life")
        self.assertEqual(connection.session, 1)

    def test_nobody_listens(self) -> None:
        server = Server()
        server.close()
        with self.assertRaises(ConnectionFailed) as caught:
            BrokerClient("127.0.0.1", server.port).connect()
        self.assertIsInstance(caught.exception, ConnectionError)


class Publishing(ServerTestCase):
    def test_receipts_keys_and_headers(self) -> None:
        client = self.client()
        topic = self.topic(client, 3)
        first = client.send(topic, b"1", key="table-7", headers={"b": "2", "a": "ż"})
        self.assertEqual(first, Receipt(topic, first.partition, 0))
        self.assertEqual(client.send(topic, b"2", key="table-7").partition, first.partition)
        self.assertEqual(client.send(topic, None, key="table-7").partition, first.partition)
        raw = client.send(topic, b"3", key=b"\xff\0", partition=first.partition, headers={"topic-like": "x"})
        self.assertEqual(raw.offset, 3)
        gathered = Gathered()
        self.assertTrue(client.subscribe(topic, first.partition, handler=gathered))
        one, two, three, four = gathered.wait_for(4)
        self.assertEqual([h for h in one.headers if h[0] != "wiber.client_id"], [("b", b"2"), ("a", "ż".encode())])
        self.assertEqual([m.is_tombstone for m in (one, two, three, four)], [False, False, True, False])
        self.assertEqual([m.key for m in (one, two, three, four)], ["table-7"] * 3 + [None])
        self.assertEqual((four.key_bytes, four.body, three.body), (b"\xff\0", b"3", b""))

    def test_ids_are_stored_once(self) -> None:
        client = self.client()
        topic = self.topic(client)
        receipts = {client.send(topic, b"x", id="the-same") for _ in range(5)}
        self.assertEqual(receipts, {Receipt(topic, 0, 0)})

    def test_levels_of_acknowledgement_and_timestamps(self) -> None:
        client = self.client()
        topic = self.topic(client)
        self.assertEqual(client.send(topic, b"0", ack="durable").offset, 0)
        self.assertEqual(client.send(topic, b"1", ack="leader", timestamp=1_700_000_000_000).offset, 1)
        self.assertEqual(client.send(topic, b"2", ack="none"), Receipt(topic, -1, -1))
        self.assertTrue(client.publish(topic, b"3", **{"wiber.ack": "durable"}))  # type: ignore[arg-type]
        self.assertTrue(client.flush(BOUND))
        gathered = Gathered()
        client.subscribe(topic, handler=gathered)
        messages = gathered.wait_for(4)
        self.assertEqual(gathered.bodies(), [b"0", b"1", b"2", b"3"])
        self.assertEqual(messages[1].timestamp, 1_700_000_000_000)
        self.assertEqual(messages[1].time.year, 2023)

    def test_sizes_of_bodies(self) -> None:
        client = self.client()
        topic = self.topic(client)
        bodies = [b"", b"\0", bytes(range(256)) * 256, b"m" * (1024 * 1024)]
        for body in bodies:
            self.assertTrue(client.publish(topic, body))
        self.assertTrue(client.publish(topic, bytearray(b"array")))
        self.assertTrue(client.publish(topic, memoryview(b"view")))
        self.assertFalse(client.publish(topic, b"m" * (1024 * 1024 + 1)))
        assert isinstance(client.last_error, Refused)
        self.assertEqual(client.last_error.code, "message_too_large")
        self.assertTrue(client.publish(topic, b"last"))
        gathered = Gathered()
        client.subscribe(topic, handler=gathered)
        gathered.wait_for(7)
        self.assertEqual(gathered.bodies(), [*bodies, b"array", b"view", b"last"])

    def test_a_hundred_thousand_in_flight(self) -> None:
        client = self.client(in_flight=100_000, in_flight_bytes=256 * 1024 * 1024)
        topic = self.topic(client)
        futures = [client.publish_async(topic, b"%d" % number, partition=0) for number in range(100_000)]
        self.assertTrue(client.flush(BOUND))
        self.assertTrue(all(future.done() for future in futures))
        self.assertEqual([future.result().offset for future in futures], list(range(100_000)))
        gathered = Gathered()
        client.subscribe(topic, handler=gathered)
        messages = gathered.wait_for(100_000)
        self.assertTrue(all(m.body == b"%d" % at and m.offset == at for at, m in enumerate(messages)))

    def test_in_flight_is_bounded(self) -> None:
        client = self.client(in_flight=10, in_flight_bytes=2_000)
        topic = self.topic(client)
        self.server.pause()
        try:
            futures = [client.publish_async(topic, b"x", partition=0) for _ in range(10)]
            waited = threading.Event()

            def one_more() -> None:
                futures.append(client.publish_async(topic, b"y" * 5_000, partition=0))
                waited.set()

            thread = threading.Thread(target=one_more)
            thread.start()
            self.assertFalse(waited.wait(0.2), "the eleventh waits")
        finally:
            self.server.go_on()
        thread.join(BOUND)
        self.assertTrue(client.flush(BOUND))
        self.assertEqual([future.result().offset for future in futures], list(range(11)))

    def test_futures(self) -> None:
        client = self.client(in_flight=4)
        topic = self.topic(client)
        refused = client.publish_async("absent", b"x")
        self.assertIsInstance(refused.exception(BOUND), Refused)
        heard: Future[object] = Future()

        def then(future: Future[Receipt]) -> None:
            try:
                client.publish(topic, b"waits for itself")
            except LimitReached:
                heard.set_result(client.publish_async(topic, b"from a callback"))

        self.server.pause()
        future = client.publish_async(topic, b"x")
        future.add_done_callback(then)
        self.server.go_on()
        self.assertFalse(future.cancel())
        following = heard.result(BOUND)
        assert isinstance(following, Future)
        self.assertEqual(following.result(BOUND).offset, 1)

    def test_many_threads(self) -> None:
        client = self.client(in_flight=50)
        topic = self.topic(client, 4)
        problems: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for turn in range(50):
                    assert client.publish(topic, b"%d.%d" % (number, turn), partition=number % 4)
                    futures = [client.publish_async(topic, b"a", partition=number % 4) for _ in range(20)]
                    assert all(future.result(BOUND).partition == number % 4 for future in futures)
                assert client.create_topic(f"{topic}-{number}")
            except BaseException as problem:
                problems.append(problem)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(BOUND)
        self.assertEqual(problems, [])
        ends = [client.list_offsets(topic, partition).log_end for partition in range(4)]
        self.assertEqual(ends, [16 * 50 * 21 // 4] * 4)


class Subscribing(ServerTestCase):
    variables = {"QB_SERVER__ACK_TIMEOUT": "0.5"}

    def test_where_it_begins(self) -> None:
        client = self.client("positions")
        topic = self.topic(client)
        for number in range(10):
            client.send(topic, b"%d" % number, timestamp=1_700_000_000_000 + number)
        self.assertIsNone(client.committed(topic))
        self.assertEqual(client.commit(topic, 0, 6), 6)
        self.assertEqual((client.commit(topic, 0, 3), client.committed(topic)), (6, 6))
        offsets = client.list_offsets(topic, time_ms=1_700_000_000_004)
        self.assertEqual((offsets.log_start, offsets.log_end, offsets.at_time), (0, 10, 4))
        starts: list[Any] = [("committed", 6), ("begin", 0), (1_700_000_000_008, 8)]
        for start, first in starts:
            gathered = Gathered()
            self.assertTrue(client.subscribe(topic, handler=gathered, auto_ack=False, start=start))
            self.assertEqual([m.offset for m in gathered.wait_for(10 - first)], list(range(first, 10)))
            self.assertTrue(client.unsubscribe(topic))
        gathered = Gathered()
        self.assertTrue(client.subscribe(topic, handler=gathered, start="end"))
        client.publish(topic, b"new")
        self.assertEqual(gathered.wait_for(1)[0].offset, 10)

    def test_acknowledged_when_the_handler_returns(self) -> None:
        client = self.client("careful")
        topic = self.topic(client)
        for number in range(2_500):
            client.publish_async(topic, b"%d" % number)
        client.flush()
        gathered = Gathered()
        self.assertTrue(client.subscribe(topic, auto_ack=False, handler=gathered))
        gathered.wait_for(2_500)
        self.assertTrue(client.unsubscribe(topic))
        self.assertEqual([m.offset for m in gathered.messages], list(range(2_500)))
        with self.client("careful") as again:
            rest = Gathered()
            self.assertTrue(again.subscribe(topic, auto_ack=False, handler=rest, start="committed"))
            client.publish(topic, b"last")
            rest.wait_until(lambda messages: bool(messages) and messages[-1].body == b"last", "the last")

    def test_a_failing_handler_gets_it_again(self) -> None:
        client = self.client()
        topic = self.topic(client)
        for number in range(3):
            client.publish(topic, b"%d" % number)

        def fail_once(message: Any) -> None:
            if message.offset == 1 and not message.redelivered:
                raise RuntimeError("on purpose")

        gathered = Gathered(fail_once)
        with self.assertLogs("wiber", "ERROR"):
            self.assertTrue(client.subscribe(topic, auto_ack=False, handler=gathered))
            messages = gathered.wait_for(4)
        self.assertEqual([m.offset for m in messages], [0, 1, 2, 1])
        self.assertTrue(messages[3].redelivered)

    def test_a_handler_may_take_it_on_itself(self) -> None:
        client = self.client("holder")
        topic = self.topic(client)
        for number in range(3):
            client.publish(topic, b"%d" % number)
        gathered = Gathered(lambda message: message.ack() if message.offset == 0 else message.hold())
        self.assertTrue(client.subscribe(topic, auto_ack=False, handler=gathered))
        gathered.wait_until(lambda messages: [m.offset for m in messages].count(2) > 1, "a message held, once more")
        for message in list(gathered.messages):
            message.ack()
        self.assertTrue(client.unsubscribe(topic))
        # The server keeps the position soon after the acknowledgements.
        until(lambda: client.committed(topic) == 3, "the position behind all of them")

    def test_handlers_may_call_everything(self) -> None:
        client = self.client()
        topic, other = self.topic(client), self.topic(client)
        for number in range(500):
            client.publish_async(topic, b"%d" % number)
        echoed = Gathered()

        def act(message: Any) -> None:
            assert client.publish(other, message.body)
            if message.offset == 0:
                assert client.subscribe(other, handler=echoed)
                assert client.create_topic(f"{topic}-made-inside")
            if message.offset == 499:
                assert client.unsubscribe(topic)

        gathered = Gathered(act)
        client.subscribe(topic, handler=gathered)
        echoed.wait_for(500)
        self.assertEqual(echoed.bodies(), gathered.bodies())

    def test_a_slow_handler_that_publishes(self) -> None:
        """The queue is full all the time, and every answer the handler waits for comes all the same."""
        client = self.client(queue=4, queue_bytes=64 * 1024)
        topic, other = self.topic(client), self.topic(client)
        count = 300
        for _ in range(count):
            client.publish_async(topic, b"x" * 64 * 1024)
        client.flush()
        depths: list[int] = []

        def act(message: Any) -> None:
            assert client.publish(other, b"seen %d" % message.offset)
            if message.offset == 100:
                # On the connection whose queue is full.
                assert client.subscribe(other, handler=Gathered())
                assert client.unsubscribe(other)
            elif message.offset < 50 and client._lane is not None:
                depths.append(len(client._lane._queue))

        gathered = Gathered(act)
        self.assertTrue(client.subscribe(topic, handler=gathered))
        gathered.wait_until(lambda messages: len(messages) == count, "all")
        self.assertLessEqual(max(depths), 4)

    def test_a_stuck_handler_holds_up_no_caller(self) -> None:
        client = self.client(queue=10)
        topic, other = self.topic(client), self.topic(client)
        release = threading.Event()
        gathered = Gathered(lambda _: release.wait(BOUND))
        for _ in range(2_000):
            client.publish_async(topic, b"x" * 10_000)
        client.flush()
        self.assertTrue(client.subscribe(topic, handler=gathered))
        gathered.wait_for(1)
        for _ in range(100):
            self.assertTrue(client.publish(other, b"goes on"))
        self.assertTrue(client.unsubscribe(topic))
        release.set()
        again = Gathered()
        self.assertTrue(client.subscribe(other, handler=again))
        again.wait_for(100)
        self.assertEqual(len(gathered.messages), 1)

    def test_a_deleted_topic_ends_its_subscription(self) -> None:
        client = self.client()
        topic = self.topic(client)
        self.assertTrue(client.subscribe(topic, handler=Gathered()))
        assert client._lane is not None
        subscription = client._lane.find(topic, 0)
        assert subscription is not None
        ended = threading.Event()
        subscription.on_end = lambda error: ended.set()
        self.assertTrue(client.delete_topic(topic))
        self.assertTrue(ended.wait(BOUND))
        self.assertFalse(client.unsubscribe(topic))
        self.assertFalse(client.delete_topic(topic))


class Topics(ServerTestCase):
    def test_topics(self) -> None:
        client = self.client()
        names = [f"listed-{uuid.uuid4().hex}" for _ in range(3)]
        for name in names:
            self.assertTrue(client.create_topic(name, 2, None, retention_ms=60_000, cleanup_policy="compact,delete"))
        listed = client.list_topics()
        self.assertEqual([listed[name] for name in names], [2, 2, 2])
        described = client.describe_topic(names[0])
        self.assertEqual((described["topic"], len(described["partitions"])), (names[0], 2))
        self.assertEqual(described["effective"]["retention_ms"], 60_000)
        self.assertEqual(described["effective"]["cleanup_policy"], "compact,delete")
        self.assertTrue(client.delete_topic(names[0]))
        self.assertNotIn(names[0], client.list_topics())
        with self.assertRaises(WiberError):
            client.describe_topic(names[0])


if __name__ == "__main__":
    unittest.main()
