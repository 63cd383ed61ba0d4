//! Why a configuration does not stand. Every message names the place, the key and what it may be.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// A configuration the server will not start with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path:?}: {source}; name another with --config or QB_CONFIG_FILE")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is not JSON.
    #[error("{path:?} is not JSON: {source}")]
    NotJson {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// The file, or a section of it, is something else than an object.
    #[error("{origin}: {what} must be a JSON object")]
    NotAnObject {
        /// The file.
        origin: Origin,
        /// `the file`, or which section.
        what: String,
    },
    /// A section there is none of.
    #[error("{origin}: unknown section '{section}'; the sections are {known}")]
    UnknownSection {
        /// Where it was named.
        origin: Origin,
        /// Its name.
        section: String,
        /// Those there are.
        known: String,
    },
    /// A key there is none of.
    #[error("{origin}: unknown key '{key}'; section '{section}' has {known}")]
    UnknownKey {
        /// Where it was named.
        origin: Origin,
        /// `section.name`.
        key: String,
        /// The section.
        section: String,
        /// The names there are in it.
        known: String,
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
    #[error("{origin}: {key} is {value}; it must be {expected}, as {other} is {limit}")]
    Conflict {
        /// Where the first was given.
        origin: Origin,
        /// `section.name` of the first.
        key: &'static str,
        /// Its value.
        value: u64,
        /// `at least` or `at most`, with the number.
        expected: String,
        /// `section.name` of the second.
        other: &'static str,
        /// Its value.
        limit: u64,
    },
}

/// Which layer a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The built-in defaults.
    Default,
    /// The file of this path.
    File(PathBuf),
    /// The environment variable of this name.
    Variable(String),
    /// A flag.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("built-in default"),
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Variable(name) => write!(f, "environment variable {name}"),
            Origin::Flag => f.write_str("command line"),
        }
    }
}
