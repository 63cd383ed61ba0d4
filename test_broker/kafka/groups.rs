//! Groups of Kafka's classic protocol, by hand: a member for each connection.

mod administration;
mod positions;

use bytes::Bytes;
use kafka_protocol::messages::find_coordinator_response::FindCoordinatorResponse;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::join_group_response::JoinGroupResponse;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    FindCoordinatorRequest, GroupId, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest,
    SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;
use tempfile::TempDir;

use crate::harness::Server;
use crate::harness::kafka::{KafkaPeer, kafka_address};

const INVALID_GROUP_ID: i16 = 24;
const INCONSISTENT_GROUP_PROTOCOL: i16 = 23;
const ILLEGAL_GENERATION: i16 = 22;
const UNKNOWN_MEMBER_ID: i16 = 25;
const INVALID_SESSION_TIMEOUT: i16 = 26;
const REBALANCE_IN_PROGRESS: i16 = 27;
const MEMBER_ID_REQUIRED: i16 = 79;
const FENCED_INSTANCE_ID: i16 = 82;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn group(id: &str) -> GroupId {
    GroupId(text(id))
}

/// A subscription to the topic `t`, and an assignment of its partition 0, as consumers write them.
const SUBSCRIPTION: &[u8] = b"\x00\x00\x00\x00\x00\x01\x00\x01t\xff\xff\xff\xff";
const ASSIGNMENT: &[u8] = b"\x00\x00\x00\x00\x00\x01\x00\x01t\x00\x00\x00\x01\x00\x00\x00\x00\xff\xff\xff\xff";

fn start(directory: &TempDir) -> Server {
    crate::kafka::kept(directory).set("QB_TOPICS__CREATE", r#"{"t": 2, "u": 1}"#).start()
}

fn join(member: &str) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default().with_name(text("range"));
    JoinGroupRequest::default()
        .with_group_id(group("g"))
        .with_session_timeout_ms(6_000)
        .with_rebalance_timeout_ms(60_000)
        .with_member_id(text(member))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol.with_metadata(Bytes::from_static(SUBSCRIPTION))])
}

fn sync(member: &str, generation: i32, assigned: &[&str]) -> SyncGroupRequest {
    let assignment = |member: &&str| {
        let assignment = SyncGroupRequestAssignment::default().with_member_id(text(member));
        assignment.with_assignment(Bytes::from_static(ASSIGNMENT))
    };
    SyncGroupRequest::default()
        .with_group_id(group("g"))
        .with_generation_id(generation)
        .with_member_id(text(member))
        .with_protocol_type(Some(text("consumer")))
        .with_protocol_name(Some(text("range")))
        .with_assignments(assigned.iter().map(assignment).collect())
}

fn synced(peer: &mut KafkaPeer, member: &str, generation: i32, assigned: &[&str]) -> SyncGroupResponse {
    peer.call(5, &sync(member, generation, assigned))
}

fn beat(peer: &mut KafkaPeer, member: &str, generation: i32) -> i16 {
    let request = HeartbeatRequest::default().with_group_id(group("g")).with_generation_id(generation);
    peer.call(4, &request.with_member_id(text(member))).error_code
}

fn leaving(members: &[(&str, Option<&str>)]) -> LeaveGroupRequest {
    let member = |(id, instance): &(&str, Option<&str>)| {
        MemberIdentity::default().with_member_id(text(id)).with_group_instance_id(instance.map(text))
    };
    LeaveGroupRequest::default().with_group_id(group("g")).with_members(members.iter().map(member).collect())
}

fn leave(peer: &mut KafkaPeer, members: &[(&str, Option<&str>)]) -> Vec<i16> {
    let left = peer.call(5, &leaving(members));
    assert_eq!(left.error_code, 0);
    left.members.iter().map(|member| member.error_code).collect()
}

/// Joins as a new member does: without an id, then with the one it is given.
fn joined(peer: &mut KafkaPeer) -> JoinGroupResponse {
    let refused = peer.call(9, &join(""));
    assert_eq!((refused.error_code, refused.generation_id), (MEMBER_ID_REQUIRED, -1));
    assert!(refused.member_id.starts_with("peer-"), "{:?}", refused.member_id);
    let joined = peer.call(9, &join(&refused.member_id));
    assert_eq!((joined.error_code, &joined.member_id), (0, &refused.member_id));
    joined
}

/// The only member of a group, with its assignment, and its generation.
fn alone(peer: &mut KafkaPeer) -> (String, i32) {
    let joined = joined(peer);
    let (id, generation) = (joined.member_id.to_string(), joined.generation_id);
    assert_eq!((&joined.leader, joined.members.len()), (&joined.member_id, 1));
    let synced = synced(peer, &id, generation, &[&id]);
    assert_eq!((synced.error_code, &synced.assignment[..]), (0, ASSIGNMENT));
    (id, generation)
}

