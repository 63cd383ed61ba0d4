//! The fixture of this layer's tests, and what is neither damage nor repair.

mod compacted;
mod damage;
mod power;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::*;
use crate::disk::Disk;
use crate::disk::faulty::FaultyDisk;
use crate::log::{
    DataDirectory, HandleCache, LogContext, LogOptions, PartitionFiles, PartitionLog, Recovered, RecoveryVisitor,
};
use crate::record::{Batch, BatchBuilder, BatchHeader, BuilderOptions, Compression};
use crate::types::{Epoch, Offset, PartitionIndex, Timestamp, TopicId, TopicName, TopicPartition};

const DATA: &str = "/data";
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// Whole batches by base offset.
type Batches = BTreeMap<u64, Vec<u8>>;

struct Ignored;

impl RecoveryVisitor for Ignored {
    fn restart(&mut self) {}
    fn batch(&mut self, _header: &BatchHeader) {}
}

/// A data directory with one partition on a faulty disk.
struct Fixture {
    disk: FaultyDisk,
    written: Batches,
    topic_id: TopicId,
}

fn offset(value: u64) -> Offset {
    Offset::new(value).unwrap()
}

fn events() -> TopicPartition {
    TopicPartition { topic: TopicName::new("events").unwrap(), partition: PartitionIndex(0) }
}

fn files() -> PartitionFiles {
    PartitionFiles::new(Path::new(DATA).join(events().directory_name()))
}

fn context(disk: &FaultyDisk) -> LogContext {
    LogContext { disk: Arc::new(disk.clone()), handles: Arc::new(HandleCache::new(8)) }
}

fn options() -> LogOptions {
    LogOptions { segment_bytes: 420, index_interval_bytes: 100, ..LogOptions::default() }
}

fn batch(base: u64, epoch: i32) -> Batch {
    let compressions = [Compression::None, Compression::None, Compression::Lz4, Compression::Zstd];
    let compression = compressions[usize::try_from(base % 4).unwrap()];
    let mut builder = BatchBuilder::new(BuilderOptions { compression, ..BuilderOptions::default() });
    for number in 0..=base % 3 {
        let (key, value) = (format!("k{number}"), format!("record {}", base + number));
        builder.append(NOW, Some(key.as_bytes()), Some(value.as_bytes()), &[(b"h", Some(b"v"))]).unwrap();
    }
    builder.finish().unwrap().number(offset(base), Epoch::new(epoch).unwrap())
}

fn append(log: &PartitionLog, written: &mut Batches, count: usize, epoch: i32) {
    for _ in 0..count {
        let batch = batch(log.state().end.next_offset.get(), epoch);
        written.insert(batch.header().base_offset.get(), batch.bytes().to_vec());
        log.append(&[batch], NOW).unwrap();
    }
    log.sync(log.state().end).unwrap();
}

impl Fixture {
    /// Three segments, two epochs, everything synced and marked.
    fn new() -> Fixture {
        let disk = FaultyDisk::new();
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        DataDirectory::open(shared, PathBuf::from(DATA), Uuid::from_u128(7)).unwrap();
        let topic_id = TopicId::new(Uuid::from_u128(8));
        let TopicPartition { topic, partition } = events();
        let log = PartitionLog::create(context(&disk), files(), options(), topic, partition, topic_id).unwrap();
        let mut written = Batches::new();
        append(&log, &mut written, 5, 1);
        append(&log, &mut written, 5, 2);
        assert_eq!(log.state().file.segments.len(), 3);
        Fixture { disk, written, topic_id }
    }

    fn fork(&self) -> Fixture {
        Fixture { disk: self.disk.fork(), written: self.written.clone(), topic_id: self.topic_id }
    }

