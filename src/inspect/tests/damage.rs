//! Damage of every kind: found without exception, and mended without a wrong byte.

use super::*;

/// The batches of which no byte was changed.
fn untouched(fixture: &Fixture, damaged: &Fixture) -> Batches {
    let mut whole = fixture.written.clone();
    for (path, at, length, base) in fixture.places() {
        let bytes = fixture.disk.read_all(&path).unwrap();
        let now = damaged.disk.read_all(&path).unwrap_or_default();
        if now.get(at..at + length) != Some(&bytes[at..at + length]) {
            whole.remove(&base);
        }
    }
    whole
}

#[test]
fn a_damaged_byte_anywhere_is_found_and_costs_one_batch() {
    let fixture = Fixture::new();
    for path in fixture.logs() {
        let original = fixture.disk.read_all(&path).unwrap();
        for position in 0..original.len() {
            let bits = (0..8).map(|bit| 1 << bit);
            let repaired = [1 << (position % 8), 0xff];
            for flip in bits.chain([0xff, original[position]]).filter(|flip| *flip != 0) {
                let story = format!("{} byte {position} ^ {flip:#x}", path.display());
                let mut damaged = fixture.fork();
                damaged.change(&path, |bytes| bytes[position] ^= flip);
                let report = damaged.verify();
                assert!(report.is_damaged(), "{story}");
                let lost = report.findings.iter().filter_map(|finding| finding.lost);
                let lost: u64 = lost.map(|gap| gap.to.since(gap.from)).sum();
                let expected = untouched(&fixture, &damaged);
                let records =
                    fixture.written.keys().filter(|base| !expected.contains_key(base)).map(|base| 1 + base % 3);
                assert_eq!(lost, records.sum::<u64>(), "{story}: no more is called lost than is");
                if repaired.contains(&flip) {
                    assert!(damaged.repair().unwrap(), "{story}");
                    damaged.check_repaired(&expected, &story);
                }
            }
        }
    }
}

/// What was written behind the newest mark and survived is kept too; a torn tail is not.
#[test]
fn repair_keeps_what_is_whole_behind_the_newest_mark() {
    let fixture = Fixture::new();
    let (path, at, _, base) = fixture.places().pop().unwrap();
    let log = fixture.open().log;
    let behind = batch(log.state().end.next_offset.get(), 2);
    drop(log);
    for torn in [0, 1, 40, behind.bytes().len() - 1] {
        let mut damaged = fixture.fork();
        damaged.change(&path, |bytes| {
            bytes[at + 64] ^= 1;
            bytes.extend_from_slice(behind.bytes());
            bytes.extend_from_slice(&behind.bytes()[..torn]);
        });
        damaged.written.insert(behind.header().base_offset.get(), behind.bytes().to_vec());
        let mut expected = damaged.written.clone();
        expected.remove(&base);
        assert!(damaged.repair().unwrap());
        damaged.check_repaired(&expected, &format!("{torn} torn bytes"));
    }
}

#[test]
fn damaged_ranges_are_found_and_what_is_whole_stays() {
    let fixture = Fixture::new();
    for path in fixture.logs() {
        let length = fixture.disk.read_all(&path).unwrap().len();
        for start in (0..length).step_by(13) {
            for bytes in [60, 130, 250, length] {
                let range = start..(start + bytes).min(length);
                for filling in [0, 0xa5] {
                    let story = format!("{} {filling} at {range:?}", path.display());
                    let mut damaged = fixture.fork();
                    damaged.change(&path, |bytes| bytes[range.clone()].fill(filling));
                    let expected = untouched(&fixture, &damaged);
                    if expected == fixture.written {
                        continue;
                    }
                    assert!(damaged.verify().is_damaged(), "{story}");
                    assert!(damaged.repair().unwrap(), "{story}");
                    damaged.check_repaired(&expected, &story);
                }
            }
        }
    }
}

