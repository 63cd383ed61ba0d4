//! The server's configuration: the built-in defaults, then a JSON file, then the environment, then flags.
//!
//! One table (`keys`) drives the structs, the reading, the errors and the test that compares `docs/configuration.md`
//! with it. The `config` crate is not used: its errors know neither a key's range nor which of the layers a value came
//! from, it lets unknown keys pass, and it would guess types from the text of environment variables.
//!
//! [`load()`] is pure: file bytes and variables are handed in. [`ConfigFile::read`] is the only function here that
//! touches the outside.

mod error;
mod file;
mod keys;
mod load;
mod positions;
mod print;
mod rule;
mod suggest;
mod together;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub use error::{ConfigError, ConfigErrors, Origin};
pub use keys::{
    ClientConfig, Config, HttpConfig, KafkaConfig, LinesConfig, LoggingConfig, ServerConfig, StorageConfig,
    TopicsConfig,
};
pub use load::{Loaded, Overrides, load};
pub use positions::Position;
pub use rule::{LogFormat, LogLevel, SyncMode};

/// Where the file is looked for when nobody says otherwise.
pub const DEFAULT_PATH: &str = "config/broker.json";

/// The variable that names another file.
pub const FILE_VARIABLE: &str = "QB_CONFIG_FILE";

/// Bytes of a configuration file at most.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Which file is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFile {
    /// Its path.
    pub path: PathBuf,
    /// Whether somebody named it: then it must exist.
    pub named: bool,
}

impl ConfigFile {
    /// The file a flag names, else [`FILE_VARIABLE`], else the one at [`DEFAULT_PATH`].
    #[must_use]
    pub fn locate(flag: Option<&Path>, variable: Option<&Path>) -> ConfigFile {
        let named = flag.or(variable);
        ConfigFile { path: named.unwrap_or(Path::new(DEFAULT_PATH)).to_owned(), named: named.is_some() }
    }

    /// The file's bytes; `None` where there is no file and nobody named it.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`] for a named file that is missing and for any file that cannot be read,
    /// [`ConfigError::TooLarge`] for one that is no configuration.
    pub fn read(&self) -> Result<Option<Vec<u8>>, ConfigError> {
        let path = self.path.clone();
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) if bytes.len() as u64 > FILE_BYTES_MAX => {
                Err(ConfigError::TooLarge { path, bytes_max: FILE_BYTES_MAX })
            }
            Ok(_) => Ok(Some(bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound && !self.named => Ok(None),
            Err(source) => Err(ConfigError::Unreadable { path, source }),
        }
    }
}

#[cfg(test)]
mod tests;
