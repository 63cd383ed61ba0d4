//! `wiber-server verify`, `dump` and `repair`: arguments in, words and exit codes out. What they do is in `inspect`.
//!
//! Exit codes: 0 all whole, or done; 1 damage found, or a failure; 2 wrong usage; 4 no such directory or partition.

mod dump;
mod output;
mod progress;
mod repair;
#[cfg(test)]
mod tests;
mod text;
mod verify;

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;

pub use self::dump::DumpArgs;
pub use self::output::OutputFormat;
pub use self::repair::RepairArgs;
pub use self::verify::VerifyArgs;
use crate::disk::{Disk, RealDisk};
use crate::inspect::{InspectError, Inspected, LockState};

/// The offline tools of `wiber-server`.
#[derive(Debug, Subcommand)]
pub enum ServerTool {
    /// Check a data directory: every file, every batch, every record. Changes nothing.
    Verify(VerifyArgs),
    /// Print what a data directory holds: segments, index slots, batches, records.
    Dump(DumpArgs),
    /// Mend damaged partitions: keep what is whole, put the rest aside, delete nothing.
    Repair(RepairArgs),
}

/// Runs a tool on the real disk, printing to standard output and standard error.
#[must_use]
pub fn run(tool: &ServerTool) -> ExitCode {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let terminal =
        Terminal { stderr_is_terminal: io::stderr().is_terminal(), stdin_is_terminal: io::stdin().is_terminal() };
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut err = io::stderr().lock();
    let exit = run_on(tool, &disk, terminal, &mut out, &mut err);
    let flushed = out.flush();
    match exit.and_then(|exit| flushed.map(|()| exit).map_err(ToolError::from)) {
        Ok(exit) => exit.into(),
        // Whoever read our output has enough of it.
        Err(ToolError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let _unreadable = writeln!(err, "error: {error}");
            error.exit().into()
        }
    }
}

/// What the tools may do with the terminal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal {
    pub(crate) stderr_is_terminal: bool,
    pub(crate) stdin_is_terminal: bool,
}

/// How a tool ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Whole,
    Damaged,
    Usage,
    NotFound,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(match exit {
            Exit::Whole => 0,
            Exit::Damaged => 1,
            Exit::Usage => 2,
            Exit::NotFound => 4,
        })
    }
}

/// Why a tool stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolError {
    #[error(transparent)]
    Inspect(#[from] InspectError),
    #[error("cannot print: {0}")]
    Output(#[from] io::Error),
    #[error("cannot print as JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("{0}")]
    Usage(&'static str),
}

impl ToolError {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            ToolError::Inspect(error) if error.is_not_found() => Exit::NotFound,
            ToolError::Usage(_) => Exit::Usage,
            ToolError::Inspect(_) | ToolError::Output(_) | ToolError::Json(_) => Exit::Damaged,
        }
    }
}

pub(crate) fn run_on(
    tool: &ServerTool,
    disk: &Arc<dyn Disk>,
    terminal: Terminal,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<Exit, ToolError> {
    match tool {
        ServerTool::Verify(args) => verify::run(args, disk, terminal, out, err),
        ServerTool::Dump(args) => dump::run(args, disk, out, err),
        ServerTool::Repair(args) => repair::run(args, disk, terminal, out, err),
    }
}

/// Says on standard error that a server is at work, for what it is writing looks torn.
fn warn_if_locked(lock: LockState, dir: &Path, err: &mut dyn Write) -> Result<(), ToolError> {
    let dir = dir.display();
    match lock {
        LockState::Free => {}
        LockState::Held => writeln!(
            err,
            "warning: a wiber-server is using {dir}: what it writes meanwhile may look torn or damaged; stop it for a \
             verdict that counts"
        )?,
        LockState::Unknown => writeln!(err, "warning: it cannot be told whether a wiber-server is using {dir}")?,
    }
    Ok(())
}

fn open(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Inspected, ToolError> {
    Ok(Inspected::open(Arc::clone(disk), dir)?)
}
