//! `wiber-client publish`: one message, or every line of a file.

mod bulk;
mod input;
mod pattern;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use serde_json::json;

use super::Context;
use super::failure::Failure;
use super::output;
use super::text::unescape;
use crate::client::{ClientError, Position};
use crate::protocol::native::AckLevel;
use crate::record::Compression;
use bulk::Batching;
use pattern::Pattern;

/// Publish a message, or every line of a file
///
/// Each line is one record, without its newline and with every other byte as it is: it need not be UTF-8, an empty line
/// is a record, and so is a last line without a newline. Lines go in batches, each stored once and in order whatever
/// happens to the connection. Ctrl-C ends reading; what was read is still sent, a second one ends that too.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wiber-client publish orders 'hello'
  wiber-client publish orders 'hello' --key customer-7 --properties '{\"colour\": \"red\"}'
  wiber-client publish orders --file orders.txt --ack durable
  wiber-client publish orders --file pairs.tsv --key-separator '\\t'
  tail -f app.log | wiber-client publish logs")]
pub(super) struct Publish {
    /// The topic
    topic: String,
    /// The message. Without one, or with '-', lines are read from standard input
    #[arg(allow_negative_numbers = true)]
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
    /// Each line is a key, this, and the value; \t is a tab
    #[arg(long, value_name = "SEP", conflicts_with = "key", value_parser = separator)]
    key_separator: Option<String>,
    /// Headers of every record, as a JSON object
    #[arg(long, value_name = "JSON")]
    properties: Option<String>,
    /// The message's id: of messages with one id the topic takes the first, for a while
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// What to wait for [default: what the broker's storage.sync promises]
    #[arg(long)]
    ack: Option<Ack>,
    /// How batches of lines are compressed
    #[arg(long, default_value = "none")]
    compression: Codec,
    /// Lines of a batch at most [default: 10000]
    #[arg(long, value_name = "LINES", value_parser = clap::value_parser!(u32).range(1..))]
    batch: Option<u32>,
    /// Milliseconds a batch waits for more lines [default: 1]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(..=60_000))]
    linger: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Ack {
    /// Nothing
    None,
    /// The operating system has the record
    Leader,
    /// The disk has the record
    Durable,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Publish {
    pub(super) async fn run(self, context: &Context, out: &mut dyn Write) -> Result<(), Failure> {
        let pattern = self.pattern(context.options.client_id.as_deref())?;
        match &self.message {
            Some(message) if message != "-" => {
                let body = Bytes::copy_from_slice(message.as_encoded_bytes());
                self.publish_one(context, &pattern, body, out).await
            }
            message => {
                let is_asked_for = message.is_some() || self.file.is_some();
                if !is_asked_for && io::stdin().is_terminal() {
                    let text = "publish: no message. Give it as an argument, name a file with --file, pipe lines in, or \
                                type them after '--file -'";
                    return Err(Failure::Usage(text.to_owned()));
                }
                self.publish_lines(context, &pattern, out).await
            }
        }
    }

    async fn publish_one(
        &self,
        context: &Context,
        pattern: &Pattern,
        body: Bytes,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        let of_lines = [
            ("--key-separator", self.key_separator.is_some()),
            ("--compression", self.compression != Codec::None),
            ("--batch", self.batch.is_some()),
            ("--linger", self.linger.is_some()),
        ];
        if let Some((option, _)) = of_lines.iter().find(|(_, is_given)| *is_given) {
            return Err(Failure::Usage(format!("{option} is for lines: of a file, or of standard input")));
        }
        let topic = &self.topic;
        let client = context.connect().await?;
        let published = async {
            let position = client.publish(topic, pattern.message(body)).await?.await?;
            if position.is_none() {
                // What asked for no reply has been read by the broker when this returns.
                client.heartbeat().await?;
            }
            Ok(position)
        };
        let failed = |source: ClientError| {
            if let ClientError::Invalid(invalid) = source {
                return Failure::Usage(format!("publish: {invalid}"));
            }
            Failure::Request { doing: format!("publish to topic '{topic}'"), source }
        };
        let position: Option<Position> = published.await.map_err(failed)?;
        let json = json!({
            "topic": topic,
            "partition": position.map(|position| position.partition.0),
            "offset": position.map(|position| position.offset.get()),
        });
        output::print(out, context.output, &format!("Published message to topic '{topic}'"), &json)
    }

    async fn publish_lines(&self, context: &Context, pattern: &Pattern, out: &mut dyn Write) -> Result<(), Failure> {
        pattern.check_for_lines()?;
        let path = self.file.clone().unwrap_or_else(|| PathBuf::from("-"));
        let input = input::open(&path).map_err(|source| Failure::Input { path: path.clone(), source })?;
        let batching = Batching {
            compression: self.compression.into(),
            records: self.batch,
            linger: self.linger.map(|ms| Duration::from_millis(ms.into())),
        };
        let sink = bulk::Sink::open(&context.options, &self.topic, pattern, &batching).await?;
        let separator = self.key_separator.as_ref().map(|separator| separator.as_bytes());
        let mut lines = bulk::Bulk::new(sink, &self.topic, pattern, separator);
        let sent = lines.send_all(input, &path).await;
        lines.tell(context.output, out)?;
        sent
    }

    /// The record that every record of this command looks like, but for its payload.
    fn pattern(&self, client_id: Option<&str>) -> Result<Pattern, Failure> {
        let ack = self.ack.map(|ack| match ack {
            Ack::None => AckLevel::None,
            Ack::Leader => AckLevel::Leader,
            Ack::Durable => AckLevel::Durable,
        });
        let given = Pattern::new(self.partition, self.key.clone(), self.id.clone(), ack, client_id);
        given.with_properties(self.properties.as_deref().unwrap_or("{}"))
    }
}

impl From<Codec> for Compression {
    fn from(codec: Codec) -> Compression {
        match codec {
            Codec::None => Compression::None,
            Codec::Gzip => Compression::Gzip,
            Codec::Snappy => Compression::Snappy,
            Codec::Lz4 => Compression::Lz4,
            Codec::Zstd => Compression::Zstd,
        }
    }
}

/// What divides keys from values.
fn separator(text: &str) -> Result<String, String> {
    let separator = unescape(text)?;
    if separator.is_empty() || separator.contains('\n') {
        return Err("a separator is not empty and holds no newline".to_owned());
    }
    Ok(separator)
}
