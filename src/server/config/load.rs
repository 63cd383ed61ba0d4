//! Laying the layers over one another: defaults, file, environment, flags. Pure.
//!
//! What does not stand is noted and the loading goes on, so that whoever has to mend it sees everything at once.

use std::ffi::OsString;
use std::path::Path;

use serde_json::Value;

use super::FILE_VARIABLE;
use super::error::{ConfigError, ConfigErrors, Origin};
use super::file::{FileEntry, read_entries};
use super::keys::{Config, KEYS, Key, SECTIONS};
use super::rule::FromValue;
use super::suggest::nearest;

/// What the flags of a command line say; they win over everything, and a later one over an earlier one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides(Vec<FlagValue>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct FlagValue {
    flag: &'static str,
    /// `section.name`; `None` where there was no `=`.
    key: Option<String>,
    text: String,
}

impl Overrides {
    /// Notes that a flag gives a key (`section.name`) a value.
    pub fn give(&mut self, flag: &'static str, key: &str, text: &str) {
        self.0.push(FlagValue { flag, key: Some(key.to_owned()), text: text.to_owned() });
    }

    /// Notes a `section.name=value` that the flag `--set` gives.
    pub fn set(&mut self, pair: &str) {
        let (key, text) = pair.split_once('=').map_or((None, pair), |(key, text)| (Some(key.to_owned()), text));
        self.0.push(FlagValue { flag: "--set", key, text: text.to_owned() });
    }
}

/// A configuration that stands, and what its owner should know about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// One line each; to be logged once there is a log.
    pub warnings: Vec<String>,
    /// Every key's value and where it came from, in the order of the table.
    pub(super) slots: Vec<(Value, Origin)>,
}

/// Builds the configuration from its layers. `file` is the file's path, for messages, and its bytes.
///
/// # Errors
/// [`ConfigErrors`]: everything that does not stand. Each names where it came from, the key and what is allowed.
pub fn load(
    file: Option<(&Path, &[u8])>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    flags: &Overrides,
) -> Result<Loaded, ConfigErrors> {
    let mut values = Values::defaults();
    if let Some((path, bytes)) = file {
        values.file(path, bytes);
    }
    values.environment(environment);
    values.flags(flags);
    values.follow();
    let config = Config::build(&values)?;
    // A value that was refused left another one in its place: what that one contradicts is nobody's fault.
    if values.errors.is_empty() {
        values.check_together(&config);
    }
    if values.errors.is_empty() {
        Ok(Loaded { config, warnings: values.warnings, slots: values.slots })
    } else {
        Err(ConfigErrors(values.errors))
    }
}

/// The values of all keys so far, in the order of the table.
pub(super) struct Values {
    pub(super) slots: Vec<(Value, Origin)>,
    pub(super) errors: Vec<ConfigError>,
    warnings: Vec<String>,
}

impl Values {
    fn defaults() -> Values {
        let slots = KEYS.iter().map(|key| (key.default_value(), Origin::Default)).collect();
        Values { slots, errors: Vec::new(), warnings: Vec::new() }
    }

    fn file(&mut self, path: &Path, bytes: &[u8]) {
        for entry in read_entries(path, bytes) {
            match entry {
                Err(error) => self.errors.push(error),
                Ok(FileEntry { section, name, value, origin }) => match find(&section, &name) {
                    Some(index) => self.set(index, value, origin),
                    None => self.errors.push(unknown(&origin, &section, Some(&name))),
                },
            }
        }
    }

    /// The short variables first, in the order of the table, then those that every key has: the longer name wins.
    fn environment(&mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) {
        let variables = variables.into_iter().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        let ours = |name: &str| name.starts_with("QB_") || name.starts_with("WIBER_");
        let variables: Vec<(String, OsString)> = variables.filter(|(name, _)| ours(name)).collect();
        let mut known = vec![FILE_VARIABLE.to_owned()];
        for (index, key) in KEYS.iter().enumerate() {
            let long = key.variable();
            for name in key.variables.iter().copied().chain([long.as_str()]) {
                known.push(name.to_owned());
                for (_, text) in variables.iter().filter(|(given, _)| given == name) {
                    let origin = Origin::Variable(name.to_owned());
                    match text.to_str() {
                        Some(text) => self.set(index, key.rule.value_of_text(text), origin),
                        None => self.errors.push(refused(key, &text.to_string_lossy(), origin, ", and UTF-8")),
                    }
                }
            }
        }
        for (name, _) in variables.iter().filter(|(name, _)| !known.contains(name)) {
            let Some(rest) = name.strip_prefix("QB_") else {
                continue;
            };
            if let Some((section, key)) = rest.split_once("__") {
                let (section, key) = (section.to_lowercase(), key.to_lowercase());
                let origin = Origin::Variable(name.clone());
                self.errors.push(unknown(&origin, &section, Some(&key)));
                continue;
            }
            let meant = nearest(name, known.iter().map(String::as_str));
            let meant = meant.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
            self.warnings.push(format!("environment variable {name} is not known and ignored{meant}"));
        }
    }

