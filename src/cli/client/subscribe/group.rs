//! `wiber-client subscribe --group`: records of the partitions that a group gives this member.

use std::io::Write;
use std::pin::pin;

use tokio::time::{Instant, sleep_until};

use super::{Printer, RUN_RECORDS_MAX, Start, Subscribe};
use crate::cli::client::failure::Failure;
use crate::cli::client::groups::list;
use crate::cli::client::signals::{interrupted, output_closed};
use crate::cli::client::text::records;
use crate::cli::client::{Context, note, time};
use crate::client::{ClientError, Consumer, ConsumerMode, ConsumerOptions, Record, StartAt};

impl Subscribe {
    pub(super) async fn run_in_group(
        &self,
        group: &str,
        printer: &Printer,
        context: &Context,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        let (topic, client) = (&self.topic, context.options.clone());
        let start = self.group_start()?;
        let options = ConsumerOptions { client, start, mode: ConsumerMode::Manual, ..ConsumerOptions::default() };
        let consumer = Consumer::new(options).await;
        let consumer = consumer.map_err(|source| Failure::of_connecting(&context.options, source))?;
        let failed = |source| Failure::Request { doing: format!("read topic '{topic}' in group '{group}'"), source };
        consumer.join_consumer_group(group).await.map_err(failed)?;
        consumer.subscribe(topic).await.map_err(failed)?;
        let opening = format!("Subscribing to {topic} in group {group}\nPress Ctrl+C to stop...");
        if printer.is_pure() {
            note(opening);
        } else {
            writeln!(out, "{opening}").map_err(Failure::Output)?;
        }
        note(format_args!("Member {} of group '{group}'", consumer.member().unwrap_or_default()));
        let mut printed = 0;
        let ended = self.print_all(&consumer, printer, out, &mut printed).await;
        let left = consumer.leave_consumer_group().await;
        if !matches!(ended, Err(Failure::Output(_))) {
            note(format_args!("Received {} from {topic} in group '{group}'", records(printed)));
        }
        ended?;
        left.map_err(failed)
    }

    /// Where a group without a position starts.
    fn group_start(&self) -> Result<StartAt, Failure> {
        let Some(from) = &self.from else { return Ok(StartAt::End) };
        match Start::parse(from, time::now()).map_err(Failure::Usage)? {
            Start::Begin => Ok(StartAt::Begin),
            Start::End => Ok(StartAt::End),
            Start::Time(time) => Ok(StartAt::Time(time)),
            Start::Offset(_) | Start::Committed | Start::Last(_) => {
                let text = format!(
                    "--from {from}: a group starts at start, end, a time or an age, and only where it has \
                                    no position; 'wiber-client groups reset-offsets' moves one"
                );
                Err(Failure::Usage(text))
            }
        }
    }

    async fn print_all(
        &self,
        consumer: &Consumer,
        printer: &Printer,
        out: &mut dyn Write,
        printed: &mut u64,
    ) -> Result<(), Failure> {
        let failed = |source| Failure::Request { doing: format!("read topic '{}' in its group", self.topic), source };
        let mut assignments = consumer.assignments().map_err(failed)?;
        note(format_args!("Reading {}", list(&assignments.now())));
        let (mut stop, mut closed) = (pin!(interrupted()), pin!(output_closed()));
        let count = self.count.unwrap_or(u64::MAX);
        let mut silent_since = Instant::now();
        out.flush().map_err(Failure::Output)?;
        while *printed < count {
            let most = usize::try_from(count - *printed).unwrap_or(usize::MAX).min(RUN_RECORDS_MAX as usize);
            let silence = async {
                match self.timeout {
                    Some(patience) => sleep_until(silent_since + patience).await,
                    None => std::future::pending().await,
                }
            };
            let came = tokio::select! {
                biased;
                stopped = &mut stop => return stopped.map_err(Failure::Signal),
                Some(now) = assignments.changed() => {
                    note(format_args!("The group was rebalanced; reading {}", list(&now)));
                    continue;
                }
                came = some(consumer, most) => came.map_err(failed)?,
                () = &mut closed => return Err(Failure::Output(std::io::ErrorKind::BrokenPipe.into())),
                () = silence => return Ok(()),
            };
            for record in &came {
                printer.record(record, out).map_err(Failure::Output)?;
                *printed += 1;
            }
            // What the operating system has is printed.
            out.flush().map_err(Failure::Output)?;
            consumer.commit().await.map_err(failed)?;
            silent_since = Instant::now();
        }
        Ok(())
    }
}

/// The next records, waiting for them.
async fn some(consumer: &Consumer, most: usize) -> Result<Vec<Record>, ClientError> {
    loop {
        let records = consumer.poll_at_most(most).await?;
        if !records.is_empty() {
            return Ok(records);
        }
    }
}
