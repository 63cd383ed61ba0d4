"""confluent-kafka (librdkafka): producing and fetching."""

from __future__ import annotations

import time

from .confluent import CODECS, ConfluentTestCase, kafka
from .server import BOUND, eventually

ERROR = kafka.KafkaError


class Producing(ConfluentTestCase):
    def test_every_codec_comes_back_whole(self) -> None:
        for codec in CODECS:
            with self.subTest(codec):
                topic = self.topic()
                producer = self.producer(compression_codec=codec)
                sent = [(f"key {n}".encode(), f"{codec} {n} ".encode() * 40) for n in range(300)]
                for key, value in sent:
                    producer.produce(topic, value, key, partition=0)
                self.assertEqual(producer.flush(BOUND), 0)
                came = self.read_from(topic, len(sent))
                self.assertEqual([(m.key(), m.value()) for m in came], sent)
                self.assertEqual([m.offset() for m in came], list(range(len(sent))))

    def test_keys_headers_nulls_and_times(self) -> None:
        topic, producer, now = self.topic(), self.producer(), int(time.time() * 1000)
        cases = [
            (b"key", b"value", [("one", b"1"), ("one", b"2"), ("none", None), ("empty", b"")], now - 5000),
            (b"", b"", [], now - 4000),
            (None, b"no key", [("\u017c", b"\x00\xff")], now - 3000),
            (b"gone", None, [], now - 2000),
            (None, None, [], 1),
        ]
        for key, value, headers, timestamp in cases:
            self.send(producer, topic, value, key=key, headers=headers, timestamp=timestamp)
        came = self.read_from(topic, len(cases))
        for message, (key, value, headers, timestamp) in zip(came, cases):
            self.assertEqual((message.key(), message.value(), message.headers() or []), (key, value, headers))
            self.assertEqual(message.timestamp(), (kafka.TIMESTAMP_CREATE_TIME, timestamp))

    def test_acknowledgements(self) -> None:
        topic = self.topic()
        for number, acks in enumerate(["0", "1", "all"]):
            message = self.send(self.producer(acks=acks), topic, acks.encode())
            if acks != "0":
                self.assertEqual(message.offset(), number)
            self.assertEqual(self.read_from(topic, number + 1)[-1].value(), acks.encode())

    def test_an_idempotent_producer(self) -> None:
        topic = self.topic(3)
        producer = self.producer(enable_idempotence=True, compression_codec="lz4")
        for number in range(3000):
            producer.produce(topic, str(number).encode(), partition=number % 3)
            producer.poll(0)
        self.assertEqual(producer.flush(BOUND), 0)
        for partition in range(3):
            came = self.read_from(topic, 1000, partition=partition)
            self.assertEqual([m.value() for m in came], [str(n).encode() for n in range(partition, 3000, 3)])
            self.assertEqual(came[-1].offset(), 999)

    def test_large_messages_up_to_the_limit(self) -> None:
        topic = self.topic()
        large = bytes(range(256)) * 3900
        self.assertEqual(self.send(self.producer(), topic, large).offset(), 0)
        self.assertEqual(self.read_from(topic, 1)[0].value(), large)

    def test_a_message_too_large_is_refused(self) -> None:
        topic = self.topic(max_message_size=10_000)
        producer = self.producer(compression_codec="none")
        self.refused(lambda: self.send(producer, topic, b"x" * 300_000), ERROR.MSG_SIZE_TOO_LARGE)
        self.assertEqual(self.send(producer, topic, b"small").offset(), 0)

    def test_a_compacted_topic_takes_keys_alone(self) -> None:
        topic, producer = self.topic(cleanup_policy="compact"), self.producer()
        self.refused(lambda: self.send(producer, topic, b"no key"), ERROR.INVALID_RECORD)
        self.assertEqual(self.send(producer, topic, b"one", key=b"key").offset(), 0)
        self.assertEqual(self.send(producer, topic, None, key=b"key").offset(), 1)

    def test_each_record_to_blame_is_named(self) -> None:
        """Of a batch that a compacted topic refuses, the producer tells those without a key from the others."""
        topic, producer = self.topic(cleanup_policy="compact"), self.producer(linger_ms=200)
        codes: dict[bytes, int] = {}

        def delivered(error: kafka.KafkaError, message: kafka.Message) -> None:
            codes[message.value()] = error.code()

        for number in range(10):
            key = None if number in (3, 7) else b"key"
            producer.produce(topic, b"%d" % number, key, partition=0, on_delivery=delivered)
        self.assertEqual(producer.flush(BOUND), 0)
        blamed = [value for value, code in codes.items() if code == ERROR.INVALID_RECORD]
        self.assertEqual(sorted(blamed), [b"3", b"7"])
        self.assertEqual({codes[b"0"], codes[b"9"]}, {ERROR._INVALID_DIFFERENT_RECORD})

    def test_a_partition_that_does_not_exist(self) -> None:
        topic = self.topic()
        self.refused(
            lambda: self.send(self.producer(message_timeout_ms=3000), topic, b"x", partition=7),
            ERROR._UNKNOWN_PARTITION,
            ERROR.UNKNOWN_TOPIC_OR_PART,
        )

    def test_producing_creates_a_topic(self) -> None:
        topic = self.name()
        self.assertEqual(self.send(self.producer(), topic, b"first").offset(), 0)
        self.assertEqual(self.read_from(topic, 1)[0].value(), b"first")


