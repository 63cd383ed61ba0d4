//! Names of snapshot files: `snapshot_YYYYMMDD_HHMMSS.json` in UTC, with `_1`, `_2` … before the dot for further ones
//! of the same second. Their order is that of the names' parts, not of the text.

use std::fmt;

use time::OffsetDateTime;
use time::macros::format_description;

use crate::types::Timestamp;

const PREFIX: &str = "snapshot_";
const SUFFIX: &str = ".json";
const TEMPORARY_SUFFIX: &str = ".tmp";

/// The name of a snapshot file; the newer, the greater.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SnapshotName {
    /// `YYYYMMDD_HHMMSS`
    second: String,
    /// 0 for the first of its second.
    copy: u32,
}

impl SnapshotName {
    /// A name for a snapshot taken `now`, after every one `taken` in the same second. `None` where the time has no
    /// four-digit year.
    pub(super) fn after(taken: &[SnapshotName], now: Timestamp) -> Option<SnapshotName> {
        let time = OffsetDateTime::from_unix_timestamp(now.millis().div_euclid(1000)).ok()?;
        let format = format_description!("[year][month][day]_[hour][minute][second]");
        let second = time.format(format).ok()?;
        let same = taken.iter().filter(|name| name.second == second);
        let copy = same.map(|name| name.copy).max().map_or(Some(0), |copy| copy.checked_add(1))?;
        let name = SnapshotName { second, copy };
        SnapshotName::parse(&name.to_string())
    }

    /// The name a file has; `None` where it is no snapshot's.
    pub(super) fn parse(file_name: &str) -> Option<SnapshotName> {
        let stem = file_name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
        let mut parts = stem.splitn(3, '_');
        let (date, time) = (parts.next()?, parts.next()?);
        let digits = |part: &str, count| part.len() == count && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(date, 8) || !digits(time, 6) {
            return None;
        }
        let copy = match parts.next() {
            Some(copy) => copy.parse().ok()?,
            None => 0,
        };
        let name = SnapshotName { second: format!("{date}_{time}"), copy };
        (name.to_string() == file_name).then_some(name)
    }

    /// Whether a file was left behind by a write that was cut short.
    pub(super) fn is_leftover(file_name: &str) -> bool {
        file_name.starts_with(PREFIX) && file_name.ends_with(TEMPORARY_SUFFIX)
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.second)?;
        if self.copy > 0 {
            write!(f, "_{}", self.copy)?;
        }
        f.write_str(SUFFIX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, ok) in [
            ("snapshot_20260102_030405.json", true),
            ("snapshot_20260102_030405_1.json", true),
            ("snapshot_20260102_030405_12.json", true),
            ("snapshot_20260102_030405_0.json", false),
            ("snapshot_20260102_030405_01.json", false),
            ("snapshot_20260102_030405_+1.json", false),
            ("snapshot_20260102_030405_1_1.json", false),
            ("snapshot_20260102_030405_.json", false),
            ("snapshot_20260102_030405.json.tmp", false),
            ("snapshot_2026010_030405.json", false),
            ("snapshot_20260102.json", false),
            ("snapshot_.json", false),
            ("wiber.json", false),
        ] {
            assert_eq!(SnapshotName::parse(name).is_some(), ok, "{name}");
        }
    }

    #[test]
    fn after() {
        let mut taken = Vec::new();
        let mut check = |millis, expected: Option<&str>| {
            let name = SnapshotName::after(&taken, Timestamp::from_millis(millis));
            assert_eq!(name.as_ref().map(ToString::to_string).as_deref(), expected);
            taken.extend(name);
        };
        check(0, Some("snapshot_19700101_000000.json"));
        check(999, Some("snapshot_19700101_000000_1.json"));
        check(1_000, Some("snapshot_19700101_000001.json"));
        check(1, Some("snapshot_19700101_000000_2.json"));
        check(1_767_323_045_678, Some("snapshot_20260102_030405.json"));
        check(-1, Some("snapshot_19691231_235959.json"));
        check(253_402_300_799_999, Some("snapshot_99991231_235959.json"));
        check(253_402_300_800_000, None);
        check(-62_200_000_000_000, None);
        check(i64::MIN, None);
        check(i64::MAX, None);
    }

    #[test]
    fn order_is_by_number() {
        let parse = |name| SnapshotName::parse(name).expect(name);
        assert!(parse("snapshot_20260102_030405_10.json") > parse("snapshot_20260102_030405_9.json"));
        assert!(parse("snapshot_20260102_030405_1.json") > parse("snapshot_20260102_030405.json"));
        assert!(parse("snapshot_20260102_030406.json") > parse("snapshot_20260102_030405_1.json"));
    }
}
