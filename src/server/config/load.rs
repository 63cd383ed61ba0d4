//! Laying the layers over one another: defaults, file, environment, flags. Pure.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::FILE_VARIABLE;
use super::error::{ConfigError, Origin};
use super::keys::{Config, KEYS, Key, SECTIONS};
use super::rule::FromValue;

/// What the flags of a command line say; they win over everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `server.host`.
    pub host: Option<String>,
    /// `server.port`.
    pub port: Option<u16>,
    /// `storage.data_dir`.
    pub data_dir: Option<PathBuf>,
    /// `logging.level`.
    pub log_level: Option<String>,
    /// Any other key as `section.name` and its value as text; a later one wins.
    pub set: Vec<(String, String)>,
}

/// A configuration that stands, and what its owner should know about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// One line each; to be logged once there is a log.
    pub warnings: Vec<String>,
}

/// Builds the configuration from its layers. `file` is the file's path, for messages, and its bytes.
///
/// # Errors
/// [`ConfigError`] for the first thing that does not stand: it names the key and what is allowed.
pub fn load(
    file: Option<(&Path, &[u8])>,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &Overrides,
) -> Result<Loaded, ConfigError> {
    let mut values = Values::defaults();
    if let Some((path, bytes)) = file {
        values.file(path, bytes)?;
    }
    values.environment(environment.into_iter().collect())?;
    values.flags(flags)?;
    values.place_snapshots();
    let config = Config::build(&values)?;
    values.check_together(&config)?;
    Ok(Loaded { config, warnings: values.warnings })
}

/// The values of all keys so far, in the order of the table.
pub(super) struct Values {
    slots: Vec<(Value, Origin)>,
    warnings: Vec<String>,
}

impl Values {
    fn defaults() -> Values {
        let default = |key: &Key| {
            let value = key.default_value();
            (key.rule.admit(&value).unwrap_or(value), Origin::Default)
        };
        Values { slots: KEYS.iter().map(default).collect(), warnings: Vec::new() }
    }

    fn file(&mut self, path: &Path, bytes: &[u8]) -> Result<(), ConfigError> {
        let origin = Origin::File(path.to_owned());
        let root: Value =
            serde_json::from_slice(bytes).map_err(|source| ConfigError::NotJson { path: path.to_owned(), source })?;
        let not_an_object = |what: &str| ConfigError::NotAnObject { origin: origin.clone(), what: what.to_owned() };
        let sections = root.as_object().ok_or_else(|| not_an_object("the file"))?;
        for (section, content) in sections {
            if !SECTIONS.contains(&section.as_str()) {
                return Err(unknown(&origin, section, None));
            }
            let content = content.as_object().ok_or_else(|| not_an_object(&format!("section '{section}'")))?;
            for (name, value) in content {
                let index = find(section, name).ok_or_else(|| unknown(&origin, section, Some(name)))?;
                self.set(index, value.clone(), origin.clone())?;
            }
        }
        Ok(())
    }

    /// The short variables first, in the order of the table, then those that every key has: the longer name wins.
    fn environment(&mut self, variables: Vec<(String, String)>) -> Result<(), ConfigError> {
        let mut known = vec![FILE_VARIABLE.to_owned()];
        for (index, key) in KEYS.iter().enumerate() {
            let long = key.variable();
            for name in key.variables.iter().copied().chain([long.as_str()]) {
                known.push(name.to_owned());
                for (_, text) in variables.iter().filter(|(given, _)| given == name) {
                    let value = key.rule.value_of_text(text);
                    self.set(index, value, Origin::Variable(name.to_owned()))?;
                }
            }
        }
        for (name, _) in &variables {
            let Some(rest) = name.strip_prefix("QB_") else {
                continue;
            };
            if known.contains(name) {
                continue;
            }
            if let Some((section, key)) = rest.split_once("__") {
                let (section, key) = (section.to_lowercase(), key.to_lowercase());
                let origin = Origin::Variable(name.clone());
                return Err(unknown(&origin, &section, Some(&key)));
            }
            self.warnings.push(format!("environment variable {name} is not known and ignored"));
        }
        Ok(())
    }