class WithoutAutoCreation(ConfluentTestCase):
    variables = {"QB_TOPICS__AUTO_CREATE": "false"}

    def test_an_unknown_topic_is_refused(self) -> None:
        topic = self.name()
        producer = self.producer(message_timeout_ms=5000, topic_metadata_propagation_max_ms=0)
        self.refused(lambda: self.send(producer, topic, b"x"), ERROR.UNKNOWN_TOPIC_OR_PART, ERROR._UNKNOWN_TOPIC)
        consumer = self.consumer(allow_auto_create_topics=True)
        consumer.subscribe([topic])
        message = eventually(lambda: consumer.poll(0.1), "an error")
        self.assertEqual(message.error().code(), ERROR.UNKNOWN_TOPIC_OR_PART)


class Fetching(ConfluentTestCase):
    def test_offsets(self) -> None:
        topic = self.topic()
        self.fill(topic, 50)
        consumer = self.consumer()
        partition = kafka.TopicPartition(topic, 0)
        self.assertEqual(consumer.get_watermark_offsets(partition, BOUND, cached=False), (0, 50))
        for offset, first in [(17, b"17"), (kafka.OFFSET_BEGINNING, b"0"), (48, b"48")]:
            consumer.assign([kafka.TopicPartition(topic, 0, offset)])
            self.assertEqual(self.read(consumer, 1)[0].value(), first)
        consumer.assign([kafka.TopicPartition(topic, 0, kafka.OFFSET_END)])
        # Only once its first fetch is answered is the end it found the one of now.
        self.assertIsNone(consumer.poll(1.0))
        self.fill(topic, 1)
        self.assertEqual(self.read(consumer, 1)[0].offset(), 50)

    def test_offsets_by_time(self) -> None:
        topic, producer, now = self.topic(), self.producer(), int(time.time() * 1000)
        for number in range(10):
            self.send(producer, topic, str(number).encode(), timestamp=now - 100_000 + number * 1000)
        consumer = self.consumer()
        for timestamp, offset in [(0, 0), (now - 97_000, 3), (now - 96_999, 4), (now + 10**6, kafka.OFFSET_END)]:
            found = consumer.offsets_for_times([kafka.TopicPartition(topic, 0, timestamp)], BOUND)
            self.assertEqual(found[0].offset, offset, timestamp)

    def test_the_end_of_a_partition_is_told(self) -> None:
        topic = self.topic()
        self.fill(topic, 3)
        consumer = self.consumer(enable_partition_eof=True)
        consumer.assign([kafka.TopicPartition(topic, 0, 0)])
        self.assertEqual([m.value() for m in self.read(consumer, 3)], [b"0", b"1", b"2"])
        end = eventually(lambda: consumer.poll(0.1), "the end")
        self.assertEqual((end.error().code(), end.offset()), (ERROR._PARTITION_EOF, 3))

    def test_an_offset_out_of_range(self) -> None:
        topic = self.topic()
        self.fill(topic, 3)
        for policy, expected in [("earliest", 0), ("error", None)]:
            consumer = self.consumer(auto_offset_reset=policy)
            consumer.assign([kafka.TopicPartition(topic, 0, 99)])
            message = eventually(lambda consumer=consumer: consumer.poll(0.1), "an answer")
            if expected is None:
                self.assertEqual(message.error().code(), ERROR._AUTO_OFFSET_RESET)
            else:
                self.assertEqual(message.offset(), expected)

    def test_a_fetch_waits_for_what_comes(self) -> None:
        topic = self.topic()
        consumer = self.consumer(fetch_wait_max_ms=10_000, fetch_min_bytes=1)
        consumer.assign([kafka.TopicPartition(topic, 0, 0)])
        self.assertIsNone(consumer.poll(0.2))
        producer = self.producer(linger_ms=0)
        self.send(producer, topic, b"late")
        self.assertEqual(self.read(consumer, 1)[0].value(), b"late")

    def test_batches_larger_than_a_fetch(self) -> None:
        topic = self.topic()
        producer = self.producer(compression_codec="none", linger_ms=50)
        values = [bytes([n]) * 50_000 for n in range(40)]
        for value in values:
            producer.produce(topic, value)
        self.assertEqual(producer.flush(BOUND), 0)
        consumer = self.consumer(fetch_message_max_bytes=1000, max_partition_fetch_bytes=1000)
        consumer.assign([kafka.TopicPartition(topic, 0, 0)])
        self.assertEqual([m.value() for m in self.read(consumer, len(values))], values)

    def test_many_partitions_at_once(self) -> None:
        topic = self.topic(20)
        producer = self.producer()
        for number in range(2000):
            producer.produce(topic, str(number).encode(), partition=number % 20)
        self.assertEqual(producer.flush(BOUND), 0)
        consumer = self.consumer()
        consumer.assign([kafka.TopicPartition(topic, n, 0) for n in range(20)])
        last = [-1] * 20
        for message in self.read(consumer, 2000):
            self.assertEqual(message.offset(), last[message.partition()] + 1)
            last[message.partition()] = message.offset()
        self.assertEqual(last, [99] * 20)

    def test_pause_seek_and_resume(self) -> None:
        topic = self.topic()
        self.fill(topic, 10)
        consumer, partition = self.consumer(), kafka.TopicPartition(topic, 0, 0)
        consumer.assign([partition])
        self.read(consumer, 5)
        consumer.pause([partition])
        self.assertIsNone(consumer.poll(0.3))
        consumer.seek(kafka.TopicPartition(topic, 0, 8))
        consumer.resume([partition])
        self.assertEqual([m.offset() for m in self.read(consumer, 2)], [8, 9])


