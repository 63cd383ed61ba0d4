//! Opening what an earlier run left: clean, without indexes, with checkpoints true and false, with leftovers.

use super::*;

fn idx_paths(bench: &Bench) -> Vec<PathBuf> {
    let paths = bench.disk.paths();
    paths.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "idx")).collect()
}

/// Opens without or with a checkpoint and compares everything.
fn check(bench: &Bench, model: &Model, end: LogPoint, checkpoint: Option<LogPoint>, believed: bool) -> Recovered {
    let mut visits = Visits::default();
    let opened = bench.open_with(checkpoint, &mut visits).unwrap();
    assert_eq!((&opened.damage, &opened.cut), (&None, &None));
    assert_eq!(opened.checkpoint_used, believed, "{checkpoint:?}");
    assert_eq!(visits.restarts, u32::from(!believed), "{checkpoint:?}");
    let from = checkpoint.filter(|_| believed).map_or(0, |point| point.next_offset.get());
    let told: Vec<u64> = model.batches.iter().map(|batch| batch.header().base_offset.get()).collect();
    assert_eq!(visits.bases, told.into_iter().filter(|base| *base >= from).collect::<Vec<_>>(), "{checkpoint:?}");
    assert_eq!(opened.log.state().end, end);
    model.check_all(&opened.log);
    opened
}

#[test]
fn after_a_clean_close() {
    let bench = Bench::new(700);
    let (log, model) = grown(&bench);
    let before: Vec<_> = bench.disk.paths().into_iter().map(|path| bench.disk.read_all(&path).unwrap()).collect();
    let opened = check(&bench, &model, log.state().end, None, false);
    assert_eq!(opened.bytes_rewritten, 0, "the newest mark is the end");
    let after: Vec<_> = bench.disk.paths().into_iter().map(|path| bench.disk.read_all(&path).unwrap()).collect();
    assert_eq!(before, after, "nothing had to be written");
}

#[test]
fn with_indexes_lost_one_by_one_and_together() {
    let bench = Bench::new(700);
    let (log, model) = grown(&bench);
    let all = idx_paths(&bench);
    for lost in 0..=all.len() {
        let damaged = bench.on(bench.disk.fork());
        for (number, path) in all.iter().enumerate() {
            if lost == all.len() || number == lost {
                damaged.disk.remove_file(path).unwrap();
            }
        }
        let opened = check(&damaged, &model, log.state().end, None, false);
        assert_eq!(opened.bytes_rewritten > 0, lost + 1 >= all.len(), "without a mark the last segment is not durable");
        assert_eq!(idx_paths(&damaged), all, "built anew");
        let rebuilt = damaged.open().log;
        model.check_all(&rebuilt);
        for path in &all[..all.len() - 1] {
            let entries = |bench: &Bench| {
                let base = parse_segment_name(path.file_name().unwrap().to_str().unwrap(), "idx").unwrap();
                decode_index_file(base, &bench.disk.read_all(path).unwrap()).unwrap().0
            };
            assert_eq!(entries(&damaged), entries(&bench), "the same entries again");
        }
    }
}

#[test]
fn with_an_index_that_is_another_segment_s_or_garbage() {
    let bench = Bench::new(700);
    let (log, model) = grown(&bench);
    let all = idx_paths(&bench);
    for path in &all {
        let swapped = bench.disk.read_all(all.iter().find(|other| *other != path).unwrap()).unwrap();
        let mut flipped = bench.disk.read_all(path).unwrap();
        (32..flipped.len()).step_by(5).for_each(|byte| flipped[byte] ^= 0x41);
        for content in [swapped, flipped, vec![0; 100], Vec::new(), vec![0xff; 33]] {
            let damaged = bench.on(bench.disk.fork());
            damaged.disk.write_all(path, &content).unwrap();
            check(&damaged, &model, log.state().end, None, false);
        }
    }
}

#[test]
fn from_a_checkpoint_at_every_batch() {
    let bench = Bench::new(700);
    let (log, mut model, mut points) = (bench.create(), Model::default(), Vec::new());
    points.push(log.state().end);
    for count in [1, 3, 2, 1, 1, 5, 1, 2, 1, 1, 4] {
        model.append(&log, &[count], 1);
        points.push(log.state().end);
    }
    for point in points {
        let copy = bench.on(bench.disk.fork());
        let opened = check(&copy, &model, log.state().end, Some(point), true);
        let after = model.batches.iter().filter(|batch| batch.header().base_offset >= point.next_offset).count();
        assert_eq!(opened.batches_walked, after as u64);
        idx_paths(&copy).iter().for_each(|path| copy.disk.remove_file(path).unwrap());
        check(&copy, &model, log.state().end, Some(point), true);
    }
}

