//! Names of the files in a partition's directory.

use std::path::{Path, PathBuf};

use super::partition_file::SegmentRecord;
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

/// The name of one of a segment's files as it was rewritten for the `generation`th time: `<base>.<generation>.log`. As
/// long as it was not, the plain name.
#[must_use]
pub(super) fn segment_file_name(base: Offset, generation: u32, extension: &str) -> String {
    match generation {
        0 => format!("{:020}.{extension}", base.get()),
        _ => format!("{:020}.{generation}.{extension}", base.get()),
    }
}

/// The base offset in a segment file's name with the extension given (`"log"` or `"idx"`).
#[must_use]
pub fn parse_segment_name(name: &str, extension: &str) -> Option<Offset> {
    parse_segment_file(name, extension).map(|(base, _)| base)
}

/// The base offset and the generation in a segment file's name with the extension given (`"log"` or `"idx"`).
#[must_use]
pub fn parse_segment_file(name: &str, extension: &str) -> Option<(Offset, u32)> {
    let stem = name.strip_suffix(extension)?.strip_suffix('.')?;
    let (digits, generation) = stem.split_once('.').map_or((stem, None), |(base, rest)| (base, Some(rest)));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits.len() != 20 || !is_number(digits) {
        return None;
    }
    let generation = match generation {
        None => 0,
        Some(text) if is_number(text) && !text.starts_with('0') => text.parse().ok()?,
        Some(_) => return None,
    };
    Some((digits.parse().ok().and_then(Offset::new)?, generation))
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

    /// The log of a segment that takes appends, or was never rewritten.
    #[must_use]
    pub fn log(&self, base: Offset) -> PathBuf {
        self.dir.join(log_name(base))
    }

    /// The index of a segment that takes appends, or was never rewritten.
    #[must_use]
    pub fn index(&self, base: Offset) -> PathBuf {
        self.dir.join(index_name(base))
    }

    /// A segment's log.
    #[must_use]
    pub fn log_of(&self, record: &SegmentRecord) -> PathBuf {
        self.dir.join(record.log_name())
    }

    /// A segment's index.
    #[must_use]
    pub fn index_of(&self, record: &SegmentRecord) -> PathBuf {
        self.dir.join(record.index_name())
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
        let strangers = ["partition.json", "1.log", "0000000000000036876x.log", "99999999999999999999.log", ".log"];
        let generations = ["0", "01", "", "x", "1.2", "4294967296"];
        let generations = generations.map(|generation| format!("00000000000000368769.{generation}.log"));
        for stranger in strangers.into_iter().chain(generations.iter().map(String::as_str)) {
            assert_eq!(parse_segment_name(stranger, "log"), None, "{stranger}");
        }
        for generation in [0, 1, 12, u32::MAX] {
            let name = segment_file_name(base, generation, "idx");
            assert_eq!(parse_segment_file(&name, "idx"), Some((base, generation)));
        }
    }
}
