//! Small texts of the command line and what they mean: escapes, durations, counts.

use std::time::Duration;

/// Text with `\n`, `\r`, `\t`, `\0` and `\\` as what they stand for.
pub(super) fn unescape(text: &str) -> Result<String, String> {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('t') => plain.push('\t'),
            Some('0') => plain.push('\0'),
            Some('\\') => plain.push('\\'),
            Some(other) => return Err(format!("'\\{other}' stands for nothing; a backslash is written '\\\\'")),
            None => return Err("a backslash at the end stands for nothing; write '\\\\'".to_owned()),
        }
    }
    Ok(plain)
}

/// A time to wait: seconds, with a fraction or without.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|&seconds: &f64| seconds > 0.0 && seconds <= 1e9);
    let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    duration.ok_or_else(|| "not a number of seconds greater than 0".to_owned())
}

/// `1 record`, `2 records`.
pub(super) fn records(count: u64) -> String {
    format!("{count} record{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        let check = |text: &str, expected: Option<&str>| assert_eq!(unescape(text).ok().as_deref(), expected, "{text}");
        check("", Some(""));
        check(r"a\tb\n\\n\r\0é", Some("a\tb\n\\n\r\0é"));
        check(r"\x", None);
        check("\\", None);
    }

    #[test]
    fn times_to_wait() {
        let check =
            |text: &str, ms: Option<u64>| assert_eq!(seconds(text).ok(), ms.map(Duration::from_millis), "{text}");
        check("5", Some(5_000));
        check("0.25", Some(250));
        for bad in ["0", "-1", "", "x", "NaN", "inf", "1e300"] {
            check(bad, None);
        }
    }
}
