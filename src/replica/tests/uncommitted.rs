//! What lies above the high watermark is nobody's yet: not shown, not given up.

use super::*;

/// A follower often has more than its leader has committed. Shown to consumers, that suffix could not be taken back
/// when another leader turns out not to have it.
#[test]
fn a_follower_commits_nothing_that_its_leader_has_not() {
    let rig = Rig::new(PartitionOptions { sync: SyncPolicy::Always, ..options() });
    rig.partition.become_follower(epoch(2), None).unwrap();
    for base in 0..3 {
        rig.partition.append_at(produced(1, "replicated", None).number(offset(base), epoch(2)), at(0)).unwrap();
    }
    rig.settle();
    for leader_high_watermark in 0..3 {
        rig.partition.commit_as_follower(offset(leader_high_watermark));
        let offsets = rig.partition.offsets();
        assert!(offsets.high_watermark() <= offset(leader_high_watermark), "{offsets:?}");
    }
    rig.partition.truncate_to(offset(2), at(0)).unwrap();
    rig.partition.commit_as_follower(offset(2));
    assert_eq!(rig.offsets(), [0, 2, 2, 2, 2]);
}

/// A roll makes durable what it seals, and only after the upkeep that rolled is that committed: retention that looked at
/// the files alone would give up records before anybody could read them.
#[test]
fn retention_gives_up_nothing_above_the_high_watermark() {
    let retention = RetentionPolicy { age_ms_max: Some(500), bytes_max: None };
    let rig = Rig::new(PartitionOptions { sync: SyncPolicy::Always, retention, ..options() });
    rig.append(0, AckLevel::Durable).unwrap();
    rig.run(Work::Write);
    rig.partition.run(Work::Upkeep, at(2_000_000));
    assert_eq!(rig.offsets(), [0, 1, 1, 1, 1], "the segment was sealed and could go, but for the high watermark");
    rig.partition.run(Work::Upkeep, at(2_000_000));
    assert_eq!(rig.offsets(), [1, 1, 1, 1, 1]);
}

/// Once the epoch of a leader was forgotten with what it wrote, a batch that the same leader sent again was written
/// without its epoch being noted, and was damage to every reader.
#[test]
fn what_a_leader_sends_again_after_a_truncation_is_kept() {
    let rig = Rig::new(PartitionOptions { sync: SyncPolicy::Always, ..options() });
    let numbered = |base, written_in| produced(1, "replicated", None).number(offset(base), epoch(written_in));
    rig.partition.become_follower(epoch(2), None).unwrap();
    for (base, written_in) in [(0, 2), (1, 2), (2, 2), (3, 3), (4, 3)] {
        rig.partition.append_at(numbered(base, written_in), at(0)).unwrap_or_else(|error| panic!("{base}: {error}"));
    }
    rig.settle();
    for end in [3, 2] {
        rig.partition.truncate_to(offset(end), at(0)).unwrap();
        rig.partition.append_at(numbered(end, 3), at(0)).unwrap();
        rig.settle();
        rig.partition.request_durable();
        rig.settle();
        let (reopened, report) = rig.reopen(rig.disk.fork().power_cut(1), None);
        assert_eq!((report.damage, report.cut), (None, None), "truncated to {end}");
        assert_eq!(reopened.offsets(), [0, end + 1, end + 1, end + 1, end + 1]);
    }
}
