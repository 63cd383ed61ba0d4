//! `wiber-client groups`: what consumer groups there are, how they do, and changes to where they stand.

mod delete;
mod describe;
mod list;
mod reset;
mod target;

use std::io::Write;

use clap::{Args, Subcommand};

use super::Context;
use super::failure::Failure;

pub(super) use describe::list;

/// List, describe, reset and delete consumer groups
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wiber-client groups list
  wiber-client groups describe billing
  wiber-client groups reset-offsets billing --topic orders --to start
  wiber-client groups delete billing")]
pub(super) struct Groups {
    #[command(subcommand)]
    command: GroupsCommand,
}

#[derive(Debug, Subcommand)]
enum GroupsCommand {
    List(list::List),
    Describe(describe::Describe),
    ResetOffsets(reset::Reset),
    Delete(delete::Delete),
}

impl Groups {
    pub(super) async fn run(self, context: &Context, out: &mut dyn Write) -> Result<(), Failure> {
        match self.command {
            GroupsCommand::List(command) => command.run(context, out).await,
            GroupsCommand::Describe(command) => command.run(context, out).await,
            GroupsCommand::ResetOffsets(command) => command.run(context, out).await,
            GroupsCommand::Delete(command) => command.run(context, out).await,
        }
    }
}
