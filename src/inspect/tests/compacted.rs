//! Partitions that were compacted: whole ones are whole, and what is damaged in them is found and mended as anywhere.

use super::*;
use crate::log::{CompactionPolicy, CompactionStart, CompactionTurn};

/// The fixture, compacted; `written` is what is left.
fn compacted() -> Fixture {
    let mut fixture = Fixture::new();
    fixture.write_metadata();
    let log = fixture.open().log;
    let policy = CompactionPolicy { min_lag_ms: 0, delete_retention_ms: 0, dirty_percent_min: 0 };
    let (floor, keys_bytes_max) = (log.state().file.active().base, 1 << 16);
    let start = CompactionStart { floor, remembered: [].into(), keys_bytes_max };
    let mut compaction = log.begin_compaction(&policy, start, NOW).unwrap();
    let turn = log.compact(&mut compaction, u64::MAX).unwrap();
    assert!(matches!(turn, CompactionTurn::Done(report) if report.records_removed > 0), "{turn:?}");
    assert!(log.state().file.segments[0].generation > 0);
    drop(log);
    fixture.written = fixture.served();
    fixture
}

#[test]
fn a_compacted_partition_is_clean() {
    let fixture = compacted();
    let report = fixture.verify();
    assert_eq!(report.findings, []);
    let batches: u64 = report.segments.iter().map(|segment| segment.batches).sum();
    assert_eq!(batches, fixture.written.len() as u64);
    assert!(!fixture.repair().unwrap(), "nothing to mend");
}

#[test]
fn what_a_compaction_left_behind_is_no_damage() {
    let fixture = compacted();
    for name in ["00000000000000000000.log", "00000000000000000000.9.idx", "00000000000000000000.9.log.tmp"] {
        fixture.disk.write_all(files().dir().join(name), b"old").unwrap();
    }
    let severities: Vec<_> = fixture.verify().findings.iter().map(|finding| finding.severity).collect();
    assert_eq!(severities, [Severity::Note; 3]);
    assert_eq!(fixture.served(), fixture.written, "the next start removes them");
    assert_eq!(fixture.verify().findings, []);
}

/// Without `partition.json` the segments say everything themselves, their generation in their names.
#[test]
fn a_lost_partition_file_is_made_again() {
    let fixture = compacted();
    fixture.disk.remove_file(&files().partition_file()).unwrap();
    assert!(fixture.repair().unwrap());
    assert_eq!(fixture.verify().findings, []);
    assert_eq!(fixture.served(), fixture.written);
}

#[test]
fn damage_in_a_rewritten_segment_is_found_and_mended() {
    let whole = compacted();
    for (path, at, length, base) in whole.places() {
        let fixture = whole.fork();
        fixture.change(&path, |bytes| bytes[at + length / 2] ^= 1);
        if path.to_string_lossy().contains(".1.log") {
            assert!(fixture.verify().is_damaged(), "the batch of offset {base}");
        }
        fixture.repair().unwrap();
        assert!(!fixture.verify().is_damaged(), "the batch of offset {base}");
        let served = fixture.served();
        assert!(served.iter().all(|(base, bytes)| whole.written.get(base) == Some(bytes)));
        assert!(served.len() + 1 >= whole.written.len(), "more than the batch of offset {base} is lost");
    }
}
