//! `wiber-client publish`: one message, or every line of a file, pipelined.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::PathBuf;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use tokio::time::Instant;

use super::failure::Failure;
use super::lines::read_lines;
use super::{connect, note};
use crate::client::{Client, ClientError, ClientOptions, NewRecord, Publishing};
use crate::protocol::native::AckLevel;
use crate::types::PartitionIndex;

/// Size of a file from which on a progress bar is worth while.
const PROGRESS_BYTES_MIN: u64 = 1 << 20;

/// Publish a message, or every line of a file
///
/// Each line is one record, without its newline and with every other byte as it is; an empty line is a record too.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wiber-client publish orders 'hello'
  wiber-client publish orders 'hello' --key customer-7 --properties '{\"colour\": \"red\"}'
  wiber-client publish orders --file orders.txt --ack durable
  tail -f app.log | wiber-client publish logs --file -")]
pub(super) struct Publish {
    /// The topic
    topic: String,
    /// The message; '-' reads lines from standard input
    #[arg(required_unless_present = "file", allow_negative_numbers = true)]
    message: Option<OsString>,
    /// Publish every line of this file; '-' is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "message")]
    file: Option<PathBuf>,
    /// The partition [default: by the key, or in turn]
    #[arg(long, value_name = "N")]
    partition: Option<u32>,
    /// The key of every record
    #[arg(long)]
    key: Option<String>,
    /// Headers of every record, as a JSON object
    #[arg(long, value_name = "JSON")]
    properties: Option<String>,
    /// What to wait for [default: what the broker's storage.sync promises]
    #[arg(long)]
    ack: Option<Ack>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Ack {
    /// Nothing
    None,
    /// The operating system has the record
    Leader,
    /// The disk has the record
    Durable,
}

impl Publish {
    pub(super) async fn run(self, options: ClientOptions, out: &mut impl Write) -> Result<(), Failure> {
        let pattern = self.pattern()?;
        let from_stdin = self.message.as_deref().is_some_and(|message| message == "-");
        if let (Some(message), false) = (&self.message, from_stdin) {
            let body = Bytes::from(message.clone().into_encoded_bytes());
            let mut batch = Batch::new(connect(options).await?, &self.topic, pattern);
            batch.publish(body).await?;
            batch.finish().await?;
            return writeln!(out, "Published message to topic '{}'", self.topic).map_err(Failure::Output);
        }
        let path = self.file.unwrap_or_else(|| PathBuf::from("-"));
        let unreadable = |source| Failure::Input { path: path.clone(), source };
        let (input, bytes) = open(&path).map_err(unreadable)?;
        let mut batch = Batch::new(connect(options).await?, &self.topic, pattern);
        batch.progress = progress(bytes);
        let mut lines = read_lines(input);
        let mut read_to_end = Ok(());
        while let Some(read) = lines.recv().await {
            match read {
                Ok(lines) => {
                    for line in lines {
                        batch.publish(line).await?;
                    }
                }
                Err(error) => read_to_end = Err(unreadable(error)),
            }
        }
        batch.finish().await?;
        note(batch.summary());
        read_to_end
    }

