//! The power fails at every step of a repair: nothing whole is ever lost, and the next repair comes to the same end.

use super::*;

/// What a start makes of a repair that stopped somewhere: whatever is served is right, and nothing is lost to the next
/// repair.
fn check_start(disk: &FaultyDisk, whole: &Batches, story: &str) {
    let opened = PartitionLog::open(context(disk), files(), options(), None, NOW, &mut Ignored);
    let Ok(recovered) = opened else { return };
    assert!(recovered.cut.is_none(), "{story}: a start cuts nothing");
    let (log, mut from) = (recovered.log, 0);
    let end = log.state().end.next_offset;
    while from < end.get() {
        let Ok(batches) = log.read(offset(from), end, 1) else {
            from += 1;
            continue;
        };
        let Some(batch) = batches.first() else { break };
        assert_eq!(
            whole.get(&batch.header().base_offset.get()).map(Vec::as_slice),
            Some(&batch.bytes()[..]),
            "{story}"
        );
        from = batch.header().next_offset().get();
    }
}

fn check(name: &str, damage: impl Fn(&Fixture) -> Vec<u64>) {
    let fixture = Fixture::new();
    let lost = damage(&fixture);
    let mut whole = fixture.written.clone();
    whole.retain(|base, _| !lost.contains(base));
    let undisturbed = fixture.fork();
    let first = undisturbed.disk.points();
    assert!(undisturbed.repair().unwrap());
    let last = undisturbed.disk.points();
    assert!(last > first + 5);
    undisturbed.fork().check_repaired(&whole, name);
    for point in first..=last {
        for seed in 0..6 {
            let story = format!("{name}: power cut at point {} with seed {seed}", point - first);
            let cut = fixture.fork();
            if seed % 2 == 0 {
                cut.disk.cut_at(point);
            } else {
                cut.disk.cut_within(point, seed);
            }
            assert!(cut.repair().is_err() || point == last, "{story}");
            let mut found = fixture.fork();
            found.disk = cut.disk.power_cut(seed);
            check_start(&found.disk.fork(), &whole, &story);
            if seed % 3 == 0 {
                check_start(&found.disk, &whole, &story);
            }
            found.repair().unwrap();
            found.check_repaired(&whole, &story);
        }
    }
}

/// Everything unsynced of the fixture, above all the marks, is on the medium: power was not cut before the repair.
fn settle(fixture: &Fixture) {
    for path in fixture.disk.paths() {
        let bytes = fixture.disk.read_all(&path).unwrap();
        fixture.disk.write_all(&path, &bytes).unwrap();
    }
}

#[test]
fn one_damaged_batch_in_each_segment() {
    check("one batch each", |fixture| {
        settle(fixture);
        let mut lost: Vec<u64> = Vec::new();
        for log in fixture.logs() {
            let (path, at, _, base) = fixture.places().into_iter().find(|(path, ..)| *path == log).unwrap();
            fixture.change(&path, |bytes| bytes[at + 64] ^= 4);
            lost.push(base);
        }
        lost
    });
}

#[test]
fn the_last_batch_and_a_whole_segment() {
    check("the last and a segment", |fixture| {
        settle(fixture);
        let (path, at, _, last) = fixture.places().pop().unwrap();
        fixture.change(&path, |bytes| bytes[at + 64] ^= 4);
        let middle = fixture.logs()[1].clone();
        fixture.change(&middle, |bytes| bytes.fill(0));
        let segment = fixture.places_of_written(&middle);
        segment.into_iter().chain([last]).collect()
    });
}

#[test]
fn a_whole_active_segment() {
    check("the active segment", |fixture| {
        settle(fixture);
        let active = fixture.logs().pop().unwrap();
        let lost = fixture.places_of_written(&active);
        fixture.change(&active, |bytes| bytes.fill(0xee));
        lost
    });
}

#[test]
fn a_lost_partition_file_and_a_damaged_batch() {
    check("partition.json", |fixture| {
        fixture.write_metadata();
        settle(fixture);
        fixture.disk.remove_file(&files().partition_file()).unwrap();
        fixture.disk.sync_dir(files().dir()).unwrap();
        let (path, at, _, base) = fixture.places()[3].clone();
        fixture.change(&path, |bytes| bytes[at + 64] ^= 4);
        vec![base]
    });
}

impl Fixture {
    /// The offsets of the batches that were written to a log, by the names of the segments.
    fn places_of_written(&self, log: &Path) -> Vec<u64> {
        let base_of = |path: &Path| path.file_stem().unwrap().to_str().unwrap().parse::<u64>().unwrap();
        let next = self.logs().iter().map(|path| base_of(path)).find(|base| *base > base_of(log)).unwrap_or(u64::MAX);
        self.written.keys().copied().filter(|base| (base_of(log)..next).contains(base)).collect()
    }
}
