//! How far a run has got, on standard error where that is a terminal.

use std::io::{self, IsTerminal};
use std::sync::atomic::Ordering;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::shared::Shared;

/// A bar for those who publish and one for those who read.
pub(super) struct Progress {
    bars: Option<(ProgressBar, ProgressBar)>,
}

/// A bar that is wanted: its name and, where that is known, how many messages it is about.
pub(super) type Wanted = Option<(&'static str, Option<u64>)>;

impl Progress {
    pub(super) fn new(publishing: Wanted, reading: Wanted) -> Progress {
        if !io::stderr().is_terminal() {
            return Progress { bars: None };
        }
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let bar = |wanted: Wanted| match wanted {
            Some((name, messages)) => all.add(bar(name, messages)),
            None => ProgressBar::hidden(),
        };
        Progress { bars: Some((bar(publishing), bar(reading))) }
    }

    /// Shows how far it is now.
    pub(super) fn show(&self, shared: &Shared) {
        if let Some((publishing, reading)) = &self.bars {
            publishing.set_position(shared.acknowledged.load(Ordering::Relaxed));
            reading.set_position(shared.read.load(Ordering::Relaxed));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((publishing, reading)) = &self.bars {
            publishing.finish_and_clear();
            reading.finish_and_clear();
        }
    }
}

fn bar(name: &'static str, messages: Option<u64>) -> ProgressBar {
    let template = match messages {
        Some(_) => "{prefix:>10} {wide_bar} {human_pos}/{human_len} {per_sec} {eta}",
        None => "{prefix:>10} {spinner} {human_pos} {per_sec} {elapsed}",
    };
    let bar = ProgressBar::with_draw_target(messages, ProgressDrawTarget::hidden()).with_prefix(name);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
