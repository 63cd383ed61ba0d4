//! Files good and bad, and power cuts at every point.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::broker::metadata::{Command, CreateTopic, Metadata, MetadataLimits, TopicSettings};
use crate::broker::positions::{KeptPosition, PositionOwner, PositionsSnapshot};
use crate::disk::Disk;
use crate::disk::faulty::{FaultyDisk, OpKind, Rule};
use crate::replica::producers::{ProducerBatch, ProducerLimits, Producers};
use crate::types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicId, TopicName};

const DIR: &str = "/data/.snapshots";
const OURS: Uuid = Uuid::from_u128(1);

fn store(disk: &FaultyDisk, kept: usize) -> SnapshotStore {
    SnapshotStore::new(Arc::new(disk.clone()), DIR.into(), kept)
}

/// A snapshot told from others by how much of `__meta` it has applied.
fn snapshot(meta_applied: u64) -> Snapshot {
    let topic = TopicName::new("events").expect("a legal name");
    let topic_id = TopicId::new(Uuid::from_u128(42));
    let mut metadata = Metadata::new(MetadataLimits { topics_max: 1, partitions_max: 1 });
    metadata.apply(&Command::CreateTopic(CreateTopic {
        topic: topic.clone(),
        topic_id,
        partitions: 1,
        created_at: Timestamp::from_millis(5),
        settings: TopicSettings::default(),
    }));
    let mut producers = Producers::new(ProducerLimits { producers_max: 10, expiry_ms: 1 });
    let stamp = ProducerBatch {
        id: ProducerId::new(7).expect("an id"),
        epoch: ProducerEpoch::new(0).expect("an epoch"),
        base_sequence: Sequence::FIRST,
        records_count: 3,
    };
    producers.record(stamp, Offset::ZERO, Timestamp::from_millis(9));
    producers.commit_to(Offset::MAX);
    Snapshot {
        directory_id: OURS,
        taken_at_ms: 1_767_323_045_000,
        meta_applied,
        metadata: metadata.to_snapshot(),
        partitions: vec![PartitionSnapshot {
            topic,
            topic_id,
            partition: 0,
            point: LogPointSnapshot {
                next_offset: 3,
                segment: 0,
                position: 120,
                next_batch: 2,
                last_batch_position: 0,
                last_batch_crc: 0xdead_beef,
                max_timestamp_ms: 8,
            },
            producers: producers.snapshot(),
        }],
        positions: vec![PositionsSnapshot {
            partition: 3,
            applied: 5,
            positions: vec![KeptPosition {
                owner: PositionOwner::Client("billing".into()),
                topic_id,
                topic: TopicName::new("events").expect("a legal name"),
                partition: 0,
                offset: 2,
                epoch: 1,
                time_ms: 9,
                resets: 0,
                ahead: false,
                note: "".into(),
                leader_epoch: None,
            }],
            groups: Vec::new(),
        }],
    }
}

fn second(n: i64) -> Timestamp {
    Timestamp::from_millis(1_767_323_045_000 + n * 1000)
}

