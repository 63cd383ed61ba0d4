//! Taking back a suffix: at every offset, and with the power gone at every step.

use super::*;

/// Truncates a grown log, checks what is left, appends and checks again; then the same after a restart.
fn check(end: u64) {
    let bench = Bench::new(700);
    let (log, model) = grown(&bench);
    let point = log.truncate_to(offset(end), at(0)).unwrap();
    let mut left = model.up_to(end);
    assert_eq!(point.next_offset.get(), left.end(), "truncated to {end}");
    assert_eq!(point.next_batch.get(), left.batches.len() as u64 + 1);
    left.check_all(&log);
    let mut visits = Visits::default();
    let opened = bench.on(bench.disk.fork()).open_with(None, &mut visits).unwrap();
    assert_eq!((opened.damage, opened.cut, opened.log.state().end), (None, None, point), "truncated to {end}");
    assert_eq!(visits.bases.len(), left.batches.len());
    left.check_all(&opened.log);
    left.append(&log, &[2, 1, 1, 3], 9);
    left.check_all(&log);
    let opened = bench.on(bench.disk.power_cut(end)).open();
    assert_eq!((opened.damage, opened.cut), (None, None), "truncated to {end}, appended, power cut");
    left.check_all(&opened.log);
}

#[test]
fn to_every_offset() {
    for end in 0..=30 {
        check(end);
    }
}

/// The epochs behind the cut were forgotten first, while durable marks still vouched for their batches: a crash in
/// between looked like corruption, and the partition refused writes for ever.
#[test]
fn a_crash_at_any_step_leaves_all_or_what_stays() {
    let bench = Bench::new(700);
    let (_, model) = grown(&bench);
    let mut cases = 0;
    for end in [0, 3, 7, 14, 16, 17, 19, 24, 28, model.end()] {
        for step in 0.. {
            let bench = Bench::new(700);
            let (log, model) = grown(&bench);
            bench.disk.cut_at(bench.disk.points() + step);
            if log.truncate_to(offset(end), at(0)).is_ok() {
                break;
            }
            for seed in 0..12 {
                let cut = bench.on(bench.disk.power_cut(seed));
                let opened = cut.open();
                let context = format!("to {end}, step {step}, seed {seed}");
                assert_eq!(opened.damage, None, "{context}");
                let found = opened.log.state().end.next_offset.get();
                assert!(found >= model.up_to(end).end(), "{context}: {found}");
                let mut left = model.up_to(found);
                left.check_all(&opened.log);
                opened.log.truncate_to(offset(end), at(0)).unwrap();
                left = left.up_to(end);
                left.append(&opened.log, &[1, 2], 9);
                left.check_all(&opened.log);
                left.check_all(&cut.open().log);
                cases += 1;
            }
        }
    }
    assert!(cases > 500, "{cases}");
}

/// The age of the segment that becomes the last one is its own, not that of the one that is gone.
#[test]
fn the_last_segment_keeps_its_age() {
    let bench = Bench::new(1 << 20);
    let log = bench.create();
    let age = bench.options.segment_age_ms;
    log.append(&[batch(0, 1, 10, 1, 0)], at(0)).unwrap();
    log.append(&[batch(1, 1, 10, 1, 0)], at(0)).unwrap();
    log.roll().unwrap();
    log.truncate_to(offset(1), at(0)).unwrap();
    assert!(!log.is_due_to_roll(at(age)) && log.is_due_to_roll(at(age + 1)));
}
