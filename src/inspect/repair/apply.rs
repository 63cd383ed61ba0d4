//! Carrying a repair out, in the order that makes a crash harmless.

use std::io;
use std::path::{Path, PathBuf};

use super::super::directory::Inspected;
use super::super::error::InspectError;
use super::plan::{RepairPlan, SegmentPlan, SegmentWork};
use super::quarantine::{Quarantine, copy_bytes};
use crate::disk::{DirLock, Disk, OpenMode, replace_file};
use crate::log::{Index, PartitionFiles, SegmentRecord, write_index};
use crate::types::Offset;

/// What a repair did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedRepair {
    /// The files as they were before, where they are kept.
    pub set_aside: Vec<PathBuf>,
}

/// Carries a plan out. The data directory must be locked, and nothing may have changed since the plan was made.
///
/// # Errors
/// [`InspectError::Io`]; the partition is then as damaged as before, and repair can be run again.
pub fn apply_repair(
    inspected: &Inspected,
    _lock: &dyn DirLock,
    plan: &RepairPlan,
) -> Result<AppliedRepair, InspectError> {
    let disk = &*inspected.disk;
    let files = inspected.files(&plan.partition);
    let mut quarantine = Quarantine::open(disk, &files)?;
    let steps = Steps { disk, files: &files };

    quarantine.copy(&files.partition_file())?;
    for segment in &plan.segments {
        if matches!(segment.work, SegmentWork::Rewrite(_)) {
            quarantine.copy(&files.log_of(&segment.record))?;
        }
        quarantine.copy(&files.index_of(&segment.record))?;
        steps.keep_marks(&segment.record)?;
    }
    quarantine.sync()?;
    steps.sync_dir()?;

    for segment in &plan.segments {
        match &segment.work {
            SegmentWork::Rewrite(ranges) => {
                steps.rewrite_log(&segment.record, ranges)?;
                steps.write_index(segment)?;
            }
            SegmentWork::Index => steps.write_index(segment)?,
            SegmentWork::Drop => {
                quarantine.take(&files.log_of(&segment.record))?;
                quarantine.sync()?;
                steps.sync_dir()?;
            }
        }
    }

    let path = files.partition_file();
    let bytes = plan.file.encode().map_err(|error| InspectError::io("encode", &path)(io::Error::other(error)))?;
    replace_file(disk, &path, &bytes).map_err(InspectError::io("replace", &path))?;

    for segment in plan.segments.iter().filter(|segment| matches!(segment.work, SegmentWork::Drop)) {
        steps.remove_copied(&files.index_of(&segment.record))?;
    }
    if let Some(base) = plan.begins {
        steps.begin_segment(base)?;
    }
    steps.sync_dir()?;
    Ok(AppliedRepair { set_aside: quarantine.kept() })
}

struct Steps<'a> {
    disk: &'a dyn Disk,
    files: &'a PartitionFiles,
}

impl Steps<'_> {
    /// An index is never synced while it is written. From here on its marks are the witness of what is lost.
    fn keep_marks(&self, record: &SegmentRecord) -> Result<(), InspectError> {
        let path = self.files.index_of(record);
        match self.disk.open(&path, OpenMode::ReadWrite) {
            Ok(file) => file.sync_data().map_err(InspectError::io("sync", &path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(InspectError::io("open", &path)(error)),
        }
    }

    fn rewrite_log(&self, record: &SegmentRecord, ranges: &[(u64, u64)]) -> Result<(), InspectError> {
        let path = self.files.log_of(record);
        let mut temporary = path.clone().into_os_string();
        temporary.push(".tmp");
        let temporary = Path::new(&temporary);
        let rewrite = || {
            let from = self.disk.open(&path, OpenMode::Read)?;
            let to = self.disk.open(temporary, OpenMode::CreateOrEmpty)?;
            let mut at = 0;
            for (start, end) in ranges {
                copy_bytes(&*from, *start, *end, &*to, at)?;
                at += end - start;
            }
            to.sync_data()?;
            self.disk.rename(temporary, &path)?;
            self.disk.sync_dir(self.files.dir())
        };
        rewrite().map_err(InspectError::io("rewrite", &path))
    }

    fn write_index(&self, segment: &SegmentPlan) -> Result<(), InspectError> {
        let path = self.files.index_of(&segment.record);
        let written = write_index(self.disk, &path, segment.record.base, &segment.index, segment.mark);
        written.map_err(InspectError::io("write", &path))
    }

    /// Removes an index of a dropped segment; its copy is in quarantine.
    fn remove_copied(&self, path: &Path) -> Result<(), InspectError> {
        match self.disk.remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(InspectError::io("remove", path)(error)),
            _ => Ok(()),
        }
    }

    fn begin_segment(&self, base: Offset) -> Result<(), InspectError> {
        let path = self.files.log(base);
        let file = self.disk.open(&path, OpenMode::CreateOrEmpty).map_err(InspectError::io("create", &path))?;
        file.sync_data().map_err(InspectError::io("sync", &path))?;
        let index = self.files.index(base);
        write_index(self.disk, &index, base, &Index::default(), None).map_err(InspectError::io("write", &index))
    }

    fn sync_dir(&self) -> Result<(), InspectError> {
        self.disk.sync_dir(self.files.dir()).map_err(InspectError::io("sync", self.files.dir()))
    }
}
