//! Files that somebody removed by hand, and what a snapshot knows of them; and that it never cries wolf.

use super::*;
use crate::replica::PartitionStatus;

fn with_sync(sync: SyncPolicy) -> BrokerOptions {
    let mut options = options();
    options.partition.sync = sync;
    options
}

#[test]
fn an_active_segment_removed_by_hand_is_damage() {
    for sync in [SyncPolicy::Always, SyncPolicy::Os] {
        let rig = try_open(&FaultyDisk::new(), 1, with_sync(sync)).unwrap();
        rig.create("events", 2, 10);
        (0..30).for_each(|number| rig.publish("events", 0, &format!("record {number}")));
        let segment = rig.partition("events", 0).log().state().end.segment;
        assert!(segment.get() > 0, "there is a sealed segment");
        rig.broker.request_durable();
        rig.settle();
        rig.broker.snapshot_now(at(1)).unwrap();
        let disk = rig.disk.kill();
        let dir = options().data_dir.join("events_p0");
        disk.remove_file(&dir.join(crate::log::log_name(segment))).unwrap();
        disk.remove_file(&dir.join(crate::log::index_name(segment))).unwrap();
        for round in 0..3 {
            let again = try_open(&disk, 1, with_sync(sync)).unwrap();
            let PartitionStatus::Failed(reason) = again.partition("events", 0).status() else {
                panic!("round {round}: the loss went unnoticed")
            };
            assert!(reason.starts_with(&crate::log::log_name(segment)), "{reason}");
            let values = again.values("events", 0);
            assert_eq!(values.len() as u64, segment.get(), "what is whole is served");
            let refused = again.partition("events", 0).append(produced("x"), AckLevel::None, None, at(0));
            assert!(refused.is_err());
            again.publish("events", 1, "the others go on");
            again.broker.snapshot_now(at(10 + round)).unwrap();
        }
    }
}

/// In a weak mode power takes what was written and not synced, but never anything a snapshot tells of.
#[test]
fn what_a_weak_mode_may_lose_is_no_damage() {
    let mut lost = 0;
    for sync in [SyncPolicy::Os, SyncPolicy::Interval { millis: 1_000 }] {
        for point in 0..40 {
            let rig = try_open(&FaultyDisk::new(), 1, with_sync(sync)).unwrap();
            rig.create("events", 1, 10);
            rig.disk.cut_within(rig.disk.points() + point * 3, point);
            let mut now = 0;
            for number in 0..40 {
                let partition = rig.partition("events", 0);
                let _off = partition.append(produced(&format!("record {number}")), AckLevel::Leader, None, at(now));
                rig.settle();
                if number % 5 == 4 {
                    now += 11_000;
                    rig.broker.step(at(now));
                    rig.settle();
                    rig.broker.step(at(now));
                }
            }
            for seed in 0..4 {
                let again = try_open(&rig.disk.power_cut(seed), 1, with_sync(sync)).unwrap();
                let context = format!("{sync:?}, point {point}, seed {seed}");
                assert_eq!(again.partition("events", 0).status(), PartitionStatus::Leader, "{context}");
                let kept = again.values("events", 0).len();
                lost += usize::from(kept < 40);
                again.publish("events", 0, "goes on");
            }
        }
    }
    assert!(lost > 100, "{lost}: the test must lose something");
}
