"""kafka-python: producing, fetching, groups and administration."""

from __future__ import annotations

import threading
import unittest
from typing import Any

from .server import BOUND, KafkaTestCase, eventually

try:
    import kafka
    from kafka import errors
    from kafka.admin import (
        ACLFilter,
        ACLOperation,
        ACLPermissionType,
        ACLResourcePatternType,
        ConfigResource,
        ConfigResourceType,
        KafkaAdminClient,
        NewPartitions,
        NewTopic,
        ResourcePatternFilter,
        ResourceType,
    )
except ImportError:
    raise unittest.SkipTest("kafka-python is not installed") from None

MS = int(BOUND * 1000)


class Polled:
    """A consumer that is polled all the time, on a thread of its own: a join that ends between two polls is forgotten, and
    begun anew."""

    def __init__(self, consumer: kafka.KafkaConsumer) -> None:
        self._consumer = consumer
        self._ends = threading.Event()
        self._assignment: frozenset[kafka.TopicPartition] = frozenset()
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self._thread.start()

    def _poll(self) -> None:
        while not self._ends.is_set():
            self._consumer.poll(500)
            self._assignment = frozenset(self._consumer.assignment())

    def assignment(self) -> frozenset[kafka.TopicPartition]:
        """What it had after its last poll."""
        return self._assignment

    def end(self) -> None:
        """It leaves the group."""
        self._ends.set()
        self._thread.join(BOUND)
        self._consumer.close()


