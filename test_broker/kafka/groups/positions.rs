//! OffsetCommit, OffsetFetch and OffsetDelete.

use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest, TopicName};

use super::*;
use crate::harness::client;
use crate::kafka::produce_fetch::{batch, produce, produced};

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const OFFSET_METADATA_TOO_LARGE: i16 = 12;
const OFFSET_OUT_OF_RANGE: i16 = 1;
const GROUP_ID_NOT_FOUND: i16 = 69;
const GROUP_SUBSCRIBED_TO_TOPIC: i16 = 86;

fn topic(name: &str) -> TopicName {
    TopicName(text(name))
}

/// A commit of positions: partition, offset and what is said of it.
fn commit(name: &str, positions: &[(i32, i64, Option<&str>)]) -> OffsetCommitRequest {
    let partition = |(index, offset, said): &(i32, i64, Option<&str>)| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(*index)
            .with_committed_offset(*offset)
            .with_committed_leader_epoch(1)
            .with_committed_metadata(said.map(text))
    };
    let partitions = positions.iter().map(partition).collect();
    let topics = vec![OffsetCommitRequestTopic::default().with_name(topic(name)).with_partitions(partitions)];
    OffsetCommitRequest::default().with_group_id(group("g")).with_generation_id_or_member_epoch(-1).with_topics(topics)
}

fn committed(peer: &mut KafkaPeer, version: i16, request: &OffsetCommitRequest) -> Vec<i16> {
    let response = peer.call(version, request);
    response.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code).collect()
}

/// Topic, partition, offset, epoch and what was said of it.
type Kept = (String, i32, i64, i32, String);

/// What a group keeps in these partitions of `t`, or everywhere, as a version tells it.
fn fetched(peer: &mut KafkaPeer, version: i16, id: &str, wanted: Option<&[i32]>) -> Vec<Kept> {
    let said = |text: &Option<StrBytes>| text.as_deref().unwrap_or("null").to_owned();
    if version < 8 {
        let of_topic = |indexes: &[i32]| {
            vec![OffsetFetchRequestTopic::default().with_name(topic("t")).with_partition_indexes(indexes.to_vec())]
        };
        let request = OffsetFetchRequest::default().with_group_id(group(id)).with_topics(wanted.map(of_topic));
        let response = peer.call(version, &request);
        assert_eq!(response.error_code, 0);
        let partitions =
            response.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |at| (&topic.name, at)));
        return partitions
            .map(|(name, at)| {
                assert_eq!(at.error_code, 0);
                let name = name.to_string();
                (name, at.partition_index, at.committed_offset, at.committed_leader_epoch, said(&at.metadata))
            })
            .collect();
    }
    let of_topic = |indexes: &[i32]| {
        vec![OffsetFetchRequestTopics::default().with_name(topic("t")).with_partition_indexes(indexes.to_vec())]
    };
    let asked = |id| OffsetFetchRequestGroup::default().with_group_id(group(id)).with_topics(wanted.map(of_topic));
    let request =
        OffsetFetchRequest::default().with_groups(vec![asked("somebody else"), asked(id)]).with_require_stable(true);
    let response = peer.call(version, &request);
    assert_eq!((response.groups.len(), &*response.groups[1].group_id.0), (2, id));
    assert!(response.groups.iter().all(|group| group.error_code == 0));
    let topics = response.groups[1].topics.iter();
    let partitions = topics.flat_map(|topic| topic.partitions.iter().map(move |at| (&topic.name, at)));
    partitions
        .map(|(name, at)| {
            let name = name.to_string();
            (name, at.partition_index, at.committed_offset, at.committed_leader_epoch, said(&at.metadata))
        })
        .collect()
}

fn kept(name: &str, index: i32, offset: i64, said: &str) -> Kept {
    (name.to_owned(), index, offset, 1, said.to_owned())
}

