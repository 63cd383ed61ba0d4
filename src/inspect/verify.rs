//! Checking a whole data directory: every file, every batch, every record. Changes nothing.

use std::path::Path;
use std::sync::Arc;

use super::control::Progress;
use super::directory::Inspected;
use super::error::InspectError;
use super::index_check::EntryCheck;
use super::learn::{learn, segments_found};
use super::report::{Finding, FindingKind, PartitionReport, SegmentReport, Severity, VerifyReport};
use super::scan::{ScanEvent, SegmentScan, Tail};
use super::source::{SegmentSource, log_bytes, read_partition_file};
use super::topic_ids::is_leftover;
use crate::disk::Disk;
use crate::log::{History, Ownership, PARTITION_FILE, PartitionFile, PartitionFiles, parse_segment_file};
use crate::record::{Batch, DecodeLimits};
use crate::types::{Offset, Timestamp, TopicId, TopicPartition};

/// Checks every partition of a data directory. What lies in `.deleted` is nobody's any more and is not looked at.
///
/// # Errors
/// [`InspectError`] where the directory or a file of it cannot be looked at; damage is in the report.
pub fn verify(
    disk: &Arc<dyn Disk>,
    data_dir: &Path,
    progress: &mut dyn Progress,
) -> Result<VerifyReport, InspectError> {
    let inspected = Inspected::open(Arc::clone(disk), data_dir)?;
    let lock = inspected.lock_state();
    let mut bytes_total = 0;
    for partition in inspected.partitions() {
        let files = inspected.files(partition);
        bytes_total += log_bytes(&**disk, &files, &segments_found(&**disk, &files)?);
    }
    progress.begin(bytes_total);
    let mut partitions = Vec::new();
    for partition in inspected.partitions() {
        partitions.push(verify_partition(&inspected, partition, progress)?);
    }
    Ok(VerifyReport {
        directory: data_dir.display().to_string(),
        directory_id: inspected.id,
        lock,
        findings: inspected.findings.clone(),
        partitions,
        snapshots: Vec::new(),
    })
}

/// Checks one partition.
///
/// # Errors
/// [`InspectError::Io`] where a file cannot be looked at.
pub fn verify_partition(
    inspected: &Inspected,
    partition: &TopicPartition,
    progress: &mut dyn Progress,
) -> Result<PartitionReport, InspectError> {
    let name = partition.directory_name();
    progress.partition(&name);
    let (disk, files) = (&*inspected.disk, inspected.files(partition));
    let mut findings = Vec::new();
    let file = match read_partition_file(disk, &files)? {
        Ok(file) => file,
        Err(error) => {
            let (severity, reason) = if is_leftover(inspected, partition)? {
                (Severity::Note, "missing: a creation was interrupted, the next start clears it away".to_owned())
            } else {
                (Severity::Damage, error.to_string())
            };
            findings.push(Finding::new(severity, FindingKind::PartitionFile, PARTITION_FILE, reason));
            learn(disk, &files, partition, TopicId::new(uuid::Uuid::nil()), Timestamp::NONE)?
        }
    };
    findings.extend(strangers(disk, &files, &file)?);
    if (&file.topic, file.partition) != (&partition.topic, partition.partition) {
        let reason = format!("it is of {}_p{}, the directory is not", file.topic, file.partition);
        findings.push(Finding::new(Severity::Damage, FindingKind::PartitionFile, PARTITION_FILE, reason));
    }
    let mut report = PartitionReport {
        partition: name,
        log_start: file.log_start,
        log_end: file.log_start,
        segments: vec![],
        findings,
    };
    for number in 0..file.segments.len() {
        let source = SegmentSource::open(disk, &files, &file, number)?;
        let mut checking = SegmentCheck::new(&source, progress);
        checking.run(&source, &file.history);
        report.log_end = report.log_end.max(checking.end);
        report.segments.push(checking.report);
        report.findings.append(&mut checking.findings);
    }
    Ok(report)
}

/// Files that no segment owns.
fn strangers(disk: &dyn Disk, files: &PartitionFiles, file: &PartitionFile) -> Result<Vec<Finding>, InspectError> {
    let entries = disk.read_dir(files.dir()).map_err(InspectError::io("list", files.dir()))?;
    let mut findings = Vec::new();
    for entry in entries.iter().filter(|entry| !entry.is_dir) {
        let found = parse_segment_file(&entry.name, "log").or_else(|| parse_segment_file(&entry.name, "idx"));
        let reason = match found.map(|(base, generation)| (base, file.ownership(base, generation))) {
            Some((_, Ownership::Segment)) => continue,
            Some((base, _)) if file.segments.first().is_some_and(|first| base < first.base) => {
                "lies before the first segment: the next start removes it"
            }
            Some((_, Ownership::Superseded)) => "was left by a compaction: the next start removes it",
            Some((_, Ownership::Nobody)) => "belongs to no segment: the next start moves it to set-aside/",
            None if entry.name == PARTITION_FILE => continue,
            None if entry.name.ends_with(".tmp") => "was left by an interrupted replacement: the next start removes it",
            None => "is no file of Wiber's",
        };
        findings.push(Finding::new(Severity::Note, FindingKind::Stranger, &entry.name, reason));
    }
    Ok(findings)
}