    fn flags(&mut self, flags: &Overrides) {
        for FlagValue { flag, key, text } in &flags.0 {
            let origin = Origin::Flag(flag);
            let Some(key) = key else {
                self.errors.push(ConfigError::NotAPair { origin, text: text.clone() });
                continue;
            };
            let (section, name) = key.split_once('.').unwrap_or((key, ""));
            match find(section, name) {
                Some(index) => self.set(index, KEYS[index].rule.value_of_text(text), origin),
                None => self.errors.push(unknown(&origin, section, Some(name))),
            }
        }
    }

    fn set(&mut self, index: usize, value: Value, origin: Origin) {
        let key = &KEYS[index];
        let historic = |text: &str| key.path == "logging.format" && text.contains("%(");
        let value = if value.as_str().is_some_and(historic) {
            self.warnings
                .push(format!("{origin}: logging.format {value} is a format string of another system; 'text' is used"));
            Value::String("text".to_owned())
        } else {
            value
        };
        match key.rule.admit(&value) {
            Some(admitted) => self.slots[index] = (admitted, origin),
            None => {
                let unquoted = value.as_str().is_some_and(|text| {
                    matches!(origin, Origin::File(..)) && key.rule.admit(&key.rule.value_of_text(text)).is_some()
                });
                let hint = if unquoted { ", without quotes" } else { "" };
                self.errors.push(refused(key, &value.to_string(), origin, hint));
            }
        }
    }

    /// The value of a key as its type.
    pub(super) fn read<T: FromValue>(&self, path: &'static str) -> Result<T, ConfigError> {
        let at = KEYS.iter().zip(&self.slots).find(|(key, _)| key.path == path);
        let read = at.and_then(|(_, (value, _))| T::from_value(value));
        read.ok_or_else(|| ConfigError::Value {
            origin: self.origin(path),
            key: path,
            value: at.map(|(_, slot)| slot.0.to_string()).unwrap_or_default(),
            expected: at.map(|(key, _)| key.rule.to_string()).unwrap_or_default(),
        })
    }

    /// The keys that are not left at their defaults.
    pub(super) fn given(&self) -> Vec<&'static str> {
        let slots = KEYS.iter().zip(&self.slots);
        let given = slots.filter(|(_, (_, origin))| origin.is_given());
        given.map(|(key, _)| key.path).collect()
    }

    /// The keys whose values are somebody's choice.
    pub(super) fn chosen(&self) -> Vec<&'static str> {
        (0..KEYS.len()).filter(|index| self.is_chosen(*index)).map(|index| KEYS[index].path).collect()
    }

    pub(super) fn origin(&self, path: &str) -> Origin {
        let at = KEYS.iter().position(|key| key.path == path);
        at.map_or(Origin::Default, |index| self.slots[index].1.clone())
    }
}

pub(super) fn find(section: &str, name: &str) -> Option<usize> {
    KEYS.iter().position(|key| key.section == section && key.name == name)
}

fn refused(key: &Key, value: &str, origin: Origin, hint: &str) -> ConfigError {
    let value = value.chars().take(200).collect();
    ConfigError::Value { origin, key: key.path, value, expected: format!("{}{hint}", key.rule) }
}

/// The error for a section, or a key of it, that there is none of.
pub(super) fn unknown(origin: &Origin, section: &str, name: Option<&str>) -> ConfigError {
    let spelled = |key: &Key| -> Box<str> {
        if matches!(origin, Origin::Variable(_)) { key.variable().into() } else { key.path.into() }
    };
    let names: Vec<&str> = KEYS.iter().filter(|key| key.section == section).map(|key| key.name).collect();
    let near_section = nearest(section, SECTIONS.iter().copied());
    match name {
        Some(name) if !names.is_empty() => {
            let here = nearest(name, names.iter().copied()).and_then(|near| find(section, near));
            let elsewhere = || KEYS.iter().position(|key| key.name == name);
            let meant = here.or_else(elsewhere);
            ConfigError::UnknownKey {
                origin: origin.clone(),
                key: format!("{section}.{name}").into(),
                section: section.into(),
                suggestion: meant.map(|index| spelled(&KEYS[index])),
                known: names.join(", ").into(),
            }
        }
        _ => {
            let key = near_section.zip(name).and_then(|(section, name)| find(section, name));
            let suggestion = key.map(|index| spelled(&KEYS[index])).or(near_section.map(Box::from));
            let (origin, section) = (origin.clone(), section.into());
            ConfigError::UnknownSection { origin, section, suggestion, known: SECTIONS.join(", ").into() }
        }
    }
}
