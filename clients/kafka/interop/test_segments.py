"""What every protocol leaves on the disk, read by a verifier that shares no line with the broker."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import verify_segments  # of scripts

from wiber import BrokerClient

from .confluent import CODECS, ConfluentTestCase
from .server import BOUND, KafkaServer, LineClient


class Segments(ConfluentTestCase):
    """Each test has a server of its own, because it ends it."""

    def setUp(self) -> None:
        super().setUp()
        self.server = KafkaServer()
        self.addCleanup(self.server.close)

    @classmethod
    def setUpClass(cls) -> None:
        """Nothing is shared."""

    @classmethod
    def tearDownClass(cls) -> None:
        """Nothing is shared."""

    def segments(self, topic: str) -> list[Path]:
        return list(verify_segments.segments([self.server.directory / "data" / f"{topic}_p0"]))

    def test_what_every_protocol_has_written(self) -> None:
        topics = {codec: self.topic() for codec in CODECS}
        for codec, topic in topics.items():
            producer = self.producer(compression_codec=codec)
            for number in range(500):
                producer.produce(topic, b"%d " % number * 20, b"key", partition=0, headers=[("h", b"1"), ("n", None)])
            self.assertEqual(producer.flush(BOUND), 0)
        mixed = self.topic()
        with BrokerClient("127.0.0.1", self.server.port) as client:
            client.send(mixed, b"native", key="key", headers={"h": "1"})
        lines = LineClient(self.server.lines_port)
        self.assertEqual(lines.say(f"PUB {mixed} line"), "OK published")
        lines.close()
        self.send(self.producer(enable_idempotence=True), mixed, b"kafka", key=b"key")
        self.server.terminate()

        for codec, topic in topics.items():
            (segment,) = self.segments(topic)
            batches = list(verify_segments.walk(segment))
            self.assertEqual({batch.codec for batch in batches}, {codec}, "a client's batch is kept as it is")
            self.assertEqual(batches[-1].next_offset, 500)
            records = [record for batch in batches for record in batch.records or []]
            self.assertEqual([record.offset for record in records], list(range(500)))
            self.assertEqual(records[7].headers, [(b"h", b"1"), (b"n", None)])
        (segment,) = self.segments(mixed)
        records = [record for batch in verify_segments.walk(segment) for record in batch.records or []]
        self.assertEqual([record.value for record in records], [b"native", b"line", b"kafka"])
        self.assertEqual(verify_segments.main([str(self.server.directory / "data")]), 0)

    def test_damage_is_named(self) -> None:
        topic = self.topic()
        producer = self.producer()
        for number in range(3):
            self.send(producer, topic, b"value %d" % number)
        self.server.terminate()
        (segment,) = self.segments(topic)
        batches = list(verify_segments.walk(segment))
        second = batches[1]
        whole = segment.read_bytes()
        cases = [
            (second.position + second.length - 3, "CRC-32C"),
            (second.position + 7, "base offset"),
            (second.position + 9, "length"),
            (second.position + 16, "magic"),
            (second.position + 57, "CRC-32C"),
        ]
        directory = Path(tempfile.mkdtemp(prefix="wiber-segments-"))
        self.addCleanup(shutil.rmtree, directory)
        for position, cause in cases:
            with self.subTest(cause):
                copy = directory / segment.name
                copy.write_bytes(whole[:position] + bytes([whole[position] ^ 0x11]) + whole[position + 1 :])
                with self.assertRaisesRegex(verify_segments.Damage, cause) as caught:
                    verify_segments.verify(copy)
                self.assertEqual(caught.exception.position, second.position)
                self.assertEqual(verify_segments.main([str(copy)]), 1)
