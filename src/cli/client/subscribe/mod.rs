//! `wiber-client subscribe`: records on standard output as they arrive.

pub(super) mod format;
mod group;
pub(super) mod print;
mod source;
mod start;
mod until;

use std::io::Write;
use std::pin::pin;
use std::time::Duration;

use clap::Args;
use tokio::time::sleep;

use super::failure::Failure;
use super::signals::{interrupted, output_closed};
use super::text::{records, seconds};
use super::{Context, note, time};
use crate::client::{Client, ClientError, Offset, PartitionIndex, Record, Timestamp};
use format::Format;
pub(super) use print::Printer;
use source::Source;
use start::Start;
use until::Until;

/// Records printed between two looks at the signals.
const RUN_RECORDS_MAX: u32 = 256;

/// Print the records of a topic as they arrive
///
/// Reads partition 0, another by --partition, or all with --all-partitions, and goes on until it is ended: by --count,
/// by --until-time, by --timeout, or by Ctrl-C. A lost connection is made anew, and reading goes on where it stopped.
///
/// With --client-id the broker keeps, under that name, how far was printed; '--from committed' goes on there. A record is
/// committed after it was printed: where the command is killed, the last ones may be printed again.
///
/// With --group it is a member of that group: the topic's partitions are divided among the members, and each record is
/// printed by one of them. The position is the group's, and moves once a record was printed; in partitions where the group
/// has none yet it starts at the end, or where --from (start, end, a time or an age) says.
#[derive(Debug, Args)]
#[command(after_help = "\
Where to start (--from):
  start                  with the oldest record kept
  end                    with the next record to come
  committed              where this --client-id stopped; at the oldest record where it never read
  -N                     with the last N records of each partition
  2026-05-01T12:00:00Z   with the first record of that time or later: RFC 3339, or YYYY-MM-DD [HH:MM[:SS]] in UTC
  -15m                   with the first record of the last 15 minutes (units s, m, h, d)

Placeholders (--format):
  {topic} {partition} {offset} {timestamp} (Unix milliseconds) {key} {value} {headers} (JSON), and {{ }} for braces;
  \\n \\t \\r \\0 \\\\ are what they are elsewhere. Nothing is added, also no newline.

Examples:
  wiber-client subscribe orders
  wiber-client subscribe orders --partition 2 --from end
  wiber-client subscribe orders --offset 100 --count 10
  wiber-client subscribe orders --all-partitions --from -10 --timeout 2
  wiber-client subscribe orders --all-partitions --ordered --from-time -1h
  wiber-client subscribe orders --from-time 2026-05-01T12:00:00Z --until-time 2026-05-01T13:00:00Z
  wiber-client subscribe orders --raw --count 1000 > orders.txt
  wiber-client subscribe orders --format '{offset}\\t{key}\\t{value}\\n'
  wiber-client subscribe orders --client-id billing --from committed
  wiber-client subscribe orders --group billing
  wiber-client subscribe orders --output json | jq .value")]
pub(super) struct Subscribe {
    /// The topic
    topic: String,
    /// The partition
    #[arg(long, value_name = "N", default_value_t = 0)]
    partition: u32,
    /// Read all partitions, those added later too; records of one partition stay in order
    #[arg(long, conflicts_with = "partition")]
    all_partitions: bool,
    /// Read as a member of this group
    #[arg(long, value_name = "GROUP", conflicts_with_all = ["partition", "all_partitions", "offset"])]
    group: Option<String>,
    /// Start at this offset [default: 0]
    #[arg(long, value_name = "N", conflicts_with = "from")]
    offset: Option<u64>,
    /// Start at start, end, committed, -N, or a time: see below
    #[arg(long, value_name = "WHERE", allow_hyphen_values = true)]
    from: Option<String>,
    /// Start with the first record of this time or later: RFC 3339, Unix milliseconds, or an age such as -15m
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = time::point, conflicts_with_all = ["offset", "from"])]
    from_time: Option<Timestamp>,
    /// Stop before the first record of this time or later, of each partition
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = time::point)]
    until_time: Option<Timestamp>,
    /// Print the records of all partitions in the order in which they were published
    #[arg(long, requires = "all_partitions")]
    ordered: bool,
    /// How long a record waits for those that may belong before it
    #[arg(long, value_name = "SECONDS", value_parser = seconds, requires = "ordered", default_value = "0.2")]
    max_wait: Duration,
    /// Stop after this many records
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Stop when no record came for this long
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Print payloads alone, each with a newline after it; everything else goes to standard error
    #[arg(long, conflicts_with = "format")]
    raw: bool,
    /// Print each record in this format: see below
    #[arg(long, value_name = "FORMAT", value_parser = Format::parse)]
    format: Option<Format>,
}

