//! Where partitions begin and end, records by their time, and where epochs end.

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest, OffsetForLeaderEpochRequest};
use tempfile::TempDir;

use super::produce_fetch::{name, produce, produced};
use crate::harness::batches::{self, NOBODY, rec};
use crate::harness::kafka::KafkaPeer;

const BASE_MS: i64 = 1_700_000_000_000;

/// One partition that is asked about: index, epoch, time.
type Asked = (i32, i32, i64);

fn list(topic: &str, asked: &[Asked]) -> ListOffsetsRequest {
    let partition = |&(index, epoch, time): &Asked| {
        ListOffsetsPartition::default()
            .with_partition_index(index)
            .with_current_leader_epoch(epoch)
            .with_timestamp(time)
    };
    let topic =
        ListOffsetsTopic::default().with_name(name(topic)).with_partitions(asked.iter().map(partition).collect());
    ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic])
}

/// Error, offset, time and epoch of each.
pub(super) fn listed(peer: &mut KafkaPeer, version: i16, topic: &str, asked: &[Asked]) -> Vec<(i16, i64, i64, i32)> {
    let mut request = list(topic, asked);
    if version < 4 {
        request
            .topics
            .iter_mut()
            .flat_map(|topic| &mut topic.partitions)
            .for_each(|asked| asked.current_leader_epoch = -1);
    }
    let answer = peer.call(version, &request);
    let partitions = answer.topics.into_iter().flat_map(|topic| topic.partitions);
    partitions.map(|found| (found.error_code, found.offset, found.timestamp, found.leader_epoch)).collect()
}

/// Of one partition.
fn end_of(peer: &mut KafkaPeer, version: i16, index: i32, current: i32, asked: i32) -> (i16, i32, i64) {
    let partition = OffsetForLeaderPartition::default()
        .with_partition(index)
        .with_current_leader_epoch(current)
        .with_leader_epoch(asked);
    let topic = OffsetForLeaderTopic::default().with_topic(name("t")).with_partitions(vec![partition]);
    let request = OffsetForLeaderEpochRequest::default()
        .with_replica_id(BrokerId(if version >= 3 { -1 } else { -2 }))
        .with_topics(vec![topic]);
    let answer = peer.call(version, &request).topics.remove(0).partitions.remove(0);
    assert_eq!(answer.partition, index);
    (answer.error_code, answer.leader_epoch, answer.end_offset)
}

fn publish_at(peer: &mut KafkaPeer, index: i32, time: i64) {
    let batch = batches::batch(NOBODY, BASE_MS + time, &[rec(b"first"), rec(b"second")]);
    assert_eq!(produced(peer, 9, &produce(-1, "t", &[(index, Some(batch.into()))]))[0].error_code, 0);
}

#[test]
fn ends_and_times_in_every_version() {
    let directory = TempDir::new().expect("a directory");
    let mut server = crate::kafka::kept(&directory).set("QB_TOPICS__CREATE", r#"{"t": 2}"#).start();
    let mut peer = KafkaPeer::of(&mut server);
    for time in [1_000, 3_000, 2_000] {
        publish_at(&mut peer, 0, time);
    }
    for version in 1..=8 {
        let epoch = |epoch| if version >= 4 { epoch } else { -1 };
        let since = |version_min, found| if version >= version_min { found } else { (35, -1, -1, -1) };
        for (time, expected) in [
            (-1, (0, 6, -1, epoch(1))),
            (-2, (0, 0, -1, epoch(1))),
            (-3, since(7, (0, 2, BASE_MS + 3_000, epoch(1)))),
            (-4, since(8, (0, 0, -1, epoch(1)))),
            (-5, (35, -1, -1, -1)),
            (0, (0, 0, BASE_MS + 1_000, epoch(1))),
            (BASE_MS + 1_000, (0, 0, BASE_MS + 1_000, epoch(1))),
            (BASE_MS + 1_001, (0, 2, BASE_MS + 3_000, epoch(1))),
            (BASE_MS + 3_001, (0, -1, -1, -1)),
        ] {
            assert_eq!(listed(&mut peer, version, "t", &[(0, -1, time)]), [expected], "{time} in version {version}");
        }
        let empty = listed(&mut peer, version, "t", &[(1, -1, -1)]);
        assert_eq!(empty, [(0, 0, -1, epoch(1))]);
        assert_eq!(listed(&mut peer, version, "t", &[(1, -1, 0)]), [(0, -1, -1, -1)]);
    }
    server.terminate();
}

#[test]
fn who_asks_for_what_is_not_there_is_told_what() {
    let directory = TempDir::new().expect("a directory");
    let mut server = crate::kafka::kept(&directory).set("QB_TOPICS__CREATE", r#"{"t": 1}"#).start();
    let mut peer = KafkaPeer::of(&mut server);
    let codes = |peer: &mut KafkaPeer, topic, asked: &[Asked]| {
        listed(peer, 8, topic, asked).into_iter().map(|answer| answer.0).collect::<Vec<_>>()
    };
    assert_eq!(codes(&mut peer, "t", &[(0, 0, -1)]), [74], "an epoch that is over");
    assert_eq!(codes(&mut peer, "t", &[(0, 2, -1)]), [75], "one that has not begun");
    assert_eq!(codes(&mut peer, "t", &[(0, 1, -1), (1, -1, -1), (-1, -1, -1)]), [0, 3, 3]);
    assert_eq!(codes(&mut peer, "t", &[(0, 1, -1), (0, 1, -2)]), [42, 42], "named twice");
    for topic in ["none", "no topic", "__meta", ""] {
        assert_eq!(codes(&mut peer, topic, &[(0, -1, -1)]), [3], "{topic:?}");
    }
    server.terminate();
}

#[test]
fn epochs_end_where_the_next_begins() {
    let directory = TempDir::new().expect("a directory");
    // The records are old, and a restart finds their segment so.
    let setup = crate::kafka::kept(&directory).set("QB_TOPICS__CREATE", r#"{"t": 1}"#);
    let setup = setup.set("QB_TOPICS__RETENTION_HOURS", "0");
    let mut server = setup.start();
    let mut peer = KafkaPeer::of(&mut server);
    publish_at(&mut peer, 0, 0);
    for version in 2..=4 {
        assert_eq!(end_of(&mut peer, version, 0, -1, 1), (0, 1, 2));
        assert_eq!(end_of(&mut peer, version, 0, 1, 2), (0, -1, -1), "it has not begun");
    }
    server.kill();

    let mut server = setup.start();
    let mut peer = KafkaPeer::of(&mut server);
    assert_eq!(end_of(&mut peer, 4, 0, 2, 1), (0, 1, 2), "the new one has written nothing yet");
    publish_at(&mut peer, 0, 0);
    for version in 2..=4 {
        let expected = [(0, 1, 2), (0, 2, 4), (0, -1, -1), (0, -1, -1)];
        assert_eq!([1, 2, 3, -1].map(|asked| end_of(&mut peer, version, 0, -1, asked)), expected);
        assert_eq!(end_of(&mut peer, version, 0, 1, 1), (74, -1, -1));
        assert_eq!(end_of(&mut peer, version, 0, 3, 1), (75, -1, -1));
        assert_eq!(end_of(&mut peer, version, 1, -1, 1), (3, -1, -1));
    }
    server.terminate();
}
