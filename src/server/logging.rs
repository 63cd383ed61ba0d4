//! The server's own log: lines of text or JSON, on standard error or appended to a file.

use std::fs::OpenOptions;
use std::io;
use std::sync::Mutex;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use super::config::{LogFormat, LoggingConfig};

/// Sends everything that is logged from now on where the configuration says.
///
/// # Errors
/// Where the log file cannot be opened.
pub fn init_logging(config: &LoggingConfig) -> io::Result<()> {
    let writer = match &config.file {
        Some(path) => BoxMakeWriter::new(Mutex::new(OpenOptions::new().create(true).append(true).open(path)?)),
        None => BoxMakeWriter::new(io::stderr),
    };
    let filter = EnvFilter::new(config.level.as_str().to_ascii_lowercase());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(false);
    // A second initialisation in one process keeps the first: tests run several servers.
    let _first = match config.format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    Ok(())
}
