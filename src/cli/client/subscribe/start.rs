//! Where to start reading, as the command line says it.

use crate::cli::client::time;
use crate::client::{Offset, Timestamp};

/// Where to start in each partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    Offset(Offset),
    /// With the oldest record kept.
    Begin,
    /// With the next record to come.
    End,
    /// At the position kept under the client's id.
    Committed,
    /// With the first record of this time or later.
    Time(Timestamp),
    /// With the last so many records.
    Last(u64),
}

impl Start {
    /// The start that a `--from` names.
    pub(super) fn parse(text: &str, now: Timestamp) -> Result<Start, String> {
        match text {
            "start" | "begin" | "beginning" => return Ok(Start::Begin),
            "end" => return Ok(Start::End),
            "committed" => return Ok(Start::Committed),
            _ => {}
        }
        if let Some(count) = text.strip_prefix('-').and_then(|count| count.parse().ok()) {
            return Ok(Start::Last(count));
        }
        time::parse(text, now).map(Start::Time).ok_or_else(|| {
            format!(
                "--from {text}: give start, end, committed, -N for the last N records, a time such as \
                 2026-05-01T12:00:00Z or '2026-05-01 12:00', or an age such as -15m; an offset goes to --offset"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_of_every_form() {
        let now = Timestamp::from_millis(3_600_000);
        let check = |text: &str, expected: Option<Start>| assert_eq!(Start::parse(text, now).ok(), expected, "{text}");
        check("start", Some(Start::Begin));
        check("end", Some(Start::End));
        check("committed", Some(Start::Committed));
        check("-10", Some(Start::Last(10)));
        check("-0", Some(Start::Last(0)));
        check("-10m", Some(Start::Time(Timestamp::from_millis(3_000_000))));
        check("1970-01-01 00:00:01", Some(Start::Time(Timestamp::from_millis(1_000))));
        for bad in ["", "10", "-", "middle", "-10x", "+5", "--5"] {
            check(bad, None);
        }
    }
}
