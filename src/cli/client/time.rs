//! Times of the command line: how they are written, and how they are shown.

use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, PrimitiveDateTime, Time};

use crate::client::Timestamp;

/// A time in UTC as RFC 3339 has it.
pub(super) fn show(time: Timestamp) -> String {
    let nanos = i128::from(time.millis()) * 1_000_000;
    let shown = OffsetDateTime::from_unix_timestamp_nanos(nanos).ok().and_then(|time| time.format(&Rfc3339).ok());
    shown.unwrap_or_else(|| format!("{} ms", time.millis()))
}

/// The time that a text names where nothing but a time is meant: in any form of [`parse`], or in milliseconds since 1970.
pub(super) fn point(text: &str) -> Result<Timestamp, String> {
    let millis = Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let millis = millis.and_then(|text| text.parse().ok()).map(Timestamp::from_millis);
    millis.or_else(|| parse(text, now())).ok_or_else(|| {
        "give a time such as 2026-05-01T12:00:00Z or '2026-05-01 12:00', milliseconds since 1970, or an age such as -15m"
            .to_owned()
    })
}

/// The time that a text names: RFC 3339, `YYYY-MM-DD[ HH:MM[:SS]]` in UTC, or an age such as `-15m` (units s, m, h, d).
pub(super) fn parse(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Some(age) = text.strip_prefix('-') {
        let unit = age.chars().next_back()?;
        let count: i64 = age[..age.len() - unit.len_utf8()].parse().ok().filter(|&count| count >= 0)?;
        let seconds = count.checked_mul(match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return None,
        })?;
        return Some(now.plus_millis(seconds.checked_mul(-1_000)?));
    }
    let time = OffsetDateTime::parse(text, &Rfc3339).ok().or_else(|| utc(text))?;
    let millis = i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000_000)).ok()?;
    Some(Timestamp::from_millis(millis))
}

/// A date, or a date and a time of day after a space or a `T`.
fn utc(text: &str) -> Option<OffsetDateTime> {
    let (date, time) = text.split_once([' ', 'T']).unwrap_or((text, "00:00"));
    let date = Date::parse(date, format_description!("[year]-[month]-[day]")).ok()?;
    let with_seconds = Time::parse(time, format_description!("[hour]:[minute]:[second]"));
    let time = with_seconds.or_else(|_| Time::parse(time, format_description!("[hour]:[minute]"))).ok()?;
    Some(PrimitiveDateTime::new(date, time).assume_utc())
}

/// The time now.
pub(super) fn now() -> Timestamp {
    let millis = OffsetDateTime::now_utc().unix_timestamp_nanos().div_euclid(1_000_000);
    Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_every_form() {
        let now = Timestamp::from_millis(1_000_000_000);
        let check = |text: &str, ms: Option<i64>| assert_eq!(parse(text, now).map(Timestamp::millis), ms, "{text}");
        check("1970-01-02T00:00:00Z", Some(86_400_000));
        check("1970-01-02T01:00:00.5+01:00", Some(86_400_500));
        check("1970-01-02", Some(86_400_000));
        check("1970-01-02 00:01", Some(86_460_000));
        check("1970-01-02 00:01:02", Some(86_462_000));
        check("1970-01-02T00:01:02", Some(86_462_000));
        check("-15m", Some(1_000_000_000 - 900_000));
        check("-1d", Some(1_000_000_000 - 86_400_000));
        check("-0s", Some(1_000_000_000));
        for bad in [
            "",
            "-",
            "-m",
            "-1",
            "-1w",
            "--1m",
            "-1é",
            "1970-02-30",
            "1970-01-02 25:00",
            "yesterday",
            "-9999999999999999999d",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn points_in_time() {
        assert_eq!(point("1700000000000").map(Timestamp::millis), Ok(1_700_000_000_000));
        assert_eq!(point("1970-01-02").map(Timestamp::millis), Ok(86_400_000));
        assert!(point("-15m").is_ok_and(|time| time < now()));
        for bad in ["", "-10", "99999999999999999999", "soon"] {
            assert!(point(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_shown() {
        assert_eq!(show(Timestamp::from_millis(86_400_500)), "1970-01-02T00:00:00.5Z");
        assert_eq!(show(Timestamp::from_millis(i64::MAX)), format!("{} ms", i64::MAX));
    }
}
