//! What is printed: text for people, or JSON for programs.

use std::io::Write;

use clap::ValueEnum;
use serde_json::Value;

use super::failure::Failure;

/// In which form a command prints what it has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// Lines and tables
    Text,
    /// JSON: one object per command, or one per line for streams
    Json,
}

/// Prints a command's result: `text`, or `json` on a line of its own.
pub(super) fn print(out: &mut dyn Write, output: Output, text: &str, json: &Value) -> Result<(), Failure> {
    let printed = match output {
        Output::Text => writeln!(out, "{text}"),
        Output::Json => writeln!(out, "{json}"),
    };
    printed.map_err(Failure::Output)
}