/// A server with ten records in each partition.
fn filled(directory: &TempDir) -> (Server, KafkaPeer) {
    let mut server = start(directory);
    let mut peer = KafkaPeer::of(&mut server);
    let records = batch(&["x"; 10]);
    for (name, index) in [("t", 0), ("t", 1), ("u", 0)] {
        let told = produced(&mut peer, 9, &produce(-1, name, &[(index, Some(records.clone()))]));
        assert_eq!(told[0].error_code, 0);
    }
    (server, peer)
}

#[test]
fn positions_are_kept_in_every_version_over_a_kill() {
    let directory = TempDir::new().expect("a directory");
    let (server, mut peer) = filled(&directory);
    for version in 2..=9 {
        let said = format!("version {version}");
        // On, back, and on again.
        for offset in [5, 2, i64::from(version)] {
            let request = commit("t", &[(0, offset, Some(&said)), (1, 0, None)]);
            assert_eq!(committed(&mut peer, version, &request), [0, 0], "{version}");
        }
        let fetch_version = version.max(5);
        let expected_epoch = if version >= 6 { 1 } else { -1 };
        let found = fetched(&mut peer, fetch_version, "g", Some(&[1, 0, 7]));
        let expected = [
            ("t".to_owned(), 1, 0, expected_epoch, String::new()),
            ("t".to_owned(), 0, version.into(), expected_epoch, said),
            ("t".to_owned(), 7, -1, -1, String::new()),
        ];
        assert_eq!(found, expected, "{version}");
    }
    // Beyond the end of the log, which holds ten.
    assert_eq!(committed(&mut peer, 9, &commit("u", &[(0, 15, None)])), [0]);
    server.kill();
    let mut server = start(&directory);
    let mut peer = KafkaPeer::of(&mut server);
    let all = [kept("t", 0, 9, "version 9"), kept("t", 1, 0, ""), kept("u", 0, 15, "")];
    for version in 1..=9 {
        let some = fetched(&mut peer, version, "g", Some(&[0]));
        assert_eq!((some[0].1, some[0].2, &*some[0].4), (0, 9, "version 9"), "{version}");
        if version >= 2 {
            let found = fetched(&mut peer, version, "g", None);
            let without_epoch = |kept: &Kept| (kept.0.clone(), kept.1, kept.2, kept.4.clone());
            let expected: Vec<_> = all.iter().map(without_epoch).collect();
            assert_eq!(found.iter().map(without_epoch).collect::<Vec<_>>(), expected, "{version}");
        }
        assert_eq!(fetched(&mut peer, version, "nobody", Some(&[1]))[0].2, -1, "{version}");
    }
    // Native tools see the same, and move it.
    let described = client(&server, &["groups", "describe", "g"]).expect_text();
    assert!(described.contains("classic") && described.contains("empty"), "{described}");
    client(&server, &["groups", "reset-offsets", "g", "--topic", "t", "--partition", "0", "--to", "1", "--yes"])
        .expect_text();
    assert_eq!(fetched(&mut peer, 9, "g", Some(&[0]))[0].2, 1);
    server.terminate();
}

#[test]
fn each_position_is_refused_by_itself() {
    let directory = TempDir::new().expect("a directory");
    let (server, mut peer) = filled(&directory);
    let long = "x".repeat(4_097);
    let mixed =
        [(0, 3, Some(&long[..4_096])), (1, 3, Some(&*long)), (2, 0, None), (-1, 0, None), (1, 11, None), (1, -1, None)];
    let expected = [
        0,
        OFFSET_METADATA_TOO_LARGE,
        UNKNOWN_TOPIC_OR_PARTITION,
        UNKNOWN_TOPIC_OR_PARTITION,
        // Kafka compares no commit with the log.
        0,
        OFFSET_OUT_OF_RANGE,
    ];
    assert_eq!(committed(&mut peer, 9, &commit("t", &mixed)), expected);
    for name in ["absent", "__offsets", "no topic"] {
        assert_eq!(committed(&mut peer, 9, &commit(name, &[(0, 0, None)])), [UNKNOWN_TOPIC_OR_PARTITION], "{name}");
    }
    assert_eq!(committed(&mut peer, 9, &commit("t", &[(0, 0, None)]).with_group_id(group(""))), [INVALID_GROUP_ID]);
    let all = fetched(&mut peer, 9, "g", None);
    assert_eq!(all, [kept("t", 0, 3, &long[..4_096]), kept("t", 1, 11, "")]);
    server.terminate();
}

