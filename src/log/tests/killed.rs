//! A process killed in the middle of something, a start, and then a power cut: what was not synced looks done to that
//! start, and may still go.

use super::*;

/// Retention killed between the rename of `partition.json` and the sync of its directory once led the next start to
/// remove the segments that file no longer names; a power cut then brought the old file back, and they were missed.
#[test]
fn a_start_acts_only_on_a_partition_file_that_is_durable() {
    let bench = Bench::new(700);
    let (log, model) = grown(&bench);
    let base = bases(&log)[2];
    let before = bench.disk.points();
    log.advance_log_start(base).unwrap();
    for point in 0..bench.disk.points() - before {
        let bench = Bench::new(700);
        let (log, _) = grown(&bench);
        bench.disk.cut_at(bench.disk.points() + point);
        let _cut = log.advance_log_start(base);
        let killed = bench.on(bench.disk.kill());
        let started = killed.on(killed.disk.fork());
        drop(started.open());
        for cut in 0..=started.disk.points() - killed.disk.points() {
            check_power_cuts_during_start(&killed, cut, &model);
        }
    }
}

/// Cuts the power at a point of the start, and starts again.
fn check_power_cuts_during_start(killed: &Bench, cut: u64, model: &Model) {
    let started = killed.on(killed.disk.fork());
    started.disk.cut_at(started.disk.points() + cut);
    let _cut = started.open_with(None, &mut Visits::default());
    for seed in 0..10 {
        let opened = started.on(started.disk.power_cut(seed)).open();
        assert_eq!(opened.damage, None, "cut at {cut} of the start, seed {seed}");
        model.check_all(&opened.log);
    }
}
