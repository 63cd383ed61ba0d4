//! Checking snapshot files: envelope, checksum, and whose directory they were taken of.

use std::path::Path;

use crc_fast::CrcAlgorithm;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::error::InspectError;
use super::report::{Finding, FindingKind, Severity, SnapshotReport};
use crate::disk::{Disk, read_file};

const SNAPSHOT_BYTES_MAX: u64 = 256 << 20;
const VERSION: u64 = 1;

#[derive(Deserialize)]
struct Envelope<'a> {
    version: u64,
    checksum: String,
    #[serde(borrow)]
    content: &'a RawValue,
}

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
    let envelope: Envelope<'_> = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
    if envelope.version > VERSION {
        return Err((Severity::Warning, format!("of version {}, newer than {VERSION}: passed over", envelope.version)));
    }
    let crc = crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, envelope.content.get().as_bytes());
    let found = format!("crc32c:{crc:08x}");
    if found != envelope.checksum {
        return Err(damaged(format!("the checksum is {found}, not {}", envelope.checksum)));
    }
    let content: Value = serde_json::from_str(envelope.content.get()).map_err(|error| damaged(error.to_string()))?;
    let id = content.get("directory_id").and_then(Value::as_str).and_then(|id| Uuid::parse_str(id).ok());
    let Some(id) = id else { return Err(damaged("it names no directory".to_owned())) };
    match directory_id {
        Some(ours) if ours != id => Err((Severity::Warning, format!("of another data directory, {id}: passed over"))),
        _ => Ok(()),
    }
}