#[test]
fn every_version_finds_joins_and_leaves() {
    let directory = TempDir::new().expect("a directory");
    let mut server = start(&directory);
    let address = kafka_address(&mut server);
    let mut peer = KafkaPeer::connect(address);
    for version in 0..=6 {
        for (key_type, error) in [(0, 0), (1, 53), (7, 42)] {
            let key_type = if version == 0 { 0 } else { key_type };
            let expected = if version == 0 { 0 } else { error };
            let request = if version < 4 {
                FindCoordinatorRequest::default().with_key(text("g"))
            } else {
                FindCoordinatorRequest::default().with_coordinator_keys(vec![text("g"), text("h")])
            };
            let found: FindCoordinatorResponse = peer.call(version, &request.with_key_type(key_type));
            let told = if version < 4 {
                vec![(found.error_code, found.node_id.0, found.port)]
            } else {
                found.coordinators.iter().map(|told| (told.error_code, told.node_id.0, told.port)).collect()
            };
            let known =
                (expected, if expected == 0 { 1 } else { -1 }, if expected == 0 { address.port().into() } else { -1 });
            assert_eq!(told, vec![known; if version < 4 { 1 } else { 2 }], "{version}");
        }
    }
    let mut last = 0;
    for version in 0..=9 {
        let mut first = peer.call(version, &join(""));
        if version >= 4 {
            assert_eq!((first.error_code, first.generation_id), (MEMBER_ID_REQUIRED, -1), "{version}");
            first = peer.call(version, &join(&first.member_id));
        }
        let (id, generation) = (first.member_id.to_string(), first.generation_id);
        assert_eq!(
            (first.error_code, first.protocol_name.as_deref(), &*first.leader),
            (0, Some("range"), &*id),
            "{version}"
        );
        assert_eq!(first.protocol_type.as_deref(), (version >= 7).then_some("consumer"), "{version}");
        assert_eq!(first.members[0].metadata, SUBSCRIPTION, "{version}");
        assert!(generation > last && generation <= last + 2, "{generation} after {last}");
        last = generation;
        let synced = peer.call(version.min(5), &sync(&id, generation, &[&id]));
        assert_eq!((synced.error_code, &synced.assignment[..]), (0, ASSIGNMENT), "{version}");
        let beat = HeartbeatRequest::default().with_group_id(group("g")).with_generation_id(generation);
        assert_eq!(peer.call(version.min(4), &beat.with_member_id(text(&id))).error_code, 0, "{version}");
        let version = version.min(5);
        if version < 3 {
            let leave = LeaveGroupRequest::default().with_group_id(group("g"));
            assert_eq!(peer.call(version, &leave.clone().with_member_id(text(&id))).error_code, 0);
            assert_eq!(peer.call(version, &leave.with_member_id(text(&id))).error_code, UNKNOWN_MEMBER_ID);
        } else {
            let left = peer.call(version, &leaving(&[(&id, None), (&id, None)]));
            let codes: Vec<_> = left.members.iter().map(|member| member.error_code).collect();
            assert_eq!((left.error_code, codes), (0, vec![0, UNKNOWN_MEMBER_ID]));
        }
    }
    server.terminate();
}

#[test]
fn members_divide_partitions_in_rounds() {
    let directory = TempDir::new().expect("a directory");
    let mut server = start(&directory);
    let address = kafka_address(&mut server);
    let (mut a, mut b) = (KafkaPeer::connect(address), KafkaPeer::connect(address));
    let (id_a, first) = alone(&mut a);
    assert_eq!(beat(&mut a, &id_a, first), 0);
    let id_b = b.call(9, &join("")).member_id.to_string();
    b.send(9, &join(&id_b));
    // It has come in when the first one hears of it.
    while beat(&mut a, &id_a, first) == 0 {}
    assert_eq!(beat(&mut a, &id_a, first), REBALANCE_IN_PROGRESS);
    let again = a.call(9, &join(&id_a));
    let in_b = b.receive::<JoinGroupRequest>(9);
    let second = again.generation_id;
    assert_eq!((second, in_b.generation_id, in_b.members.len()), (first + 1, second, 0));
    assert_eq!((&*in_b.leader, again.members.len()), (&*id_a, 2));
    assert_eq!(beat(&mut b, &id_b, first), ILLEGAL_GENERATION);
    // Who does not lead waits for the leader.
    b.send(5, &sync(&id_b, second, &[]));
    assert_eq!(synced(&mut a, &id_a, second, &[&id_a, &id_b]).assignment, ASSIGNMENT);
    assert_eq!(b.receive::<SyncGroupRequest>(5).assignment, ASSIGNMENT);
    assert_eq!(leave(&mut a, &[(&id_a, None)]), [0]);
    assert_eq!(beat(&mut a, &id_a, second), UNKNOWN_MEMBER_ID);
    assert_eq!(beat(&mut b, &id_b, second), REBALANCE_IN_PROGRESS);
    let third = b.call(9, &join(&id_b));
    assert_eq!((third.generation_id, &*third.leader), (second + 1, &*id_b));
    // One whose client is gone is removed after its session, and only then do the others go on.
    drop(b);
    let mut c = KafkaPeer::connect(address);
    let alone = joined(&mut c);
    assert_eq!((alone.generation_id, alone.members.len()), (second + 2, 1));
    server.terminate();
}

