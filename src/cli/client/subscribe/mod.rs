//! `wiber-client subscribe`: a partition's records on standard output.

use std::io::{self, Write};
use std::pin::pin;

use clap::{Args, ValueEnum};

use super::failure::Failure;
use super::{connect, note};
use crate::client::{ClientOptions, Message, SubscribeOptions, Subscription};
use crate::protocol::native::StartAt;
use crate::types::{Offset, PartitionIndex};

/// Records printed between two looks at the signals.
const RUN_RECORDS_MAX: u32 = 256;

/// Print the records of a partition as they arrive
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wiber-client subscribe orders
  wiber-client subscribe orders --partition 2 --from end
  wiber-client subscribe orders --offset 100 --count 10
  wiber-client subscribe orders --raw --count 1000 > orders.txt")]
pub(super) struct Subscribe {
    /// The topic
    topic: String,
    /// The partition
    #[arg(long, value_name = "N", default_value_t = 0)]
    partition: u32,
    /// Start at this offset [default: 0]
    #[arg(long, value_name = "N", conflicts_with = "from")]
    offset: Option<u64>,
    /// Start at an end of the log
    #[arg(long)]
    from: Option<End>,
    /// Stop after this many records
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Print payloads alone, each with a newline after it; everything else goes to standard error
    #[arg(long)]
    raw: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum End {
    /// With the oldest record kept
    Start,
    /// With the next record to come
    End,
}

impl Subscribe {
    pub(super) async fn run(self, options: ClientOptions, out: &mut impl Write) -> Result<(), Failure> {
        let start =
            match (self.offset, self.from) {
                (Some(offset), _) => StartAt::Offset(Offset::new(offset).ok_or_else(|| {
                    Failure::Usage(format!("--offset {offset}: an offset is at most {}", Offset::MAX))
                })?),
                (None, Some(End::Start)) => StartAt::Begin,
                (None, Some(End::End)) => StartAt::End,
                (None, None) => StartAt::Offset(Offset::ZERO),
            };
        let client = connect(options).await?;
        let subscribe = SubscribeOptions { partition: PartitionIndex(self.partition), start, auto_ack: true };
        let subscribed = client.subscribe(&self.topic, subscribe).await;
        let mut subscription = subscribed.map_err(|source| self.failed(source))?;
        let (topic, partition) = (&self.topic, self.partition);
        let offset = subscription.start_offset();
        let opening = format!("Subscribing to {topic}:{partition} from offset {offset}\nPress Ctrl+C to stop...");
        if self.raw {
            note(opening);
        } else {
            writeln!(out, "{opening}").map_err(Failure::Output)?;
        }
        let printed = self.print(&mut subscription, out).await?;
        let plural = if printed == 1 { "" } else { "s" };
        note(format_args!("Received {printed} record{plural} from {topic}:{partition}"));
        Ok(())
    }

    /// Prints until the count is reached or a signal comes; returns how many.
    async fn print(&self, subscription: &mut Subscription, out: &mut impl Write) -> Result<u64, Failure> {
        let mut stop = pin!(interrupted());
        let count = self.count.unwrap_or(u64::MAX);
        let mut printed = 0;
        let mut run = 0;
        while printed < count {
            let ready = if run < RUN_RECORDS_MAX { subscription.try_next() } else { None };
            run += 1;
            let message = match ready {
                Some(message) => message,
                None => {
                    if run <= RUN_RECORDS_MAX {
                        out.flush().map_err(Failure::Output)?;
                    }
                    run = 0;
                    tokio::select! {
                        biased;
                        stopped = &mut stop => {
                            stopped.map_err(Failure::Signal)?;
                            break;
                        }
                        next = subscription.next() => match next {
                            Some(Ok(message)) => message,
                            Some(Err(source)) => return Err(self.failed(source)),
                            None => break,
                        },
                    }
                }
            };
            self.record(&message, out).map_err(Failure::Output)?;
            printed += 1;
        }
        out.flush().map_err(Failure::Output)?;
        Ok(printed)
    }

    fn record(&self, message: &Message, out: &mut impl Write) -> io::Result<()> {
        if self.raw {
            out.write_all(message.body())?;
            return out.write_all(b"\n");
        }
        let (topic, partition, offset) = (&self.topic, self.partition, message.offset());
        write!(out, "[{topic}:{partition}@{offset}] ")?;
        if message.is_tombstone() {
            out.write_all(b"<null>")?;
        }
        out.write_all(message.body())?;
        out.write_all(b"\n")?;
        if let Some(key) = message.key() {
            out.write_all(b"  Key: ")?;
            out.write_all(&key)?;
            out.write_all(b"\n")?;
        }
        // The broker's own headers (wiber.client_id …) are no headers of the publisher's.
        let mut headers = message.headers().filter(|(name, _)| !name.starts_with("wiber."));
        if let Some(first) = headers.next() {
            out.write_all(b"  Properties: {")?;
            property(first, out)?;
            for header in headers {
                out.write_all(b", ")?;
                property(header, out)?;
            }
            out.write_all(b"}\n")?;
        }
        Ok(())
    }

    fn failed(&self, source: crate::client::ClientError) -> Failure {
        Failure::Request { doing: format!("read {}:{}", self.topic, self.partition), source }
    }
}

/// One header as JSON, in its place and as often as it comes, which a map would not keep.
fn property((name, value): (&str, &str), out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, name)?;
    out.write_all(b": ")?;
    serde_json::to_writer(&mut *out, value)?;
    Ok(())
}

/// Waits for Ctrl-C, or for the signal that asks a process to end.
async fn interrupted() -> io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            stopped = tokio::signal::ctrl_c() => stopped,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}
