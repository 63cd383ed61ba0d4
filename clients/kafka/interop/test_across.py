"""One log behind all protocols: what one writes the others read, with the same key, headers, time and offset."""

from __future__ import annotations

import json
import queue
import subprocess
import time
from typing import Any, Optional

from tests.server import binary  # of clients/python
from wiber import BrokerClient, Message

from .confluent import ConfluentTestCase, kafka
from .server import BOUND, LineClient


class Across(ConfluentTestCase):
    def native(self) -> BrokerClient:
        client = BrokerClient("127.0.0.1", self.server.port)
        client.connect()
        self.addCleanup(client.disconnect)
        return client

    def lines(self) -> LineClient:
        client = LineClient(self.server.lines_port)
        self.addCleanup(client.close)
        return client

    def natively(self, topic: str, count: int) -> list[Message]:
        came: queue.Queue[Message] = queue.Queue()
        self.assertTrue(self.native().subscribe(topic, 0, 0, True, came.put))
        return [came.get(timeout=BOUND) for _ in range(count)]

    def command(self, *arguments: str) -> str:
        """What `wiber-client` prints."""
        name = [str(binary().with_name("wiber-client")), "--port", str(self.server.port), *arguments]
        return subprocess.run(name, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BOUND, check=True).stdout

    def test_what_kafka_wrote_is_read_natively(self) -> None:
        now = int(time.time() * 1000) - 1000
        cases: list[tuple[Optional[bytes], Optional[bytes], list[tuple[str, bytes]]]] = [
            (b"key", b"value", [("one", b"1"), ("one", b"2"), ("bytes", b"\xff\x00")]),
            (None, b"no key", []),
            (b"\xfe\xff", b"\x00\x01", []),
            (b"gone", None, [("why", b"sold")]),
        ]
        for codec in ("none", "zstd"):
            topic, producer = self.topic(), self.producer(compression_codec=codec)
            for number, (key, value, headers) in enumerate(cases):
                self.send(producer, topic, value, key=key, headers=headers, timestamp=now + number)
            for number, (message, (key, value, headers)) in enumerate(zip(self.natively(topic, len(cases)), cases)):
                self.assertEqual((message.offset, message.timestamp), (number, now + number))
                self.assertEqual((message.key_bytes, message.body, message.headers), (key, value or b"", headers))
                self.assertEqual(message.is_tombstone, value is None)

    def test_what_was_written_natively_is_read_by_kafka(self) -> None:
        topic, client, now = self.topic(), self.native(), int(time.time() * 1000) - 1000
        client.send(topic, b"value", key="key", headers={"one": "1"}, timestamp=now)
        client.send(topic, None, key="gone", timestamp=now + 1)
        client.send(topic, b"plain", timestamp=now + 2)
        value, gone, plain = self.read_from(topic, 3)
        self.assertEqual((value.key(), value.value(), value.timestamp()[1]), (b"key", b"value", now))
        self.assertIn(("one", b"1"), value.headers())
        self.assertEqual((gone.key(), gone.value(), gone.offset()), (b"gone", None, 1))
        self.assertEqual((plain.key(), plain.value(), plain.timestamp()[1]), (None, b"plain", now + 2))

    def test_what_kafka_wrote_is_read_by_the_command_line(self) -> None:
        topic = self.topic()
        self.send(self.producer(), topic, b"value", key=b"key", headers=[("one", b"1")], timestamp=1_700_000_000_123)
        line = self.command("--output", "json", "subscribe", topic, "--from", "start", "--count", "1").splitlines()[0]
        shown = json.loads(line)
        self.assertEqual(shown["offset"], 0)
        for expected in ("value", "key", "one"):
            self.assertIn(expected, line)

    def test_what_the_command_line_wrote_is_read_by_kafka(self) -> None:
        topic = self.topic()
        self.command("publish", topic, "from the command line", "--key", "key")
        message = self.read_from(topic, 1)[0]
        self.assertEqual((message.key(), message.value()), (b"key", b"from the command line"))

    def test_lines_and_kafka(self) -> None:
        topic, lines = self.topic(), self.lines()
        self.assertEqual(lines.say(f"PUB {topic} from lines"), "OK published")
        self.send(self.producer(), topic, "żółć".encode(), timestamp=1_700_000_000_123)
        self.send(self.producer(), topic, None, key=b"gone")
        came = self.read_from(topic, 3)
        self.assertEqual([m.value() for m in came], [b"from lines", "żółć".encode(), None])
        first, second, third = lines.history(topic, 10)
        self.assertEqual((first[0], first[2]), (0, "from lines"))
        self.assertEqual(second, (1, "1700000000.123", "żółć"))
        self.assertEqual((third[0], third[2]), (2, ""))
        listener = self.lines()
        self.assertEqual(listener.say(f"SUB {topic}"), f"OK subscribed {topic}")
        self.send(self.producer(), topic, b"to a listener")
        self.assertTrue(listener.line().endswith(" to a listener"))

    def test_a_key_goes_to_one_partition_whoever_writes(self) -> None:
        topic, client = self.topic(16), self.native()
        producer = self.producer(partitioner="murmur2_random")
        for number in range(20):
            key = f"key {number}"
            natively = client.send(topic, b"x", key=key).partition
            self.assertEqual(self.send(producer, topic, b"x", key=key.encode(), partition=-1).partition(), natively)

    def test_topics_made_by_one_are_the_other_ones(self) -> None:
        topic = self.name()
        admin = self.admin()
        settings = {"retention.ms": "7200000"}
        admin.create_topics([kafka.admin.NewTopic(topic, 3, 1, config=settings)])[topic].result(BOUND)
        client = self.native()
        self.assertEqual(client.list_topics()[topic], 3)
        self.assertIn("7200000", json.dumps(client.describe_topic(topic)))
        self.assertTrue(client.delete_topic(topic))
        self.assertNotIn(topic, admin.list_topics(timeout=BOUND).topics)

    def test_groups_of_kafka_are_seen_natively(self) -> None:
        topic, group = self.topic(), self.name("g")
        self.fill(topic, 5)
        consumer = self.consumer(group)
        consumer.subscribe([topic])
        consumer.commit(message=self.read(consumer, 3)[-1], asynchronous=False)
        client = self.native()
        self.assertIn(group, [found["group"] for found in client.list_groups()])
        described: dict[str, Any] = client.describe_group(group)
        (partition,) = described["partitions"]
        self.assertEqual((partition["committed"], partition["high_watermark"], partition["lag"]), (3, 5, 2))

    def test_a_producer_of_each_protocol_at_once(self) -> None:
        topic, client, lines, producer = self.topic(), self.native(), self.lines(), self.producer(acks="all")
        for number in range(50):
            client.publish_async(topic, b"n%d" % number)
            producer.produce(topic, b"k%d" % number, partition=0)
            self.assertEqual(lines.say(f"PUB {topic} l{number}"), "OK published")
        self.assertTrue(client.flush(BOUND))
        self.assertEqual(producer.flush(BOUND), 0)
        came = [m.value() or b"" for m in self.read_from(topic, 150)]
        for kind in (b"n", b"k", b"l"):
            self.assertEqual([v for v in came if v.startswith(kind)], [kind + b"%d" % n for n in range(50)])
        natively = self.natively(topic, 150)
        self.assertEqual([m.body for m in natively], came)
