//! Zeros written ahead of a log whose syncs are small: reserved space to everybody, whenever power goes.

use super::*;

/// A log that got its zeros, after records synced one by one.
fn ahead() -> (Bench, PartitionLog, Model) {
    let bench = Bench::new(1 << 20);
    let (log, mut model) = (bench.create(), Model::default());
    for _ in 0..12 {
        append_synced(&log, &mut model);
    }
    assert!(excess(&bench, &log) > 0);
    (bench, log, model)
}

fn append_synced(log: &PartitionLog, model: &mut Model) {
    model.append(log, &[1], 1);
    log.synced(model.batches.last().unwrap().bytes().len() as u64);
}

/// Bytes in the active segment's file behind the log's end.
fn excess(bench: &Bench, log: &PartitionLog) -> u64 {
    let state = log.state();
    let len = bench.disk.read_all(Bench::files().log(state.end.segment)).unwrap().len() as u64;
    len - state.end.position
}

#[test]
fn only_a_log_of_small_syncs_gets_them() {
    let bench = Bench::new(1 << 20);
    let (log, mut model) = (bench.create(), Model::default());
    for bytes in [100, 100, 100, 100, 100, 100, 100, 1 << 20, 100, 100, 100, 100, 100, 100, 100] {
        model.append(&log, &[1], 1);
        log.synced(bytes);
        assert_eq!(excess(&bench, &log), 0);
    }
    append_synced(&log, &mut model);
    assert_eq!(excess(&bench, &log), 700);
    log.trim();
    assert_eq!(excess(&bench, &log), 0);
    model.check_all(&log);
}

#[test]
fn records_take_the_place_of_zeros() {
    let (bench, log, mut model) = ahead();
    for _ in 0..40 {
        append_synced(&log, &mut model);
    }
    model.check_all(&log);
    log.roll().unwrap();
    let sealed = log.state().file.segments[0].sealed.unwrap();
    assert_eq!(bench.disk.read_all(Bench::files().log(Offset::ZERO)).unwrap().len() as u64, sealed.bytes);
    append_synced(&log, &mut model);
    drop(log);
    let opened = bench.open();
    assert_eq!((opened.damage, opened.cut), (None, None));
    model.check_all(&opened.log);
}

/// Whatever of the zeros and of the records behind the last sync is left: what was synced is there, and what is cut off
/// is nothing but records that were not.
#[test]
fn power_cuts() {
    for seed in 0..300 {
        let (bench, log, mut model) = ahead();
        let synced = model.end();
        model.append_unsynced(&log, &[1, 2, 1], 1);
        for disk in [bench.disk.power_cut(seed), bench.disk.kill()] {
            let again = bench.on(disk);
            let opened = again.open();
            assert_eq!(opened.damage, None, "seed {seed}");
            let end = opened.log.state().end.next_offset.get();
            assert!(end >= synced, "seed {seed}: {end} of {synced}");
            model.up_to(end).check_all(&opened.log);
            let mut left = model.up_to(end);
            for _ in 0..20 {
                append_synced(&opened.log, &mut left);
            }
            left.check_all(&opened.log);
        }
    }
}

#[test]
fn a_full_device_has_no_room_for_them() {
    let bench = Bench::new(1 << 20);
    let (log, mut model) = (bench.create(), Model::default());
    let mut append = |rounds: usize| (0..rounds).for_each(|_| append_synced(&log, &mut model));
    append(7);
    bench.disk.set_capacity(Some(bench.disk.used_bytes() + 600));
    append(2);
    assert_eq!(excess(&bench, &log), 0);
    bench.disk.set_capacity(None);
    append(10);
    assert_eq!(excess(&bench, &log), 0, "none in this segment");
    model.check_all(&log);
}
