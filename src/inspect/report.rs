//! What verifying found, in a form that prints as text and as JSON.

use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::directory::LockState;
use super::scan::Lost;
use crate::log::Gap;
use crate::types::Offset;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Normal after some kind of stop; the next start settles it.
    Note,
    /// Worth a look; nothing acknowledged is lost.
    Warning,
    /// Something that was durable is not what was written.
    Damage,
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// `wiber.json`.
    Directory,
    /// `partition.json`.
    PartitionFile,
    /// Batches of a segment.
    Batch,
    /// Records inside whole batches.
    Records,
    /// What lies behind the log's end.
    Tail,
    /// A segment's `.idx`.
    Index,
    /// A file that belongs to nothing.
    Stranger,
    /// A snapshot.
    Snapshot,
}

/// One thing found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub kind: FindingKind,
    /// The file, within the partition's directory.
    pub file: String,
    /// The byte at which it begins, where it is about bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// How many bytes it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The offsets lost by it, where any are.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "gap_as_pair")]
    pub lost: Option<Gap>,
    /// What is the matter.
    pub reason: String,
}

impl Finding {
    pub(super) fn new(severity: Severity, kind: FindingKind, file: &str, reason: impl Into<String>) -> Finding {
        let (file, reason) = (file.to_owned(), reason.into());
        Finding { severity, kind, file, position: None, bytes: None, lost: None, reason }
    }

    pub(super) fn at(mut self, position: u64, bytes: u64) -> Finding {
        (self.position, self.bytes) = (Some(position), Some(bytes));
        self
    }

    pub(super) fn of_lost(file: &str, lost: &Lost) -> Finding {
        let gap = (lost.from < lost.to).then_some(Gap { from: lost.from, to: lost.to });
        let finding = Finding::new(Severity::Damage, FindingKind::Batch, file, lost.damage.to_string());
        Finding { lost: gap, ..finding.at(lost.position, lost.end.saturating_sub(lost.position)) }
    }
}

/// One segment, counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SegmentReport {
    /// Its base offset.
    #[serde(serialize_with = "as_number")]
    pub base: Offset,
    /// Whether it takes no more batches.
    pub sealed: bool,
    /// Bytes of whole batches.
    pub bytes: u64,
    /// Whole batches.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartitionReport {
    /// Its directory's name.
    pub partition: String,
    /// The oldest offset kept.
    #[serde(serialize_with = "as_number")]
    pub log_start: Offset,
    /// The offset of the next record.
    #[serde(serialize_with = "as_number")]
    pub log_end: Offset,
    /// Its segments, oldest first.
    pub segments: Vec<SegmentReport>,
    /// What was found.
    pub findings: Vec<Finding>,
}

impl PartitionReport {
    /// Whether anything durable is not what was written.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        is_damaged(&self.findings)
    }
}

/// One snapshot file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SnapshotReport {
    /// The file's name.
    pub file: String,
    /// What was found; empty where it is whole.
    pub findings: Vec<Finding>,
}

/// A whole data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// The directory.
    pub directory: String,
    /// Its identity, where `wiber.json` can be read.
    pub directory_id: Option<Uuid>,
    /// Whether a server was using it: what is being written looks torn then.
    pub lock: LockState,
    /// What was found beside the partitions.
    pub findings: Vec<Finding>,
    /// The partitions, by name.
    pub partitions: Vec<PartitionReport>,
    /// Snapshots, where their directory was named.
    pub snapshots: Vec<SnapshotReport>,
}

impl VerifyReport {
    /// Whether anything durable is not what was written. Snapshots count, for whoever names their directory asks.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        is_damaged(&self.findings)
            || self.partitions.iter().any(PartitionReport::is_damaged)
            || self.snapshots.iter().any(|snapshot| is_damaged(&snapshot.findings))
    }
}

fn is_damaged(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Damage)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn as_number<S: Serializer>(offset: &Offset, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(offset.get())
}

fn gap_as_pair<S: Serializer>(gap: &Option<Gap>, serializer: S) -> Result<S::Ok, S::Error> {
    gap.map(|gap| (gap.from.get(), gap.to.get())).serialize(serializer)
}