    /// Makes `__meta`, with the command that created the topic.
    fn write_metadata(&self) {
        let name = TopicPartition { topic: TopicName::new("__meta").unwrap(), partition: PartitionIndex(0) };
        let files = PartitionFiles::new(Path::new(DATA).join(name.directory_name()));
        let (context, id) = (context(&self.disk), TopicId::new(Uuid::from_u128(7)));
        let log = PartitionLog::create(context, files, options(), name.topic, name.partition, id).unwrap();
        let mut command = BatchBuilder::new(BuilderOptions::default());
        let text = format!(r#"{{"type":"create_topic","version":1,"topic":"events","topic_id":"{}"}}"#, self.topic_id);
        command.append(NOW, Some(b"events"), Some(text.as_bytes()), &[]).unwrap();
        log.append(&[command.finish().unwrap().number(Offset::ZERO, Epoch::FIRST)], NOW).unwrap();
        log.sync(log.state().end).unwrap();
    }

    /// The logs of the partition, oldest first.
    fn logs(&self) -> Vec<PathBuf> {
        let is_log = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "log");
        let paths = self.disk.paths().into_iter().filter(|path| path.starts_with(files().dir()));
        paths.filter(is_log).filter(|path| !path.to_string_lossy().contains("aside")).collect()
    }

    /// Where each batch begins in which file, with its length.
    fn places(&self) -> Vec<(PathBuf, usize, usize, u64)> {
        let mut places = Vec::new();
        for path in self.logs() {
            let (bytes, mut at) = (self.disk.read_all(&path).unwrap(), 0);
            while at < bytes.len() {
                let header = BatchHeader::decode(&bytes[at..]).unwrap();
                places.push((path.clone(), at, header.total_bytes, header.base_offset.get()));
                at += header.total_bytes;
            }
        }
        places
    }

    fn change(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.disk.read_all(path).unwrap();
        change(&mut bytes);
        self.disk.write_all(path, &bytes).unwrap();
    }

    fn inspected(&self) -> Inspected {
        Inspected::open(Arc::new(self.disk.clone()), Path::new(DATA)).unwrap()
    }

    fn verify(&self) -> PartitionReport {
        verify_partition(&self.inspected(), &events(), &mut ()).unwrap()
    }

    /// Plans and applies; whether there was anything to do.
    fn repair(&self) -> Result<bool, InspectError> {
        let inspected = self.inspected();
        let lock = inspected.lock()?;
        let Some(plan) = plan_repair(&inspected, &events(), NOW)? else { return Ok(false) };
        apply_repair(&inspected, &*lock, &plan)?;
        Ok(true)
    }

    fn open(&self) -> Recovered {
        PartitionLog::open(context(&self.disk), files(), options(), None, NOW, &mut Ignored).unwrap()
    }

    /// Everything that the normal way of reading gives.
    fn served(&self) -> Batches {
        let recovered = self.open();
        assert_eq!((&recovered.damage, recovered.cut.is_some()), (&None, false), "the normal open finds it whole");
        let (log, mut served) = (recovered.log, Batches::new());
        let (mut from, end) = (log.log_start(), log.state().end.next_offset);
        loop {
            let batches = log.read(from, end, 1 << 20).unwrap();
            let Some(last) = batches.last() else { return served };
            from = last.header().next_offset();
            served.extend(batches.iter().map(|batch| (batch.header().base_offset.get(), batch.bytes().to_vec())));
        }
    }

    /// After a repair: whole, served as expected, and takes appends that do not touch what was there.
    fn check_repaired(&mut self, expected: &Batches, story: &str) {
        let report = self.verify();
        assert!(!report.is_damaged(), "{story}: {:#?}", report.findings);
        assert_eq!(&self.served(), expected, "{story}");
        let mut all = expected.clone();
        let recovered = self.open();
        let epoch = recovered.log.state().file.history.epochs.latest().and_then(Epoch::next).unwrap();
        let end = recovered.log.state().end.next_offset.get();
        let next = self.written.iter().next_back().map_or(0, |(base, _)| base + 1 + base % 3);
        assert!(end <= next, "{story}: offsets are not made up");
        append(&recovered.log, &mut all, 4, epoch.get());
        drop(recovered);
        assert_eq!(self.served(), all, "{story}: after appends");
    }
}

