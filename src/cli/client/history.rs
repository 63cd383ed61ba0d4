//! `wiber-client history`: the last records of a topic.

use std::io::Write;

use clap::Args;

use super::failure::Failure;
use super::subscribe::format::Format;
use super::subscribe::print::Printer;
use super::{Context, time};
use crate::client::{HistoryOptions, PartitionIndex, Timestamp};

/// Print the last records of a topic, the oldest first
///
/// Of all partitions, or of one by --partition, in the order in which they were published. It reads back from the end and
/// not through the topic, ends by itself, and moves no position.
#[derive(Debug, Args)]
#[command(after_help = "\
Times are RFC 3339, YYYY-MM-DD [HH:MM[:SS]] in UTC, Unix milliseconds, or an age such as -15m (units s, m, h, d).

Examples:
  wiber-client history orders
  wiber-client history orders 100 --partition 2
  wiber-client history orders 20 --until-time -1h
  wiber-client history orders 1000 --from-time 2026-05-01T12:00:00Z --output json | jq .value")]
pub(super) struct History {
    /// The topic
    topic: String,
    /// How many records at most
    #[arg(value_name = "N", default_value_t = 10)]
    count: u32,
    /// Of this partition alone
    #[arg(long, value_name = "N")]
    partition: Option<u32>,
    /// Those from the first record of this time or later on, of each partition
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = time::point)]
    from_time: Option<Timestamp>,
    /// Those before the first record of this time or later, of each partition
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = time::point)]
    until_time: Option<Timestamp>,
    /// Print payloads alone, each with a newline after it
    #[arg(long, conflicts_with = "format")]
    raw: bool,
    /// Print each record in this format, as subscribe does
    #[arg(long, value_name = "FORMAT", value_parser = Format::parse)]
    format: Option<Format>,
}

impl History {
    pub(super) async fn run(self, context: &Context, out: &mut dyn Write) -> Result<(), Failure> {
        let printer = Printer::new(context.output, self.raw, self.format)?;
        let options = HistoryOptions {
            count: usize::try_from(self.count).unwrap_or(usize::MAX),
            partition: self.partition.map(PartitionIndex),
            from: self.from_time,
            until: self.until_time,
        };
        let client = context.connect().await?;
        let records = client.history(&self.topic, &options).await;
        let doing = || format!("read topic '{}'", self.topic);
        for record in records.map_err(|source| Failure::Request { doing: doing(), source })? {
            printer.record(&record, out).map_err(Failure::Output)?;
        }
        Ok(())
    }
}
