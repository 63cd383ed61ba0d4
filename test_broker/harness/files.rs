//! A data directory seen from outside.

use std::fs;
use std::path::{Path, PathBuf};

/// Deletes every snapshot and every `.idx` of a data directory; returns how many files that were.
pub(crate) fn delete_derived(data_dir: &Path) -> usize {
    let mut deleted = 0;
    for directory in directories(data_dir) {
        for file in files(&directory) {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_snapshot = name.starts_with("snapshot_");
            if is_snapshot || name.ends_with(".idx") {
                fs::remove_file(&file).expect("file is deleted");
                deleted += 1;
            }
        }
    }
    deleted
}

/// The one `.log` of a partition that has a single segment.
pub(crate) fn only_log(data_dir: &Path, partition: &str) -> PathBuf {
    let mut logs = files(&data_dir.join(partition));
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    assert_eq!(logs.len(), 1, "segments of {partition}: {logs:?}");
    logs.remove(0)
}

fn directories(data_dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(data_dir).expect("data directory");
    let paths = entries.map(|entry| entry.expect("entry").path());
    paths.filter(|path| path.is_dir()).collect()
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("directory");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("entry").path()).filter(|path| path.is_file()).collect();
    paths.sort();
    paths
}