#[test]
fn a_checkpoint_that_lies_is_not_believed() {
    let bench = Bench::new(700);
    let (log, model) = grown(&bench);
    let end = log.state().end;
    let lies = [
        LogPoint { position: end.position + 1, ..end },
        LogPoint { position: end.position + 100, last_batch_position: end.position, ..end },
        LogPoint { last_batch_crc: end.last_batch_crc ^ 1, ..end },
        LogPoint { last_batch_position: end.last_batch_position + 1, ..end },
        LogPoint { last_batch_position: 0, ..end },
        LogPoint { last_batch_position: end.position, ..end },
        LogPoint { last_batch_position: u64::MAX, ..end },
        LogPoint { next_offset: end.next_offset.plus(1), ..end },
        LogPoint { next_offset: offset(2), ..end },
        LogPoint { segment: bases(&log)[0], ..end },
        LogPoint { segment: end.segment.plus(1), ..end },
        LogPoint { segment: offset(999), ..end },
        LogPoint { position: 0, ..end },
        LogPoint::segment_start(end.next_offset, end.next_batch),
        LogPoint::segment_start(end.segment, end.next_batch),
    ];
    for lie in lies {
        check(&bench.on(bench.disk.fork()), &model, end, Some(lie), false);
    }
}

#[test]
fn a_checkpoint_below_the_log_start_is_not_believed() {
    let bench = Bench::new(700);
    let (log, _) = grown(&bench);
    let within = LogPoint::segment_start(bases(&log)[1], log.state().file.segments[1].first_batch);
    log.advance_log_start(bases(&log)[1].plus(2)).unwrap();
    let mut visits = Visits::default();
    assert!(!bench.open_with(Some(within), &mut visits).unwrap().checkpoint_used);
    assert_eq!(visits.restarts, 1);
}

#[test]
fn preallocated_zeros_are_no_damage() {
    for synced in [true, false] {
        for zeros in [1, 60, 61, 5_000] {
            let bench = Bench::new(1 << 20);
            let (log, mut model) = (bench.create(), Model::default());
            model.append(&log, &[1, 2, 3], 1);
            if !synced {
                model.append_unsynced(&log, &[1], 1);
            }
            let end = log.state().end;
            let path = Bench::files().log(Offset::ZERO);
            let mut bytes = bench.disk.read_all(&path).unwrap();
            bytes.resize(bytes.len() + zeros, 0);
            bench.disk.write_all(&path, &bytes).unwrap();
            let opened = bench.open();
            assert_eq!((opened.damage, opened.log.state().end), (None, end));
            let cut = opened.cut.unwrap();
            assert_eq!((cut.reason, cut.kept_at, cut.bytes), (WalkStop::Unwritten, None, zeros as u64));
            assert!(bench.set_aside().is_empty());
            assert_eq!(bench.disk.read_all(&path).unwrap().len() as u64, end.position);
            model.append(&opened.log, &[1], 1);
            model.check_all(&opened.log);
        }
    }
}

#[test]
fn leftovers_go_or_are_set_aside() {
    let bench = Bench::new(700);
    let (log, model) = grown(&bench);
    let first = bases(&log)[1];
    log.advance_log_start(first).unwrap();
    let files = Bench::files();
    let stranger = offset(model.end() + 5);
    bench.disk.write_all(files.log(Offset::ZERO), b"old").unwrap();
    bench.disk.write_all(files.index(Offset::ZERO), b"old").unwrap();
    bench.disk.write_all(files.log(stranger), b"new").unwrap();
    bench.disk.write_all(files.index(stranger), b"idx").unwrap();
    bench.disk.write_all(files.log(first.plus(1)), b"between").unwrap();
    bench.disk.write_all(files.dir().join("partition.json.tmp"), b"{").unwrap();
    bench.disk.write_all(files.dir().join("notes.txt"), b"an operator's").unwrap();
    let opened = bench.open();
    assert_eq!(opened.damage, None);
    model.check_all(&opened.log);
    for gone in [log_name(Offset::ZERO), index_name(Offset::ZERO), log_name(stranger), "partition.json.tmp".into()] {
        assert!(!bench.names().contains(&gone), "{gone}");
    }
    assert!(bench.names().contains(&"notes.txt".into()));
    let kept: Vec<Vec<u8>> = bench.set_aside().iter().map(|path| bench.disk.read_all(path).unwrap()).collect();
    assert_eq!(kept, [b"between".to_vec(), b"idx".to_vec(), b"new".to_vec()]);
}

