//! A full device: refused and told so, nothing acknowledged is lost, appends go on by themselves once there is room.

use super::*;
use crate::disk::faulty::{Fault, OpKind, Rule};
use std::io::ErrorKind;

#[test]
fn twenty_times_full_and_free_again() {
    for segment_bytes in [400, 1 << 20] {
        let log = LogOptions { segment_bytes, ..options().log };
        let rig = Rig::new(PartitionOptions { log, ..options() });
        let (mut acked, mut now, mut token) = (0_u64, 0, 0_u64);
        for cycle in 0..20 {
            rig.disk.set_capacity(Some(rig.disk.used_bytes() + 150 * (cycle % 7)));
            let refused = loop {
                token += 1;
                match rig.append(token, AckLevel::Durable) {
                    Ok(_) if token.is_multiple_of(3) => rig.settle(),
                    Ok(_) => {}
                    Err(error) => break error,
                }
                assert!(token < 10_000);
            };
            assert!(matches!(refused, AppendError::StorageFull), "{refused}");
            rig.settle();
            let events = rig.events.take();
            assert!(events.iter().any(|event| event.ends_with("full")), "{events:?}");
            acked += events.iter().filter(|event| event.contains(" at ")).count() as u64;
            assert_eq!(rig.check_contiguous().len() as u64, acked, "reads go on, and nothing acknowledged is missing");
            assert_eq!(rig.partition.status(), PartitionStatus::Leader);
            rig.disk.set_capacity(None);
            now += 2_000;
            rig.context.reserve.step(at(now)).unwrap();
            let before = rig.partition.epoch();
            let ticket = rig.append(token, AckLevel::Durable).unwrap();
            assert_eq!((ticket.base_offset.get(), ticket.epoch), (acked, before), "contiguous");
            rig.settle();
            acked += rig.events.take().len() as u64;
        }
        assert!(rig.partition.epoch() >= epoch(21), "each refusal began a new epoch");
        rig.check_contiguous();
        let (reopened, report) = rig.reopen(rig.disk.power_cut(segment_bytes), None);
        assert!(report.damage.is_none() && report.cut.is_none());
        assert_eq!(reopened.check_contiguous().len() as u64, acked);
    }
}

/// The bytes of a write that found no room were counted as waiting for a sync. No sync was due, so the count was never
/// taken back, and after a few refusals every append was told to wait for ever.
#[test]
fn a_refused_write_does_not_count_as_unsynced() {
    let rig = Rig::new(PartitionOptions { unsynced_bytes_max: 1_000, ..options() });
    for cycle in 1..=20 {
        rig.disk.inject(Rule::new(Fault::Fail(OpKind::Write, ErrorKind::StorageFull)).on(".log"));
        rig.partition
            .append(produced(20, "a larger batch", None), AckLevel::Durable, rig.waiter(cycle), at(0))
            .unwrap();
        rig.settle();
        assert_eq!(rig.events.take(), [format!("{cycle} full")]);
        rig.context.reserve.step(at(cycle.cast_signed() * 2_000)).unwrap();
    }
    rig.append(0, AckLevel::Durable).unwrap();
    rig.settle();
    assert_eq!(rig.events.take(), ["0 at 0"]);
}

#[test]
fn what_the_broker_keeps_for_itself_may_use_the_reserve() {
    let rig = Rig::new(PartitionOptions { is_internal: true, ..options() });
    rig.append(1, AckLevel::Durable).unwrap();
    rig.settle();
    rig.disk.set_capacity(Some(rig.disk.used_bytes()));
    for token in 2..8 {
        rig.append(token, AckLevel::Durable).unwrap();
        rig.settle();
    }
    assert!(!rig.context.reserve.is_open());
    assert_eq!(rig.events.take().last().unwrap(), "7 at 6");
    assert_eq!(rig.partition.epoch(), Epoch::FIRST, "nothing was refused");
}

#[test]
fn upkeep_on_a_full_device_gives_up_the_reserve_and_succeeds_the_next_time() {
    let log = LogOptions { segment_bytes: 200, ..options().log };
    let retention = RetentionPolicy { age_ms_max: Some(500), bytes_max: None };
    let rig = Rig::new(PartitionOptions { log, retention, ..options() });
    for token in 0..6 {
        rig.append(token, AckLevel::Durable).unwrap();
    }
    rig.settle();
    rig.disk.set_capacity(Some(rig.disk.used_bytes()));
    for round in 0..2 {
        rig.partition.step(at(1_000));
        rig.queue.0.lock().clear();
        rig.partition.run(Work::Upkeep, at(1_000));
        assert_eq!(rig.partition.offsets().log_start() > Offset::ZERO, round > 0);
    }
    assert_eq!(rig.partition.status(), PartitionStatus::Leader);
    rig.context.reserve.step(at(5_000)).unwrap();
    rig.check_contiguous();
}

/// Any other failed write is final.
#[test]
fn an_unexplained_write_error_stops_the_partition() {
    let rig = Rig::new(options());
    rig.append(0, AckLevel::Durable).unwrap();
    rig.settle();
    rig.disk.inject(Rule::failing(OpKind::Write).on(".log"));
    rig.append(1, AckLevel::Leader).unwrap();
    rig.append(2, AckLevel::Durable).unwrap();
    rig.run(Work::Write);
    assert_eq!(rig.events.take(), ["0 at 0", "1 failed", "2 failed"]);
    assert!(matches!(rig.append(3, AckLevel::None), Err(AppendError::StorageFailed(_))));
    assert_eq!(rig.check_contiguous().len(), 1, "what is committed is served");
    let (reopened, _) = rig.reopen(rig.disk.kill(), None);
    reopened.append(4, AckLevel::Durable).unwrap();
    reopened.settle();
    assert_eq!(reopened.events.take(), ["4 at 1"]);
}
