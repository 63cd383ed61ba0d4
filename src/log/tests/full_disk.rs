//! A full device: nothing is lost, and appending goes on where it stopped once there is room.

use super::*;
use crate::disk::faulty::{Fault, OpKind, Rule};
use std::io::ErrorKind;

/// Appends until the device is full, makes room, goes on: every batch exactly once.
fn check_cycles(segment_bytes: u64, room: impl Fn(u64) -> u64) {
    let bench = Bench::new(segment_bytes);
    let (log, mut model) = (bench.create(), Model::default());
    model.append(&log, &[1, 1], 1);
    let mut refused = 0;
    for cycle in 0..20 {
        bench.disk.set_capacity(Some(bench.disk.used_bytes() + room(cycle)));
        let written_in = 2 + 2 * i32::try_from(cycle).unwrap();
        for _ in 0..30 {
            let group: Vec<Batch> = (0..3).map(|i| batch(model.end() + i, 1, 40, written_in, 0)).collect();
            match log.append(&group, at(0)) {
                Ok(end) => {
                    model.batches.extend(group);
                    assert_eq!(end.next_offset.get(), model.end());
                }
                Err(failure) => {
                    assert!(failure.error.is_storage_full(), "{failure}");
                    let kept = failure.end.next_offset.get() - model.end();
                    model.batches.extend(group.into_iter().take(usize::try_from(kept).unwrap()));
                    refused += 1;
                    break;
                }
            }
            model.check_all(&log);
        }
        model.check_all(&log);
        let copy = bench.on(bench.disk.fork());
        copy.disk.set_capacity(None);
        model.check_all(&copy.open().log);
        bench.disk.set_capacity(None);
        model.append(&log, &[1, 2], written_in + 1);
    }
    assert_eq!(refused, 20);
    model.check_all(&bench.open().log);
}

#[test]
fn during_appends_and_rolls() {
    for segment_bytes in [1, 400, 1 << 20] {
        check_cycles(segment_bytes, |cycle| cycle * 97 % 1_500);
    }
}

/// Every kind of call that needs room fails once, at each call in turn.
#[test]
fn at_every_call_that_may_find_no_room() {
    let full = ErrorKind::StorageFull;
    let faults = [Fault::Fail(OpKind::Create, full), Fault::Fail(OpKind::Write, full), Fault::TornWrite(50, full)];
    for fault in faults {
        for nth in 1..10 {
            let bench = Bench::new(400);
            let (log, mut model) = (bench.create(), Model::default());
            model.append(&log, &[1, 1], 1);
            bench.disk.inject(Rule::new(fault.clone()).nth(nth));
            for attempt in 2..40 {
                let next = batch(model.end(), 1, 40, attempt, 0);
                match log.append(std::slice::from_ref(&next), at(0)) {
                    Ok(_) => model.batches.push(next),
                    Err(failure) => assert!(failure.error.is_storage_full(), "{failure}"),
                }
                model.check_all(&log);
                log.sync(log.state().end).unwrap();
            }
            assert!(model.batches.len() >= 38, "{fault:?} at {nth}");
            let cut = bench.on(bench.disk.power_cut(nth)).open();
            assert_eq!((cut.damage, cut.cut), (None, None), "{fault:?} at {nth}");
            model.check_all(&cut.log);
        }
    }
}

/// What a torn write left behind the end must not be taken for a batch, nor stand in the way of the next.
#[test]
fn a_torn_write_leaves_nothing() {
    for torn in [1, 60, 61, 90, 100, 130] {
        let bench = Bench::new(1 << 20);
        let (log, mut model) = (bench.create(), Model::default());
        model.append(&log, &[1, 1], 1);
        let end = log.state().end;
        bench.disk.inject(Rule::new(Fault::TornWrite(torn, ErrorKind::StorageFull)).on(".log"));
        log.append(&[batch(2, 1, 40, 1, 0)], at(0)).unwrap_err();
        assert_eq!(log.state().end, end);
        assert_eq!(bench.disk.read_all(Bench::files().log(Offset::ZERO)).unwrap().len() as u64, end.position);
        model.append(&log, &[2], 2);
        model.check_all(&log);
        model.check_all(&bench.on(bench.disk.power_cut(torn)).open().log);
    }
}

/// A failed sync is final for its segment, though the next one would succeed: it would do so without the lost bytes.
#[test]
fn a_failed_sync_is_final() {
    let bench = Bench::new(400);
    let (log, mut model) = (bench.create(), Model::default());
    model.append(&log, &[1], 1);
    model.append_unsynced(&log, &[1], 1);
    bench.disk.inject(Rule::failing(OpKind::Sync).on(".log"));
    let point = log.state().end;
    for _ in 0..3 {
        assert!(matches!(log.sync(point), Err(LogError::SyncFailed { .. })));
    }
    assert!(matches!(log.roll(), Err(LogError::SyncFailed { .. })), "a roll would make it durable too");
    let big = batch(model.end(), 20, 40, 1, 0);
    assert!(log.append(&[big], at(0)).is_err());
    model.check_all(&log);
}

#[test]
fn marks_that_find_no_room_cost_no_durability() {
    let bench = Bench::new(1 << 20);
    let (log, mut model) = (bench.create(), Model::default());
    bench.disk.inject(Rule::new(Fault::Fail(OpKind::Write, ErrorKind::StorageFull)).on(".idx").forever());
    model.append(&log, &[1, 2, 3, 1, 1, 1, 4, 1, 1], 1);
    bench.disk.clear_faults();
    let opened = bench.on(bench.disk.power_cut(3)).open();
    assert_eq!((opened.damage, opened.cut), (None, None));
    assert!(opened.bytes_rewritten > 0);
    model.check_all(&opened.log);
}

#[test]
fn the_reserve_opens_and_closes_the_gate() {
    let bench = Bench::new(400);
    bench.disk.create_dir_all(std::path::Path::new("/data")).unwrap();
    let reserve = SpaceReserve::open(dyn_disk(&bench.disk), PathBuf::from("/data"), 10_000, at(0)).unwrap();
    assert!(reserve.is_open() && bench.disk.used_bytes() == 10_000);
    bench.disk.set_capacity(Some(10_000));
    reserve.release(at(0));
    assert!(!reserve.is_open() && bench.disk.used_bytes() == 0);
    bench.disk.set_capacity(Some(9_999));
    for millis in [0, 999, 1_000, 1_500, 2_000] {
        reserve.step(at(millis)).unwrap();
        assert!(!reserve.is_open() && bench.disk.used_bytes() == 0, "no room at {millis}");
    }
    bench.disk.set_capacity(None);
    reserve.step(at(2_999)).unwrap();
    assert!(!reserve.is_open(), "tried once a second");
    reserve.step(at(3_000)).unwrap();
    assert!(reserve.is_open() && bench.disk.used_bytes() == 10_000);
}
