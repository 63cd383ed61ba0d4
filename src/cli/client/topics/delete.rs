//! `wiber-client topics delete`.

use std::io::Write;

use clap::Args;
use serde_json::json;

use crate::cli::client::confirm::{agreed, may_ask};
use crate::cli::client::failure::Failure;
use crate::cli::client::{Context, note, output};
use crate::client::ClientError;

/// Delete a topic with everything in it
///
/// Asks before it does so; where nobody can be asked, for want of a terminal, it takes --yes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wiber-client topics delete orders
  wiber-client topics delete orders --yes")]
pub(super) struct Delete {
    /// The topic
    topic: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Delete {
    pub(super) async fn run(self, context: &Context, out: &mut dyn Write) -> Result<(), Failure> {
        let topic = &self.topic;
        let failed = |source: ClientError| Failure::Request { doing: format!("delete topic '{topic}'"), source };
        if !self.yes {
            may_ask(&format!("topics delete {topic}"), "deletes")?;
        }
        let client = context.connect().await?;
        if !self.yes {
            let partitions = client.describe_topic(topic).await.map_err(failed)?.partitions;
            let bytes: u64 = partitions.iter().filter_map(|partition| partition.bytes).sum();
            let asked =
                format!("Delete topic '{topic}' ({} partitions, {bytes} bytes) for good? [y/N] ", partitions.len());
            if !agreed(&asked)? {
                note("Nothing was deleted");
                return Ok(());
            }
        }
        client.delete_topic(topic).await.map_err(failed)?;
        let json = json!({ "topic": topic, "deleted": true });
        output::print(out, context.output, &format!("Deleted topic '{topic}'"), &json)
    }
}
