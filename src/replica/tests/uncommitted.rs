//! What a follower has beyond its leader's high watermark.

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