#[test]
fn a_log_cut_short_or_missing_is_found_and_mended() {
    let fixture = Fixture::new();
    for path in fixture.logs() {
        let length = fixture.disk.read_all(&path).unwrap().len();
        for cut in (0..length).rev().step_by(7) {
            let story = format!("{} cut at {cut}", path.display());
            let mut damaged = fixture.fork();
            damaged.change(&path, |bytes| bytes.truncate(cut));
            assert!(damaged.verify().is_damaged(), "{story}");
            let expected = untouched(&fixture, &damaged);
            assert!(damaged.repair().unwrap(), "{story}");
            damaged.check_repaired(&expected, &story);
        }
        let mut damaged = fixture.fork();
        damaged.disk.remove_file(&path).unwrap();
        assert!(damaged.verify().is_damaged());
        let expected = untouched(&fixture, &damaged);
        assert!(damaged.repair().unwrap());
        damaged.check_repaired(&expected, &format!("{} missing", path.display()));
    }
}

#[test]
fn damage_upon_damage_is_mended_again_and_again() {
    let fixture = Fixture::new();
    let mut whole = fixture.written.clone();
    let damaged = fixture.fork();
    let mut places = fixture.places();
    places.sort_by_key(|(.., base)| base % 4);
    for (number, (.., base)) in places.into_iter().enumerate() {
        let place = damaged.places().into_iter().find(|(.., at)| *at == base).unwrap();
        damaged.change(&place.0, |bytes| bytes[place.1 + 64] ^= 0x10);
        whole.remove(&base);
        assert!(damaged.repair().unwrap());
        assert!(!damaged.repair().unwrap(), "one repair is enough");
        damaged.fork().check_repaired(&whole, &format!("damage {number}, of offset {base}"));
    }
    let end = damaged.open().log.state().end.next_offset;
    assert_eq!(end.get(), fixture.open().log.state().end.next_offset.get(), "nothing is left but the offsets");
}

/// A producer put a batch of ours into a record, right in every field; where the batch around it is damaged it must
/// not be taken for one.
#[test]
fn a_batch_inside_a_record_is_not_believed() {
    let fixture = Fixture::new();
    let recovered = fixture.open();
    let base = recovered.log.state().end.next_offset.get();
    let mut inner = BatchBuilder::new(BuilderOptions::default());
    inner.append(NOW, None, Some(b"forged"), &[]).unwrap();
    let inner = inner.finish().unwrap().number(offset(base + 1), Epoch::new(2).unwrap());
    let mut outer = BatchBuilder::new(BuilderOptions::default());
    outer.append(NOW, None, Some(b"first"), &[]).unwrap();
    outer.append(NOW, None, Some(b"second"), &[(b"h", Some(inner.bytes()))]).unwrap();
    let outer = outer.finish().unwrap().number(offset(base), Epoch::new(2).unwrap());
    recovered.log.append(&[outer, batch(base + 2, 2)], NOW).unwrap();
    recovered.log.sync(recovered.log.state().end).unwrap();
    drop(recovered);
    let mut expected = fixture.written.clone();
    expected.insert(base + 2, batch(base + 2, 2).bytes().to_vec());
    let (path, at, ..) = fixture.places().into_iter().find(|(.., found)| *found == base).unwrap();
    fixture.change(&path, |bytes| bytes[at + 30] ^= 1);
    assert!(fixture.repair().unwrap());
    assert_eq!(fixture.served(), expected);
}

#[test]
fn what_was_damaged_is_kept_whole() {
    let fixture = Fixture::new();
    let path = fixture.logs()[0].clone();
    fixture.change(&path, |bytes| bytes[70] ^= 1);
    let before = fixture.disk.read_all(&path).unwrap();
    assert!(fixture.repair().unwrap());
    let kept = files().set_aside().join(format!("{}.damaged-1", path.file_name().unwrap().to_str().unwrap()));
    assert_eq!(fixture.disk.read_all(kept).unwrap(), before);
}