#[test]
fn only_members_commit_where_there_are_some() {
    let directory = TempDir::new().expect("a directory");
    let (server, mut peer) = filled(&directory);
    let of = |id: &str, generation| {
        let request = commit("t", &[(0, 4, None)]).with_member_id(text(id));
        request.with_generation_id_or_member_epoch(generation)
    };
    assert_eq!(committed(&mut peer, 9, &of("a", 1)), [ILLEGAL_GENERATION], "no group");
    assert_eq!(committed(&mut peer, 9, &of("", -1)), [0]);
    assert_eq!(committed(&mut peer, 9, &of("a", 1)), [UNKNOWN_MEMBER_ID], "a group without members");
    let refused = peer.call(9, &join(""));
    let joined = peer.call(9, &join(&refused.member_id));
    let (id, generation) = (joined.member_id.to_string(), joined.generation_id);
    assert_eq!(committed(&mut peer, 9, &of(&id, generation)), [REBALANCE_IN_PROGRESS]);
    assert_eq!(synced(&mut peer, &id, generation, &[&id]).error_code, 0);
    for (request, expected) in [
        (of(&id, generation), 0),
        (of(&id, generation - 1), ILLEGAL_GENERATION),
        (of(&id, -1), ILLEGAL_GENERATION),
        (of("b", generation), UNKNOWN_MEMBER_ID),
        (of("", -1), UNKNOWN_MEMBER_ID),
        (of(&id, generation).with_group_instance_id(Some(text("i"))), UNKNOWN_MEMBER_ID),
    ] {
        assert_eq!(committed(&mut peer, 9, &request), [expected], "{request:?}");
    }
    server.terminate();
}

#[test]
fn positions_are_deleted_where_nobody_reads() {
    let directory = TempDir::new().expect("a directory");
    let (server, mut peer) = filled(&directory);
    let delete = |id: &str, names: &[(&str, i32)]| {
        let of = |(name, index): &(&str, i32)| {
            let partition = OffsetDeleteRequestPartition::default().with_partition_index(*index);
            OffsetDeleteRequestTopic::default().with_name(topic(name)).with_partitions(vec![partition])
        };
        OffsetDeleteRequest::default().with_group_id(group(id)).with_topics(names.iter().map(of).collect())
    };
    let deleted = |peer: &mut KafkaPeer, id: &str, names: &[(&str, i32)]| {
        let response = peer.call(0, &delete(id, names));
        let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
        (response.error_code, partitions.map(|partition| partition.error_code).collect::<Vec<_>>())
    };
    assert_eq!(deleted(&mut peer, "", &[("t", 0)]), (INVALID_GROUP_ID, vec![]));
    assert_eq!(deleted(&mut peer, "g", &[("t", 0)]), (GROUP_ID_NOT_FOUND, vec![]));
    for name in ["t", "u"] {
        assert_eq!(committed(&mut peer, 9, &commit(name, &[(0, 4, None)])), [0]);
    }
    let (id, _) = alone(&mut peer);
    let expected = (0, vec![GROUP_SUBSCRIBED_TO_TOPIC, 0, UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_OR_PARTITION]);
    assert_eq!(deleted(&mut peer, "g", &[("t", 0), ("u", 0), ("u", 1), ("absent", 0)]), expected);
    assert_eq!(fetched(&mut peer, 9, "g", None), [kept("t", 0, 4, "")]);
    assert_eq!(leave(&mut peer, &[(&id, None)]), [0]);
    assert_eq!(deleted(&mut peer, "g", &[("t", 0), ("t", 1)]), (0, vec![0, 0]));
    assert_eq!(fetched(&mut peer, 9, "g", None), []);
    server.terminate();
}
