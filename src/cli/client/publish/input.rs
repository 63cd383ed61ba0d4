//! What lines are read from, and how far that has got.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Size of a file from which on a progress bar is worth while.
const PROGRESS_BYTES_MIN: u64 = 1 << 20;

/// An open input.
pub(super) struct Input {
    pub(super) reader: Box<dyn Read + Send>,
    /// Drawn on standard error where that is a terminal and the input is long or of unknown length.
    pub(super) progress: ProgressBar,
}

/// Opens a file, or standard input for `-`.
pub(super) fn open(path: &Path) -> io::Result<Input> {
    if path == Path::new("-") {
        // Somebody who types needs no bar between the lines.
        let progress = if io::stdin().is_terminal() { ProgressBar::hidden() } else { progress(None) };
        return Ok(Input { reader: Box::new(io::stdin()), progress });
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let bytes = metadata.is_file().then_some(metadata.len());
    Ok(Input { reader: Box::new(file), progress: progress(bytes) })
}

fn progress(bytes: Option<u64>) -> ProgressBar {
    let is_short = bytes.is_some_and(|bytes| bytes < PROGRESS_BYTES_MIN);
    if is_short || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = match bytes {
        Some(_) => "{wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}",
        None => "{spinner} {binary_bytes} {binary_bytes_per_sec}",
    };
    let bar = ProgressBar::with_draw_target(bytes, ProgressDrawTarget::stderr());
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
