"""aiokafka: producing, fetching, groups and administration, on asyncio."""

from __future__ import annotations

import asyncio
import unittest
from typing import Any

from .server import BOUND, KafkaTestCase

try:
    import aiokafka
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition, errors
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic
except ImportError:
    raise unittest.SkipTest("aiokafka is not installed") from None


class AioKafka(KafkaTestCase, unittest.IsolatedAsyncioTestCase):
    async def producer(self, **settings: Any) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, **settings)
        await self.started(producer)
        return producer

    async def consumer(self, *topics: str, **settings: Any) -> AIOKafkaConsumer:
        usual = {
            "auto_offset_reset": "earliest",
            "enable_auto_commit": False,
            "heartbeat_interval_ms": 300,
            "session_timeout_ms": 6000,
            "fetch_max_wait_ms": 100,
            "metadata_max_age_ms": 1000,
        }
        consumer = AIOKafkaConsumer(*topics, bootstrap_servers=self.bootstrap, **{**usual, **settings})
        await self.started(consumer)
        return consumer

    async def started(self, client: Any) -> None:
        await asyncio.wait_for(client.start(), BOUND)
        self.addAsyncCleanup(client.close if hasattr(client, "close") else client.stop)

    async def read(self, consumer: AIOKafkaConsumer, count: int) -> list[Any]:
        async def all_of_them() -> list[Any]:
            return [await consumer.getone() for _ in range(count)]

        return await asyncio.wait_for(all_of_them(), BOUND)

    async def until(self, condition: Any, what: str) -> None:
        async def looks() -> None:
            while not condition():
                await asyncio.sleep(0.01)

        try:
            await asyncio.wait_for(looks(), BOUND)
        except asyncio.TimeoutError:
            self.fail(f"{what} did not come about")

    async def test_every_codec_comes_back_whole(self) -> None:
        for codec in (None, "gzip", "snappy", "lz4", "zstd"):
            with self.subTest(codec):
                topic = self.topic()
                producer = await self.producer(compression_type=codec, linger_ms=20)
                sent = [(f"k{n}".encode(), f"{codec} {n} ".encode() * 40) for n in range(200)]
                futures = [await producer.send(topic, value, key, partition=0) for key, value in sent]
                stored = await asyncio.wait_for(asyncio.gather(*futures), BOUND)
                self.assertEqual([one.offset for one in stored], list(range(200)))
                came = await self.read(await self.consumer(topic), 200)
                self.assertEqual([(r.key, r.value) for r in came], sent)

    async def test_keys_headers_nulls_and_times(self) -> None:
        topic, producer = self.topic(), await self.producer()
        cases = [
            (b"key", b"value", (("one", b"1"), ("one", b"2"), ("empty", b"")), 1_700_000_000_123),
            (None, b"no key", (), 1_700_000_000_124),
            (b"gone", None, (), 1_700_000_000_125),
        ]
        for key, value, headers, timestamp in cases:
            await producer.send_and_wait(topic, value, key, 0, timestamp, headers=list(headers))
        came = await self.read(await self.consumer(topic), 3)
        self.assertEqual([(r.key, r.value, r.headers, r.timestamp) for r in came], cases)

    async def test_acknowledgements_and_idempotence(self) -> None:
        topic = self.topic()
        for settings in ({"acks": 0}, {"acks": 1}, {"acks": "all"}, {"enable_idempotence": True}):
            producer = await self.producer(**settings)
            for number in range(5):
                await producer.send_and_wait(topic, str(number).encode(), partition=0)
        came = await self.read(await self.consumer(topic), 20)
        self.assertEqual([r.value for r in came], [b"0", b"1", b"2", b"3", b"4"] * 4)

    async def test_refusals(self) -> None:
        producer = await self.producer(max_request_size=10_000_000)
        with self.assertRaises(errors.MessageSizeTooLargeError):
            await producer.send_and_wait(self.topic(max_message_size=1000), b"x" * 500_000, partition=0)
        with self.assertRaises(errors.KafkaError):
            await producer.send_and_wait(self.topic(cleanup_policy="compact"), b"no key", partition=0)

    async def test_offsets(self) -> None:
        topic, producer = self.topic(), await self.producer()
        for number in range(10):
            await producer.send_and_wait(topic, b"x", partition=0, timestamp_ms=1_700_000_000_000 + number)
        partition = TopicPartition(topic, 0)
        consumer = await self.consumer()
        consumer.assign([partition])
        self.assertEqual(await consumer.beginning_offsets([partition]), {partition: 0})
        self.assertEqual(await consumer.end_offsets([partition]), {partition: 10})
        found = (await consumer.offsets_for_times({partition: 1_700_000_000_004}))[partition]
        self.assertEqual((found.offset, found.timestamp), (4, 1_700_000_000_004))
        consumer.seek(partition, 7)
        self.assertEqual([r.offset for r in await self.read(consumer, 3)], [7, 8, 9])

    async def test_a_group_with_rebalances(self) -> None:
        topic, group = self.topic(4), self.name("g")
        one = await self.consumer(topic, group_id=group)
        await self.until(lambda: len(one.assignment()) == 4, "the whole topic")
        two = await self.consumer(topic, group_id=group)
        await self.until(lambda: len(one.assignment()) == len(two.assignment()) == 2, "halves")
        self.assertFalse(one.assignment() & two.assignment())
        await two.stop()
        await self.until(lambda: len(one.assignment()) == 4, "the whole topic again")

    async def test_positions(self) -> None:
        topic, group, producer = self.topic(), self.name("g"), await self.producer()
        for number in range(10):
            await producer.send_and_wait(topic, str(number).encode(), partition=0)
        consumer, partition = await self.consumer(topic, group_id=group), TopicPartition(topic, 0)
        await self.read(consumer, 6)
        await consumer.commit()
        self.assertEqual(await consumer.committed(partition), 6)
        await consumer.stop()
        came = await self.read(await self.consumer(topic, group_id=group), 4)
        self.assertEqual([r.offset for r in came], [6, 7, 8, 9])

    async def test_administration(self) -> None:
        admin, topic, group = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap), self.name(), self.name("g")
        await self.started(admin)
        await admin.create_topics([NewTopic(topic, 2, 1)])
        self.assertIn(topic, await admin.list_topics())
        (described,) = await admin.describe_topics([topic])
        self.assertEqual(len(described["partitions"]), 2)
        self.assertEqual(len((await admin.describe_cluster())["brokers"]), 1)
        consumer = await self.consumer(topic, group_id=group)
        await self.until(lambda: len(consumer.assignment()) == 2, "the whole topic")
        await consumer.commit({TopicPartition(topic, 0): aiokafka.structs.OffsetAndMetadata(0, "note")})
        self.assertIn(group, str(await admin.list_consumer_groups()))
        self.assertIn(group, str(await admin.describe_consumer_groups([group])))
        positions = await admin.list_consumer_group_offsets(group)
        self.assertEqual(positions[TopicPartition(topic, 0)].metadata, "note")
        await admin.delete_topics([topic])
        self.assertNotIn(topic, await admin.list_topics())
