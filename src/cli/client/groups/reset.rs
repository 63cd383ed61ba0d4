//! `wiber-client groups reset-offsets`: has a group read on from elsewhere.

use std::io::{self, Write};

use clap::Args;
use serde_json::{Value, json};

use super::target::Target;
use crate::cli::client::confirm::{agreed, may_ask};
use crate::cli::client::failure::Failure;
use crate::cli::client::output::Output;
use crate::cli::client::table::{Align, write_table};
use crate::cli::client::{Context, note, time};
use crate::client::{
    Client, ClientError, ErrorCode, Offset, OffsetsQuery, PartitionIndex, PartitionOffsets, TopicName, TopicPartition,
};

/// Have a group read on from elsewhere
///
/// Shows where the group stands and where it would, asks, and then moves its positions. Takes a group without members:
/// stop them first. Positions stay within what the log holds. Where nobody can be asked, for want of a terminal, it takes
/// --yes.
#[derive(Debug, Args)]
#[command(after_help = "\
Where to (--to):
  start                  the oldest record kept
  end                    behind the last record
  17                     this offset
  -N, +N                 so many records back or on
  2026-05-01T12:00:00Z   the first record of that time or later: RFC 3339, or YYYY-MM-DD [HH:MM[:SS]] in UTC
  -15m                   the first record of the last 15 minutes (units s, m, h, d)

Examples:
  wiber-client groups reset-offsets billing --topic orders --to start
  wiber-client groups reset-offsets billing --topic orders --partition 2 --to 17 --yes
  wiber-client groups reset-offsets billing --topic orders --to -100 --dry-run")]
pub(super) struct Reset {
    /// The group
    group: String,
    /// The topic
    #[arg(long, value_name = "T")]
    topic: String,
    /// This partition alone
    #[arg(long, value_name = "N")]
    partition: Option<u32>,
    /// Where to: see below
    #[arg(long, value_name = "WHERE", allow_hyphen_values = true)]
    to: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Show what would change, and change nothing
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
}

/// A position before and after.
struct Change {
    partition: PartitionIndex,
    offsets: PartitionOffsets,
    new: Offset,
}

impl Change {
    /// Records from an offset to the end.
    fn lag(&self, from: Offset) -> u64 {
        self.offsets.high_watermark.get().saturating_sub(from.get())
    }

    fn lag_before(&self) -> u64 {
        self.lag(self.offsets.committed.unwrap_or(self.offsets.log_start).max(self.offsets.log_start))
    }

    fn lag_after(&self) -> u64 {
        self.lag(self.new)
    }
}

impl Reset {
    pub(super) async fn run(self, context: &Context, out: &mut dyn Write) -> Result<(), Failure> {
        let group = &self.group;
        let target = Target::parse(&self.to, time::now()).map_err(Failure::Usage)?;
        let topic = TopicName::new(&self.topic).map_err(|error| Failure::Usage(format!("--topic: {error}")))?;
        if !self.yes && !self.dry_run {
            may_ask(&format!("groups reset-offsets {group}"), "resets")?;
        }
        let failed = |source: ClientError| Failure::Request { doing: format!("reset group '{group}'"), source };
        let client = context.connect().await?;
        let members = client.describe_group(group).await.map_err(failed)?.members.len();
        if members > 0 && !self.dry_run {
            let text = format!("group '{group}' has {members} members, which would move its positions on");
            let code = ErrorCode::GroupNotEmpty;
            return Err(failed(ClientError::Refused { code: Some(code), name: code.to_string(), error: text }));
        }
        let changes = self.changes(&client, target).await.map_err(failed)?;
        match context.output {
            Output::Text => show(out, &changes).and_then(|()| out.flush()).map_err(Failure::Output)?,
            Output::Json if self.yes => {}
            Output::Json => drop(show(&mut io::stderr().lock(), &changes)),
        }
        if self.dry_run {
            note("Nothing was changed");
        } else {
            if !self.yes && !agreed(&format!("Move group '{group}' to where NEW says? [y/N] "))? {
                note("Nothing was changed");
                return Ok(());
            }
            let place = |change: &Change| TopicPartition { topic: topic.clone(), partition: change.partition };
            let positions: Vec<_> = changes.iter().map(|change| (place(change), change.new)).collect();
            client.reset_group(group, &positions).await.map_err(failed)?;
        }
        match context.output {
            Output::Text if self.dry_run => Ok(()),
            Output::Text => writeln!(out, "Reset group '{group}' in topic '{topic}'").map_err(Failure::Output),
            Output::Json => writeln!(out, "{}", self.to_json(&changes)).map_err(Failure::Output),
        }
    }

    /// What is to change in each partition.
    async fn changes(&self, client: &Client, target: Target) -> Result<Vec<Change>, ClientError> {
        let partitions: Vec<PartitionIndex> = match self.partition {
            Some(partition) => vec![PartitionIndex(partition)],
            None => client.describe_topic(&self.topic).await?.partitions.iter().map(|one| one.partition).collect(),
        };
        let query = OffsetsQuery { client_id: None, group: Some(self.group.clone()), time: target.time() };
        let mut changes = Vec::new();
        for partition in partitions {
            let offsets = client.list_offsets(&self.topic, partition, &query).await?;
            changes.push(Change { partition, offsets, new: target.offset(&offsets) });
        }
        Ok(changes)
    }

    fn to_json(&self, changes: &[Change]) -> Value {
        let positions = changes.iter().map(|change| {
            json!({
                "topic": self.topic,
                "partition": change.partition.0,
                "committed": change.offsets.committed.map(Offset::get),
                "new": change.new.get(),
                "lag_before": change.lag_before(),
                "lag_after": change.lag_after(),
            })
        });
        json!({ "group": self.group, "changed": !self.dry_run, "positions": positions.collect::<Vec<_>>() })
    }
}

/// The table of what changes.
fn show(out: &mut dyn Write, changes: &[Change]) -> io::Result<()> {
    let columns = [
        ("PARTITION", Align::Right),
        ("COMMITTED", Align::Right),
        ("NEW", Align::Right),
        ("LAG", Align::Right),
        ("NEW LAG", Align::Right),
        ("CHANGE", Align::Right),
    ];
    let row = |change: &Change| {
        let (before, after) = (change.lag_before(), change.lag_after());
        let difference = i128::from(after) - i128::from(before);
        vec![
            change.partition.to_string(),
            change.offsets.committed.map_or_else(|| "-".to_owned(), |offset| offset.to_string()),
            change.new.to_string(),
            before.to_string(),
            after.to_string(),
            format!("{difference:+}"),
        ]
    };
    write_table(out, &columns, &changes.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_changes() {
        let offset = |value| Offset::new(value).expect("small");
        let change = |partition, committed: Option<u64>, new| Change {
            partition: PartitionIndex(partition),
            offsets: PartitionOffsets {
                log_start: offset(5),
                high_watermark: offset(100),
                log_end: offset(100),
                committed: committed.map(offset),
                at_time: None,
            },
            new: offset(new),
        };
        let mut out = Vec::new();
        show(&mut out, &[change(0, Some(90), 5), change(1, None, 100)]).expect("written");
        let expected = "\
PARTITION  COMMITTED  NEW  LAG  NEW LAG  CHANGE
        0         90    5   10       95     +85
        1          -  100   95        0     -95
";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}