#[test]
fn a_lost_partition_file_is_built_from_segments_and_metadata() {
    let fixture = Fixture::new();
    let before = fixture.open().log.state().file;
    let meta = TopicPartition { topic: TopicName::new("__meta").unwrap(), partition: PartitionIndex(0) };
    let meta_files = PartitionFiles::new(Path::new(DATA).join(meta.directory_name()));
    let forget = |fixture: &Fixture| fixture.disk.remove_file(&files().partition_file()).unwrap();

    let without = fixture.fork();
    forget(&without);
    assert!(without.verify().is_damaged());
    assert!(matches!(without.repair(), Err(InspectError::TopicIdUnknown { .. })));

    fixture.write_metadata();
    for damage in 0..4 {
        let mut lost = fixture.fork();
        let mut expected = fixture.written.clone();
        match damage {
            0 => forget(&lost),
            1 => lost.change(&files().partition_file(), |bytes| bytes[200] = b'#'),
            // An epoch is covered by no CRC: with the history lost only the other batches tell that it is wrong.
            2 | 3 => {
                forget(&lost);
                let (path, at, _, base) = fixture.places()[damage].clone();
                lost.change(&path, |bytes| bytes[at + if damage == 2 { 13 } else { 5 }] ^= 1);
                expected.remove(&base);
            }
            _ => {}
        }
        assert!(lost.repair().unwrap());
        lost.check_repaired(&expected, &format!("lost partition.json, {damage}"));
        let after = lost.open().log.state().file;
        assert_eq!((after.topic_id, &after.topic), (fixture.topic_id, &before.topic));
    }
    fixture.disk.remove_file(&meta_files.partition_file()).unwrap();
    let inspected = fixture.inspected();
    let plan = plan_repair(&inspected, &meta, NOW).unwrap().unwrap();
    apply_repair(&inspected, &*inspected.lock().unwrap(), &plan).unwrap();
    assert!(!verify_partition(&inspected, &meta, &mut ()).unwrap().is_damaged());
}

#[test]
fn an_index_is_a_hint_and_its_damage_is_told() {
    let fixture = Fixture::new();
    for path in fixture.disk.paths().into_iter().filter(|path| path.extension().is_some_and(|e| e == "idx")) {
        for position in (0..fixture.disk.read_all(&path).unwrap().len()).step_by(5) {
            let damaged = fixture.fork();
            damaged.change(&path, |bytes| bytes[position] ^= 1);
            let report = damaged.verify();
            assert!(!report.is_damaged(), "{report:#?}");
            assert!(report.findings.iter().any(|finding| finding.kind == FindingKind::Index), "{report:#?}");
            assert_eq!(damaged.served(), fixture.written);
        }
    }
}

/// Nothing in the directory told of an active segment of which both files were gone; a start that knew of it from a
/// snapshot leaves a mark, by which verify finds the loss and repair gives its offsets up.
#[test]
fn records_that_only_a_snapshot_told_of_are_found_and_given_up() {
    let fixture = Fixture::new();
    let end = fixture.open().log.state().end;
    let mut damaged = fixture.fork();
    damaged.disk.remove_file(&files().log(end.segment)).unwrap();
    damaged.disk.remove_file(&files().index(end.segment)).unwrap();
    assert!(!damaged.verify().is_damaged(), "it looks like a roll that was interrupted");
    let opened = PartitionLog::open(context(&damaged.disk), files(), options(), Some(end), NOW, &mut Ignored);
    assert!(opened.unwrap().damage.is_some());
    assert!(damaged.verify().is_damaged());
    let mut expected = fixture.written.clone();
    expected.retain(|base, _| *base < end.segment.get());
    assert!(damaged.repair().unwrap());
    let opened = PartitionLog::open(context(&damaged.disk), files(), options(), Some(end), NOW, &mut Ignored);
    let opened = opened.unwrap();
    assert_eq!(opened.damage, None, "the snapshot is older than the repair");
    assert_eq!(opened.log.state().end.next_offset, end.next_offset, "no offset is given out twice");
    damaged.check_repaired(&expected, "both files missing");
}
