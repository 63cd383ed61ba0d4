//! Records deleted on demand.

use kafka_protocol::messages::DeleteRecordsRequest;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use tempfile::TempDir;

use super::list_offsets::listed;
use super::produce_fetch::{batch, fetch, fetched, name, produce, produced, values};
use crate::harness::kafka::KafkaPeer;

/// Deletes before these offsets; error and log start of each partition.
pub(super) fn deleted(peer: &mut KafkaPeer, version: i16, topic: &str, before: &[(i32, i64)]) -> Vec<(i16, i64)> {
    let partition = |&(index, offset): &(i32, i64)| {
        DeleteRecordsPartition::default().with_partition_index(index).with_offset(offset)
    };
    let topic =
        DeleteRecordsTopic::default().with_name(name(topic)).with_partitions(before.iter().map(partition).collect());
    let request = DeleteRecordsRequest::default().with_timeout_ms(30_000).with_topics(vec![topic]);
    let partitions = peer.call(version, &request).topics.remove(0).partitions;
    partitions.into_iter().map(|result| (result.error_code, result.low_watermark)).collect()
}

#[test]
fn what_is_deleted_is_gone_for_good() {
    let directory = TempDir::new().expect("a directory");
    // The records are old, and a restart finds their segment so.
    let setup = crate::kafka::kept(&directory).set("QB_TOPICS__CREATE", r#"{"t": 3}"#);
    let setup = setup.set("QB_TOPICS__RETENTION_HOURS", "0");
    let mut server = setup.start();
    let mut peer = KafkaPeer::of(&mut server);
    for values in [["a", "b"], ["c", "d"], ["e", "f"]] {
        let partitions: Vec<_> = (0..3).map(|index| (index, Some(batch(&values)))).collect();
        assert!(produced(&mut peer, 9, &produce(-1, "t", &partitions)).iter().all(|answer| answer.error_code == 0));
    }
    for (version, before) in (0..=2).zip(1..) {
        assert_eq!(deleted(&mut peer, version, "t", &[(0, before)]), [(0, before)]);
    }
    assert_eq!(deleted(&mut peer, 2, "t", &[(0, 1), (1, -1)]), [(0, 3), (0, 6)], "never back; and all there is");
    let refused = deleted(&mut peer, 2, "t", &[(0, 7), (0, -2), (3, 0), (-1, 0)]);
    assert_eq!(refused, [(1, -1), (1, -1), (3, -1), (3, -1)]);
    assert_eq!(deleted(&mut peer, 2, "none", &[(0, 0)]), [(3, -1)]);
    assert_eq!(deleted(&mut peer, 2, "__meta", &[(0, 0)]), [(17, -1)]);

    let check = |peer: &mut KafkaPeer| {
        let ends = listed(peer, 8, "t", &[(0, -1, -2), (1, -1, -2), (2, -1, -2)]);
        assert_eq!(ends.iter().map(|end| end.1).collect::<Vec<_>>(), [3, 6, 0]);
        assert_eq!(listed(peer, 8, "t", &[(0, -1, 0)])[0].1, 3, "nobody finds by time what is gone");
        let data = fetched(peer, 12, &fetch("t", 0, 2).with_max_wait_ms(1));
        assert_eq!((data[0].error_code, data[0].log_start_offset), (1, -1));
        let data = fetched(peer, 12, &fetch("t", 0, 3));
        assert_eq!((data[0].error_code, data[0].log_start_offset), (0, 3));
        let kept: Vec<_> = values(&data[0]).into_iter().filter(|(offset, _)| *offset >= 3).collect();
        assert_eq!(kept, [(3, "d".to_owned()), (4, "e".to_owned()), (5, "f".to_owned())]);
    };
    check(&mut peer);
    server.kill();

    let mut server = setup.start();
    let mut peer = KafkaPeer::of(&mut server);
    check(&mut peer);
    let answers = produced(&mut peer, 9, &produce(-1, "t", &[(1, Some(batch(&["g"])))]));
    assert_eq!((answers[0].base_offset, answers[0].log_start_offset), (6, 6));
    server.terminate();
}
