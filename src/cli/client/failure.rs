//! Why a command failed: its cause, what to do next, and the process's exit code.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use super::note;
use crate::client::ClientError;
use crate::protocol::native::ErrorCode;

/// The exit code of wrong usage.
pub(super) const USAGE: u8 = 2;

/// A command's failure.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Unreachable(ClientError),
    #[error("no broker answers at {address}: {source}")]
    NoBroker { address: String, source: ClientError },
    #[error("cannot {doing}: {source}")]
    Request { doing: String, source: ClientError },
    #[error("record {number} for topic '{topic}' was not acknowledged, the {stored} before it were: {source}")]
    Record { topic: String, number: u64, stored: u64, source: ClientError },
    #[error("cannot read {path:?}: {source}")]
    Input { path: PathBuf, source: io::Error },
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
    #[error("cannot wait for signals: {0}")]
    Signal(io::Error),
    #[error("cannot start: {0}")]
    Runtime(io::Error),
}

impl Failure {
    /// Says it on standard error.
    pub(super) fn report(&self) -> ExitCode {
        note(format_args!("wiber-client: {self}"));
        if let Some(hint) = self.hint() {
            note(format_args!("  {hint}"));
        }
        ExitCode::from(self.exit_code())
    }

    /// What the user can do about it.
    pub(super) fn hint(&self) -> Option<&'static str> {
        match self {
            Failure::Usage(_) => Some("'wiber-client --help' and 'wiber-client COMMAND --help' say more."),
            Failure::Unreachable(_) => {
                Some("Is it running? Start it with 'wiber-server', or name another with --host and --port.")
            }
            Failure::NoBroker { .. } => Some("Is that its native port (9999 by default)? Its log may say more."),
            Failure::Request { source, .. } | Failure::Record { source, .. } => hint_of(source),
            Failure::Input { .. } => Some("Name a file that can be read, or '-' for standard input."),
            Failure::Output(_) | Failure::Signal(_) | Failure::Runtime(_) => None,
        }
    }

    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Failure::Usage(_) => USAGE,
            Failure::Unreachable(_) | Failure::NoBroker { .. } => 3,
            Failure::Request { source, .. } | Failure::Record { source, .. } => match source.code() {
                Some(ErrorCode::UnknownTopic | ErrorCode::UnknownPartition) => 4,
                _ => 1,
            },
            Failure::Input { .. } | Failure::Output(_) | Failure::Signal(_) | Failure::Runtime(_) => 1,
        }
    }
}

fn hint_of(error: &ClientError) -> Option<&'static str> {
    if let ClientError::Closed { .. } = error {
        return Some("The broker's log says why it went; run the command again once it is back.");
    }
    if let ClientError::TimedOut { .. } = error {
        return Some("Is the broker overloaded or its disk slow? Its log says more.");
    }
    let code = error.code()?;
    if code.is_retriable() {
        return Some("This passes: run the command again later.");
    }
    if code == ErrorCode::UnknownTopic {
        return Some("Create it with 'wiber-client create-topic', or check the spelling.");
    }
    if code == ErrorCode::UnknownPartition {
        return Some("Partitions count from 0.");
    }
    if code == ErrorCode::TopicExists {
        return Some("Name the number of partitions it has, or another topic.");
    }
    if code == ErrorCode::MessageTooLarge {
        return Some("The broker's limit is topics.max_message_size.");
    }
    None
}