class Restarting(ConfluentTestCase):
    def test_a_server_killed_under_producer_and_consumer(self) -> None:
        """Nothing acknowledged is lost, and nothing of an idempotent producer comes twice."""
        topic = self.topic()
        producer = self.producer(enable_idempotence=True)
        consumer = self.consumer()
        consumer.assign([kafka.TopicPartition(topic, 0, 0)])
        values = [str(n).encode() for n in range(600)]
        failed: list[object] = []
        for number, value in enumerate(values):
            producer.produce(topic, value, partition=0, on_delivery=lambda e, _: failed.append(e) if e else None)
            if number in (150, 350):
                producer.poll(0.05)
                self.server.kill()
                self.server.start()
        self.assertEqual((producer.flush(BOUND), failed), (0, []))
        self.assertEqual([m.value() for m in self.read(consumer, len(values))], values)

    def test_a_group_goes_on_where_it_committed(self) -> None:
        topic, group = self.topic(), self.name("g")
        self.fill(topic, 20)
        consumer = self.consumer(group)
        consumer.subscribe([topic])
        last = self.read(consumer, 12)[-1]
        consumer.commit(message=last, asynchronous=False)
        self.server.terminate()
        self.server.start()
        committed = consumer.committed([kafka.TopicPartition(topic, 0)], BOUND)
        self.assertEqual(committed[0].offset, 12)
        consumer.close()
        again = self.consumer(group)
        again.subscribe([topic])
        self.assertEqual([m.offset() for m in self.read(again, 8)], list(range(12, 20)))
