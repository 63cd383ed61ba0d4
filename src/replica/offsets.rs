//! The five offsets of a partition, each moved by one setter that asserts their order.

use crate::types::Offset;

/// Log start ≤ high watermark ≤ stable ≤ written ≤ log end, and durable ≤ written. Stable is durable where consumers see
/// only what is durable, and written where they see what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offsets {
    log_start: Offset,
    high_watermark: Offset,
    durable: Offset,
    written: Offset,
    log_end: Offset,
    commits_written: bool,
}

impl Offsets {
    /// The offsets of a log just opened, all of it durable. `commits_written` says what stable means.
    ///
    /// # Panics
    /// Where the log start lies beyond the end.
    #[must_use]
    pub fn new(log_start: Offset, log_end: Offset, commits_written: bool) -> Offsets {
        let offsets = Offsets {
            log_start,
            high_watermark: log_end,
            durable: log_end,
            written: log_end,
            log_end,
            commits_written,
        };
        offsets.check();
        offsets
    }

    /// The oldest offset kept.
    #[must_use]
    pub fn log_start(&self) -> Offset {
        self.log_start
    }

    /// The end of what consumers may see.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// The end of what is fsynced.
    #[must_use]
    pub fn durable(&self) -> Offset {
        self.durable
    }

    /// The end of what the operating system has.
    #[must_use]
    pub fn written(&self) -> Offset {
        self.written
    }

    /// The offset the next record gets.
    #[must_use]
    pub fn log_end(&self) -> Offset {
        self.log_end
    }

    /// The end of what may be committed.
    #[must_use]
    pub fn stable(&self) -> Offset {
        if self.commits_written { self.written } else { self.durable }
    }

    /// Says anew what stable means. What is committed already stays committed: while some of it is not durable, stable
    /// goes on meaning written.
    pub(crate) fn set_commits_written(&mut self, commits_written: bool) {
        self.commits_written = commits_written || self.high_watermark > self.durable;
        self.check();
    }

    pub(crate) fn set_log_start(&mut self, log_start: Offset) {
        assert!(log_start >= self.log_start, "the log start went back from {} to {log_start}", self.log_start);
        self.log_start = log_start;
        self.check();
    }

    pub(crate) fn set_high_watermark(&mut self, offset: Offset) {
        assert!(offset >= self.high_watermark, "the high watermark went back from {} to {offset}", self.high_watermark);
        self.high_watermark = offset;
        self.check();
    }

    pub(crate) fn set_durable(&mut self, durable: Offset) {
        assert!(durable >= self.durable, "durable went back from {} to {durable}", self.durable);
        self.durable = durable;
        self.check();
    }

    pub(crate) fn set_written(&mut self, written: Offset) {
        assert!(written >= self.written, "written went back from {} to {written}", self.written);
        self.written = written;
        self.check();
    }

    pub(crate) fn set_log_end(&mut self, log_end: Offset) {
        assert!(log_end >= self.log_end, "the log end went back from {} to {log_end}", self.log_end);
        self.log_end = log_end;
        self.check();
    }

    /// Takes back an uncommitted suffix.
    pub(crate) fn truncate_to(&mut self, end: Offset) {
        self.log_end = self.log_end.min(end);
        self.written = self.written.min(end);
        self.durable = self.durable.min(end);
        self.check();
    }

    fn check(&self) {
        let in_order = self.log_start <= self.high_watermark
            && self.high_watermark <= self.stable()
            && self.durable <= self.written
            && self.written <= self.log_end;
        assert!(in_order, "offsets out of order: {self:?}");
    }
}
