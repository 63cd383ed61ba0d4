//! Why a command failed: its cause, what to do next, and the process's exit code.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::note;
use super::output::Output;
use super::text::records;
use crate::client::{ClientError, ClientOptions};
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
    /// `number` counts lines from 1.
    #[error("line {number} was not acknowledged by topic '{topic}': {source}")]
    Line { topic: String, number: u64, source: ClientError },
    #[error("line {number}: {fault}")]
    BadLine { number: u64, fault: String },
    #[error("ended before topic '{topic}' had acknowledged {}", records(*missing))]
    Interrupted { topic: String, missing: u64 },
    #[error("cannot read {path:?}: {source}")]
    Input { path: PathBuf, source: io::Error },
    /// A run that gave no result, or one that is not right.
    #[error("bench: {0}")]
    Bench(String),
    #[error("cannot write {path:?}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
    /// At a prompt: what was under way.
    #[error("broken off")]
    Broken,
    #[error("cannot use the terminal: {0}")]
    Terminal(String),
    #[error("cannot wait for signals: {0}")]
    Signal(io::Error),
    #[error("cannot start: {0}")]
    Runtime(io::Error),
}

impl Failure {
    /// Why there is no connection.
    pub(super) fn of_connecting(options: &ClientOptions, source: ClientError) -> Failure {
        if let ClientError::Unreachable { .. } = source {
            return Failure::Unreachable(source);
        }
        Failure::NoBroker { address: format!("{}:{}", options.host, options.port), source }
    }

    /// Why a task that connects by itself failed.
    pub(super) fn of_starting(options: &ClientOptions, doing: String, source: ClientError) -> Failure {
        if source.code().is_none() && source.is_retriable() {
            return Failure::of_connecting(options, source);
        }
        Failure::Request { doing, source }
    }

    /// Says it on standard error.
    pub(super) fn report(&self, output: Output) -> ExitCode {
        match output {
            Output::Text => {
                note(format_args!("wiber-client: {self}"));
                if let Some(hint) = self.hint() {
                    note(format_args!("  {hint}"));
                }
            }
            Output::Json => {
                let code = self.refusal().map(ErrorCode::as_str);
                let error = self.to_string();
                note(json!({ "error": error, "code": code, "hint": self.hint(), "exit_code": self.exit_code() }));
            }
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
            Failure::Request { source, .. } | Failure::Line { source, .. } => hint_of(source),
            Failure::BadLine { .. } => Some("The lines before it were published, this one and what follows were not."),
            Failure::Interrupted { .. } => Some("Those records may be stored or not: read the topic's end to see."),
            Failure::Input { .. } => Some("Name a file that can be read, or '-' for standard input."),
            Failure::File { .. } => Some("Name a file that can be written."),
            Failure::Broken
            | Failure::Terminal(_)
            | Failure::Bench(_)
            | Failure::Output(_)
            | Failure::Signal(_)
            | Failure::Runtime(_) => None,
        }
    }

    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Failure::Usage(_) => USAGE,
            Failure::Unreachable(_) | Failure::NoBroker { .. } => 3,
            Failure::Request { source, .. } | Failure::Line { source, .. } => match refusal_of(source) {
                Some(ErrorCode::UnknownTopic | ErrorCode::UnknownPartition | ErrorCode::UnknownGroup) => 4,
                _ => 1,
            },
            Failure::BadLine { .. }
            | Failure::Interrupted { .. }
            | Failure::Input { .. }
            | Failure::Bench(_)
            | Failure::File { .. }
            | Failure::Broken
            | Failure::Terminal(_)
            | Failure::Output(_)
            | Failure::Signal(_)
            | Failure::Runtime(_) => 1,
        }
    }

    /// The code the broker refused with, if that is what happened.
    fn refusal(&self) -> Option<ErrorCode> {
        match self {
            Failure::Unreachable(source)
            | Failure::NoBroker { source, .. }
            | Failure::Request { source, .. }
            | Failure::Line { source, .. } => refusal_of(source),
            Failure::Usage(_)
            | Failure::BadLine { .. }
            | Failure::Interrupted { .. }
            | Failure::Input { .. }
            | Failure::Bench(_)
            | Failure::File { .. }
            | Failure::Broken
            | Failure::Terminal(_)
            | Failure::Output(_)
            | Failure::Signal(_)
            | Failure::Runtime(_) => None,
        }
    }
}

/// The code of a refusal, also of the last one of many tries.
fn refusal_of(error: &ClientError) -> Option<ErrorCode> {
    if let ClientError::Undelivered { last: Some(last), .. } = error {
        return refusal_of(last);
    }
    error.code()
}

fn hint_of(error: &ClientError) -> Option<&'static str> {
    if let ClientError::Closed { .. } = error {
        return Some("The broker's log says why it went; run the command again once it is back.");
    }
    if let ClientError::TimedOut { .. } = error {
        return Some("Is the broker overloaded or its disk slow? Its log says more.");
    }
    if let ClientError::TooLarge { .. } = error {
        return Some(LIMIT_HINT);
    }
    let code = refusal_of(error)?;
    if code.is_retriable() {
        return Some("This passes: run the command again later.");
    }
    if code == ErrorCode::UnknownTopic {
        return Some(
            "Create it with 'wiber-client create-topic', or see what there is with 'wiber-client topics list'.",
        );
    }
    if code == ErrorCode::UnknownPartition {
        return Some("Partitions count from 0; 'wiber-client topics describe' shows them.");
    }
    if code == ErrorCode::TopicExists {
        return Some("Name the number of partitions it has, or another topic; 'wiber-client topics alter' adds some.");
    }
    if code == ErrorCode::UnknownGroup {
        return Some("'wiber-client groups list' shows what groups there are.");
    }
    if code == ErrorCode::GroupNotEmpty {
        return Some("Stop its members first; 'wiber-client groups describe' shows them.");
    }
    if code == ErrorCode::GroupKind {
        return Some("Its members share in another way; name another group.");
    }
    if code == ErrorCode::MessageTooLarge {
        return Some(LIMIT_HINT);
    }
    None
}

const LIMIT_HINT: &str =
    "The limit is the broker's topics.max_message_size, or the topic's own: 'wiber-client topics alter' changes that.";
