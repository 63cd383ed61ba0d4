"""Consumer groups: the conversation with a stand-in, frame by frame, and the real thing."""

from __future__ import annotations

import json
import threading
import unittest
import uuid
from typing import Any

from wiber import BrokerClient, Limits, ProtocolError, Refused
from wiber._frames import (
    ACK,
    ASSIGNMENT,
    COMMIT,
    DATA,
    GROUP_HEARTBEAT,
    JOIN_GROUP,
    LEAVE_GROUP,
    LIST_OFFSETS,
    SUBSCRIBE,
    UNSUBSCRIBE,
    Frame,
)
from wiber.groups import parse_assignment

from .server import BOUND, Gathered, ServerTestCase, until
from .stand_in import Session, StandIn


def assignment(generation: int, *places: tuple[str, int, int]) -> bytes:
    assigned = [{"topic": topic, "partition": partition, "generation": since} for topic, partition, since in places]
    return json.dumps({"generation": generation, "assigned": assigned}).encode()


class Coordinator:
    """The least a server does for a group of one member."""

    def __init__(self, first: bytes, heartbeat_ms: int = 60_000) -> None:
        self.current = first
        self.heartbeat_ms = heartbeat_ms
        self.forgotten = False
        self.sends = 5
        self.committed = -1
        self.stand_in = StandIn(self.answer)
        self.joined: list[Session] = []

    def answer(self, session: Session, frame: Frame) -> None:
        if frame.type == JOIN_GROUP:
            self.forgotten = False
            self.joined.append(session)
            member = frame.properties().get("wiber.member") or f"member-{len(self.joined)}"
            session.succeed(
                frame,
                self.current,
                **{"wiber.member": member, "wiber.generation": 1, "wiber.heartbeat_ms": self.heartbeat_ms},
            )
        elif frame.type == GROUP_HEARTBEAT:
            if self.forgotten:
                session.refuse(frame, "unknown_member")
            else:
                session.succeed(frame, self.current if frame.body else b"", **{"wiber.generation": 1})
        elif frame.type == SUBSCRIBE:
            self.subscribed(session, frame)
        elif frame.type == LIST_OFFSETS:
            session.succeed(frame, log_start=2, high_watermark=9, log_end=9, committed=self.committed)
        elif frame.type in (UNSUBSCRIBE, LEAVE_GROUP, COMMIT):
            session.succeed(frame)

    def subscribed(self, session: Session, frame: Frame) -> None:
        asked = frame.properties()
        first = int(asked.get("offset", "0"))
        session.succeed(frame, topic=asked["topic"], partition=asked["partition"], client_id="c", start_offset=first)
        for offset in range(first, first + self.sends):
            place = {"topic": asked["topic"], "partition": asked["partition"]}
            session.frame(DATA, offset, place, b"%d" % offset)

    def push(self, body: bytes, member: str = "member-1", group: str = "g") -> None:
        self.current = body
        properties: dict[str, object] = {"wiber.group": group, "wiber.member": member, "wiber.generation": 2}
        self.joined[-1].frame(ASSIGNMENT, 0, properties, body)


