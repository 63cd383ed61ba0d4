//! The faults a test can order, and when they strike. Data only: the disk's calls carry them out.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;

/// The kinds of calls, as faults, the stall hook and the count of points tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OpKind {
    /// An open that creates or empties, or the lock of a directory (which creates its file).
    Create,
    /// `create_dir_all`.
    CreateDir,
    /// `read_at`; the one kind that is no point.
    Read,
    /// `remove_file` and `remove_dir_all`.
    Remove,
    /// `rename`; its path is the old name.
    Rename,
    /// `set_len`.
    SetLen,
    /// `allocate`.
    Allocate,
    /// `sync_data`.
    Sync,
    /// `sync_dir`.
    SyncDir,
    /// `write_at`.
    Write,
}

/// A call about to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    /// Its kind.
    pub kind: OpKind,
    /// The file or directory, from the root; of an open file, the name it was opened under.
    pub path: PathBuf,
    /// Where it reads or writes, in bytes; the length it asks for; else 0.
    pub position: u64,
    /// How many bytes it reads or writes; else 0.
    pub bytes: u64,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Calls of this kind fail with this error and do nothing. A failed sync also drops what it was to write: the
    /// bytes stay readable, are not durable, and the next sync succeeds without writing them.
    Fail(OpKind, ErrorKind),
    /// `sync_data` says `Ok` and makes nothing durable. What it was to write stays dirty.
    LyingSync,
    /// `sync_dir` says `Ok` and makes nothing durable. What it was to write stays dirty.
    LyingSyncDir,
    /// `write_at` writes so many bytes, or fewer where it has no more, and then fails with this error.
    TornWrite(u64, ErrorKind),
    /// `read_at` returns its bytes with one bit flipped: `bit` of byte `position` (modulo the count) of those it read.
    ReadFlip {
        /// The byte, counted from the first that was read.
        position: u64,
        /// The bit, modulo 8.
        bit: u32,
    },
    /// `read_at` returns bytes from elsewhere.
    MisdirectedRead {
        /// The file read instead; `None` for the file itself.
        path: Option<PathBuf>,
        /// The position read instead, in bytes.
        position: u64,
    },
}

impl Fault {
    fn op_kind(&self) -> OpKind {
        match self {
            Self::Fail(kind, _) => *kind,
            Self::LyingSync => OpKind::Sync,
            Self::LyingSyncDir => OpKind::SyncDir,
            Self::TornWrite(..) => OpKind::Write,
            Self::ReadFlip { .. } | Self::MisdirectedRead { .. } => OpKind::Read,
        }
    }
}

/// A fault and the calls it strikes; without more said, the next one that it fits.
#[derive(Debug, Clone)]
pub struct Rule {
    fault: Fault,
    path_part: String,
    skips: u64,
    strikes: u64,
}

impl Rule {
    /// The next call that the fault fits.
    #[must_use]
    pub const fn new(fault: Fault) -> Self {
        Self { fault, path_part: String::new(), skips: 0, strikes: 1 }
    }

    /// The next call of this kind fails as an I/O error does.
    #[must_use]
    pub const fn failing(kind: OpKind) -> Self {
        Self::new(Fault::Fail(kind, ErrorKind::Other))
    }

    /// Only calls whose path contains `path_part`.
    #[must_use]
    pub fn on(mut self, path_part: &str) -> Self {
        self.path_part = path_part.to_owned();
        self
    }

    /// From the nth such call on, counted from 1 and from the moment the rule is given to the disk.
    #[must_use]
    pub const fn nth(mut self, nth: u64) -> Self {
        self.skips = nth.saturating_sub(1);
        self
    }

    /// So many calls in a row.
    #[must_use]
    pub const fn times(mut self, times: u64) -> Self {
        self.strikes = times;
        self
    }

    /// Every call from then on.
    #[must_use]
    pub const fn forever(self) -> Self {
        self.times(u64::MAX)
    }
}

/// The fault that strikes a call, if one does; every rule that fits counts the call.
pub(super) fn strike(rules: &mut Vec<Rule>, op: &Op) -> Option<Fault> {
    let path = op.path.to_string_lossy();
    let mut struck = None;
    for rule in rules.iter_mut().filter(|rule| rule.fault.op_kind() == op.kind && path.contains(&rule.path_part)) {
        if rule.skips > 0 {
            rule.skips -= 1;
        } else if struck.is_none() && rule.strikes > 0 {
            rule.strikes = rule.strikes.saturating_sub(1);
            struck = Some(rule.fault.clone());
        }
    }
    rules.retain(|rule| rule.strikes > 0);
    struck
}

/// The error a fault gives.
pub(super) fn fault_error(kind: ErrorKind) -> io::Error {
    io::Error::new(kind, "a fault was ordered here")
}

/// Called before each write and sync, with no lock held, so that a test can hold the call.
#[derive(Clone)]
pub(super) struct Stall(pub(super) Arc<dyn Fn(&Op) + Send + Sync>);

impl fmt::Debug for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stall")
    }
}
