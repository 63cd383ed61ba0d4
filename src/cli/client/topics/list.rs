//! `wiber-client topics list`.

use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::client::Context;
use crate::cli::client::failure::Failure;
use crate::cli::client::output::Output;
use crate::cli::client::table::{Align, write_table};

/// List all topics
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wiber-client topics list
  wiber-client topics list --output json | jq -r '.topics[].topic'")]
pub(super) struct List {}

impl List {
    pub(super) async fn run(self, context: &Context, out: &mut dyn Write) -> Result<(), Failure> {
        let client = context.connect().await?;
        let topics = client.topics().await;
        let topics = topics.map_err(|source| Failure::Request { doing: "list the topics".to_owned(), source })?;
        let written = match context.output {
            Output::Text => {
                let columns = [("TOPIC", Align::Left), ("PARTITIONS", Align::Right)];
                let rows: Vec<_> = topics.iter().map(|t| vec![t.topic.clone(), t.partitions.to_string()]).collect();
                write_table(out, &columns, &rows)
            }
            Output::Json => {
                let list = topics
                    .iter()
                    .map(|t| json!({ "topic": t.topic, "topic_id": t.topic_id, "partitions": t.partitions }));
                writeln!(out, "{}", json!({ "topics": list.collect::<Vec<Value>>() }))
            }
        };
        written.map_err(Failure::Output)
    }
}
