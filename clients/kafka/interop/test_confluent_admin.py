"""confluent-kafka (librdkafka): its admin client."""

from __future__ import annotations

from typing import Any, Callable

from .confluent import ConfluentTestCase, kafka
from .server import BOUND, eventually

ERROR = kafka.KafkaError
RESOURCE = kafka.admin.ConfigResource


class Admin(ConfluentTestCase):
    def ask(self, call: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
        """One call's result: of its only future, or of the only one of its dictionary."""
        answer = call(*arguments, request_timeout=BOUND, **settings)
        if isinstance(answer, dict):
            (answer,) = answer.values()
        return answer.result(BOUND)

    def setting(self, topic: str, name: str) -> str:
        found = self.ask(self.admin().describe_configs, [RESOURCE(RESOURCE.Type.TOPIC, topic)])
        return str(found[name].value)

    def test_topics_are_created_listed_and_deleted(self) -> None:
        admin, topic = self.admin(), self.name()
        settings = {"cleanup.policy": "compact", "max.message.bytes": "20000"}
        new = kafka.admin.NewTopic(topic, num_partitions=3, replication_factor=1, config=settings)
        self.ask(admin.create_topics, [new])
        self.refused(lambda: self.ask(admin.create_topics, [new]), ERROR.TOPIC_ALREADY_EXISTS)
        metadata = admin.list_topics(topic, timeout=BOUND).topics[topic]
        self.assertEqual(sorted(metadata.partitions), [0, 1, 2])
        self.assertEqual({p.leader for p in metadata.partitions.values()}, set(admin.list_topics(timeout=BOUND).brokers))
        for name, value in settings.items():
            self.assertEqual(self.setting(topic, name), value)
        self.ask(admin.delete_topics, [topic])
        self.assertNotIn(topic, admin.list_topics(timeout=BOUND).topics)
        self.refused(lambda: self.ask(admin.delete_topics, [topic]), ERROR.UNKNOWN_TOPIC_OR_PART)

    def test_what_is_wrong_with_a_new_topic_is_said(self) -> None:
        admin = self.admin()
        cases: list[tuple[dict[str, Any], int]] = [
            ({"topic": "no/name"}, ERROR.TOPIC_EXCEPTION),
            ({"num_partitions": 0}, ERROR.INVALID_PARTITIONS),
            ({"replication_factor": 3}, ERROR.INVALID_REPLICATION_FACTOR),
            ({"config": {"cleanup.policy": "nonsense"}}, ERROR.INVALID_CONFIG),
            ({"config": {"no.such.setting": "1"}}, ERROR.INVALID_CONFIG),
        ]
        for wrong, code in cases:
            with self.subTest(wrong):
                given = {"topic": self.name(), "num_partitions": 1, "replication_factor": 1, **wrong}
                self.refused(lambda given=given: self.ask(admin.create_topics, [kafka.admin.NewTopic(**given)]), code)

    def test_a_dry_run_creates_nothing(self) -> None:
        admin, topic = self.admin(), self.name()
        self.ask(admin.create_topics, [kafka.admin.NewTopic(topic, 1, 1)], validate_only=True)
        self.assertNotIn(topic, admin.list_topics(timeout=BOUND).topics)

    def test_partitions_are_added(self) -> None:
        admin, topic = self.admin(), self.topic(2)
        self.ask(admin.create_partitions, [kafka.admin.NewPartitions(topic, 5)])
        self.assertEqual(len(admin.list_topics(topic, timeout=BOUND).topics[topic].partitions), 5)
        self.refused(
            lambda: self.ask(admin.create_partitions, [kafka.admin.NewPartitions(topic, 3)]), ERROR.INVALID_PARTITIONS
        )
        self.send(self.producer(), topic, b"in the new one", partition=4)

    def test_settings_are_described_and_changed(self) -> None:
        admin, topic = self.admin(), self.topic()
        entry = kafka.admin.ConfigEntry

        def change(name: str, value: Any, operation: Any) -> None:
            changed = entry(name, value, incremental_operation=operation)
            self.ask(admin.incremental_alter_configs, [RESOURCE(RESOURCE.Type.TOPIC, topic, incremental_configs=[changed])])

        change("retention.ms", "123456789", kafka.admin.AlterConfigOpType.SET)
        self.assertEqual(self.setting(topic, "retention.ms"), "123456789")
        change("cleanup.policy", "compact", kafka.admin.AlterConfigOpType.APPEND)
        self.assertEqual(set(self.setting(topic, "cleanup.policy").split(",")), {"compact", "delete"})
        self.assertEqual(self.setting(topic, "retention.ms"), "123456789")
        change("retention.ms", None, kafka.admin.AlterConfigOpType.DELETE)
        self.assertNotEqual(self.setting(topic, "retention.ms"), "123456789")
        self.refused(lambda: change("retention.ms", "no number", kafka.admin.AlterConfigOpType.SET), ERROR.INVALID_CONFIG)
        self.ask(admin.alter_configs, [RESOURCE(RESOURCE.Type.TOPIC, topic, set_config={"retention.ms": "99999999"})])
        self.assertEqual(self.setting(topic, "retention.ms"), "99999999")
        self.assertEqual(self.setting(topic, "cleanup.policy"), "delete")

    def test_the_broker_describes_itself(self) -> None:
        admin = self.admin()
        cluster = self.ask(admin.describe_cluster)
        self.assertTrue(cluster.cluster_id)
        (node,) = cluster.nodes
        self.assertEqual((node.host, node.port), ("127.0.0.1", self.server.kafka_port))
        self.assertEqual(cluster.controller.id, node.id)
        found = self.ask(admin.describe_configs, [RESOURCE(RESOURCE.Type.BROKER, str(node.id))])
        self.assertTrue(found)

    def test_topics_are_described(self) -> None:
        topic = self.topic(3)
        found = self.ask(self.admin().describe_topics, kafka.TopicCollection([topic]))
        self.assertEqual((found.name, [p.id for p in found.partitions]), (topic, [0, 1, 2]))
        missing = kafka.TopicCollection([self.name()])
        self.refused(lambda: self.ask(self.admin().describe_topics, missing), ERROR.UNKNOWN_TOPIC_OR_PART)

    def test_records_are_deleted(self) -> None:
        topic = self.topic()
        self.fill(topic, 10)
        deleted = self.ask(self.admin().delete_records, [kafka.TopicPartition(topic, 0, 6)])
        self.assertEqual(deleted.low_watermark, 6)
        consumer = self.consumer()
        self.assertEqual(consumer.get_watermark_offsets(kafka.TopicPartition(topic, 0), BOUND, cached=False), (6, 10))
        consumer.assign([kafka.TopicPartition(topic, 0, kafka.OFFSET_BEGINNING)])
        self.assertEqual(self.read(consumer, 1)[0].offset(), 6)
        self.refused(
            lambda: self.ask(self.admin().delete_records, [kafka.TopicPartition(topic, 0, 99)]), ERROR.OFFSET_OUT_OF_RANGE
        )
        # The time it gives is meant for other copies: without any it is not late.
        everything = [kafka.TopicPartition(topic, 0, kafka.OFFSET_END)]
        all_of_it = self.ask(self.admin().delete_records, everything, operation_timeout=0)
        self.assertEqual(all_of_it.low_watermark, 10)

    def test_offsets_are_listed(self) -> None:
        topic, producer = self.topic(), self.producer()
        for number in (1, 3, 2):
            self.send(producer, topic, b"x", timestamp=1_700_000_000_000 + number)
        spec = kafka.admin.OffsetSpec
        for wanted, offset in [
            (spec.earliest(), 0),
            (spec.latest(), 3),
            (spec.max_timestamp(), 1),
            (spec.for_timestamp(1_700_000_000_002), 1),
        ]:
            found = self.ask(self.admin().list_offsets, {kafka.TopicPartition(topic, 0): wanted})
            self.assertEqual(found.offset, offset, wanted)

    def test_groups_are_listed_described_and_deleted(self) -> None:
        admin, topic, group = self.admin(), self.topic(2), self.name("g")
        consumer = self.consumer(group, client_id="the-client")
        consumer.subscribe([topic])
        eventually(lambda: consumer.poll(0.1) or consumer.assignment() or None, "an assignment")
        listed = {found.group_id: found for found in self.ask(admin.list_consumer_groups).valid}
        self.assertEqual(listed[group].state, kafka.ConsumerGroupState.STABLE)
        described = self.ask(admin.describe_consumer_groups, [group])
        (member,) = described.members
        self.assertEqual((described.state, member.client_id), (kafka.ConsumerGroupState.STABLE, "the-client"))
        assigned = {(p.topic, p.partition) for p in member.assignment.topic_partitions}
        self.assertEqual(assigned, {(topic, 0), (topic, 1)})
        self.refused(lambda: self.ask(admin.delete_consumer_groups, [group]), ERROR.NON_EMPTY_GROUP)
        consumer.commit(offsets=[kafka.TopicPartition(topic, 0, 0)], asynchronous=False)
        consumer.close()
        self.assertEqual(self.ask(admin.describe_consumer_groups, [group]).state, kafka.ConsumerGroupState.EMPTY)
        self.ask(admin.delete_consumer_groups, [group])
        self.assertNotIn(group, {found.group_id for found in self.ask(admin.list_consumer_groups).valid})
        self.refused(lambda: self.ask(admin.delete_consumer_groups, [group]), ERROR.GROUP_ID_NOT_FOUND)

    def test_positions_of_groups(self) -> None:
        admin, topic, group = self.admin(), self.topic(2), self.name("g")
        self.fill(topic, 10)
        of = kafka.TopicPartition
        positions = kafka.ConsumerGroupTopicPartitions
        self.ask(admin.alter_consumer_group_offsets, [positions(group, [of(topic, 0, 4), of(topic, 1, 0)])])
        found = self.ask(admin.list_consumer_group_offsets, [positions(group)])
        self.assertEqual({(p.partition, p.offset) for p in found.topic_partitions}, {(0, 4), (1, 0)})
        consumer = self.consumer(group)
        consumer.subscribe([topic])
        self.assertEqual(self.read(consumer, 1)[0].offset(), 4)
        # A group with members is theirs.
        altered = self.ask(admin.alter_consumer_group_offsets, [positions(group, [of(topic, 0, 1)])])
        self.assertEqual(altered.topic_partitions[0].error.code(), ERROR.UNKNOWN_MEMBER_ID)
