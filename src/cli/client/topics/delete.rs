//! `wiber-client topics delete`.

use std::io::{self, BufRead, IsTerminal, Write};

use clap::Args;
use serde_json::json;

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
        if !self.yes && !io::stdin().is_terminal() {
            let text = format!("topics delete {topic}: there is no terminal to ask at; --yes deletes without asking");
            return Err(Failure::Usage(text));
        }
        let client = context.connect().await?;
        if !self.yes {
            let partitions = client.describe_topic(topic).await.map_err(failed)?.partitions;
            let bytes: u64 = partitions.iter().filter_map(|partition| partition.bytes).sum();
            let asked =
                format!("Delete topic '{topic}' ({} partitions, {bytes} bytes) for good? [y/N] ", partitions.len());
            if !agreed(&asked, &mut io::stdin().lock())? {
                note("Nothing was deleted");
                return Ok(());
            }
        }
        client.delete_topic(topic).await.map_err(failed)?;
        let json = json!({ "topic": topic, "deleted": true });
        output::print(out, context.output, &format!("Deleted topic '{topic}'"), &json)
    }
}

/// Asks on standard error; anything but a yes is a no.
fn agreed(question: &str, input: &mut impl BufRead) -> Result<bool, Failure> {
    let mut asked = io::stderr().lock();
    drop(asked.write_all(question.as_bytes()).and_then(|()| asked.flush()));
    let mut answer = String::new();
    let read = input.read_line(&mut answer);
    read.map_err(|source| Failure::Input { path: "-".into(), source })?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        for (answer, expected) in
            [("y\n", true), (" YES \n", true), ("yes", true), ("", false), ("n\n", false), ("yet\n", false)]
        {
            assert_eq!(agreed("?", &mut answer.as_bytes()).expect("read"), expected, "{answer:?}");
        }
    }
}
