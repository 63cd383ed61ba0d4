//! `--format`: how a record is printed, checked before anything is read.

use std::io::{self, Write};

use crate::cli::client::text::unescape;
use crate::client::Record;

/// A format: text and placeholders in turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli::client) struct Format(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Topic,
    Partition,
    Offset,
    Timestamp,
    Key,
    Value,
    Headers,
}

const PLACEHOLDERS: [(&str, Part); 7] = [
    ("topic", Part::Topic),
    ("partition", Part::Partition),
    ("offset", Part::Offset),
    ("timestamp", Part::Timestamp),
    ("key", Part::Key),
    ("value", Part::Value),
    ("headers", Part::Headers),
];

impl Format {
    /// The format that a text is.
    pub(in crate::cli::client) fn parse(text: &str) -> Result<Format, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let (brace, after) = rest[at..].split_at(1);
            if let Some(after) = after.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            let placeholder = after.split_once('}').filter(|_| brace == "{");
            let (name, after) = placeholder.ok_or_else(|| format!("a lone '{brace}'; a brace is written twice"))?;
            let part = PLACEHOLDERS.iter().find(|(known, _)| *known == name).map(|(_, part)| part.clone());
            let part = part.ok_or_else(|| {
                let known = PLACEHOLDERS.map(|(name, _)| format!("{{{name}}}")).join(" ");
                format!("there is no {{{name}}}, but {known}")
            })?;
            parts.push(Part::Text(unescape(&std::mem::take(&mut plain))?));
            parts.push(part);
            rest = after;
        }
        plain.push_str(rest);
        parts.push(Part::Text(unescape(&plain)?));
        parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        Ok(Format(parts))
    }

    /// Prints a record. What it lacks, a key or a value, is nothing.
    pub(super) fn write(&self, record: &Record, out: &mut dyn Write) -> io::Result<()> {
        for part in &self.0 {
            match part {
                Part::Text(text) => out.write_all(text.as_bytes())?,
                Part::Topic => out.write_all(record.topic.as_str().as_bytes())?,
                Part::Partition => write!(out, "{}", record.partition)?,
                Part::Offset => write!(out, "{}", record.offset)?,
                Part::Timestamp => write!(out, "{}", record.timestamp)?,
                Part::Key => out.write_all(record.key.as_deref().unwrap_or_default())?,
                Part::Value => out.write_all(record.value.as_deref().unwrap_or_default())?,
                Part::Headers => super::print::headers(record, out)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::print::sample;
    use super::*;

    #[test]
    fn formats() {
        let check = |format: &str, expected: &str| {
            let mut out = Vec::new();
            Format::parse(format).expect(format).write(&sample(), &mut out).expect("written");
            assert_eq!(String::from_utf8_lossy(&out), expected, "{format}");
        };
        check("", "");
        check("no placeholder", "no placeholder");
        check(r"{topic}:{partition}@{offset}\t{timestamp}\n", "t:1@7\t5\n");
        check("{key}={value}", "k=v");
        check("{headers}", r#"{"a": "b", "a": "\"c\""}"#);
        check("{{{key}}} {{key}}", "{k} {key}");
        check(r"\\{key}", r"\k");
    }

    #[test]
    fn what_is_no_format_is_told() {
        for (format, named) in
            [("{", "'{'"), ("a}", "'}'"), ("{Key}", "{Key}"), ("{}", "{value}"), ("{key", "'{'"), (r"\x", "\\x")]
        {
            let fault = Format::parse(format).expect_err(format);
            assert!(fault.contains(named), "{fault:?} lacks {named:?}");
        }
    }
}
