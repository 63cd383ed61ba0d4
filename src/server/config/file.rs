//! The configuration file: its bytes become keys and values, each with the place where it stands.

use std::path::Path;

use serde_json::Value;

use super::error::{ConfigError, Origin};
use super::keys::SECTIONS;
use super::load::unknown;
use super::positions::{KeyAt, Position, key_positions};

/// A value that a file gives.
#[derive(Debug)]
pub(super) struct FileEntry {
    pub(super) section: String,
    pub(super) name: String,
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// The values of a file, and in their places what stands there instead of values.
pub(super) fn read_entries(path: &Path, bytes: &[u8]) -> Vec<Result<FileEntry, ConfigError>> {
    match parse(path, bytes) {
        Ok((root, keys)) => collect(path, &root, &keys),
        Err(error) => vec![Err(error)],
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<(Value, Vec<KeyAt>), ConfigError> {
    let text = decode(path, bytes)?;
    if text.trim().is_empty() {
        let reason = "the file is empty; {} is the least there may be".to_owned();
        return Err(ConfigError::NotJson { origin: Origin::File(path.to_owned(), None), reason });
    }
    let root = serde_json::from_str(text).map_err(|error| {
        let position = Position { line: error.line(), column: error.column() };
        let reason = error.to_string();
        let reason = reason.split(" at line ").next().unwrap_or(&reason).to_owned();
        ConfigError::NotJson { origin: Origin::File(path.to_owned(), Some(position)), reason }
    })?;
    Ok((root, key_positions(text)))
}

/// The text; a byte order mark, which some editors put before UTF-8, means nothing.
fn decode<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a str, ConfigError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let is_wide = bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]);
        let hint = if is_wide { " but UTF-16: save it as UTF-8" } else { ": save it as UTF-8" };
        let whole = std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
        let position = Position::of(whole, whole.len());
        ConfigError::NotUtf8 { origin: Origin::File(path.to_owned(), Some(position)), hint }
    })?;
    Ok(text.strip_prefix('\u{FEFF}').unwrap_or(text))
}

fn collect(path: &Path, root: &Value, keys: &[KeyAt]) -> Vec<Result<FileEntry, ConfigError>> {
    let mut entries = Vec::new();
    let Some(sections) = root.as_object() else {
        let origin = Origin::File(path.to_owned(), None);
        return vec![Err(ConfigError::NotAnObject { origin, what: "the file".to_owned() })];
    };
    for (index, key) in keys.iter().enumerate() {
        let origin = Origin::File(path.to_owned(), Some(key.position));
        if let Some(first) = keys[..index].iter().find(|first| first.path == key.path) {
            let (key, first_line) = (key.path.join("."), first.position.line);
            entries.push(Err(ConfigError::Twice { origin, key, first_line }));
            continue;
        }
        match key.path.as_slice() {
            [section] if !SECTIONS.contains(&section.as_str()) => entries.push(Err(unknown(&origin, section, None))),
            [section] if !sections.get(section).is_some_and(Value::is_object) => {
                entries.push(Err(ConfigError::NotAnObject { origin, what: format!("section '{section}'") }));
            }
            [section, name] if SECTIONS.contains(&section.as_str()) => {
                // Of a section that stands twice only the second is left.
                if let Some(value) = sections.get(section).and_then(|section| section.get(name)) {
                    let (section, name, value) = (section.clone(), name.clone(), value.clone());
                    entries.push(Ok(FileEntry { section, name, value, origin }));
                }
            }
            _ => {}
        }
    }
    entries
}