/// One segment being checked.
struct SegmentCheck<'p> {
    report: SegmentReport,
    findings: Vec<Finding>,
    /// The name of its log.
    file: String,
    end: Offset,
    progress: &'p mut dyn Progress,
}

impl<'p> SegmentCheck<'p> {
    fn new(source: &SegmentSource, progress: &'p mut dyn Progress) -> Self {
        let (base, sealed) = (source.record.base, source.record.sealed.is_some());
        let report = SegmentReport { base, sealed, bytes: 0, batches: 0, records: 0 };
        let file = source.record.log_name();
        SegmentCheck { report, findings: Vec::new(), file, end: base, progress }
    }

    fn run(&mut self, source: &SegmentSource, history: &History) {
        let Some(scan) = source.scan(history) else {
            self.tell_missing(source);
            return;
        };
        self.walk(source, scan);
        self.findings.extend(source.slots.findings(&source.record.index_name()));
        if source.surplus_bytes() > 0 {
            let reason = "bytes behind the end of a sealed segment, which no reader looks at";
            let note = Finding::new(Severity::Note, FindingKind::Tail, &self.file, reason);
            self.findings.push(note.at(source.bounds.limit, source.surplus_bytes()));
        }
    }

    fn tell_missing(&mut self, source: &SegmentSource) {
        match source.missing() {
            Some(lost) => {
                self.end = lost.to;
                self.findings.push(Finding::of_lost(&self.file, &lost));
            }
            None => {
                let reason = "not there yet: a roll was interrupted, the next start makes it";
                self.findings.push(Finding::new(Severity::Note, FindingKind::Tail, &self.file, reason));
            }
        }
    }

    fn walk(&mut self, source: &SegmentSource, mut scan: SegmentScan<'_>) {
        let mut entries = EntryCheck::new(&source.record, &source.slots.index());
        let mut told = 0;
        while let Some(event) = scan.next() {
            match event {
                ScanEvent::Batch(position, batch) => {
                    entries.batch(position, batch.header().base_offset);
                    self.count(position, &batch);
                }
                ScanEvent::Lost(lost) => {
                    entries.lost(lost.position, lost.end);
                    self.findings.push(self.tell_lost(source, &lost));
                }
                ScanEvent::End(tail) => self.tell_tail(scan.position(), tail),
            }
            self.progress.advance(scan.position() - told);
            told = scan.position();
        }
        self.progress.advance(source.file_len.saturating_sub(told));
        self.end = scan.next_offset();
        self.findings.extend(entries.end(scan.position()));
    }

    /// A log that is whole and does not come through its durable mark has a wrong mark.
    fn tell_lost(&self, source: &SegmentSource, lost: &super::scan::Lost) -> Finding {
        let finding = Finding::of_lost(&self.file, lost);
        if lost.from == lost.to && lost.position == lost.end && source.record.sealed.is_none() {
            let reason = format!("the newest durable mark contradicts the log: {}", lost.damage);
            return Finding { kind: FindingKind::Index, file: source.record.index_name(), reason, ..finding };
        }
        finding
    }

    fn count(&mut self, position: u64, batch: &Batch) {
        let header = batch.header();
        self.report.bytes += header.total_bytes as u64;
        self.report.batches += 1;
        self.report.records += u64::from(header.records_count);
        let decoded = batch.records_with(&DecodeLimits::default());
        let wrong = match decoded {
            Ok(mut records) => records.find_map(Result::err),
            Err(error) => Some(error),
        };
        if let Some(error) = wrong {
            let reason = format!("the batch of offset {} is as its producer sent it, but: {error}", header.base_offset);
            let finding = Finding::new(Severity::Warning, FindingKind::Records, &self.file, reason);
            self.findings.push(finding.at(position, header.total_bytes as u64));
        }
    }

    fn tell_tail(&mut self, position: u64, tail: Tail) {
        let (severity, bytes, reason) = match tail {
            Tail::Clean => return,
            Tail::Unwritten { bytes } => {
                (Severity::Note, bytes, "reserved space, nothing was written there".to_owned())
            }
            Tail::Torn { bytes, damage } => {
                let reason =
                    "a torn tail behind the newest durable mark, never known to be durable; the next start moves it";
                (Severity::Warning, bytes, format!("{reason} to set-aside/: {damage}"))
            }
        };
        let finding = Finding::new(severity, FindingKind::Tail, &self.file, reason);
        self.findings.push(finding.at(position, bytes));
    }
}
