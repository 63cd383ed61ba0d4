//! `--to`: where a group's position is to be.

use crate::cli::client::time;
use crate::client::{Offset, PartitionOffsets, Timestamp};

/// Where a group is to go on reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Begin,
    End,
    Offset(Offset),
    /// The first record of this time or later.
    Time(Timestamp),
    /// So many records further on, or back.
    Shift(i64),
}

impl Target {
    /// The target that a `--to` names.
    pub(super) fn parse(text: &str, now: Timestamp) -> Result<Target, String> {
        match text {
            "start" | "begin" | "beginning" => return Ok(Target::Begin),
            "end" => return Ok(Target::End),
            _ => {}
        }
        if text.starts_with(['-', '+'])
            && let Ok(records) = text.parse()
        {
            return Ok(Target::Shift(records));
        }
        if let Some(offset) = text.parse().ok().and_then(Offset::new) {
            return Ok(Target::Offset(offset));
        }
        time::parse(text, now).map(Target::Time).ok_or_else(|| {
            format!(
                "--to {text}: give start, end, an offset, -N or +N to go so many records back or on, a time such as \
                 2026-05-01T12:00:00Z or '2026-05-01 12:00', or an age such as -15m"
            )
        })
    }

    /// The time to ask for.
    pub(super) fn time(self) -> Option<Timestamp> {
        if let Target::Time(time) = self { Some(time) } else { None }
    }

    /// The position in a partition: never outside of what its log holds.
    pub(super) fn offset(self, offsets: &PartitionOffsets) -> Offset {
        let (begin, end) = (offsets.log_start, offsets.high_watermark);
        let wanted = match self {
            Target::Begin => begin,
            Target::End => end,
            Target::Offset(offset) => offset,
            Target::Time(_) => offsets.at_time.unwrap_or(end),
            Target::Shift(records) => {
                let from = offsets.committed.unwrap_or(begin).get();
                Offset::new(from.saturating_add_signed(records)).unwrap_or(end)
            }
        };
        wanted.clamp(begin, end.max(begin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(value: u64) -> Offset {
        Offset::new(value).expect("small")
    }

    #[test]
    fn targets_of_every_form() {
        let now = Timestamp::from_millis(3_600_000);
        let check = |text: &str, expected: Option<Target>| {
            assert_eq!(Target::parse(text, now).ok(), expected, "{text}");
        };
        check("start", Some(Target::Begin));
        check("end", Some(Target::End));
        check("17", Some(Target::Offset(offset(17))));
        check("-10", Some(Target::Shift(-10)));
        check("+10", Some(Target::Shift(10)));
        check("-10m", Some(Target::Time(Timestamp::from_millis(3_000_000))));
        check("1970-01-01 00:00:01", Some(Target::Time(Timestamp::from_millis(1_000))));
        for bad in ["", "-", "middle", "-10x", "--5", "1.5"] {
            check(bad, None);
        }
    }

    #[test]
    fn never_outside_of_the_log() {
        let log = PartitionOffsets {
            log_start: offset(10),
            high_watermark: offset(50),
            log_end: offset(60),
            committed: Some(offset(30)),
            at_time: Some(offset(20)),
        };
        let check = |target: Target, expected: u64| assert_eq!(target.offset(&log), offset(expected), "{target:?}");
        check(Target::Begin, 10);
        check(Target::End, 50);
        check(Target::Offset(offset(5)), 10);
        check(Target::Offset(offset(55)), 50);
        check(Target::Shift(-5), 25);
        check(Target::Shift(-50), 10);
        check(Target::Shift(i64::MIN), 10);
        check(Target::Shift(i64::MAX), 50);
        check(Target::Time(Timestamp::from_millis(1)), 20);
        let fresh = PartitionOffsets { committed: None, at_time: None, ..log };
        assert_eq!(Target::Shift(3).offset(&fresh), offset(13));
        assert_eq!(Target::Time(Timestamp::from_millis(1)).offset(&fresh), offset(50));
    }
}