#[test]
fn a_partition_file_that_cannot_be_used_is_named() {
    let bench = Bench::new(700);
    let (log, _) = grown(&bench);
    let path = Bench::files().partition_file();
    let sound = bench.disk.read_all(&path).unwrap();
    let text = String::from_utf8(sound.clone()).unwrap();
    let newer = text.replace("\"version\":1", "\"version\":3");
    let changed = text.replace("\"partition\":0", "\"partition\":1");
    let order = PartitionFile { segments: Vec::new(), ..(*log.state().file).clone() }.encode().unwrap();
    let cases: [(&[u8], &str); 6] = [
        (b"", "not the JSON expected"),
        (&sound[..sound.len() / 2], "not the JSON expected"),
        (b"{}", "no \"version\""),
        (newer.as_bytes(), "version 3 is newer than 2"),
        (changed.as_bytes(), "checksum"),
        (&order, "there is no segment"),
    ];
    for (content, expected) in cases {
        bench.disk.write_all(&path, content).unwrap();
        let error = bench.open_with(None, &mut Visits::default()).unwrap_err();
        assert!(matches!(error, LogError::PartitionFile { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    bench.disk.remove_file(&path).unwrap();
    let error = bench.open_with(None, &mut Visits::default()).unwrap_err().to_string();
    assert_eq!(error, format!("{}: missing", path.display()));
    bench.disk.write_all(&path, &sound).unwrap();
    assert_eq!(bench.open().damage, None);
}

#[test]
fn a_roll_that_did_not_end_is_ended() {
    let bench = Bench::new(1 << 20);
    let mut survivors = 0;
    for step in 0.. {
        let bench = bench.on(FaultyDisk::new());
        let (log, mut model) = (bench.create(), Model::default());
        model.append(&log, &[1, 2], 1);
        model.append_unsynced(&log, &[1], 1);
        bench.disk.cut_within(bench.disk.points() + step, step);
        if log.roll().is_ok() {
            break;
        }
        for seed in 0..20 {
            let cut = bench.on(bench.disk.power_cut(seed));
            let opened = cut.open();
            assert_eq!(opened.damage, None, "step {step}, seed {seed}");
            let mut left = model.up_to(opened.log.state().end.next_offset.get());
            assert!(left.end() >= 3);
            left.append(&opened.log, &[1, 1], 2);
            opened.log.roll().unwrap();
            left.append(&opened.log, &[1], 2);
            left.check_all(&opened.log);
            left.check_all(&cut.open().log);
            survivors += 1;
        }
    }
    assert!(survivors > 100);
}

#[test]
fn a_missing_segment_is_damage_and_the_rest_is_served() {
    let bench = Bench::new(700);
    let (log, model) = grown(&bench);
    let all = bases(&log);
    for lost in &all[..all.len() - 1] {
        let copy = bench.on(bench.disk.fork());
        copy.disk.remove_file(&Bench::files().log(*lost)).unwrap();
        let opened = copy.open();
        let damage = opened.damage.unwrap();
        assert_eq!((damage.segment, damage.damage), (*lost, Damage::Missing));
        let next = *all.iter().find(|base| *base > lost).unwrap();
        for batch in &model.batches {
            let header = batch.header();
            let read = opened.log.read(header.base_offset, header.next_offset(), 1);
            if header.base_offset >= *lost && header.base_offset < next {
                assert!(read.is_err(), "{read:?}");
            } else {
                assert_eq!(read.unwrap(), std::slice::from_ref(batch));
            }
        }
    }
    let last = *all.last().unwrap();
    bench.disk.remove_file(&Bench::files().log(last)).unwrap();
    for expected in [Damage::Missing, Damage::Length { expected: log.state().end.position, found: 0 }] {
        let opened = bench.open();
        assert_eq!(opened.damage, Some(DamageReport { segment: last, position: 0, damage: expected }));
        model.up_to(last.get()).check_all(&opened.log);
    }
}

/// Both files of the active segment were removed by hand: nothing was left that told of its records, and the partition
/// went on without them, giving their offsets out again. A snapshot tells of them.
#[test]
fn a_checkpoint_beyond_the_end_tells_of_lost_records() {
    let bench = Bench::new(700);
    let (log, model) = grown(&bench);
    let (end, last) = (log.state().end, *bases(&log).last().unwrap());
    let (log_file, index_file) = (Bench::files().log(last), Bench::files().index(last));
    let whole = bench.disk.read_all(&log_file).unwrap();
    for kept in [None, Some(0), Some(1), Some(70), Some(whole.len() - 1)] {
        let copy = bench.on(bench.disk.fork());
        copy.disk.remove_file(&log_file).unwrap();
        copy.disk.remove_file(&index_file).unwrap();
        if let Some(kept) = kept {
            copy.disk.write_all(&log_file, &whole[..kept]).unwrap();
        }
        let opened = copy.open_with(Some(end), &mut Visits::default()).unwrap();
        let damage = opened.damage.unwrap_or_else(|| panic!("{kept:?}"));
        assert_eq!((damage.segment, damage.damage == Damage::Missing), (last, kept.is_none()), "{damage}");
        assert!(opened.cut.is_none() && copy.set_aside().is_empty(), "nothing is cut");
        let found = opened.log.state().end.next_offset.get();
        assert!(found < end.next_offset.get());
        model.up_to(found).check_all(&opened.log);
        // Damaged partitions are in no later snapshot: it must not be forgotten without one.
        assert!(copy.open().damage.is_some(), "{kept:?}");
        assert!(copy.on(copy.disk.power_cut(1)).open().damage.is_some(), "{kept:?}");
    }
}

/// Nothing is lost where a roll named a segment and did not come to make it, wherever the checkpoint lies before.
#[test]
fn a_roll_that_was_interrupted_is_no_loss() {
    let bench = Bench::new(700);
    let (log, model) = grown(&bench);
    let end = log.state().end;
    let before = bench.disk.points();
    log.roll().unwrap();
    let after = bench.disk.points();
    for point in 0..=after - before {
        let bench = Bench::new(700);
        let (log, _) = grown(&bench);
        bench.disk.cut_within(before + point, point);
        let _cut = log.roll();
        for seed in 0..8 {
            let copy = bench.on(bench.disk.power_cut(seed));
            let opened = copy.open_with(Some(end), &mut Visits::default()).unwrap();
            assert_eq!(opened.damage, None, "point {point}, seed {seed}");
            model.check_all(&opened.log);
            let begun = opened.log.state().end;
            let fresh = LogPoint::segment_start(begun.segment, begun.next_batch);
            assert_eq!(copy.open_with(Some(fresh), &mut Visits::default()).unwrap().damage, None);
        }
    }
}

/// A walk reads a file in pieces. Where a batch began with its last few bytes in one piece, those were the zeros that
/// begin its offset, and were taken for space that was never written: after a power cut had taken the unsynced `.idx`,
/// everything behind them was cut off, though it was durable and acknowledged.
#[test]
fn a_batch_that_begins_at_the_end_of_a_read_is_found() {
    const READ_BYTES: usize = 1 << 20;
    let sample = READ_BYTES - 1_000;
    let overhead = batch(0, 1, sample, 1, 0).bytes().len() - sample;
    for tail in [1, 4, 7, 8, 11, 12, 17, 60, 61, 62] {
        let bench = Bench::new(8 << 20);
        let log = bench.create();
        let first = batch(0, 1, READ_BYTES - tail - overhead, 1, 0);
        assert_eq!(first.bytes().len(), READ_BYTES - tail);
        let model = Model { batches: vec![first, batch(1, 2, 40, 1, 1), batch(3, 1, 40, 1, 2)] };
        let end = log.append(&model.batches, at(0)).unwrap();
        log.sync(end).unwrap();
        drop(log);
        bench.disk.remove_file(&Bench::files().index(Offset::ZERO)).unwrap();
        let found = bench.open();
        assert!(found.cut.is_none() && found.damage.is_none(), "{tail} bytes: {:?}", found.cut);
        model.check_all(&found.log);
    }
}