    /// The record that every record of this command looks like, but for its payload.
    fn pattern(&self) -> Result<NewRecord, Failure> {
        let mut record = NewRecord::default();
        if let Some(partition) = self.partition {
            record = record.partition(PartitionIndex(partition));
        }
        if let Some(key) = &self.key {
            record = record.key(key);
        }
        if let Some(ack) = self.ack {
            record = record.ack(match ack {
                Ack::None => AckLevel::None,
                Ack::Leader => AckLevel::Leader,
                Ack::Durable => AckLevel::Durable,
            });
        }
        for (name, value) in properties(self.properties.as_deref().unwrap_or("{}"))? {
            let twice = match name.as_str() {
                "topic" => true,
                "key" => self.key.is_some(),
                "partition" => self.partition.is_some(),
                _ => false,
            };
            if twice {
                let text = format!("--properties: '{name}' is given elsewhere on the command line");
                return Err(Failure::Usage(text));
            }
            record = record.property(&name, &value);
        }
        Ok(record)
    }
}

/// The properties of a JSON object: text as it is, anything else as JSON writes it.
fn properties(json: &str) -> Result<Vec<(String, String)>, Failure> {
    let object: serde_json::Map<String, Value> = serde_json::from_str(json)
        .map_err(|e| Failure::Usage(format!("--properties must be a JSON object such as '{{\"a\": \"b\"}}': {e}")))?;
    let text = |value: Value| match value.as_str() {
        Some(text) => text.to_owned(),
        None => value.to_string(),
    };
    Ok(object.into_iter().map(|(name, value)| (name, text(value))).collect())
}

/// The input, and its length where that is known.
fn open(path: &std::path::Path) -> io::Result<(Box<dyn Read + Send>, Option<u64>)> {
    if path == std::path::Path::new("-") {
        return Ok((Box::new(io::stdin()), None));
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let bytes = metadata.is_file().then_some(metadata.len());
    Ok((Box::new(file), bytes))
}

/// A bar on standard error where that is a terminal and the input is long; otherwise one that shows nothing.
fn progress(bytes: Option<u64>) -> ProgressBar {
    let Some(bytes) = bytes.filter(|&bytes| bytes >= PROGRESS_BYTES_MIN && io::stderr().is_terminal()) else {
        return ProgressBar::hidden();
    };
    let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr());
    let template = "{wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}";
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// The records of one command on their way.
struct Batch<'a> {
    client: Client,
    topic: &'a str,
    pattern: NewRecord,
    under_way: VecDeque<Publishing>,
    progress: ProgressBar,
    started: Instant,
    stored: u64,
    bytes: u64,
}

impl Batch<'_> {
    fn new(client: Client, topic: &str, pattern: NewRecord) -> Batch<'_> {
        Batch {
            client,
            topic,
            pattern,
            under_way: VecDeque::new(),
            progress: ProgressBar::hidden(),
            started: Instant::now(),
            stored: 0,
            bytes: 0,
        }
    }

    /// Sends a record and takes what replies there are.
    async fn publish(&mut self, body: Bytes) -> Result<(), Failure> {
        let bytes = body.len() as u64 + 1;
        let record = self.pattern.clone().with_body(body);
        let sent = self.client.publish(self.topic, record).await;
        let publishing = sent.map_err(|source| self.failure(source))?;
        self.under_way.push_back(publishing);
        self.bytes += bytes;
        self.progress.inc(bytes);
        while let Some(result) = self.under_way.front_mut().and_then(Publishing::try_result) {
            self.under_way.pop_front();
            result.map_err(|source| self.failure(source))?;
            self.stored += 1;
        }
        Ok(())
    }

    /// Waits for all replies, and for the broker to have read what asked for none.
    async fn finish(&mut self) -> Result<(), Failure> {
        while let Some(publishing) = self.under_way.pop_front() {
            publishing.await.map_err(|source| self.failure(source))?;
            self.stored += 1;
        }
        let read = self.client.heartbeat().await;
        read.map_err(|source| self.failure(source))?;
        self.progress.finish_and_clear();
        Ok(())
    }

    fn failure(&self, source: ClientError) -> Failure {
        self.progress.finish_and_clear();
        if self.stored == 0 {
            let doing = format!("publish to topic '{}'", self.topic);
            return Failure::Request { doing, source };
        }
        Failure::Record { topic: self.topic.to_owned(), number: self.stored + 1, stored: self.stored, source }
    }

    fn summary(&self) -> String {
        let seconds = self.started.elapsed().as_secs_f64().max(0.001);
        format!(
            "Published {} records ({:.1} MB) to topic '{}' in {seconds:.2} s: {:.0} records/s, {:.1} MB/s",
            self.stored,
            self.bytes as f64 / 1e6,
            self.topic,
            self.stored as f64 / seconds,
            self.bytes as f64 / 1e6 / seconds,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_of_json() {
        let pairs = properties(r#"{"a": "x", "b": 1, "c": true, "d": {"e": null}}"#).expect("valid");
        let shown: Vec<String> = pairs.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(shown, ["a=x", "b=1", "c=true", r#"d={"e":null}"#]);
        for bad in ["", "[]", "1", "{", "null"] {
            let failure = properties(bad).expect_err(bad);
            assert_eq!(failure.exit_code(), super::super::failure::USAGE);
        }
    }
}
