//! `wiber-client groups delete`.

use std::io::Write;

use clap::Args;
use serde_json::json;

use crate::cli::client::confirm::{agreed, may_ask};
use crate::cli::client::failure::Failure;
use crate::cli::client::{Context, note, output};
use crate::client::ClientError;

/// Forget a group without members, and where it stood
///
/// Asks before it does so; where nobody can be asked, for want of a terminal, it takes --yes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wiber-client groups delete billing
  wiber-client groups delete billing --yes")]
pub(super) struct Delete {
    /// The group
    group: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Delete {
    pub(super) async fn run(self, context: &Context, out: &mut dyn Write) -> Result<(), Failure> {
        let group = &self.group;
        let failed = |source: ClientError| Failure::Request { doing: format!("delete group '{group}'"), source };
        if !self.yes {
            may_ask(&format!("groups delete {group}"), "deletes")?;
        }
        let client = context.connect().await?;
        if !self.yes {
            let positions = client.describe_group(group).await.map_err(failed)?.partitions;
            let kept = positions.iter().filter(|partition| partition.committed.is_some()).count();
            if !agreed(&format!("Delete group '{group}' (positions in {kept} partitions) for good? [y/N] "))? {
                note("Nothing was deleted");
                return Ok(());
            }
        }
        client.delete_group(group).await.map_err(failed)?;
        let json = json!({ "group": group, "deleted": true });
        output::print(out, context.output, &format!("Deleted group '{group}'"), &json)
    }
}
