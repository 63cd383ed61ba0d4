//! Why a configuration does not stand. Every message names the place, the key and what it may be.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::positions::Position;

/// Everything that is wrong with a configuration the server will not start with: at least one thing, each a line.
#[derive(Debug)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ConfigError::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for ConfigErrors {}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> ConfigErrors {
        ConfigErrors(vec![error])
    }
}

/// One thing that is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file '{}': {source}; name another with --config or QB_CONFIG_FILE", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is too large to be a configuration.
    #[error("the configuration file '{}' has more than {bytes_max} bytes: is it the right one?", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Bytes at most.
        bytes_max: u64,
    },
    /// The file is not UTF-8, or a variable's value is not.
    #[error("{origin}: not UTF-8 text{hint}")]
    NotUtf8 {
        /// Where.
        origin: Origin,
        /// What it seems to be instead, if that can be told.
        hint: &'static str,
    },
    /// The file is not JSON.
    #[error("{origin}: not JSON: {reason}")]
    NotJson {
        /// Where in the file.
        origin: Origin,
        /// What is wrong there.
        reason: String,
    },
    /// The file, or a section of it, is something else than an object.
    #[error("{origin}: {what} must be a JSON object, {{…}}")]
    NotAnObject {
        /// Where in the file.
        origin: Origin,
        /// `the file`, or which section.
        what: String,
    },
    /// A key that the file has twice.
    #[error("{origin}: {key} stands here a second time, the first is in line {first_line}; it must stand in one place")]
    Twice {
        /// Where the second is.
        origin: Origin,
        /// The section, or `section.name`.
        key: String,
        /// Where the first is.
        first_line: usize,
    },
    /// A section there is none of.
    #[error("{origin}: unknown section '{section}'{}; the sections are {known}", meant(suggestion.as_deref()))]
    UnknownSection {
        /// Where it was named.
        origin: Origin,
        /// Its name.
        section: Box<str>,
        /// What may have been meant.
        suggestion: Option<Box<str>>,
        /// Those there are.
        known: Box<str>,
    },
    /// A key there is none of.
    #[error("{origin}: unknown key '{key}'{}; section '{section}' has {known}", meant(suggestion.as_deref()))]
    UnknownKey {
        /// Where it was named.
        origin: Origin,
        /// `section.name`.
        key: Box<str>,
        /// The section.
        section: Box<str>,
        /// What may have been meant.
        suggestion: Option<Box<str>>,
        /// The names there are in it.
        known: Box<str>,
    },
    /// A `--set` that is no pair.
    #[error("{origin}: '{text}' must be section.key=value, such as server.port=9990")]
    NotAPair {
        /// The flag.
        origin: Origin,
        /// What it was given.
        text: String,
    },
    /// A value of the wrong type or out of range.
    #[error("{origin}: {key} is {value}; it must be {expected}")]
    Value {
        /// Where it was given.
        origin: Origin,
        /// `section.name`.
        key: &'static str,
        /// What it was, as JSON.
        value: String,
        /// What it may be.
        expected: String,
    },
    /// Two values that do not go together.
    #[error("{origin}: {key} is {value}; it must be {expected}, as {other} is {limit} ({other_origin})")]
    Conflict {
        /// Where the first was given.
        origin: Origin,
        /// `section.name` of the first.
        key: &'static str,
        /// Its value.
        value: u64,
        /// `at most …`, or `another port`.
        expected: Box<str>,
        /// `section.name` of the second.
        other: &'static str,
        /// Its value.
        limit: u64,
        /// Where the second was given.
        other_origin: Box<Origin>,
    },
}

fn meant(suggestion: Option<&str>) -> String {
    suggestion.map(|name| format!(" (did you mean '{name}'?)")).unwrap_or_default()
}

/// Which layer a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The built-in defaults.
    Default,
    /// A default that follows from another key's value.
    Follows(&'static str),
    /// The file of this path, and where in it.
    File(PathBuf, Option<Position>),
    /// The environment variable of this name.
    Variable(String),
    /// The flag of this name.
    Flag(&'static str),
}

impl Origin {
    /// Whether somebody gave the value.
    pub(super) fn is_given(&self) -> bool {
        !matches!(self, Origin::Default | Origin::Follows(_))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("built-in default"),
            Origin::Follows(key) => write!(f, "built-in default, from {key}"),
            Origin::File(path, None) => write!(f, "{}", path.display()),
            Origin::File(path, Some(at)) => write!(f, "{}:{}:{}", path.display(), at.line, at.column),
            Origin::Variable(name) => write!(f, "environment variable {name}"),
            Origin::Flag(name) => write!(f, "command line, {name}"),
        }
    }
}