    fn flags(&mut self, flags: &Overrides) -> Result<(), ConfigError> {
        let path = |path: &PathBuf| path.to_string_lossy().into_owned();
        let named = [
            ("server.host", flags.host.clone()),
            ("server.port", flags.port.map(|port| port.to_string())),
            ("storage.data_dir", flags.data_dir.as_ref().map(path)),
            ("logging.level", flags.log_level.clone()),
        ];
        let named = named.into_iter().filter_map(|(key, text)| Some((key.to_owned(), text?)));
        for (key, text) in named.chain(flags.set.iter().cloned()) {
            let (section, name) = key.split_once('.').unwrap_or((&key, ""));
            let index = find(section, name).ok_or_else(|| unknown(&Origin::Flag, section, Some(name)))?;
            let value = KEYS[index].rule.value_of_text(&text);
            self.set(index, value, Origin::Flag)?;
        }
        Ok(())
    }

    fn set(&mut self, index: usize, value: Value, origin: Origin) -> Result<(), ConfigError> {
        let key = &KEYS[index];
        let historic = |text: &str| key.path == "logging.format" && text.contains("%(");
        let value = if value.as_str().is_some_and(historic) {
            self.warnings
                .push(format!("{origin}: logging.format {value} is a format string of another system; 'text' is used"));
            Value::String("text".to_owned())
        } else {
            value
        };
        let Some(admitted) = key.rule.admit(&value) else {
            return Err(refused(key, &value, origin));
        };
        self.slots[index] = (admitted, origin);
        Ok(())
    }

    /// Snapshots follow a data directory that somebody chose, unless somebody chose theirs as well.
    fn place_snapshots(&mut self) {
        let (Some(data), Some(snapshots)) = (find("storage", "data_dir"), find("storage", "snapshot_dir")) else {
            return;
        };
        if self.is_chosen(data) && !self.is_chosen(snapshots) {
            let data_dir = self.slots[data].0.as_str().unwrap_or_default();
            let below = Path::new(data_dir).join(".snapshots");
            self.slots[snapshots].0 = Value::String(below.to_string_lossy().into_owned());
        }
    }

    /// Whether a value is somebody's choice: a file that spells out the default has chosen nothing, or a shipped file
    /// would tie every broker on the host to one directory of snapshots.
    fn is_chosen(&self, index: usize) -> bool {
        let (value, origin) = &self.slots[index];
        match origin {
            Origin::Default => false,
            Origin::File(_) => *value != KEYS[index].default_value(),
            Origin::Variable(_) | Origin::Flag => true,
        }
    }

    /// Values that only together make no sense.
    fn check_together(&self, config: &Config) -> Result<(), ConfigError> {
        let most = u64::from(config.topics.max_partitions);
        let default = u64::from(config.topics.default_partitions);
        let created = config.topics.create.values().max().copied().unwrap_or(0);
        let message_bytes = config.topics.max_message_size as u64;
        let pending_bytes = config.storage.pending_bytes as u64;
        let pairs = [
            ("topics.default_partitions", default, "topics.max_partitions", most),
            ("topics.create", u64::from(created), "topics.max_partitions", most),
            ("topics.max_message_size", message_bytes, "storage.pending_bytes", pending_bytes),
        ];
        match pairs.into_iter().find(|(_, value, _, limit)| value > limit) {
            None => Ok(()),
            Some((key, value, other, limit)) => Err(ConfigError::Conflict {
                origin: self.origin(key),
                key,
                value,
                expected: format!("at most {limit}"),
                other,
                limit,
            }),
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
        let given = slots.filter(|(_, (_, origin))| *origin != Origin::Default);
        given.map(|(key, _)| key.path).collect()
    }

    fn origin(&self, path: &str) -> Origin {
        let at = KEYS.iter().position(|key| key.path == path);
        at.map_or(Origin::Default, |index| self.slots[index].1.clone())
    }
}

fn find(section: &str, name: &str) -> Option<usize> {
    KEYS.iter().position(|key| key.section == section && key.name == name)
}

fn refused(key: &Key, value: &Value, origin: Origin) -> ConfigError {
    ConfigError::Value {
        origin,
        key: key.path,
        value: value.to_string().chars().take(200).collect(),
        expected: key.rule.to_string(),
    }
}

fn unknown(origin: &Origin, section: &str, name: Option<&str>) -> ConfigError {
    let names: Vec<&str> = KEYS.iter().filter(|key| key.section == section).map(|key| key.name).collect();
    match name {
        Some(name) if !names.is_empty() => ConfigError::UnknownKey {
            origin: origin.clone(),
            key: format!("{section}.{name}"),
            section: section.to_owned(),
            known: names.join(", "),
        },
        _ => ConfigError::UnknownSection {
            origin: origin.clone(),
            section: section.to_owned(),
            known: SECTIONS.join(", "),
        },
    }
}
