//! ListGroups, DescribeGroups and DeleteGroups.

use kafka_protocol::messages::describe_groups_response::DescribedGroup;
use kafka_protocol::messages::{DeleteGroupsRequest, DescribeGroupsRequest, ListGroupsRequest};

use super::*;
use crate::harness::client;
use crate::harness::peer::{JOIN_GROUP, Peer, frame};

const NON_EMPTY_GROUP: i16 = 68;
const GROUP_ID_NOT_FOUND: i16 = 69;

fn described(peer: &mut KafkaPeer, version: i16, id: &str) -> DescribedGroup {
    let request = DescribeGroupsRequest::default().with_groups(vec![group(id)]);
    let mut groups = peer.call(version, &request).groups;
    assert_eq!(groups.len(), 1);
    groups.remove(0)
}

/// Group, protocol type, state and type of those that are listed.
fn listed(peer: &mut KafkaPeer, states: &[&str], types: &[&str]) -> Vec<[String; 4]> {
    let filter = |names: &[&str]| names.iter().map(|name| text(name)).collect();
    let request = ListGroupsRequest::default().with_states_filter(filter(states)).with_types_filter(filter(types));
    let response = peer.call(5, &request);
    assert_eq!(response.error_code, 0);
    let row = |group: kafka_protocol::messages::list_groups_response::ListedGroup| {
        [group.group_id.0, group.protocol_type, group.group_state, group.group_type].map(|text| text.to_string())
    };
    response.groups.into_iter().map(row).collect()
}

fn row(fields: [&str; 4]) -> [String; 4] {
    fields.map(str::to_owned)
}

#[test]
fn groups_of_all_kinds_are_seen_and_deleted() {
    let directory = TempDir::new().expect("a directory");
    let mut server = start(&directory);
    let mut native = Peer::connect(&server);
    native.ask(&frame(JOIN_GROUP, 1, &[("wiber.group", "n")]).with_body(br#"{"topics":["t"]}"#));
    let mut peer = KafkaPeer::of(&mut server);
    let (id, generation) = alone(&mut peer);
    let (classic, of_native) =
        (row(["g", "consumer", "Stable", "classic"]), row(["n", "consumer", "Stable", "partitioned"]));
    assert_eq!(listed(&mut peer, &[], &[]), [classic.clone(), of_native.clone()]);
    assert_eq!(listed(&mut peer, &["stable"], &["Classic"]), [classic]);
    assert_eq!(listed(&mut peer, &[], &["partitioned"]), [of_native]);
    assert!(listed(&mut peer, &["Empty"], &[]).is_empty());
    for version in 0..=5 {
        assert_eq!(peer.call(version, &ListGroupsRequest::default()).groups.len(), 2, "{version}");
    }
    for version in 0..=6 {
        let described = described(&mut peer, version, "g");
        assert_eq!((described.error_code, &*described.group_state, &*described.protocol_data), (0, "Stable", "range"));
        assert_eq!((&*described.protocol_type, described.authorized_operations), ("consumer", i32::MIN));
        let member = &described.members[0];
        assert_eq!((&*member.member_id, &*member.client_id, &*member.client_host), (&*id, "peer", "/127.0.0.1"));
        assert_eq!((&member.member_metadata[..], &member.member_assignment[..]), (SUBSCRIPTION, ASSIGNMENT));
    }
    let asked = DescribeGroupsRequest::default().with_groups(vec![group("g"), group("absent")]);
    let told = peer.call(6, &asked.with_include_authorized_operations(true)).groups;
    assert_eq!((told[0].authorized_operations, told[1].authorized_operations), (328, i32::MIN));
    let of_native = described(&mut peer, 6, "n");
    assert_eq!((&*of_native.group_state, &*of_native.protocol_data), ("Stable", "partitioned"));
    assert_eq!(of_native.members[0].member_metadata, SUBSCRIPTION);
    // Members of one kind are refused in groups of another.
    let wrong = peer.call(9, &join("").with_group_id(group("n")));
    assert_eq!(wrong.error_code, INCONSISTENT_GROUP_PROTOCOL);
    native.refused(&frame(JOIN_GROUP, 2, &[("wiber.group", "g")]).with_body(br#"{"topics":["t"]}"#), "group_kind");
    let shown = client(&server, &["groups", "list"]).expect_text();
    assert!(shown.lines().any(|line| line.starts_with('g') && line.contains("classic")), "{shown}");
    let shown = client(&server, &["groups", "describe", "g"]).expect_text();
    assert!(shown.contains("t:0") && shown.contains(&id), "{shown}");

    let names = vec![group("g"), group("absent"), group("")];
    let delete = DeleteGroupsRequest::default().with_groups_names(names);
    let deleted = |peer: &mut KafkaPeer, version| -> Vec<i16> {
        peer.call(version, &delete).results.iter().map(|result| result.error_code).collect()
    };
    assert_eq!(deleted(&mut peer, 0), [NON_EMPTY_GROUP, GROUP_ID_NOT_FOUND, GROUP_ID_NOT_FOUND]);
    assert_eq!(leave(&mut peer, &[(&id, None)]), [0]);
    assert_eq!(beat(&mut peer, &id, generation), UNKNOWN_MEMBER_ID);
    let empty = described(&mut peer, 6, "g");
    assert_eq!((&*empty.group_state, &*empty.protocol_type, empty.members.len()), ("Empty", "consumer", 0));
    assert_eq!(deleted(&mut peer, 2), [0, GROUP_ID_NOT_FOUND, GROUP_ID_NOT_FOUND]);
    for (version, error) in [(0, 0), (5, 0), (6, GROUP_ID_NOT_FOUND)] {
        let gone = described(&mut peer, version, "g");
        assert_eq!((gone.error_code, &*gone.group_state, &*gone.protocol_type), (error, "Dead", ""), "{version}");
    }
    server.terminate();
}
