//! What requests that change a topic's settings come to: a change that the broker takes, or why it is refused.

use std::collections::BTreeSet;

use super::table::{Kind, TOPIC_KEYS, TopicKey};
use super::topic::{default_value, defaults_for, enter, own_value};
use super::value::items;
use crate::broker::BrokerOptions;
use crate::broker::metadata::{SettingsChange, TopicSettings};
use crate::protocol::kafka::KafkaError;
use crate::replica::SyncPolicy;

/// Why something is refused: Kafka's number for it, and what people are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::listener::kafka) struct Refused {
    pub(in crate::listener::kafka) error: KafkaError,
    pub(in crate::listener::kafka) message: String,
}

impl Refused {
    pub(in crate::listener::kafka) fn new(error: KafkaError, message: impl Into<String>) -> Refused {
        Refused { error, message: message.into() }
    }

    fn config(message: impl Into<String>) -> Refused {
        Refused::new(KafkaError::InvalidConfig, message)
    }

    fn request(message: impl Into<String>) -> Refused {
        Refused::new(KafkaError::InvalidRequest, message)
    }
}

/// What to do with a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Set,
    Delete,
    Append,
    Subtract,
}

impl Operation {
    pub(super) fn from_wire(code: i8) -> Option<Operation> {
        match code {
            0 => Some(Operation::Set),
            1 => Some(Operation::Delete),
            2 => Some(Operation::Append),
            3 => Some(Operation::Subtract),
            _ => None,
        }
    }
}

/// The settings that a new topic is given.
pub(in crate::listener::kafka) fn settings_of_new_topic<'a>(
    options: &BrokerOptions,
    configs: impl Iterator<Item = (&'a str, Option<&'a str>)>,
) -> Result<TopicSettings, Refused> {
    let mut change = SettingsChange::default();
    for (name, value) in configs {
        let key = find(name)?;
        let Some(value) = value else {
            return Err(Refused::config(format!("Null value not supported for topic configs: {}", key.name)));
        };
        enter(&mut change, key, Some(&checked(options, key, value)?));
    }
    Ok(change.apply_to(&TopicSettings::default()))
}

/// These settings are all that a topic has from now on.
pub(super) fn replacement<'a>(
    options: &BrokerOptions,
    configs: impl Iterator<Item = (&'a str, Option<&'a str>)> + Clone,
) -> Result<SettingsChange, Refused> {
    refuse_repeats(configs.clone().map(|(name, _)| name))?;
    let mut change = SettingsChange::default();
    TOPIC_KEYS.iter().for_each(|key| enter(&mut change, key, None));
    for (name, value) in configs {
        let value = value.ok_or_else(|| null_value(name))?;
        let key = find(name)?;
        enter(&mut change, key, Some(&checked(options, key, value)?));
    }
    Ok(change)
}

/// One change after another of the settings that a topic has now.
pub(super) fn increments<'a>(
    options: &BrokerOptions,
    now: &TopicSettings,
    configs: impl Iterator<Item = (&'a str, i8, Option<&'a str>)> + Clone,
) -> Result<SettingsChange, Refused> {
    refuse_repeats(configs.clone().map(|(name, ..)| name))?;
    let mut change = SettingsChange::default();
    for (name, code, value) in configs {
        let operation = Operation::from_wire(code);
        let operation = operation.ok_or_else(|| Refused::request(format!("Unknown operation type {code}")))?;
        if operation == Operation::Delete {
            enter(&mut change, find(name)?, None);
            continue;
        }
        let value = value.ok_or_else(|| null_value(name))?;
        let key = find(name)?;
        let value = match operation {
            Operation::Append => appended(key, &value_now(options, key, now), value)?,
            Operation::Subtract => subtracted(key, &value_now(options, key, now), value)?,
            Operation::Set | Operation::Delete => value.to_owned(),
        };
        enter(&mut change, key, Some(&checked(options, key, &value)?));
    }
    Ok(change)
}

fn find(name: &str) -> Result<&'static TopicKey, Refused> {
    TopicKey::of(name).ok_or_else(|| Refused::config(format!("Unknown topic config name: {}", shortened(name))))
}

fn refuse_repeats<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), Refused> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(Refused::request("Error due to duplicate config keys"));
        }
    }
    Ok(())
}

/// As much of a name as is shown.
fn shortened(name: &str) -> &str {
    let end = name.char_indices().nth(100).map_or(name.len(), |(end, _)| end);
    &name[..end]
}

fn null_value(name: &str) -> Refused {
    Refused::request(format!("Null value not supported for : {}", shortened(name)))
}

fn checked(options: &BrokerOptions, key: &TopicKey, value: &str) -> Result<String, Refused> {
    let syncs_always = matches!(options.partition.sync, SyncPolicy::Always);
    key.check(value, syncs_always).map_err(|invalid| Refused::config(invalid.to_string()))
}

fn value_now(options: &BrokerOptions, key: &TopicKey, settings: &TopicSettings) -> String {
    own_value(key, settings).unwrap_or_else(|| default_value(key, &defaults_for(options, settings)))
}

fn appended(key: &TopicKey, now: &str, more: &str) -> Result<String, Refused> {
    is_list(key, "APPEND")?;
    Ok(items(&format!("{now},{more}")).join(","))
}

fn subtracted(key: &TopicKey, now: &str, less: &str) -> Result<String, Refused> {
    is_list(key, "SUBTRACT")?;
    let less = items(less);
    Ok(items(now).into_iter().filter(|item| !less.contains(item)).collect::<Vec<_>>().join(","))
}

fn is_list(key: &TopicKey, operation: &str) -> Result<(), Refused> {
    let refused = || Refused::config(format!("Can't {operation} to key {} because its type is not LIST.", key.name));
    (key.kind == Kind::List).then_some(()).ok_or_else(refused)
}

#[cfg(test)]
mod tests;
