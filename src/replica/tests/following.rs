//! The seams for replication: following, fencing, taking back, taking over.

use super::*;
use crate::disk::faulty::OpKind;

fn numbered(base: u64, written_in: i32, producer: Option<(i64, i16, i32)>) -> Batch {
    produced(1, "replicated", producer).number(offset(base), epoch(written_in))
}

fn follower() -> Rig {
    let rig = Rig::new(options());
    rig.partition.become_follower(epoch(2), Some("other:9999".into())).unwrap();
    rig
}

#[test]
fn a_follower_takes_only_what_its_leader_numbered() {
    let rig = Rig::new(options());
    let as_leader = rig.partition.append_at(numbered(0, 2, None), at(0));
    assert!(matches!(as_leader, Err(FollowError::Leading)));
    rig.partition.become_follower(epoch(2), Some("other:9999".into())).unwrap();
    let refused = rig.append(1, AckLevel::None).unwrap_err();
    assert_eq!(refused.to_string(), "not the leader of this partition: ask other:9999");
    rig.partition.append_at(numbered(0, 2, None), at(0)).unwrap();
    let gap = rig.partition.append_at(numbered(2, 2, None), at(0));
    assert!(matches!(gap, Err(FollowError::NotContiguous { .. })), "{gap:?}");
    let again = rig.partition.append_at(numbered(0, 2, None), at(0));
    assert!(matches!(again, Err(FollowError::NotContiguous { .. })), "{again:?}");
    let stale = rig.partition.append_at(numbered(1, 1, None), at(0));
    assert!(matches!(stale, Err(FollowError::Fenced { .. })), "{stale:?}");
    assert!(matches!(rig.partition.become_leader(epoch(2)), Err(FollowError::Fenced { .. })));
    assert!(matches!(rig.partition.become_follower(epoch(1), None), Err(FollowError::Fenced { .. })));
    rig.partition.append_at(numbered(1, 3, None), at(0)).unwrap();
    assert_eq!(rig.partition.epoch(), epoch(3));
    assert!(matches!(rig.partition.become_follower(epoch(2), None), Err(FollowError::Fenced { .. })));
}

#[test]
fn a_follower_commits_what_its_leader_has_and_it_has_itself() {
    let rig = follower();
    for base in 0..3 {
        rig.partition.append_at(numbered(base, 2, None), at(0)).unwrap();
    }
    rig.settle();
    assert_eq!(rig.offsets(), [0, 0, 3, 3, 3], "durable is not committed");
    rig.partition.commit_as_follower(offset(9));
    assert_eq!(rig.offsets(), [0, 3, 3, 3, 3]);
    rig.partition.append_at(numbered(3, 2, None), at(0)).unwrap();
    rig.settle();
    rig.partition.become_leader(epoch(3)).unwrap();
    rig.settle();
    assert_eq!(rig.offsets(), [0, 4, 4, 4, 4], "a group of one commits alone");
    assert_eq!(rig.append(1, AckLevel::Durable).unwrap().epoch, epoch(3));
    rig.settle();
    rig.check_contiguous();
}

#[test]
fn a_suffix_is_taken_back_and_its_publishers_are_told() {
    for written in [false, true] {
        let rig = Rig::new(PartitionOptions { sync: SyncPolicy::Always, ..options() });
        rig.publish(1, 1, (5, 0, 0)).unwrap();
        rig.settle();
        rig.publish(2, 1, (5, 0, 1)).unwrap();
        rig.append(3, AckLevel::Durable).unwrap();
        if written {
            rig.run(Work::Write);
        }
        rig.partition.become_follower(epoch(4), None).unwrap();
        let below = rig.partition.truncate_to(offset(0), at(0));
        assert!(matches!(below, Err(FollowError::Committed { .. })), "{below:?}");
        rig.partition.truncate_to(offset(1), at(0)).unwrap();
        assert_eq!(rig.events.take(), ["1 at 0", "2 truncated", "3 truncated"]);
        assert_eq!(rig.offsets(), [0, 1, 1, 1, 1]);
        rig.settle();
        rig.partition.append_at(numbered(1, 4, Some((5, 0, 1))), at(0)).unwrap();
        rig.settle();
        rig.partition.commit_as_follower(offset(2));
        rig.partition.become_leader(epoch(5)).unwrap();
        assert!(rig.publish(4, 1, (5, 0, 1)).unwrap().is_duplicate, "the replicated copy is the one it repeats");
        rig.publish(5, 1, (5, 0, 2)).unwrap();
        rig.settle();
        let all = rig.check_contiguous();
        let epochs: Vec<i32> = all.iter().map(|batch| batch.header().leader_epoch).collect();
        assert_eq!(epochs, [1, 4, 5]);
        let (reopened, report) = rig.reopen(rig.disk.power_cut(1), None);
        assert_eq!((report.damage, report.cut), (None, None));
        assert_eq!(reopened.check_contiguous(), all);
        assert_eq!(reopened.partition.epoch(), epoch(6));
    }
}

#[test]
fn an_overlay_producer_that_was_taken_back_is_unknown() {
    let rig = Rig::new(options());
    rig.publish(1, 1, (5, 0, 0)).unwrap();
    rig.run(Work::Write);
    rig.partition.become_follower(epoch(2), None).unwrap();
    rig.partition.truncate_to(offset(0), at(0)).unwrap();
    rig.partition.become_leader(epoch(3)).unwrap();
    assert!(!rig.publish(2, 1, (5, 0, 0)).unwrap().is_duplicate);
    rig.settle();
    rig.check_contiguous();
}

/// A sync that was submitted before could run beside the truncation and, had it come to its end after it, would have
/// called durable what was gone.
#[test]
fn no_sync_runs_beside_a_truncation() {
    let rig = Rig::new(options());
    for token in 0..4 {
        rig.append(token, AckLevel::Durable).unwrap();
    }
    rig.run(Work::Write);
    rig.partition.become_follower(epoch(2), None).unwrap();
    let partition = Arc::clone(&rig.partition);
    let depth = Mutex::new(0);
    rig.disk.set_stall(Box::new(move |op| {
        let is_outer = { std::mem::replace(&mut *depth.lock(), 1) == 0 };
        if is_outer {
            assert!(matches!(partition.truncate_to(offset(2), at(0)), Err(FollowError::Busy)), "{op:?}");
            partition.run(Work::Sync, at(0));
            assert_eq!(partition.offsets().durable(), Offset::ZERO, "no sync meanwhile");
            *depth.lock() = 0;
        }
        assert!(matches!(op.kind, OpKind::Write | OpKind::Sync | OpKind::SyncDir));
    }));
    rig.partition.truncate_to(offset(1), at(0)).unwrap();
    rig.disk.clear_stall();
    rig.queue.0.lock().clear();
    let (reopened, report) = rig.reopen(rig.disk.fork(), None);
    assert_eq!(report.damage, None);
    assert_eq!(reopened.offsets(), [0, 1, 1, 1, 1]);
}

#[test]
fn a_truncation_waits_for_work_under_way() {
    let rig = Rig::new(options());
    rig.append(1, AckLevel::Durable).unwrap();
    let partition = Arc::clone(&rig.partition);
    rig.disk.set_stall(Box::new(move |_| {
        assert!(matches!(partition.truncate_to(offset(0), at(0)), Err(FollowError::Busy)));
    }));
    rig.run(Work::Write);
    rig.run(Work::Sync);
    rig.disk.clear_stall();
    assert_eq!(rig.offsets(), [0, 1, 1, 1, 1]);
}
