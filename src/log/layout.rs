//! Names of the files in a partition's directory.

use std::path::{Path, PathBuf};

use crate::types::Offset;

/// The directory, inside a partition's, that takes whatever recovery or repair puts aside.
pub(crate) const SET_ASIDE_DIR: &str = "set-aside";

/// The name of a segment's log: its base offset in 20 digits, and `.log`.
#[must_use]
pub fn log_name(base: Offset) -> String {
    format!("{:020}.log", base.get())
}

/// The name of a segment's index: its base offset in 20 digits, and `.idx`.
#[must_use]
pub fn index_name(base: Offset) -> String {
    format!("{:020}.idx", base.get())
}

/// The base offset in a segment file's name with the extension given (`"log"` or `"idx"`).
#[must_use]
pub fn parse_segment_name(name: &str, extension: &str) -> Option<Offset> {
    let digits = name.strip_suffix(extension)?.strip_suffix('.')?;
    if digits.len() != 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().and_then(Offset::new)
}

/// The paths of one partition's files.
#[derive(Debug, Clone)]
pub struct PartitionFiles {
    dir: PathBuf,
}

impl PartitionFiles {
    /// The files of the partition in `dir`.
    #[must_use]
    pub fn new(dir: PathBuf) -> PartitionFiles {
        PartitionFiles { dir }
    }

    /// The partition's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A segment's log.
    #[must_use]
    pub fn log(&self, base: Offset) -> PathBuf {
        self.dir.join(log_name(base))
    }

    /// A segment's index.
    #[must_use]
    pub fn index(&self, base: Offset) -> PathBuf {
        self.dir.join(index_name(base))
    }

    /// `partition.json`.
    #[must_use]
    pub fn partition_file(&self) -> PathBuf {
        self.dir.join(super::partition_file::PARTITION_FILE)
    }

    /// The directory for what is put aside.
    #[must_use]
    pub fn set_aside(&self) -> PathBuf {
        self.dir.join(SET_ASIDE_DIR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_strangers_do_not() {
        let base = Offset::new(368_769).expect("small");
        assert_eq!(log_name(base), "00000000000000368769.log");
        assert_eq!(parse_segment_name(&log_name(base), "log"), Some(base));
        assert_eq!(parse_segment_name(&index_name(base), "idx"), Some(base));
        for stranger in ["partition.json", "1.log", "0000000000000036876x.log", "99999999999999999999.log", ".log"] {
            assert_eq!(parse_segment_name(stranger, "log"), None, "{stranger}");
        }
    }
}
