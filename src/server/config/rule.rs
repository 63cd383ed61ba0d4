//! What a key's value may be, and turning a value that may be into its type.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::types::TopicName;

/// What values a key takes. Its `Display` is the second half of an error: "it must be …".
#[derive(Debug, Clone, Copy)]
pub(super) enum Rule {
    /// A host's name or address, without a port.
    Host,
    /// A host's name or address, without a port, or null for none.
    OptionalHost,
    /// A path, not empty.
    Path,
    /// A path, or null for none.
    OptionalPath,
    /// A whole number.
    Integer { min: u64, max: u64 },
    /// A number of seconds, fractions allowed.
    Seconds { min: f64, max: f64 },
    /// A truth value.
    Flag,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// One of these words in any case.
    ChoiceOfAnyCase(&'static [&'static str]),
    /// Topic names and their numbers of partitions.
    Topics,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Host => f.write_str("a host name or IP address that is not empty, without a port"),
            Rule::OptionalHost => f.write_str("a host name or IP address without a port, or null"),
            Rule::Path => f.write_str("a path that is not empty"),
            Rule::OptionalPath => f.write_str("a path or null"),
            Rule::Integer { min, max } => write!(f, "a whole number from {min} to {max}"),
            Rule::Seconds { min, max } => write!(f, "a number of seconds from {min} to {max}"),
            Rule::Flag => f.write_str("true or false"),
            Rule::Choice(words) => write!(f, "one of {}", words.join(", ")),
            Rule::ChoiceOfAnyCase(words) => write!(f, "one of {} (in any case)", words.join(", ")),
            Rule::Topics => f.write_str(
                "an object of topic names (1 to 249 of a-z A-Z 0-9 . _ -, not beginning with '__') and numbers of partitions from 1",
            ),
        }
    }
}

impl Rule {
    /// A value from the text of a variable or flag. Text that is none of the rule's stays text, and is then refused.
    pub(super) fn value_of_text(&self, text: &str) -> Value {
        let as_text = || Value::String(text.to_owned());
        match self {
            Rule::Host | Rule::Path | Rule::Choice(_) | Rule::ChoiceOfAnyCase(_) => as_text(),
            Rule::OptionalPath | Rule::OptionalHost if text == "null" => Value::Null,
            Rule::OptionalPath | Rule::OptionalHost => as_text(),
            Rule::Flag => match text.to_ascii_lowercase().as_str() {
                "true" | "1" => Value::Bool(true),
                "false" | "0" => Value::Bool(false),
                _ => as_text(),
            },
            Rule::Integer { .. } | Rule::Seconds { .. } | Rule::Topics => {
                serde_json::from_str(text).unwrap_or_else(|_| as_text())
            }
        }
    }

    /// The value where the rule allows it, in the one form it has: words of any case in capitals, no path as null.
    pub(super) fn admit(&self, value: &Value) -> Option<Value> {
        let allowed = match (self, value) {
            (Rule::OptionalPath | Rule::OptionalHost, Value::String(text)) if text.is_empty() => {
                return Some(Value::Null);
            }
            (Rule::Path | Rule::OptionalPath, Value::String(text)) => !text.is_empty() && !text.contains('\0'),
            (Rule::Host | Rule::OptionalHost, Value::String(text)) => is_host(text),
            (Rule::OptionalPath | Rule::OptionalHost, Value::Null) | (Rule::Flag, Value::Bool(_)) => true,
            (Rule::Integer { min, max }, Value::Number(number)) => {
                number.as_u64().is_some_and(|n| (*min..=*max).contains(&n))
            }
            (Rule::Seconds { min, max }, Value::Number(number)) => {
                number.as_f64().is_some_and(|n| (*min..=*max).contains(&n))
            }
            (Rule::Choice(words), Value::String(word)) => words.contains(&word.as_str()),
            (Rule::ChoiceOfAnyCase(words), Value::String(word)) => {
                let word = word.to_uppercase();
                return words.contains(&word.as_str()).then_some(Value::String(word));
            }
            (Rule::Topics, Value::Object(topics)) => topics.iter().all(|(name, count)| {
                let legal = TopicName::new(name).is_ok_and(|name| !name.is_internal());
                legal && count.as_u64().is_some_and(|n| n > 0 && u32::try_from(n).is_ok())
            }),
            _ => false,
        };
        allowed.then(|| value.clone())
    }
}

