//! What a setting may be set to. Messages are worded as Kafka's, for people search for those.

use super::table::{Effect, Kind, TopicKey, Values};

/// Why a value is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Invalid value {value} for configuration {name}: {reason}")]
pub(super) struct InvalidValue {
    name: &'static str,
    value: String,
    reason: String,
}

/// Characters of a refused value that are shown.
const SHOWN_CHARS_MAX: usize = 200;

impl TopicKey {
    /// The value as it is kept. Settings that ask for syncs are taken where `syncs_always`.
    pub(super) fn check(&self, value: &str, syncs_always: bool) -> Result<String, InvalidValue> {
        let value = value.trim();
        self.parse(value).and_then(|value| self.fits(value, syncs_always)).map_err(|reason| {
            let value = value.chars().take(SHOWN_CHARS_MAX).collect();
            InvalidValue { name: self.name, value, reason }
        })
    }

    /// Refuses what would be a promise that is not kept.
    fn fits(&self, value: String, syncs_always: bool) -> Result<String, String> {
        let why_not = match self.effect {
            Effect::Setting(_) | Effect::Noted => return Ok(value),
            Effect::Syncs if syncs_always => return Ok(value),
            Effect::Syncs => "the broker's storage.sync decides when records are synced",
            Effect::Only(reason) => reason,
        };
        if value == self.default {
            return Ok(value);
        }
        Err(format!("only {} is possible here, because {why_not}", self.default))
    }

    fn parse(&self, value: &str) -> Result<String, String> {
        match self.values {
            Values::AtLeast(least) => {
                let most = if self.kind == Kind::Int { i64::from(i32::MAX) } else { i64::MAX };
                self.number(value, least, most)
            }
            Values::Between(least, most) => self.number(value, least, most),
            Values::Flag => {
                let flag = value.to_ascii_lowercase();
                let is_flag = flag == "true" || flag == "false";
                is_flag.then_some(flag).ok_or_else(|| "Expected value to be either true or false".to_owned())
            }
            Values::Ratio => match value.parse::<f64>() {
                Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(value.to_owned()),
                Ok(_) => Err("Value must be between 0 and 1".to_owned()),
                Err(_) => Err("Not a number of type DOUBLE".to_owned()),
            },
            Values::OneOf(words) if words.contains(&value) => Ok(value.to_owned()),
            Values::OneOf(words) => Err(format!("String must be one of: {}", words.join(", "))),
            Values::SomeOf(words) => {
                let given = items(value);
                let is_whole = !given.is_empty() && given.iter().all(|item| words.contains(item));
                let listed = || format!("one or more of {} are possible, with commas between them", words.join(", "));
                is_whole.then(|| given.join(",")).ok_or_else(listed)
            }
            Values::Replicas => replicas(value),
        }
    }

    fn number(&self, value: &str, least: i64, most: i64) -> Result<String, String> {
        let number: i64 = value.parse().map_err(|_| self.not_a_number())?;
        if self.kind == Kind::Int && i32::try_from(number).is_err() {
            return Err(self.not_a_number());
        }
        match number {
            _ if number < least => Err(format!("Value must be at least {least}")),
            _ if number > most => Err(format!("Value must be no more than {most}")),
            _ => Ok(number.to_string()),
        }
    }

    fn not_a_number(&self) -> String {
        format!("Not a number of type {}", if self.kind == Kind::Int { "INT" } else { "LONG" })
    }
}

/// The items of a list, each once.
pub(super) fn items(list: &str) -> Vec<&str> {
    let mut items: Vec<&str> = Vec::new();
    for item in list.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        if !items.contains(&item) {
            items.push(item);
        }
    }
    items
}

fn replicas(value: &str) -> Result<String, String> {
    let is_number = |text: &str| text.parse::<u32>().is_ok();
    let is_pair = |item: &&str| item.split_once(':').is_some_and(|(left, right)| is_number(left) && is_number(right));
    let given = items(value);
    if value == "*" || given.iter().all(is_pair) {
        return Ok(given.join(","));
    }
    Err("it must be the literal '*' or a list of replicas in the following format: [partitionId]:[brokerId]".to_owned())
}

#[cfg(test)]
mod tests;
