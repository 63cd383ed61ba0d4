//! The server's own log: lines of text or JSON, on standard error or appended to a file that can be opened anew.

use std::fs::{File, OpenOptions, create_dir_all};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use super::config::{LogFormat, LoggingConfig};

/// The file that the log goes to, if it goes to one.
#[derive(Debug, Clone, Default)]
pub struct LogFile(Option<(PathBuf, Arc<Mutex<File>>)>);

impl LogFile {
    /// Opens the file of this name anew, after somebody moved the old one away. Where that fails the log goes on in
    /// the file it went to. Whether there is a file at all.
    ///
    /// # Errors
    /// Whatever the file system reports.
    pub fn reopen(&self) -> io::Result<bool> {
        let Some((path, file)) = &self.0 else {
            return Ok(false);
        };
        let fresh = append_to(path)?;
        *file.lock() = fresh;
        Ok(true)
    }
}

/// Appends to whichever file is open at the moment.
struct Appender(Arc<Mutex<File>>);

impl Write for Appender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.lock().write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.lock().flush()
    }
}

/// Sends everything that is logged from now on where the configuration says.
///
/// # Errors
/// Where the log file, or the directory it is to be in, cannot be made.
pub fn init_logging(config: &LoggingConfig) -> io::Result<LogFile> {
    let (writer, log_file) = match &config.file {
        Some(path) => {
            let file = Arc::new(Mutex::new(append_to(path)?));
            let shared = Arc::clone(&file);
            let writer = BoxMakeWriter::new(move || Appender(Arc::clone(&shared)));
            (writer, LogFile(Some((path.clone(), file))))
        }
        None => (BoxMakeWriter::new(io::stderr), LogFile::default()),
    };
    let filter = EnvFilter::new(config.level.as_str().to_ascii_lowercase());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(false);
    // A second initialisation in one process keeps the first: tests run several servers.
    let _first = match config.format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    Ok(log_file)
}

fn append_to(path: &Path) -> io::Result<File> {
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        create_dir_all(dir)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_moved_away_is_opened_anew() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("deep/down/log");
        let file = Arc::new(Mutex::new(append_to(&path).expect("made")));
        let mut appender = Appender(Arc::clone(&file));
        let log_file = LogFile(Some((path.clone(), file)));
        appender.write_all(b"one\n").expect("written");
        let moved = dir.path().join("moved");
        std::fs::rename(&path, &moved).expect("moved");
        appender.write_all(b"two\n").expect("written");
        assert!(log_file.reopen().expect("opened"));
        appender.write_all(b"three\n").expect("written");
        assert_eq!(std::fs::read(&moved).expect("read"), b"one\ntwo\n");
        assert_eq!(std::fs::read(&path).expect("read"), b"three\n");
        assert!(!LogFile::default().reopen().expect("nothing to open"));
    }
}