/// Whether a text can name a host; a colon is an IPv6 address's alone.
fn is_host(text: &str) -> bool {
    let is_address = || {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        bare.split('%').next().unwrap_or(bare).parse::<Ipv6Addr>().is_ok()
    };
    let is_strange = |c: char| c.is_whitespace() || c.is_control() || "/\\@?#\"'".contains(c);
    !text.is_empty() && !text.contains(is_strange) && (!text.contains([':', '[', ']']) || is_address())
}

/// A type that a value can be read as, once its rule has admitted it.
pub(super) trait FromValue: Sized {
    /// The value, or `None` where it is of another type than the rule said.
    fn from_value(value: &Value) -> Option<Self>;
}

impl FromValue for String {
    fn from_value(value: &Value) -> Option<String> {
        value.as_str().map(str::to_owned)
    }
}

impl FromValue for PathBuf {
    fn from_value(value: &Value) -> Option<PathBuf> {
        value.as_str().map(PathBuf::from)
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: &Value) -> Option<Option<T>> {
        if value.is_null() {
            return Some(None);
        }
        T::from_value(value).map(Some)
    }
}

impl FromValue for bool {
    fn from_value(value: &Value) -> Option<bool> {
        value.as_bool()
    }
}

impl FromValue for Duration {
    fn from_value(value: &Value) -> Option<Duration> {
        Duration::try_from_secs_f64(value.as_f64()?).ok()
    }
}

macro_rules! integers_from_values {
    ($($integer:ty)*) => {
        $(impl FromValue for $integer {
            fn from_value(value: &Value) -> Option<$integer> {
                value.as_u64()?.try_into().ok()
            }
        })*
    };
}

integers_from_values!(u16 u32 u64 usize);

impl FromValue for BTreeMap<TopicName, u32> {
    fn from_value(value: &Value) -> Option<BTreeMap<TopicName, u32>> {
        let topics = value.as_object()?.iter();
        topics.map(|(name, count)| Some((TopicName::new(name).ok()?, u32::from_value(count)?))).collect()
    }
}

/// When records are fsynced, and so what the default acknowledgement means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncMode {
    /// Before every acknowledgement.
    Always,
    /// Every `storage.sync_interval` seconds.
    Interval,
    /// When the operating system sees fit.
    Os,
}

impl FromValue for SyncMode {
    fn from_value(value: &Value) -> Option<SyncMode> {
        match value.as_str()? {
            "always" => Some(SyncMode::Always),
            "interval" => Some(SyncMode::Interval),
            "os" => Some(SyncMode::Os),
            _ => None,
        }
    }
}

/// The least severe lines that are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// TRACE.
    Trace,
    /// DEBUG.
    Debug,
    /// INFO.
    Info,
    /// WARN or WARNING.
    Warn,
    /// ERROR or CRITICAL.
    Error,
}

impl LogLevel {
    /// The level as a log filter spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            LogLevel::Trace => "trace",
            LogLevel::Debug => "debug",
            LogLevel::Info => "info",
            LogLevel::Warn => "warn",
            LogLevel::Error => "error",
        }
    }
}

impl FromValue for LogLevel {
    fn from_value(value: &Value) -> Option<LogLevel> {
        match value.as_str()? {
            "TRACE" => Some(LogLevel::Trace),
            "DEBUG" => Some(LogLevel::Debug),
            "INFO" => Some(LogLevel::Info),
            "WARN" | "WARNING" => Some(LogLevel::Warn),
            "ERROR" | "CRITICAL" => Some(LogLevel::Error),
            _ => None,
        }
    }
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl FromValue for LogFormat {
    fn from_value(value: &Value) -> Option<LogFormat> {
        match value.as_str()? {
            "text" => Some(LogFormat::Text),
            "json" => Some(LogFormat::Json),
            _ => None,
        }
    }
}
