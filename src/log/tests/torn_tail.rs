//! What a power cut leaves behind the newest durable mark: cut off, and kept.

use super::*;

const SYNCED: [u64; 3] = [1, 2, 1];
const UNSYNCED: [u64; 4] = [1, 1, 3, 1];

/// A log of one segment, partly synced: its bench, what it holds, and where the synced part ends.
fn half_synced() -> (Bench, Model, usize) {
    let bench = Bench::new(1 << 20);
    let (log, mut model) = (bench.create(), Model::default());
    model.append(&log, &SYNCED, 1);
    let durable = usize::try_from(log.state().end.position).unwrap();
    model.append_unsynced(&log, &UNSYNCED, 1);
    (bench, model, durable)
}

/// Opens a log whose file has been replaced and checks that it ends after `whole` batches and the rest is kept.
fn check(bench: &Bench, model: &Model, bytes: &[u8], whole: usize) {
    let path = Bench::files().log(Offset::ZERO);
    bench.disk.write_all(&path, bytes).unwrap();
    let opened = bench.open();
    assert_eq!(opened.damage, None);
    let left = Model { batches: model.batches[..whole].to_vec() };
    let end = left.batches.iter().map(|batch| batch.bytes().len()).sum::<usize>();
    left.check_all(&opened.log);
    assert_eq!(bench.disk.read_all(&path).unwrap(), bytes[..end]);
    assert_eq!(opened.cut.is_some(), end < bytes.len());
    let Some(cut) = opened.cut else { return };
    assert_eq!((cut.position, cut.bytes), (end as u64, (bytes.len() - end) as u64));
    let kept = cut.kept_at.map(|path| bench.disk.read_all(path).unwrap()).unwrap_or_default();
    if bytes[end..].iter().all(|byte| *byte == 0) {
        assert!(kept.is_empty());
    } else {
        assert_eq!(kept, bytes[end..], "set aside byte for byte");
    }
    assert_eq!(bench.open().cut, None, "the second opening finds nothing");
}

#[test]
fn cut_short_at_every_byte() {
    let (bench, model, durable) = half_synced();
    let bytes = bench.disk.read_all(Bench::files().log(Offset::ZERO)).unwrap();
    for len in durable..=bytes.len() {
        let mut end = 0;
        let whole = model.batches.iter().take_while(|batch| {
            end += batch.bytes().len();
            end <= len
        });
        let whole = whole.count();
        check(&bench.on(bench.disk.fork()), &model, &bytes[..len], whole);
    }
}

#[test]
fn flipped_at_every_byte_past_the_mark() {
    let (bench, model, durable) = half_synced();
    let bytes = bench.disk.read_all(Bench::files().log(Offset::ZERO)).unwrap();
    for position in durable..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[position] ^= 1 << (position % 8);
        let mut end = 0;
        let whole = model.batches.iter().take_while(|batch| {
            end += batch.bytes().len();
            end <= position
        });
        let whole = whole.count();
        check(&bench.on(bench.disk.fork()), &model, &flipped, whole);
    }
}

#[test]
fn damage_below_the_mark_is_corruption_and_nothing_is_cut() {
    let (bench, model, durable) = half_synced();
    let path = Bench::files().log(Offset::ZERO);
    let bytes = bench.disk.read_all(&path).unwrap();
    for position in (0..durable as u64).step_by(3) {
        let copy = bench.on(bench.disk.fork());
        copy.disk.flip_bit(&path, position, 5).unwrap();
        let flipped = copy.disk.read_all(&path).unwrap();
        let opened = copy.open();
        let damage = opened.damage.unwrap();
        assert!(damage.segment == Offset::ZERO && damage.position <= position, "{damage}");
        assert_eq!((opened.cut, opened.bytes_rewritten), (None, 0));
        assert_eq!(copy.disk.read_all(&path).unwrap(), flipped, "not a byte is touched");
        assert_eq!(opened.log.state().end.next_offset.get(), model.end(), "what lies behind the mark counts");
    }
    bench.disk.write_all(&path, &bytes[..durable - 1]).unwrap();
    assert!(bench.open().damage.is_some(), "too short is damage too");
}

#[test]
fn a_power_cut_at_any_time_keeps_what_was_synced() {
    let (bench, model, _) = half_synced();
    let synced: u64 = SYNCED.iter().sum();
    let mut ends = std::collections::BTreeSet::new();
    for seed in 0..300 {
        let cut = bench.on(bench.disk.power_cut(seed));
        let opened = cut.open();
        assert_eq!(opened.damage, None, "seed {seed}");
        let mut left = model.up_to(opened.log.state().end.next_offset.get());
        assert!(left.end() >= synced, "seed {seed}: {}", left.end());
        ends.insert(left.end());
        left.check_all(&opened.log);
        left.append(&opened.log, &[1, 2], 2);
        let again = cut.on(cut.disk.power_cut(seed + 1)).open();
        assert_eq!((again.damage, again.cut), (None, None), "seed {seed}");
        left.check_all(&again.log);
    }
    assert!(ends.len() > 2, "{ends:?}");
}

/// After a failed sync the page cache shows bytes that the device never got, and the next sync succeeds without writing
/// them. A restart must not take them for durable: it writes them again.
#[test]
fn bytes_a_failed_sync_dropped_are_written_again_at_the_next_start() {
    use crate::disk::faulty::{OpKind, Rule};
    let (bench, model, _) = half_synced();
    let log = bench.open().log;
    let mut model = model;
    model.append_unsynced(&log, &[1, 2], 2);
    bench.disk.inject(Rule::failing(OpKind::Sync).on(".log"));
    let point = log.state().end;
    assert!(matches!(log.sync(point), Err(LogError::SyncFailed { .. })));
    assert!(matches!(log.sync(point), Err(LogError::SyncFailed { .. })), "final, though the disk would succeed now");
    let killed = bench.on(bench.disk.kill());
    let opened = killed.open();
    model.check_all(&opened.log);
    assert!(opened.bytes_rewritten > 0);
    let left = killed.on(killed.disk.power_cut(1)).open();
    model.check_all(&left.log);
}

#[test]
fn only_the_last_torn_tails_are_kept() {
    let bench = Bench::new(1 << 20);
    let (log, mut model) = (bench.create(), Model::default());
    model.append(&log, &[1], 1);
    let path = Bench::files().log(Offset::ZERO);
    for round in 0..20 {
        let mut bytes = bench.disk.read_all(&path).unwrap();
        bytes.extend_from_slice(&[round + 1; 70]);
        bench.disk.write_all(&path, &bytes).unwrap();
        let opened = bench.open();
        assert!(opened.cut.is_some());
        model.append(&opened.log, &[1], 1);
    }
    assert_eq!(bench.set_aside().len(), 16);
    let newest = bench.disk.read_all(bench.set_aside().last().unwrap()).unwrap();
    assert_eq!(newest, [20; 70]);
}
