//! Numbers as people write them: counts, sizes, durations.

use std::time::Duration;

/// A count: `1000000`, `1_000_000`, `1M`, `10k`, `2.5M`.
pub(super) fn count(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is no count such as 250000, 10k or 2.5M");
    scaled(text, &[("", 1.0), ("k", 1e3), ("K", 1e3), ("m", 1e6), ("M", 1e6), ("G", 1e9)])
        .filter(|&count| count >= 1.0)
        .map(whole)
        .ok_or_else(wrong)
}

/// Bytes: `100`, `1KiB` or `1K` for 1024, `1kB` for 1000, and so on up to GiB.
pub(super) fn size(text: &str) -> Result<u64, String> {
    const KIB: f64 = 1024.0;
    let units = [
        ("", 1.0),
        ("B", 1.0),
        ("k", KIB),
        ("K", KIB),
        ("KiB", KIB),
        ("kB", 1e3),
        ("KB", 1e3),
        ("M", KIB * KIB),
        ("MiB", KIB * KIB),
        ("MB", 1e6),
        ("GiB", KIB * KIB * KIB),
        ("GB", 1e9),
    ];
    let size = scaled(text, &units).filter(|size| size.fract() == 0.0 && *size <= SIZE_MAX);
    size.map(whole).ok_or_else(|| format!("'{text}' is no size up to 1 GiB such as 100, 1KiB, 64k or 1MB"))
}

const SIZE_MAX: f64 = (1_u64 << 30) as f64;

/// A duration: `10s`, `500ms`, `250us`, `2m`, `1h`; a number alone is seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    timed(text, 1.0).filter(|duration| !duration.is_zero()).ok_or_else(|| no_duration(text))
}

/// A wait, which may be none: a number alone is milliseconds.
pub(super) fn linger(text: &str) -> Result<Duration, String> {
    timed(text, 1e-3).filter(|linger| *linger <= Duration::from_secs(60)).ok_or_else(|| no_duration(text))
}

fn timed(text: &str, alone: f64) -> Option<Duration> {
    let units = [("", alone), ("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let seconds = scaled(text, &units).filter(|&seconds| seconds <= 1e8)?;
    Duration::try_from_secs_f64(seconds).ok()
}

fn no_duration(text: &str) -> String {
    format!("'{text}' is no duration such as 10s, 500ms or 2m")
}

/// Messages per second.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    let rate = scaled(text, &[("", 1.0), ("k", 1e3), ("K", 1e3), ("m", 1e6), ("M", 1e6)]);
    rate.filter(|&rate| rate > 0.0 && rate <= 1e9)
        .ok_or_else(|| format!("'{text}' is no number of messages per second such as 10000, 10k or 1M"))
}

/// A number and its unit, multiplied.
fn scaled(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_')).unwrap_or(text.len());
    let number: f64 = text[..digits].replace('_', "").parse().ok()?;
    let unit = text[digits..].trim_start();
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    Some(number * factor).filter(|value| value.is_finite() && *value < 1e18)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and far below the limit")]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_their_units() {
        let check = |read: Result<u64, String>, expected: Option<u64>| assert_eq!(read.ok(), expected);
        check(count("1000"), Some(1_000));
        check(count("1_000"), Some(1_000));
        check(count("2.5M"), Some(2_500_000));
        check(count("10k"), Some(10_000));
        check(size("1KiB"), Some(1_024));
        check(size("1 KiB"), Some(1_024));
        check(size("1kB"), Some(1_000));
        check(size("1.5MiB"), Some(1_572_864));
        check(size("100"), Some(100));
        for bad in ["", "0", "-1", "x", "1x", "k", "1e9", "99999999999999999999", "."] {
            check(count(bad), None);
        }
        for bad in ["", "-1", "1.5", "2GiB", "1kib"] {
            check(size(bad), None);
        }
    }

    #[test]
    fn durations_and_rates() {
        let check = |text: &str, ms: Option<u64>| assert_eq!(duration(text).ok(), ms.map(Duration::from_millis));
        check("10s", Some(10_000));
        check("500ms", Some(500));
        check("1.5m", Some(90_000));
        check("3", Some(3_000));
        for bad in ["", "0", "0s", "1d", "s", "-1s", "1e30"] {
            check(bad, None);
        }
        assert_eq!(linger("5"), Ok(Duration::from_millis(5)));
        assert_eq!(linger("0"), Ok(Duration::ZERO));
        assert_eq!(linger("250us"), Ok(Duration::from_micros(250)));
        assert!(linger("2m").is_err());
        assert_eq!(rate("10k"), Ok(10_000.0));
        assert_eq!(rate("0.5"), Ok(0.5));
        assert!(rate("0").is_err());
    }
}