class Conversation(unittest.TestCase):
    def coordinator(self, first: bytes, **options: Any) -> Coordinator:
        coordinator = Coordinator(first, **options)
        self.addCleanup(coordinator.stand_in.close)
        return coordinator

    def client(self, coordinator: Coordinator) -> BrokerClient:
        limits = Limits(request_timeout=BOUND, backoff_most=0.1)
        client = BrokerClient("127.0.0.1", coordinator.stand_in.port, "c", limits=limits)
        client.connect()
        self.addCleanup(lambda: client.disconnect(1.0))
        return client

    def test_joining_reading_leaving(self) -> None:
        coordinator = self.coordinator(assignment(7, ("orders", 0, 7), ("orders", 1, 5)))
        client, seen = self.client(coordinator), coordinator.stand_in
        gathered = Gathered()
        member = client.join_group("g", ["orders", "logs.*"], gathered)
        gathered.wait_for(10)
        joining = seen.wait_for(JOIN_GROUP)
        self.assertEqual(json.loads(joining.body), {"topics": ["orders", "logs.*"]})
        self.assertEqual(joining.properties()["wiber.session_timeout_ms"], "10000")
        asked = seen.wait_for(SUBSCRIBE, 2).properties()
        self.assertEqual(
            [asked[name] for name in ("partition", "auto_ack", "wiber.start", "wiber.member", "wiber.generation")],
            ["1", "false", "committed", "member-1", "5"],
        )
        self.assertNotIn("offset", asked)
        seen.wait_for(ACK, 10)
        owned = [{"topic": "orders", "partition": 0}, {"topic": "orders", "partition": 1}]
        self.assertEqual(json.loads(seen.wait_for(GROUP_HEARTBEAT).body), {"owned": owned})
        self.assertEqual((member.assignment, member.generation), ([("orders", 0), ("orders", 1)], 7))
        member.leave()
        self.assertEqual(seen.types()[-3:], [UNSUBSCRIBE, UNSUBSCRIBE, LEAVE_GROUP])
        self.assertEqual(member.assignment, [])

    def test_a_partition_is_let_go_of_in_order(self) -> None:
        coordinator = self.coordinator(assignment(1, ("t", 0, 1), ("t", 1, 1)))
        client, seen = self.client(coordinator), coordinator.stand_in
        in_hand, go_on = threading.Event(), threading.Event()
        events: list[Any] = []

        def slow(message: Any) -> None:
            if message.partition == 0:
                in_hand.set()
                go_on.wait(BOUND)
                events.append("handled")

        gathered = Gathered(slow)
        member = client.join_group(
            "g",
            "t",
            gathered,
            on_assigned=lambda p: events.append(("+", p)),
            on_revoked=lambda p: events.append(("-", p)),
        )
        self.assertTrue(in_hand.wait(BOUND))
        until(lambda: len(events) == 1, "the call of on_assigned")
        coordinator.push(assignment(2, ("t", 1, 1)))
        given_up = member._lane.find("t", 0)
        until(lambda: given_up is not None and given_up.stopped, "the end of handing out")
        self.assertNotIn(UNSUBSCRIBE, seen.types())
        go_on.set()
        seen.wait_for(GROUP_HEARTBEAT, 2)
        self.assertEqual(events, [("+", [("t", 0), ("t", 1)]), "handled", ("-", [("t", 0)])])
        self.assertEqual(seen.wait_for(UNSUBSCRIBE).properties()["partition"], "0")
        self.assertEqual(
            json.loads(seen.wait_for(GROUP_HEARTBEAT, 2).body), {"owned": [{"topic": "t", "partition": 1}]}
        )
        gathered.wait_until(lambda messages: sum(m.partition == 1 for m in messages) == 5, "the others'")
        self.assertEqual(sum(m.partition == 0 for m in gathered.messages), 1)

    def test_positions_kept_by_commit_alone(self) -> None:
        coordinator = self.coordinator(assignment(4, ("t", 0, 3)))
        coordinator.committed = 6
        client, seen = self.client(coordinator), coordinator.stand_in
        with client.consumer("g", ["t"]) as consumer:
            for message in consumer:
                if message.offset == 8:
                    break
            consumer.commit()
            consumer.commit()
            asked = seen.wait_for(SUBSCRIBE).properties()
            self.assertEqual((asked["offset"], asked["auto_ack"]), ("6", "true"))
            self.assertNotIn("client_id", asked)
            kept = seen.wait_for(COMMIT).properties()
            self.assertEqual(
                [kept[n] for n in ("offset", "wiber.group", "wiber.member", "wiber.generation")],
                ["9", "g", "member-1", "3"],
            )
        self.assertEqual(seen.types().count(COMMIT), 1)
        self.assertNotIn(ACK, seen.types())
        self.assertIsNone(consumer.poll(0.1))

    def test_asked_for_and_committed_by_itself(self) -> None:
        coordinator = self.coordinator(assignment(1, ("t", 0, 1)))
        client, seen = self.client(coordinator), coordinator.stand_in
        consumer = client.consumer("g", "t", auto_commit=True)
        self.assertEqual([m.offset for m in (consumer.poll(BOUND), consumer.poll(BOUND)) if m], [0, 1])
        self.assertEqual(seen.wait_for(ACK).sequence, 0)
        consumer.close(failed=True)
        self.assertEqual([f.sequence for _, f in seen.frames if f.type == ACK], [0])

    def test_at_most_once_deals_with_all_that_was_delivered(self) -> None:
        coordinator = self.coordinator(assignment(1, ("t", 0, 1)))
        client, seen = self.client(coordinator), coordinator.stand_in
        gathered = Gathered()
        member = client.join_group("g", "t", gathered, at_most_once=True)
        self.assertEqual(seen.wait_for(SUBSCRIBE).properties()["auto_ack"], "true")
        member.leave()
        self.assertEqual([m.offset for m in gathered.messages], [0, 1, 2, 3, 4])

    def test_a_member_that_was_removed_joins_anew(self) -> None:
        coordinator = self.coordinator(assignment(3, ("t", 0, 3)), heartbeat_ms=50)
        client, seen = self.client(coordinator), coordinator.stand_in
        revoked: list[Any] = []
        client.join_group("g", "t", Gathered(), on_revoked=revoked.append)
        seen.wait_for(GROUP_HEARTBEAT, 2)
        coordinator.forgotten = True
        again = seen.wait_for(JOIN_GROUP, 2)
        self.assertNotIn("wiber.member", again.properties())
        self.assertEqual(revoked, [[("t", 0)]])
        self.assertEqual(seen.wait_for(SUBSCRIBE, 2).properties()["wiber.member"], "member-2")

    def test_after_a_loss_it_joins_as_who_it_was(self) -> None:
        coordinator = self.coordinator(assignment(3, ("t", 0, 2)))
        client, seen = self.client(coordinator), coordinator.stand_in
        gathered = Gathered()
        client.join_group("g", "t", gathered)
        seen.wait_for(GROUP_HEARTBEAT)
        gathered.wait_for(5)
        seen.wait_for(ACK, 5)
        for session in list(seen.sessions):
            session.close()
        again = seen.wait_for(JOIN_GROUP, 2)
        self.assertEqual(again.properties()["wiber.member"], "member-1")
        self.assertEqual(json.loads(again.body)["owned"], [{"topic": "t", "partition": 0, "generation": 2}])
        self.assertEqual(seen.wait_for(SUBSCRIBE, 2).properties()["offset"], "5")

    def test_a_refusal_to_join_is_raised(self) -> None:
        stand_in = StandIn(lambda session, frame: session.refuse(frame, "group_kind"))
        self.addCleanup(stand_in.close)
        with BrokerClient("127.0.0.1", stand_in.port) as client, self.assertRaises(Refused) as caught:
            client.join_group("g", "t", Gathered())
        self.assertEqual(caught.exception.code, "group_kind")

    def test_a_group_that_cannot_be_named(self) -> None:
        client = self.client(self.coordinator(assignment(1)))
        self.assertRaises(ValueError, lambda: client.join_group("nul\0", "t", Gathered()))

    def test_assignments_that_cannot_be_read(self) -> None:
        self.assertEqual(parse_assignment(assignment(2, ("t", 1, 1))), (2, {("t", 1): 1}))
        for body in (b"", b"{}", b"[]", b"null", b"\xff", b'{"generation":1,"assigned":[3]}', b'{"assigned":[]}'):
            with self.subTest(body=body), self.assertRaises(ProtocolError):
                parse_assignment(body)


