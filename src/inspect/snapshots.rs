//! Checking snapshot files: envelope, checksum, and whose directory they were taken of.

use std::path::Path;

use serde_json::Value;
use uuid::Uuid;

use super::error::InspectError;
use super::report::{Finding, FindingKind, Severity, SnapshotReport};
use crate::disk::{Disk, read_file};
use crate::log::{EnvelopeError, open_envelope};

const SNAPSHOT_BYTES_MAX: u64 = 256 << 20;
const VERSION: u64 = 1;

/// Checks every snapshot in a directory. None of them holds anything that the logs do not.
///
/// # Errors
/// [`InspectError::Io`] where the directory cannot be listed.
pub fn verify_snapshots(
    disk: &dyn Disk,
    dir: &Path,
    directory_id: Option<Uuid>,
) -> Result<Vec<SnapshotReport>, InspectError> {
    let entries = disk.read_dir(dir).map_err(InspectError::io("list", dir))?;
    let is_snapshot = |name: &str| name.starts_with("snapshot_") && name.ends_with(".json");
    let names = entries.into_iter().filter(|entry| !entry.is_dir && is_snapshot(&entry.name)).map(|entry| entry.name);
    let check = |file: String| {
        let finding = match read_file(disk, &dir.join(&file), SNAPSHOT_BYTES_MAX) {
            Ok(bytes) => check(&bytes, directory_id),
            Err(error) => Err((Severity::Damage, format!("cannot be read: {error}"))),
        };
        let finding =
            finding.err().map(|(severity, reason)| Finding::new(severity, FindingKind::Snapshot, &file, reason));
        SnapshotReport { findings: finding.into_iter().collect(), file }
    };
    Ok(names.map(check).collect())
}

fn check(bytes: &[u8], directory_id: Option<Uuid>) -> Result<(), (Severity, String)> {
    let damaged = |reason: String| (Severity::Damage, reason);
    let content: Value = open_envelope(VERSION, bytes).map_err(|error| match error {
        EnvelopeError::Newer { .. } => (Severity::Warning, format!("{error}: passed over")),
        EnvelopeError::Json(_) | EnvelopeError::Missing(_) | EnvelopeError::Checksum { .. } => {
            damaged(error.to_string())
        }
    })?;
    let id = content.get("directory_id").and_then(Value::as_str).and_then(|id| Uuid::parse_str(id).ok());
    let Some(id) = id else { return Err(damaged("it names no directory".to_owned())) };
    match directory_id {
        Some(ours) if ours != id => Err((Severity::Warning, format!("of another data directory, {id}: passed over"))),
        _ => Ok(()),
    }
}
