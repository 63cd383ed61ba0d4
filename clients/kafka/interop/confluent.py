"""What the tests with confluent-kafka (librdkafka) share: clients with bounded patience, and reading to an end."""

from __future__ import annotations

from typing import Any, Callable, Optional

from .server import BOUND, KafkaTestCase

try:
    import confluent_kafka as kafka
    from confluent_kafka.admin import AdminClient
except ImportError:
    import unittest

    raise unittest.SkipTest("confluent-kafka is not installed") from None

#: Codecs of record batches, all of which librdkafka speaks.
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


class ConfluentTestCase(KafkaTestCase):
    """Tests with confluent-kafka."""

    def producer(self, **settings: Any) -> kafka.Producer:
        """A producer; settings with underscores for dots."""
        return kafka.Producer(self._configuration({"linger.ms": 5, "message.timeout.ms": BOUND * 1000}, settings))

    def consumer(self, group: Optional[str] = None, **settings: Any) -> kafka.Consumer:
        """A consumer that begins at the start, closed when the test ends."""
        usual = {
            "group.id": group or self.name("g"),
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 300,
            "fetch.wait.max.ms": 100,
            "topic.metadata.refresh.interval.ms": 1000,
        }
        consumer = kafka.Consumer(self._configuration(usual, settings))
        self.addCleanup(_close, consumer)
        return consumer

    def admin(self) -> AdminClient:
        return AdminClient(self._configuration({}, {}))

    def _configuration(self, usual: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
        named = {name.replace("_", "."): value for name, value in settings.items()}
        # What is logged goes nowhere: a restart under a client is no news to its test.
        return {"bootstrap.servers": self.bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 500, **usual, **named}

    def send(self, producer: kafka.Producer, topic: str, value: Optional[bytes], **settings: Any) -> kafka.Message:
        """Sends one message, to partition 0 where nothing else is said, and waits for its answer."""
        delivered: list[Any] = []
        settings.setdefault("partition", 0)
        producer.produce(topic, value=value, on_delivery=lambda error, message: delivered.append((error, message)), **settings)
        self.assertEqual(producer.flush(BOUND), 0, "the producer has got no answer")
        error, message = delivered[0]
        if error is not None:
            raise kafka.KafkaException(error)
        return message

    def fill(self, topic: str, count: int, partition: int = 0, **settings: Any) -> None:
        """Messages b"0", b"1" … in a partition."""
        producer = self.producer(**settings)
        failed: list[Any] = []
        for number in range(count):
            producer.produce(
                topic,
                str(number).encode(),
                partition=partition,
                on_delivery=lambda error, _: failed.append(error) if error else None,
            )
        self.assertEqual(producer.flush(BOUND), 0)
        self.assertEqual(failed, [])

    def read(self, consumer: kafka.Consumer, count: int) -> list[kafka.Message]:
        """So many messages, and no error among them."""
        messages: list[kafka.Message] = []
        while len(messages) < count:
            came = consumer.consume(count - len(messages), BOUND)
            if not came:
                raise AssertionError(f"{count} messages were awaited; {len(messages)} came")
            for message in came:
                if message.error():
                    raise kafka.KafkaException(message.error())
            messages += came
        return messages

    def read_from(self, topic: str, count: int, offset: int = kafka.OFFSET_BEGINNING, partition: int = 0) -> list[kafka.Message]:
        """So many messages of a partition, without a group."""
        consumer = self.consumer()
        consumer.assign([kafka.TopicPartition(topic, partition, offset)])
        return self.read(consumer, count)

    def refused(self, call: Callable[[], Any], *codes: int) -> None:
        """The call fails with one of these codes."""
        with self.assertRaises(kafka.KafkaException) as caught:
            call()
        self.assertIn(caught.exception.args[0].code(), codes, caught.exception)


def _close(consumer: kafka.Consumer) -> None:
    try:
        consumer.close()
    except RuntimeError:
        pass  # closed by the test