impl Subscribe {
    pub(super) async fn run(self, context: &Context, out: &mut dyn Write) -> Result<(), Failure> {
        let printer = Printer::new(context.output, self.raw, self.format.clone())?;
        if let Some(group) = &self.group {
            return self.run_in_group(group, &printer, context, out).await;
        }
        let start = self.start(context)?;
        let max_wait = self.ordered.then_some(self.max_wait);
        // What waits to be put in order is not silence.
        let patience = self.timeout.map(|timeout| timeout + max_wait.unwrap_or_default());
        let partition = (!self.all_partitions).then_some(PartitionIndex(self.partition));
        let client = context.connect().await?;
        let mut source = Source::open(&client, &context.options, &self.topic, partition, start, max_wait).await?;
        let opening = format!("Subscribing to {}\nPress Ctrl+C to stop...", source.place());
        if printer.is_pure() {
            note(opening);
        } else {
            writeln!(out, "{opening}").map_err(Failure::Output)?;
        }
        let until = Until::new(self.until_time);
        let mut reading = Reading { client: &client, source: &mut source, printer: &printer, out, printed: 0, until };
        let ended = reading.run(self.count.unwrap_or(u64::MAX), patience).await;
        let printed = reading.printed;
        let late = source.late();
        let closed = source.close().await;
        // A reader that has had enough needs no summary.
        if !matches!(ended, Err(Failure::Output(_))) {
            note(format_args!("Received {} from {}", records(printed), self.place()));
            if late > 0 {
                note(format_args!("{} came too late to be in order: see --max-wait", records(late)));
            }
        }
        ended.and(closed)
    }

    fn start(&self, context: &Context) -> Result<Start, Failure> {
        if let Some(offset) = self.offset {
            let offset = Offset::new(offset)
                .ok_or_else(|| Failure::Usage(format!("--offset {offset}: an offset is at most {}", Offset::MAX)))?;
            return Ok(Start::Offset(offset));
        }
        if let Some(time) = self.from_time {
            return Ok(Start::Time(time));
        }
        let Some(from) = &self.from else { return Ok(Start::Offset(Offset::ZERO)) };
        let start = Start::parse(from, time::now()).map_err(Failure::Usage)?;
        if start == Start::Committed && context.options.client_id.is_none() {
            let text = "--from committed: name with --client-id whose position is meant";
            return Err(Failure::Usage(text.to_owned()));
        }
        Ok(start)
    }

    fn place(&self) -> String {
        if self.all_partitions { self.topic.clone() } else { format!("{}:{}", self.topic, self.partition) }
    }
}

/// Records on their way from a source to the output.
struct Reading<'a> {
    client: &'a Client,
    source: &'a mut Source,
    printer: &'a Printer,
    out: &'a mut dyn Write,
    printed: u64,
    until: Until,
}

impl Reading<'_> {
    /// Prints until the count is reached, nothing comes any more, a signal comes, or nobody reads the output.
    async fn run(&mut self, count: u64, patience: Option<Duration>) -> Result<(), Failure> {
        let mut stop = pin!(interrupted());
        let mut closed = pin!(output_closed());
        let mut reached = pin!(self.until.reached(time::now()));
        while self.printed < count {
            let is_dry = self.print_ready(count).await?;
            if is_dry {
                self.flush()?;
            }
            if is_dry && self.until.is_over(|partition| self.source.position(partition)) {
                break;
            }
            let next = tokio::select! {
                biased;
                stopped = &mut stop => {
                    stopped.map_err(Failure::Signal)?;
                    break;
                }
                // Nothing is waited for while what was printed is not flushed.
                () = std::future::ready(()), if !is_dry => continue,
                () = &mut reached, if self.until.is_open() => {
                    self.until.set_ends(self.source.ends(self.client, self.until.time()).await?);
                    continue;
                }
                next = self.source.next() => next,
                () = &mut closed => return Err(Failure::Output(std::io::ErrorKind::BrokenPipe.into())),
                () = silence(patience) => break,
            };
            match next {
                Some(next) => self.print(next)?,
                None => break,
            }
        }
        self.flush()
    }

    /// Prints what is there already, but no more than a run. Whether nothing more is there.
    async fn print_ready(&mut self, count: u64) -> Result<bool, Failure> {
        for _ in 0..RUN_RECORDS_MAX {
            if self.printed == count {
                return Ok(false);
            }
            match self.source.try_next().await {
                Some(next) => self.print(next)?,
                None => return Ok(true),
            }
        }
        Ok(false)
    }

    fn print(&mut self, record: Result<Record, ClientError>) -> Result<(), Failure> {
        let record = record.map_err(|source| self.source.failed(source))?;
        if self.until.excludes(&record) {
            return Ok(());
        }
        self.printer.record(&record, self.out).map_err(Failure::Output)?;
        self.printed += 1;
        self.source.printed(record);
        Ok(())
    }

    /// Hands everything printed to the operating system, and only then commits it.
    fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(Failure::Output)?;
        self.source.commit_printed();
        Ok(())
    }
}

/// Waits until it has been silent for too long.
async fn silence(patience: Option<Duration>) {
    match patience {
        Some(patience) => sleep(patience).await,
        None => std::future::pending().await,
    }
}