fn write(store: &SnapshotStore, meta_applied: u64, now: Timestamp) -> String {
    let path = store.write(&snapshot(meta_applied), now).expect("a healthy disk");
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

fn files(disk: &FaultyDisk) -> Vec<String> {
    let entries = disk.read_dir(Path::new(DIR)).expect("a directory");
    entries.into_iter().map(|entry| entry.name).collect()
}

fn bytes_of(disk: &FaultyDisk, name: &str) -> Vec<u8> {
    let bytes = disk.read_all(Path::new(DIR).join(name));
    bytes.expect("a file")
}

fn put(disk: &FaultyDisk, name: &str, bytes: &[u8]) {
    let put = disk.write_all(Path::new(DIR).join(name), bytes);
    put.expect("a place for it");
}

fn applied(store: &SnapshotStore) -> Option<u64> {
    let loaded = store.load_newest(OURS);
    loaded.snapshot.map(|snapshot| snapshot.meta_applied)
}

#[test]
fn the_newest_comes_back_and_the_oldest_go() {
    let disk = FaultyDisk::new();
    let store = store(&disk, 3);
    assert_eq!(applied(&store), None);
    for (meta_applied, now) in [(1, 0), (2, 0), (3, 0), (4, 7)] {
        write(&store, meta_applied, second(now));
        let loaded = store.load_newest(OURS);
        assert_eq!(loaded.snapshot, Some(snapshot(meta_applied)));
        assert!(loaded.skipped.is_empty());
    }
    assert_eq!(
        files(&disk),
        ["snapshot_20260102_030405_1.json", "snapshot_20260102_030405_2.json", "snapshot_20260102_030412.json",]
    );
}

#[test]
fn a_clock_put_back_costs_no_snapshot_just_written() {
    let disk = FaultyDisk::new();
    let store = store(&disk, 1);
    write(&store, 1, second(100));
    let written = write(&store, 2, second(0));
    assert!(files(&disk).contains(&written));
    let written = write(&store, 3, second(101));
    assert_eq!(files(&disk), [written]);
}

#[test]
fn the_file_is_plain() {
    let disk = FaultyDisk::new();
    let name = write(&store(&disk, 1), 12, second(0));
    let bytes = bytes_of(&disk, &name);
    let golden = concat!(
        r#"{"version":1,"checksum":"crc32c:CHECKSUM","content":"#,
        r#"{"directory_id":"00000000-0000-0000-0000-000000000001","taken_at_ms":1767323045000,"#,
        r#""meta_applied":12,"metadata":{"topics":[{"topic":"events","#,
        r#""topic_id":"00000000-0000-0000-0000-00000000002a","partitions":1,"created_at_ms":5,"#,
        r#""settings":{}}],"next_producer_id":0},"partitions":[{"topic":"events","#,
        r#""topic_id":"00000000-0000-0000-0000-00000000002a","partition":0,"#,
        r#""point":{"next_offset":3,"segment":0,"position":120,"next_batch":2,"#,
        r#""last_batch_position":0,"last_batch_crc":3735928559,"max_timestamp_ms":8},"#,
        r#""producers":[{"id":7,"epoch":0,"last_timestamp_ms":9,"batches":"#,
        r#"[{"base_sequence":0,"records_count":3,"base_offset":0}]}]}],"#,
        r#""positions":[{"partition":3,"applied":5,"positions":[{"client_id":"billing","#,
        r#""topic_id":"00000000-0000-0000-0000-00000000002a","topic":"events","partition":0,"#,
        r#""offset":2,"epoch":1,"time_ms":9}]}]}}"#,
        "\n"
    );
    let content = golden.split_once("\"content\":").unwrap().1;
    let content = content.strip_suffix("}\n").unwrap();
    let golden = golden.replace("CHECKSUM", &format!("{:08x}", crc32c(content.as_bytes())));
    assert_eq!(String::from_utf8(bytes).unwrap(), golden);
}

/// CRC-32C as its definition (RFC 3720, appendix B.4) has it, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & 0_u32.wrapping_sub(crc & 1));
        }
    }
    !crc
}

#[test]
fn what_is_wrong_with_the_newest_is_said_and_the_one_before_serves() {
    let check = |spoil: &dyn Fn(&str) -> String, expected: &str| {
        let disk = FaultyDisk::new();
        let store = store(&disk, 3);
        write(&store, 1, second(0));
        let newest = write(&store, 2, second(1));
        let text = String::from_utf8(bytes_of(&disk, &newest)).unwrap();
        let spoilt = spoil(&text);
        assert_ne!(spoilt, text, "{expected}");
        put(&disk, &newest, spoilt.as_bytes());
        let loaded = store.load_newest(OURS);
        assert_eq!(loaded.snapshot, Some(snapshot(1)), "{expected}");
        let [(file, reason)] = &loaded.skipped[..] else {
            panic!("{expected}: {loaded:?}");
        };
        assert_eq!(file, &newest);
        let reason = reason.to_string();
        assert!(reason.contains(expected), "{reason}, not {expected}");
    };
    let foreign = Snapshot { directory_id: Uuid::from_u128(2), ..snapshot(2) };
    let foreign = String::from_utf8(file::encode(&foreign).expect("encodes")).unwrap();
    check(&|_| String::new(), "damaged: not the JSON expected: EOF");
    check(&|text| text[..text.len() / 2].to_owned(), "damaged: not the JSON expected: EOF");
    check(&|text| format!("{text}x"), "damaged: not the JSON expected: trailing");
    check(&|text| "\0".repeat(text.len()), "damaged: not the JSON expected: expected value");
    check(&|text| text.replace("\"meta_applied\":2", "\"meta_applied\":3"), "damaged: the checksum is");
    check(&|text| text.replace("\"meta_applied\":2", "\"meta_applied\": 2"), "damaged: the checksum is");
    check(&|text| text.replace("crc32c:", "crc32:"), "damaged: the checksum is");
    check(&|text| text.replace("\"checksum\"", "\"check\""), "damaged: the envelope has no");
    check(&|_| "{\"version\":2,\"body\":[]}".to_owned(), "of version 2: this broker knows up to 1");
    check(&|_| foreign.clone(), "of another data directory: 00000000-0000-0000-0000-000000000002");
}