#[test]
fn a_whole_directory_is_whole() {
    let fixture = Fixture::new();
    let disk: Arc<dyn Disk> = Arc::new(fixture.disk.clone());
    let report = verify(&disk, Path::new(DATA), &mut ()).unwrap();
    assert!(!report.is_damaged(), "{report:#?}");
    assert_eq!(report.partitions[0].findings, []);
    assert_eq!(report.directory_id, Some(Uuid::from_u128(7)));
    let batches: u64 = report.partitions[0].segments.iter().map(|segment| segment.batches).sum();
    assert_eq!(batches, fixture.written.len() as u64);
    assert!(!fixture.repair().unwrap(), "nothing to repair");
}

#[test]
fn repair_is_refused_while_a_server_holds_the_directory() {
    let fixture = Fixture::new();
    let _server = fixture.inspected().lock().unwrap();
    assert!(matches!(fixture.repair(), Err(InspectError::Locked { .. })));
    assert_eq!(fixture.inspected().lock_state(), LockState::Held);
}

#[test]
fn what_is_not_there_is_told_apart() {
    let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new());
    let open = |path: &str| Inspected::open(Arc::clone(&disk), Path::new(path)).unwrap_err();
    assert!(matches!(open("/nowhere"), InspectError::NoDirectory { .. }));
    disk.create_dir_all(Path::new("/empty")).unwrap();
    assert!(matches!(open("/empty"), InspectError::NotOurs { .. }));
    let fixture = Fixture::new();
    assert!(matches!(fixture.inspected().partition("events_p9"), Err(InspectError::NoPartition { .. })));
    assert_eq!(fixture.inspected().partition("events:0").unwrap(), &events());
}

#[test]
fn bytes_behind_the_newest_mark_are_no_damage() {
    let fixture = Fixture::new();
    let active = fixture.logs().pop().unwrap();
    let severity = |tail: &[u8]| {
        let fixture = fixture.fork();
        fixture.change(&active, |bytes| bytes.extend_from_slice(tail));
        let findings = fixture.verify().findings;
        assert!(!fixture.repair().unwrap());
        findings.into_iter().map(|finding| (finding.severity, finding.kind)).collect::<Vec<_>>()
    };
    assert_eq!(severity(&[0; 300]), [(Severity::Note, FindingKind::Tail)]);
    assert_eq!(severity(&[0; 3]), [(Severity::Note, FindingKind::Tail)]);
    let mut torn = [0; 300];
    torn[200] = 1;
    assert_eq!(severity(&torn), [(Severity::Warning, FindingKind::Tail)]);
    assert_eq!(severity(b"torn"), [(Severity::Warning, FindingKind::Tail)]);
}

#[test]
fn a_dump_goes_on_behind_damage_and_stops_when_told() {
    let fixture = Fixture::new();
    let (path, at, _, damaged) = fixture.places()[1].clone();
    fixture.change(&path, |bytes| bytes[at + 70] ^= 1);
    let dumped = |from: u64, count: usize| {
        let mut seen = Vec::new();
        dump_batches(&fixture.inspected(), &events(), offset(from), &mut |_, event| {
            match event {
                ScanEvent::Batch(_, batch) => seen.push(batch.header().base_offset.get()),
                ScanEvent::Lost(lost) => assert_eq!(lost.from.get(), damaged),
                ScanEvent::End(tail) => assert_eq!(tail, &Tail::Clean),
            }
            if seen.len() == count { std::ops::ControlFlow::Break(()) } else { std::ops::ControlFlow::Continue(()) }
        })
        .unwrap();
        seen
    };
    let whole: Vec<u64> = fixture.written.keys().copied().filter(|base| *base != damaged).collect();
    assert_eq!(dumped(0, usize::MAX), whole);
    assert_eq!(dumped(0, 3), whole[..3]);
    assert_eq!(dumped(whole[5], usize::MAX), whole[5..]);
}

/// The power failed between making a partition's directory and its first file.
#[test]
fn an_interrupted_creation_is_no_damage() {
    let fixture = Fixture::new();
    fixture.disk.create_dir_all(Path::new("/data/orders_p0")).unwrap();
    let inspected = fixture.inspected();
    let orders = inspected.partition("orders_p0").unwrap();
    let report = verify_partition(&inspected, orders, &mut ()).unwrap();
    assert!(!report.is_damaged(), "{report:#?}");
    assert!(plan_repair(&inspected, orders, NOW).unwrap().is_none());
}
