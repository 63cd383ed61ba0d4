//! `wiber-client groups list`.

use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::client::Context;
use crate::cli::client::failure::Failure;
use crate::cli::client::output::Output;
use crate::cli::client::table::{Align, write_table};

/// List all groups
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wiber-client groups list
  wiber-client groups list --output json | jq -r '.groups[].group'")]
pub(super) struct List {}

impl List {
    pub(super) async fn run(self, context: &Context, out: &mut dyn Write) -> Result<(), Failure> {
        let client = context.connect().await?;
        let groups = client.groups().await;
        let groups = groups.map_err(|source| Failure::Request { doing: "list the groups".to_owned(), source })?;
        let written = match context.output {
            Output::Text => {
                let columns = [
                    ("GROUP", Align::Left),
                    ("KIND", Align::Left),
                    ("STATE", Align::Left),
                    ("MEMBERS", Align::Right),
                    ("GENERATION", Align::Right),
                ];
                let row = |group: &crate::client::GroupSummary| {
                    let (members, generation) = (group.members.to_string(), group.generation.to_string());
                    vec![group.group.clone(), group.kind.clone(), group.state.clone(), members, generation]
                };
                write_table(out, &columns, &groups.iter().map(row).collect::<Vec<_>>())
            }
            Output::Json => {
                let list = groups.iter().map(|group| {
                    json!({
                        "group": group.group,
                        "kind": group.kind,
                        "state": group.state,
                        "members": group.members,
                        "generation": group.generation,
                    })
                });
                writeln!(out, "{}", json!({ "groups": list.collect::<Vec<Value>>() }))
            }
        };
        written.map_err(Failure::Output)
    }
}