class KafkaPython(KafkaTestCase):
    def producer(self, **settings: Any) -> kafka.KafkaProducer:
        producer = kafka.KafkaProducer(bootstrap_servers=self.bootstrap, max_block_ms=MS, **settings)
        self.addCleanup(producer.close, 5)
        return producer

    def consumer(self, *topics: str, **settings: Any) -> kafka.KafkaConsumer:
        usual = {
            "auto_offset_reset": "earliest",
            "enable_auto_commit": False,
            "consumer_timeout_ms": MS,
            "heartbeat_interval_ms": 300,
            "session_timeout_ms": 6000,
            "fetch_max_wait_ms": 100,
        }
        consumer = kafka.KafkaConsumer(*topics, bootstrap_servers=self.bootstrap, **{**usual, **settings})
        self.addCleanup(consumer.close)
        return consumer

    def admin(self) -> KafkaAdminClient:
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap, request_timeout_ms=MS)
        self.addCleanup(admin.close)
        return admin

    def read(self, consumer: kafka.KafkaConsumer, count: int) -> list[Any]:
        came: list[Any] = []

        def more() -> Any:
            for records in consumer.poll(100, max_records=count - len(came)).values():
                came.extend(records)
            return came if len(came) >= count else None

        return eventually(more, f"{count} records")

    def test_every_codec_comes_back_whole(self) -> None:
        for codec in (None, "gzip", "snappy", "lz4", "zstd"):
            with self.subTest(codec):
                topic = self.topic()
                producer = self.producer(compression_type=codec, linger_ms=20)
                sent = [(f"k{n}".encode(), f"{codec} {n} ".encode() * 40) for n in range(200)]
                futures = [producer.send(topic, value, key, partition=0) for key, value in sent]
                producer.flush(BOUND)
                self.assertEqual([f.get(BOUND).offset for f in futures], list(range(200)))
                came = self.read(self.consumer(topic), 200)
                self.assertEqual([(r.key, r.value) for r in came], sent)

    def test_keys_headers_nulls_and_times(self) -> None:
        topic, producer = self.topic(), self.producer()
        cases = [
            (b"key", b"value", [("one", b"1"), ("one", b"2"), ("empty", b"")], 1_700_000_000_123),
            (None, b"no key", [], 1_700_000_000_124),
            (b"gone", None, [], 1_700_000_000_125),
        ]
        for key, value, headers, timestamp in cases:
            producer.send(topic, value, key, headers, partition=0, timestamp_ms=timestamp).get(BOUND)
        came = self.read(self.consumer(topic), 3)
        self.assertEqual([(r.key, r.value, list(r.headers), r.timestamp) for r in came], cases)

    def test_acknowledgements(self) -> None:
        topic = self.topic()
        for number, acks in enumerate((0, 1, "all")):
            future = self.producer(acks=acks, enable_idempotence=False).send(topic, b"x", partition=0)
            future.get(BOUND)
            self.assertEqual(len(self.read(self.consumer(topic), number + 1)), number + 1)

    def test_an_idempotent_producer(self) -> None:
        topic = self.topic()
        producer = self.producer(enable_idempotence=True, linger_ms=5)
        futures = [producer.send(topic, str(n).encode(), partition=0) for n in range(500)]
        self.assertEqual([f.get(BOUND).offset for f in futures], list(range(500)))

    def test_refusals(self) -> None:
        # Each has a producer of its own: one that is idempotent takes nothing more once a batch was refused.
        with self.assertRaises(errors.MessageSizeTooLargeError):
            small = self.topic(max_message_size=1000)
            self.producer().send(small, b"x" * 500_000, partition=0).get(BOUND)
        with self.assertRaises(errors.InvalidRecordError):
            self.producer().send(self.topic(cleanup_policy="compact"), b"no key", partition=0).get(BOUND)

    def test_offsets(self) -> None:
        topic, producer = self.topic(), self.producer()
        for number in range(10):
            producer.send(topic, str(number).encode(), partition=0, timestamp_ms=1_700_000_000_000 + number).get(BOUND)
        partition = kafka.TopicPartition(topic, 0)
        consumer = self.consumer()
        consumer.assign([partition])
        self.assertEqual(consumer.beginning_offsets([partition]), {partition: 0})
        self.assertEqual(consumer.end_offsets([partition]), {partition: 10})
        found = consumer.offsets_for_times({partition: 1_700_000_000_004})[partition]
        self.assertEqual((found.offset, found.timestamp), (4, 1_700_000_000_004))
        self.assertIsNone(consumer.offsets_for_times({partition: 1_800_000_000_000})[partition])
        consumer.seek(partition, 7)
        self.assertEqual([r.offset for r in self.read(consumer, 3)], [7, 8, 9])

    def test_a_group_with_a_rebalance(self) -> None:
        topic, group = self.topic(4), self.name("g")

        def member() -> Polled:
            polled = Polled(self.consumer(topic, group_id=group))
            self.addCleanup(polled.end)
            return polled

        one = member()
        eventually(lambda: len(one.assignment()) == 4 or None, "the whole topic")
        two = member()
        eventually(lambda: len(one.assignment()) == len(two.assignment()) == 2 or None, "halves")
        self.assertFalse(one.assignment() & two.assignment())
        two.end()
        eventually(lambda: len(one.assignment()) == 4 or None, "the whole topic again")

    def test_positions(self) -> None:
        topic, group, producer = self.topic(), self.name("g"), self.producer()
        for number in range(10):
            producer.send(topic, str(number).encode(), partition=0).get(BOUND)
        consumer, partition = self.consumer(topic, group_id=group), kafka.TopicPartition(topic, 0)
        self.assertIsNone(consumer.committed(partition))
        self.assertEqual(len(self.read(consumer, 6)), 6)
        consumer.commit()
        self.assertEqual(consumer.committed(partition), 6)
        consumer.close()
        self.assertEqual([r.offset for r in self.read(self.consumer(topic, group_id=group), 4)], [6, 7, 8, 9])

    def test_topics_and_settings(self) -> None:
        admin, topic = self.admin(), self.name()
        admin.create_topics([NewTopic(topic, 2, 1, topic_configs={"retention.ms": "100000000"})])
        self.assertIn(topic, admin.list_topics())
        with self.assertRaises(errors.TopicAlreadyExistsError):
            admin.create_topics([NewTopic(topic, 2, 1)])
        admin.create_partitions({topic: NewPartitions(3)})
        (described,) = admin.describe_topics([topic])
        self.assertEqual(len(described["partitions"]), 3)
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        self.assertIn("100000000", str(admin.describe_configs([resource])))
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": "200000000"})])
        self.assertIn("200000000", str(admin.describe_configs([resource])))
        admin.delete_topics([topic])
        self.assertNotIn(topic, admin.list_topics())

    def test_the_cluster_and_its_groups(self) -> None:
        admin, topic, group = self.admin(), self.topic(), self.name("g")
        cluster = admin.describe_cluster()
        self.assertEqual([(b["host"], b["port"]) for b in cluster["brokers"]], [("127.0.0.1", self.server.kafka_port)])
        consumer = self.consumer(topic, group_id=group)
        eventually(lambda: (consumer.poll(50), consumer.assignment() or None)[1], "an assignment")
        consumer.commit({kafka.TopicPartition(topic, 0): kafka.OffsetAndMetadata(0, "note", -1)})
        self.assertIn(group, str(admin.list_groups()))
        self.assertIn(group, str(admin.describe_groups([group])))
        consumer.close()
        self.assertIn("note", str(admin.list_group_offsets(group)))
        admin.delete_group_offsets(group, [kafka.TopicPartition(topic, 0)])
        self.assertNotIn("note", str(admin.list_group_offsets(group)))
        admin.delete_groups([group])
        self.assertNotIn(group, str(admin.list_groups()))

    def test_records_are_deleted(self) -> None:
        admin, topic, producer = self.admin(), self.topic(), self.producer()
        for _ in range(5):
            producer.send(topic, b"x", partition=0).get(BOUND)
        partition = kafka.TopicPartition(topic, 0)
        admin.delete_records({partition: 3})
        self.assertEqual(self.consumer().beginning_offsets([partition]), {partition: 3})

    def test_access_control_is_not_there(self) -> None:
        pattern = ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY)
        everything = ACLFilter(None, None, ACLOperation.ANY, ACLPermissionType.ANY, pattern)
        with self.assertRaises(errors.SecurityDisabledError):
            self.admin().describe_acls(everything)

    def test_a_server_restarts_under_it(self) -> None:
        topic, producer = self.topic(), self.producer(retries=100, retry_backoff_ms=50)
        consumer = self.consumer(topic)
        for number in range(3):
            producer.send(topic, str(number).encode(), partition=0).get(BOUND)
            self.server.kill()
            self.server.start()
        self.assertEqual([r.value for r in self.read(consumer, 3)], [b"0", b"1", b"2"])
