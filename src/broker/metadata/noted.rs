//! Settings of a topic that change nothing here: kept because a protocol has them, and shown again to those who ask.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Such settings of one topic, most.
const NOTED_MAX: usize = 64;
/// Bytes of one's name, most.
const NOTED_NAME_BYTES_MAX: usize = 128;
/// Bytes of one's value, most.
const NOTED_VALUE_BYTES_MAX: usize = 1024;

/// Settings by their names, as a listener checked them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NotedSettings(BTreeMap<Box<str>, Box<str>>);

/// What to change of them: of each the new value, or `None` to forget it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NotedChange(BTreeMap<Box<str>, Option<Box<str>>>);

/// Too many settings, or one too long.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a topic keeps up to {NOTED_MAX} further settings with names of up to {NOTED_NAME_BYTES_MAX} bytes and values of up \
     to {NOTED_VALUE_BYTES_MAX} bytes"
)]
pub struct TooMuchNoted;

impl NotedSettings {
    /// The value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| &**value)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn check(&self) -> Result<(), TooMuchNoted> {
        let names_fit = self.0.keys().all(|name| name.len() <= NOTED_NAME_BYTES_MAX);
        let values_fit = self.0.values().all(|value| value.len() <= NOTED_VALUE_BYTES_MAX);
        if self.0.len() <= NOTED_MAX && names_fit && values_fit { Ok(()) } else { Err(TooMuchNoted) }
    }
}

impl NotedChange {
    /// Sets one, or forgets it.
    pub fn set(&mut self, name: &str, value: Option<&str>) {
        self.0.insert(name.into(), value.map(Box::from));
    }

    /// The settings that this makes of others.
    #[must_use]
    pub(super) fn apply_to(&self, settings: &NotedSettings) -> NotedSettings {
        let mut settings = settings.clone();
        for (name, value) in &self.0 {
            match value {
                Some(value) => settings.0.insert(name.clone(), value.clone()),
                None => settings.0.remove(name),
            };
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noted_settings_are_set_and_forgotten_within_their_bounds() {
        let mut change = NotedChange::default();
        change.set("a", Some("1"));
        change.set("b", Some("2"));
        let both = change.apply_to(&NotedSettings::default());
        assert_eq!((both.get("a"), both.get("b"), both.check()), (Some("1"), Some("2"), Ok(())));

        let mut change = NotedChange::default();
        change.set("a", None);
        change.set("c", None);
        let one = change.apply_to(&both);
        assert_eq!((one.get("a"), one.get("b"), one.is_empty()), (None, Some("2"), false));

        for (name, value) in [("n".repeat(NOTED_NAME_BYTES_MAX + 1), "v".into()), ("n".into(), "v".repeat(1025))] {
            let mut change = NotedChange::default();
            change.set(&name, Some(&value));
            assert_eq!(change.apply_to(&one).check(), Err(TooMuchNoted));
        }
        let mut change = NotedChange::default();
        (0..=NOTED_MAX).for_each(|n| change.set(&n.to_string(), Some("v")));
        assert_eq!(change.apply_to(&NotedSettings::default()).check(), Err(TooMuchNoted));
    }
}