#[test]
fn a_static_member_comes_back_to_its_place() {
    let directory = TempDir::new().expect("a directory");
    let mut server = start(&directory);
    let address = kafka_address(&mut server);
    let mut peer = KafkaPeer::connect(address);
    let of_instance = |member| join(member).with_group_instance_id(Some(text("i")));
    let first = peer.call(9, &of_instance(""));
    let id = first.member_id.to_string();
    assert_eq!((first.error_code, first.generation_id, id.starts_with("i-")), (0, 1, true));
    assert_eq!(synced(&mut peer, &id, 1, &[&id]).error_code, 0);
    // Nothing has changed: the same generation, and nothing for the leader to do.
    let again = peer.call(9, &of_instance(""));
    assert_eq!((again.error_code, again.generation_id, again.skip_assignment), (0, 1, true));
    assert_ne!(again.member_id, first.member_id);
    assert_eq!(synced(&mut peer, &again.member_id, 1, &[]).assignment, ASSIGNMENT);
    assert_eq!(peer.call(9, &of_instance(&id)).error_code, FENCED_INSTANCE_ID);
    let stale = HeartbeatRequest::default().with_group_id(group("g")).with_generation_id(1).with_member_id(text(&id));
    let stale = stale.with_group_instance_id(Some(text("i")));
    assert_eq!(peer.call(4, &stale).error_code, FENCED_INSTANCE_ID);
    let leavers = [(&*id, Some("i")), ("", Some("j")), ("", Some("i"))];
    assert_eq!(leave(&mut peer, &leavers), [FENCED_INSTANCE_ID, UNKNOWN_MEMBER_ID, 0]);
    server.terminate();
}

#[test]
fn what_is_wrong_with_a_request_is_told() {
    let directory = TempDir::new().expect("a directory");
    let mut server = start(&directory);
    let mut peer = KafkaPeer::of(&mut server);
    let long = "g".repeat(256);
    for (request, error) in [
        (join("").with_group_id(group("")), INVALID_GROUP_ID),
        (join("").with_group_id(group(&long)), INVALID_GROUP_ID),
        (join("").with_session_timeout_ms(5_999), INVALID_SESSION_TIMEOUT),
        (join("").with_session_timeout_ms(1_800_001), INVALID_SESSION_TIMEOUT),
        (join("").with_protocols(Vec::new()), INCONSISTENT_GROUP_PROTOCOL),
        (join("").with_protocol_type(text("")), INCONSISTENT_GROUP_PROTOCOL),
        (join("nobody"), UNKNOWN_MEMBER_ID),
    ] {
        for version in [0, 6, 9] {
            let refused = peer.call(version, &request);
            assert_eq!(
                (refused.error_code, refused.generation_id, refused.members.len()),
                (error, -1, 0),
                "{request:?}"
            );
            assert_eq!(refused.member_id, request.member_id);
        }
    }
    let (id, generation) = alone(&mut peer);
    let other = JoinGroupRequestProtocol::default().with_name(text("sticky"));
    for request in [join("").with_protocols(vec![other]), join("").with_protocol_type(text("connect"))] {
        assert_eq!(peer.call(9, &request).error_code, INCONSISTENT_GROUP_PROTOCOL);
    }
    for (request, error) in [
        (sync(&id, generation, &[]).with_protocol_name(None), INCONSISTENT_GROUP_PROTOCOL),
        (sync(&id, generation, &[]).with_protocol_name(Some(text("sticky"))), INCONSISTENT_GROUP_PROTOCOL),
        (sync(&id, generation, &[]).with_protocol_type(Some(text("connect"))), INCONSISTENT_GROUP_PROTOCOL),
        (sync(&id, generation + 1, &[]), ILLEGAL_GENERATION),
        (sync(&id, -1, &[]), ILLEGAL_GENERATION),
        (sync("nobody", generation, &[]), UNKNOWN_MEMBER_ID),
        (sync(&id, generation, &[]).with_group_id(group("h")), UNKNOWN_MEMBER_ID),
        (sync(&id, generation, &[]).with_group_id(group("")), INVALID_GROUP_ID),
    ] {
        let refused = peer.call(5, &request);
        assert_eq!((refused.error_code, refused.assignment.len()), (error, 0), "{request:?}");
    }
    assert_eq!(beat(&mut peer, "nobody", generation), UNKNOWN_MEMBER_ID);
    assert_eq!(beat(&mut peer, &id, generation - 1), ILLEGAL_GENERATION);
    assert_eq!(peer.call(4, &HeartbeatRequest::default()).error_code, INVALID_GROUP_ID);
    assert_eq!(peer.call(5, &LeaveGroupRequest::default()).error_code, INVALID_GROUP_ID);
    assert_eq!(leave(&mut peer, &[("nobody", None), (&id, Some("i"))]), [UNKNOWN_MEMBER_ID; 2]);
    assert_eq!(beat(&mut peer, &id, generation), 0);
    server.terminate();
}