#[test]
fn every_truncation_is_damage() {
    let bytes = file::encode(&snapshot(1)).expect("encodes");
    assert_eq!(file::decode(&bytes).expect("whole"), snapshot(1));
    // The newline at the end belongs to no JSON.
    for end in 0..bytes.len() - 1 {
        let cut = file::decode(&bytes[..end]);
        assert!(matches!(cut, Err(SkipReason::Damaged(_))), "{end}: {cut:?}");
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let bytes = file::encode(&snapshot(1)).expect("encodes");
    let content_at = bytes.windows(9).position(|w| w == b"\"content\"");
    for at in content_at.expect("content")..bytes.len() - 1 {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        assert!(file::decode(&flipped).is_err(), "{at}");
    }
}

#[test]
fn strangers_are_left_alone_and_leftovers_removed() {
    let disk = FaultyDisk::new();
    let store = store(&disk, 1);
    write(&store, 1, second(0));
    for name in ["notes.txt", "other.tmp", "snapshot_old.json", "snapshot_20260102_030405.json.tmp"] {
        put(&disk, name, b"x");
    }
    assert_eq!(applied(&store), Some(1));
    write(&store, 2, second(1));
    assert_eq!(files(&disk), ["notes.txt", "other.tmp", "snapshot_20260102_030406.json", "snapshot_old.json"]);
}

#[test]
fn a_time_without_a_name() {
    let disk = FaultyDisk::new();
    let written = store(&disk, 1).write(&snapshot(1), Timestamp::from_millis(i64::MAX));
    assert!(matches!(written, Err(SnapshotError::TimeOutOfRange { .. })));
}

#[test]
fn too_large_to_write_or_read() {
    let disk = FaultyDisk::new();
    let mut store = store(&disk, 3);
    let name = write(&store, 1, second(0));
    let length = bytes_of(&disk, &name).len() as u64;
    for (bytes_max, ok) in [(length, true), (length - 1, false)] {
        store.bytes_max = bytes_max;
        let written = store.write(&snapshot(2), second(1));
        assert_eq!(written.is_ok(), ok, "{written:?}");
        let loaded = store.load_newest(OURS);
        assert_eq!(loaded.snapshot.is_some(), ok);
        for (_, reason) in loaded.skipped {
            assert!(matches!(reason, SkipReason::Unreadable(_)), "{reason}");
        }
    }
}

/// The power fails before and within every change that writing a snapshot takes, its directories included, and any
/// part of the unsynced survives. What was there before the write, or what it wrote, must be found; always the latter
/// once the write had returned.
#[test]
fn power_cuts_at_every_point() {
    for kept in [1, 2] {
        for before in [0, 2] {
            let healthy = written(before, kept);
            let from = healthy.points();
            write(&store(&healthy, kept), before + 1, second(1));
            let to = healthy.points();
            assert!(to > from + 4, "{from} {to}");
            for (point, seed) in (from..=to).flat_map(|at| (0..32).map(move |seed| (at, seed))) {
                check_cut(kept, before, |disk| disk.cut_at(point), seed);
                check_cut(kept, before, |disk| disk.cut_within(point, seed), seed);
            }
        }
    }
}

/// A disk to which so many snapshots have been written.
fn written(count: u64, kept: usize) -> FaultyDisk {
    let disk = FaultyDisk::new();
    for n in 1..=count {
        write(&store(&disk, kept), n, second(0));
    }
    disk
}

fn check_cut(kept: usize, before: u64, order: impl Fn(&FaultyDisk), seed: u64) {
    let disk = written(before, kept);
    order(&disk);
    let done = store(&disk, kept).write(&snapshot(before + 1), second(1));
    let disk = disk.power_cut(seed);
    let again = store(&disk, kept);
    let found = applied(&again).unwrap_or(0);
    let possible = if done.is_ok() { before + 1 } else { before };
    let context = format!("kept {kept} before {before} seed {seed} {done:?}: found {found}");
    assert!((possible..=before + 1).contains(&found), "{context}");
    write(&again, before + 2, second(2));
    assert_eq!(applied(&again), Some(before + 2), "{context}");
    assert!(files(&disk).len() <= kept, "{context}");
}

/// Whatever call fails, an error is reported unless the snapshot is there for good, and the one before is not lost.
#[test]
fn a_disk_that_fails() {
    for kind in [OpKind::Create, OpKind::Write, OpKind::Sync, OpKind::Rename, OpKind::SyncDir, OpKind::Remove] {
        for nth in 1..4 {
            let disk = written(2, 1);
            disk.inject(Rule::failing(kind).nth(nth));
            let done = store(&disk, 1).write(&snapshot(3), second(1));
            disk.clear_faults();
            let disk = disk.power_cut(nth);
            let found = applied(&store(&disk, 1)).expect("one of them");
            assert!(found == 3 || (found == 2 && done.is_err()), "{kind:?} {nth} {done:?}");
            assert!(kind != OpKind::Remove || done.is_ok(), "{done:?}");
        }
    }
}

#[test]
fn what_cannot_be_read_is_passed_over() {
    let disk = written(2, 2);
    disk.inject(Rule::failing(OpKind::Read));
    let loaded = store(&disk, 2).load_newest(OURS);
    assert_eq!(loaded.snapshot, Some(snapshot(1)));
    assert!(matches!(&loaded.skipped[..], [(_, SkipReason::Unreadable(_))]));
}

proptest! {
    #[test]
    fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(file::decode(&bytes).is_err());
    }
}
