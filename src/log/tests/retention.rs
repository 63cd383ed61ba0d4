//! Rolling by size and age; giving up what is old or too much.

use super::*;

#[test]
fn a_full_segment_is_sealed_before_its_successor_takes_a_byte() {
    let bench = Bench::new(500);
    let (log, mut model) = (bench.create(), Model::default());
    let path = Bench::files().log(Offset::ZERO);
    while bases(&log).len() == 1 {
        model.append_unsynced(&log, &[1], 1);
    }
    let cut = bench.disk.power_cut(1);
    let sealed = log.state().file.segments[0].sealed.unwrap();
    assert!(sealed.bytes <= 500 && sealed.bytes + 150 > 500, "{sealed:?}");
    assert_eq!(cut.read_all(&path).unwrap().len() as u64, sealed.bytes, "durable, though nobody asked for a sync");
}

#[test]
fn a_segment_rolls_when_its_first_append_is_too_old() {
    let bench = Bench::new(1 << 20);
    let log = bench.create();
    let age = bench.options.segment_age_ms;
    log.append(&[batch(0, 1, 10, 1, 0)], at(0)).unwrap();
    assert!(!log.is_due_to_roll(at(age)) && log.is_due_to_roll(at(age + 1)));
    log.append(&[batch(1, 1, 10, 1, 0)], at(age)).unwrap();
    assert_eq!(bases(&log).len(), 1);
    log.append(&[batch(2, 1, 10, 1, age + 1)], at(age + 1)).unwrap();
    assert_eq!(bases(&log), [offset(0), offset(2)]);
    assert!(!log.is_due_to_roll(at(2 * age + 1)) && log.is_due_to_roll(at(2 * age + 2)));
    log.roll().unwrap();
    log.roll().unwrap();
    assert_eq!(bases(&log), [offset(0), offset(2), offset(3)], "an empty segment does not roll");
    assert!(!log.is_due_to_roll(at(100 * age)), "nor is it ever too old");
}

#[test]
fn age_is_known_again_after_a_restart() {
    let bench = Bench::new(1 << 20);
    let log = bench.create();
    let age = bench.options.segment_age_ms;
    log.append(&[batch(0, 1, 10, 1, -age)], at(-age)).unwrap();
    log.sync(log.state().end).unwrap();
    let log = bench.open().log;
    assert!(!log.is_due_to_roll(at(0)) && log.is_due_to_roll(at(1)));
}

/// Records are often published long after they were made: a backfill of years. A segment's age counted from its first
/// record's own time, so every append of such records rolled, with a new `partition.json` and three syncs each.
#[test]
fn old_records_do_not_roll_a_segment_each() {
    let bench = Bench::new(1 << 20);
    let log = bench.create();
    for base in 0..50 {
        log.append(&[batch(base, 1, 10, 1, -1_000_000_000)], at(0)).unwrap();
    }
    assert_eq!(bases(&log).len(), 1);
}

/// Where a policy wants the log start of a log of one batch per segment, written at 0, 100, 200, 300 ms.
fn check_policy(age_ms_max: Option<i64>, bytes_max: Option<u64>, now: i64, expected: u64) {
    let bench = Bench::new(1);
    let log = bench.create();
    for base in 0..4_u64 {
        let millis = i64::try_from(base).unwrap() * 100;
        log.append(&[batch(base, 1, 39, 1, millis)], at(millis)).unwrap();
    }
    let bytes = log.state().end.position;
    let policy = RetentionPolicy { age_ms_max, bytes_max: bytes_max.map(|percent| percent * bytes / 100) };
    let found = log.log_start_by(policy, at(now));
    assert_eq!(found.get(), expected, "{policy:?} at {now}");
    log.advance_log_start(found).unwrap();
    assert_eq!((log.log_start(), log.state().file.segments[0].base), (found, found));
    let reopened = bench.open();
    assert_eq!((reopened.log.log_start(), reopened.damage), (found, None));
}

#[test]
fn retention_by_age_and_size() {
    for (age, percent, now, expected) in [
        (None, None, i64::MAX / 2, 0),
        (Some(100), None, 100, 0),
        (Some(100), None, 101, 1),
        (Some(100), None, 201, 2),
        (Some(100), None, 900_000, 3),
        (None, Some(400), 0, 0),
        (None, Some(301), 0, 0),
        (None, Some(300), 0, 1),
        (None, Some(100), 0, 3),
        (None, Some(0), 0, 3),
        (Some(100), Some(200), 101, 2),
        (Some(100), Some(400), 201, 2),
    ] {
        check_policy(age, percent, now, expected);
    }
}

#[test]
fn retention_forgets_before_it_deletes() {
    let bench = Bench::new(700);
    let (log, model) = grown(&bench);
    let base = bases(&log)[2];
    let before = bench.disk.points();
    log.advance_log_start(base).unwrap();
    let points = bench.disk.points() - before;
    for point in 0..points {
        let bench = Bench::new(700);
        let (log, _) = grown(&bench);
        bench.disk.cut_at(bench.disk.points() + point);
        let _cut = log.advance_log_start(base);
        for seed in 0..10 {
            let opened = bench.on(bench.disk.power_cut(seed)).open();
            assert_eq!(opened.damage, None);
            let log_start = opened.log.log_start();
            assert!(log_start == Offset::ZERO || log_start == base, "{log_start}");
            model.check_all(&opened.log);
        }
    }
}

#[test]
fn a_log_start_never_goes_back_and_may_lie_within_a_segment() {
    let bench = Bench::new(700);
    let (log, model) = grown(&bench);
    let within = bases(&log)[1].plus(1);
    log.advance_log_start(within).unwrap();
    log.advance_log_start(Offset::ZERO).unwrap();
    assert_eq!((log.log_start(), log.state().file.segments[0].base), (within, bases(&log)[0]));
    let mut visits = Visits::default();
    let opened = bench.open_with(None, &mut visits).unwrap();
    model.check_all(&opened.log);
    assert_eq!(opened.log.log_start(), within);
    let first = &model.batches[model.holding(within.get()).unwrap()];
    assert_eq!(visits.bases[0], first.header().base_offset.get(), "what lies below is not told");
}

/// Retention deleted a segment between the moment a read chose it and the moment it opened its files: the reader was told
/// that a file is missing, as of a broken disk.
#[test]
fn a_read_that_retention_overtakes_is_below_the_log_start() {
    let bench = Bench::new(700);
    let (log, _) = grown(&bench);
    let (before, end) = (log.state().file, log.state().end.next_offset);
    let all = bases(&log);
    log.advance_log_start(all[2]).unwrap();
    for from in [all[0], all[1]] {
        let missing = log.read_in(&before, from, end, 100).unwrap_err();
        assert!(matches!(missing, ReadError::Log(LogError::Io { .. })), "{missing}");
        let told = log.explain(missing, from);
        assert!(matches!(told, ReadError::BelowLogStart { log_start, .. } if log_start == all[2]), "{told}");
    }
    let missing = log.read_in(&before, all[0], end, 100).unwrap_err();
    assert!(matches!(log.explain(missing, all[2]), ReadError::Log(_)), "no explanation for what is kept");
    assert!(log.batch_at_time_in(&before, at(0), Offset::ZERO, end).is_err());
    let found = log.batch_at_time(at(0), Offset::ZERO, end).unwrap().unwrap();
    assert_eq!(found.header().base_offset, all[2]);
}