class RealGroups(ServerTestCase):
    """The real thing."""

    def test_two_members_share_and_hand_over(self) -> None:
        first, second = self.client("first"), self.client("second")
        topic, group = self.topic(first, 4), f"g-{uuid.uuid4().hex}"
        for number in range(400):
            self.assertTrue(first.publish(topic, b"%d" % number, partition=number % 4))
        one, two = Gathered(), Gathered()
        member = first.join_group(group, topic, one)
        one.wait_for(400)
        other = second.join_group(group, topic, two)
        until(lambda: len(member.assignment) == 2 and len(other.assignment) == 2, "two partitions each")
        for number in range(400, 800):
            self.assertTrue(first.publish(topic, b"%d" % number, partition=number % 4))
        until(lambda: len(one.messages) + len(two.messages) >= 800, "all messages")
        self.assertEqual(sorted(int(body) for body in one.bodies() + two.bodies()), list(range(800)))
        self.assertEqual(len(two.messages), 200)
        member.leave()
        until(lambda: len(other.assignment) == 4, "all partitions")
        for number in range(800, 1_000):
            self.assertTrue(first.publish(topic, b"%d" % number, partition=number % 4))
        two.wait_until(lambda messages: len(messages) >= 400, "the rest")
        self.assertEqual(sorted(int(body) for body in one.bodies() + two.bodies()), list(range(1_000)))

    def test_commits_say_where_the_next_consumer_begins(self) -> None:
        client = self.client()
        topic, group = self.topic(client), f"g-{uuid.uuid4().hex}"
        for number in range(20):
            client.publish(topic, b"%d" % number)
        with client.consumer(group, [topic]) as consumer:
            for message in consumer:
                if message.offset == 9:
                    consumer.commit()
                if message.offset == 14:
                    break
        self.assertEqual(client.list_offsets(topic, group=group).committed, 10)
        with client.consumer(group, [topic]) as consumer:
            following = consumer.poll(BOUND)
            assert following is not None
            self.assertEqual(following.offset, 10)
            with self.assertRaises(Refused) as caught:
                client.reset_group(group, {(topic, 0): 3})
            self.assertEqual(caught.exception.code, "group_not_empty")
            self.assertFalse(client.delete_group(group))
            described = client.describe_group(group)
            self.assertEqual((len(described["members"]), described["partitions"][0]["committed"]), (1, 10))
        client.reset_group(group, {(topic, 0): 3})
        self.assertEqual(client.list_offsets(topic, group=group).committed, 3)
        self.assertIn(group, [entry["group"] for entry in client.list_groups()])
        self.assertTrue(client.delete_group(group))
        self.assertNotIn(group, [entry["group"] for entry in client.list_groups()])

    def test_a_pattern_at_most_once(self) -> None:
        client = self.client()
        prefix, group = f"p-{uuid.uuid4().hex[:8]}", f"g-{uuid.uuid4().hex}"
        gathered = Gathered()
        with client.join_group(group, f"{prefix}.*", gathered, at_most_once=True) as member:
            for name in ("a", "b"):
                self.assertTrue(client.create_topic(f"{prefix}.{name}"))
                self.assertTrue(client.publish(f"{prefix}.{name}", name.encode()))
            gathered.wait_for(2)
            self.assertEqual(member.assignment, [(f"{prefix}.a", 0), (f"{prefix}.b", 0)])
        self.assertEqual(sorted(gathered.bodies()), [b"a", b"b"])
        self.assertEqual(client.list_offsets(f"{prefix}.a", group=group).committed, 1)

    def test_a_group_goes_on_after_a_kill(self) -> None:
        client = self.client()
        topic, group = self.topic(client, 2), f"g-{uuid.uuid4().hex}"
        gathered = Gathered()
        client.join_group(group, topic, gathered, session_timeout=2.0)
        for round_ in range(3):
            for number in range(100):
                self.assertTrue(client.publish(topic, b"%d" % (100 * round_ + number), id=uuid.uuid4().hex))
            wanted = {b"%d" % number for number in range(100 * (round_ + 1))}
            until(lambda: set(gathered.bodies()) == wanted, "every message")
            self.server.kill()
            self.server.start()
        self.assertTrue(client.publish(topic, b"300", id=uuid.uuid4().hex))
        gathered.wait_until(lambda messages: any(m.body == b"300" for m in messages), "the last")


if __name__ == "__main__":
    unittest.main()
