//! A bar on standard error while long reads last.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::inspect::Progress;

/// Shows how many bytes were read; draws nothing where standard error is no terminal.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new(is_shown: bool) -> Bar {
        let target = if is_shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {msg}");
        Bar(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
    }

    pub(super) fn clear(&self) {
        self.0.finish_and_clear();
    }
}

impl Progress for Bar {
    fn begin(&mut self, bytes_total: u64) {
        self.0.set_length(bytes_total);
    }

    fn partition(&mut self, name: &str) {
        self.0.set_message(name.to_owned());
    }

    fn advance(&mut self, bytes: u64) {
        self.0.inc(bytes);
    }
}
