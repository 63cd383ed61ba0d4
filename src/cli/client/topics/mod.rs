//! `wiber-client topics`: what topics there are, and changes to them.

mod alter;
mod create;
mod delete;
mod describe;
mod list;
mod settings;

use std::io::Write;

use clap::{Args, Subcommand};

use super::Context;
use super::failure::Failure;

pub(super) use create::Create;

/// List, describe, create, delete and alter topics
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wiber-client topics list
  wiber-client topics describe orders
  wiber-client topics create orders --partitions 3 --retention 72
  wiber-client topics alter orders --retention default --partitions 6
  wiber-client topics delete orders")]
pub(super) struct Topics {
    #[command(subcommand)]
    command: TopicsCommand,
}

#[derive(Debug, Subcommand)]
enum TopicsCommand {
    List(list::List),
    Describe(describe::Describe),
    Create(create::Create),
    Delete(delete::Delete),
    Alter(alter::Alter),
}

impl Topics {
    pub(super) async fn run(self, context: &Context, out: &mut dyn Write) -> Result<(), Failure> {
        match self.command {
            TopicsCommand::List(command) => command.run(context, out).await,
            TopicsCommand::Describe(command) => command.run(context, out).await,
            TopicsCommand::Create(command) => command.run(context, out).await,
            TopicsCommand::Delete(command) => command.run(context, out).await,
            TopicsCommand::Alter(command) => command.run(context, out).await,
        }
    }
}
