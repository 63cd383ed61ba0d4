"""confluent-kafka (librdkafka): groups of its consumers, their rebalances and their positions."""

from __future__ import annotations

from typing import Any

from .confluent import ConfluentTestCase, kafka
from .server import BOUND, eventually


class Member:
    """A consumer in a group, and what it was told."""

    def __init__(self, consumer: kafka.Consumer, topics: list[str]) -> None:
        self.consumer = consumer
        self.assigned: list[set[tuple[str, int]]] = []
        self.revoked: list[set[tuple[str, int]]] = []
        self.messages: list[kafka.Message] = []
        consumer.subscribe(
            topics,
            on_assign=lambda _, partitions: self.assigned.append(_pairs(partitions)),
            on_revoke=lambda _, partitions: self.revoked.append(_pairs(partitions)),
        )

    def poll(self) -> None:
        """Does what a member must do again and again."""
        message = self.consumer.poll(0.02)
        if message is not None and not message.error():
            self.messages.append(message)

    @property
    def has(self) -> set[tuple[str, int]]:
        return _pairs(self.consumer.assignment())


def _pairs(partitions: list[Any]) -> set[tuple[str, int]]:
    return {(p.topic, p.partition) for p in partitions}


class Groups(ConfluentTestCase):
    def settled(self, members: list[Member], topic: str, counts: list[int]) -> None:
        """Waits until the members have so many partitions each, all different, and all there are."""

        def looks() -> Any:
            for member in members:
                member.poll()
            owned = [member.has for member in members]
            everything = set().union(*owned)
            is_whole = everything == {(topic, n) for n in range(sum(counts))} and sum(map(len, owned)) == sum(counts)
            return True if is_whole and sorted(map(len, owned)) == sorted(counts) else None

        eventually(looks, f"an assignment of {counts}")

    def test_rebalances_of_every_strategy(self) -> None:
        for strategy in ("range", "roundrobin", "cooperative-sticky"):
            with self.subTest(strategy):
                topic, group = self.topic(4), self.name("g")

                def join() -> Member:
                    return Member(self.consumer(group, partition_assignment_strategy=strategy), [topic])

                one = join()
                self.settled([one], topic, [4])
                two = join()
                self.settled([one, two], topic, [2, 2])
                if strategy == "cooperative-sticky":
                    self.assertEqual(sum(map(len, one.revoked)), 2, "it lets go of what moves alone")
                else:
                    self.assertEqual(len(one.revoked[0]), 4, "it lets go of everything")
                three = join()
                self.settled([one, two, three], topic, [1, 1, 2])
                two.consumer.close()
                self.settled([one, three], topic, [2, 2])
                one.consumer.close()
                self.settled([three], topic, [4])

    def test_every_message_comes_to_one_member(self) -> None:
        topic, group = self.topic(6), self.name("g")
        members = [Member(self.consumer(group, partition_assignment_strategy="cooperative-sticky"), [topic]) for _ in range(3)]
        self.settled(members, topic, [2, 2, 2])
        for partition in range(6):
            self.fill(topic, 50, partition)

        def looks() -> Any:
            for member in members:
                member.poll()
            return True if sum(len(m.messages) for m in members) >= 300 else None

        eventually(looks, "300 messages")
        came = sorted((m.partition(), m.offset()) for member in members for m in member.messages)
        self.assertEqual(came, [(partition, offset) for partition in range(6) for offset in range(50)])

    def test_a_member_that_dies_is_removed(self) -> None:
        topic, group = self.topic(2), self.name("g")
        one = Member(self.consumer(group), [topic])
        self.settled([one], topic, [2])
        two = Member(self.consumer(group, max_poll_interval_ms=6000), [topic])
        self.settled([one, two], topic, [1, 1])
        # It no longer polls: its library leaves the group in its place.
        self.settled([one], topic, [2])

    def test_a_static_member_comes_back_without_a_rebalance(self) -> None:
        topic, group = self.topic(2), self.name("g")

        def join(instance: str) -> Member:
            return Member(self.consumer(group, group_instance_id=instance), [topic])

        one, two = join("one"), join("two")
        self.settled([one, two], topic, [1, 1])
        had, times = two.has, len(one.assigned)
        two.consumer.close()
        two = join("two")
        self.settled([one, two], topic, [1, 1])
        self.assertEqual((two.has, len(one.assigned)), (had, times))

    def test_two_of_one_static_name(self) -> None:
        topic, group = self.topic(), self.name("g")
        first = Member(self.consumer(group, group_instance_id="same"), [topic])
        self.settled([first], topic, [1])
        second = Member(self.consumer(group, group_instance_id="same"), [topic])
        self.settled([second], topic, [1])

        def fenced() -> Any:
            message = first.consumer.poll(0.05)
            error = message and message.error()
            return error if error and error.code() in (kafka.KafkaError.FENCED_INSTANCE_ID, kafka.KafkaError._FATAL) else None

        eventually(fenced, "the first member's end")

    def test_patterns_and_topics_that_come_later(self) -> None:
        prefix, group = self.name("p"), self.name("g")
        consumer = self.consumer(group, topic_metadata_refresh_interval_ms=300)
        consumer.subscribe([f"^{prefix}.*"])

        def reads(topic: str) -> Any:
            message = consumer.poll(0.05)
            if message is None:
                return None
            error = message.error()
            if error:
                # librdkafka says so as long as nothing matches.
                self.assertEqual(error.code(), kafka.KafkaError.UNKNOWN_TOPIC_OR_PART, error)
                return None
            # Nothing is committed: what a member had read comes again after the rebalance.
            return message.topic() == topic or None

        for number in range(2):
            topic = f"{prefix}-{number}"
            self.send(self.producer(), topic, b"there")
            eventually(lambda topic=topic: reads(topic), "the new topic")

    def test_committed_positions(self) -> None:
        topic, group = self.topic(2), self.name("g")
        self.fill(topic, 10, 0)
        consumer = self.consumer(group)
        of = kafka.TopicPartition
        none = consumer.committed([of(topic, 0), of(topic, 1)], BOUND)
        self.assertEqual([p.offset for p in none], [kafka.OFFSET_INVALID] * 2)
        for offset in (7, 3):  # backwards too
            consumer.commit(offsets=[of(topic, 0, offset, metadata=f"up to {offset}")], asynchronous=False)
            found = consumer.committed([of(topic, 0), of(topic, 1)], BOUND)
            self.assertEqual([p.offset for p in found], [offset, kafka.OFFSET_INVALID])
            self.assertEqual(found[0].metadata, f"up to {offset}")
        consumer.subscribe([topic])
        self.assertEqual([m.offset() for m in self.read(consumer, 7)], list(range(3, 10)))

    def test_what_is_committed_by_itself_and_on_closing(self) -> None:
        topic, group = self.topic(), self.name("g")
        self.fill(topic, 10)
        consumer = self.consumer(group, enable_auto_commit=True, auto_commit_interval_ms=100)
        consumer.subscribe([topic])
        self.read(consumer, 4)
        consumer.close()
        again = self.consumer(group)
        again.subscribe([topic])
        self.assertEqual([m.offset() for m in self.read(again, 6)], [4, 5, 6, 7, 8, 9])

    def test_a_commit_of_one_that_is_no_member(self) -> None:
        topic, group = self.topic(), self.name("g")
        member = Member(self.consumer(group), [topic])
        self.settled([member], topic, [1])
        stranger = self.consumer(group)
        self.refused(
            lambda: stranger.commit(offsets=[kafka.TopicPartition(topic, 0, 5)], asynchronous=False),
            kafka.KafkaError.UNKNOWN_MEMBER_ID,
            kafka.KafkaError.ILLEGAL_GENERATION,
        )
