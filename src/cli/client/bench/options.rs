//! The options of `wiber-client bench`, and the plan that comes of them.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::units::{count, duration, linger, rate, size};
use crate::cli::client::failure::Failure;
use crate::cli::client::output::Output;
use crate::cli::client::publish::Codec;
use crate::client::{AckLevel, Compression, IN_FLIGHT_MAX};
use crate::load::{HEADER_BYTES, Workload};

/// What all workloads are told.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Messages in all, warm-up not counted [default: 1M; 10 seconds' worth at a fixed rate]
    #[arg(long, short = 'n', value_name = "N", value_parser = count)]
    messages: Option<u64>,
    /// Bytes of a message: 100, 1KiB, 64k, 1MB. Below 24 there is no room for all that is verified: order and loss are
    /// for one producer alone, and no latency of delivery can be told
    #[arg(long, short, value_name = "BYTES", value_parser = size, default_value = "1KiB")]
    size: u64,
    /// Messages of a batch; 1: single messages, many under way [default: 1000; latency: 1]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    batch: Option<u32>,
    /// Single messages: the same as --batch 1
    #[arg(long, conflicts_with = "batch")]
    single: bool,
    /// How long a batch that is not full waits, such as 5ms [default: until it is full; 1ms at a fixed rate]
    #[arg(long, value_name = "TIME", value_parser = linger)]
    linger: Option<Duration>,
    /// What each producer has under way: batches for each partition, up to 5 [default: 5], or single messages
    /// [default: 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    in_flight: Option<u32>,
    /// Producers, each with its own connection
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1_000), default_value_t = 1)]
    producers: u16,
    /// Consumers, each with its own connection: the partitions are dealt out to them, and where there are more consumers
    /// than partitions several read the same one, each all of it [default: 1]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1_000))]
    consumers: Option<u16>,
    /// Partitions of the topic [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    partitions: Option<u32>,
    /// What an acknowledgement waits for [default: what the broker's storage.sync promises]
    #[arg(long)]
    ack: Option<Ack>,
    /// How batches are compressed
    #[arg(long, default_value = "none")]
    compression: Codec,
    /// Messages per second, of all producers together [default: as many as go; latency: 10k]
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,
    /// How long to go on: 10s, 2m. With --messages, whichever ends first
    #[arg(long, short, value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,
    /// Messages sent before the clock is started [default: 0; latency: a tenth, up to one second's worth]
    #[arg(long, value_name = "N")]
    warmup: Option<u64>,
    /// The topic. One that exists is used as it is and never deleted; nobody else may publish to it meanwhile
    /// [default: a new one]
    #[arg(long, short, value_name = "NAME")]
    topic: Option<String>,
    /// Keep the topic; otherwise one that was made for the run is deleted
    #[arg(long)]
    keep: bool,
    /// How long to wait for what does not come, be it an acknowledgement or a message
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "10s")]
    timeout: Duration,
    /// A line of comma-separated values: appended to a file, with titles where it is new, or printed instead of the table
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    csv: Option<Option<PathBuf>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Ack {
    /// The operating system has the message
    Leader,
    /// The disk has the message
    Durable,
}

/// What is to be done.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) workload: Workload,
    /// Whether the number of messages was asked for.
    pub(super) is_count_given: bool,
    /// `None` where the duration alone says when to end.
    pub(super) messages: Option<u64>,
    pub(super) size: usize,
    pub(super) batch: u32,
    pub(super) linger: Duration,
    pub(super) in_flight: u32,
    pub(super) producers: u16,
    pub(super) consumers: u16,
    /// `None` where none was asked for.
    pub(super) partitions: Option<u32>,
    pub(super) ack: Option<AckLevel>,
    pub(super) compression: Compression,
    pub(super) rate: Option<f64>,
    pub(super) duration: Option<Duration>,
    pub(super) warmup: u64,
    pub(super) topic: Option<String>,
    pub(super) keep: bool,
    pub(super) patience: Duration,
    /// Where the line of comma-separated values goes: `Some(None)` is standard output.
    pub(super) csv: Option<Option<PathBuf>>,
}

const MESSAGES: u64 = 1_000_000;
const BATCH: u32 = 1_000;
const LATENCY_RATE: f64 = 10_000.0;
const LATENCY_SECONDS: f64 = 10.0;
const SINGLES_IN_FLIGHT: u32 = 1_000;
#[expect(clippy::cast_possible_truncation, reason = "a handful")]
const BATCHES_IN_FLIGHT: u32 = IN_FLIGHT_MAX as u32;
/// Longer than any full batch takes to be filled.
const LINGER: Duration = Duration::from_secs(1);
const RATED_LINGER: Duration = Duration::from_millis(1);

impl Options {
    /// Connections that are busy at the same time.
    pub(super) fn connections(&self, workload: Workload) -> usize {
        let producers = usize::from(self.producers);
        let consumers = usize::from(self.consumers.unwrap_or(1));
        match workload {
            Workload::Publish => producers,
            Workload::Consume => producers.max(consumers),
            Workload::Latency | Workload::Mixed => producers + consumers,
        }
    }

    pub(super) fn plan(&self, workload: Workload, output: Output) -> Result<Plan, Failure> {
        self.check(workload, output)?;
        let is_latency = workload == Workload::Latency;
        let batch = if self.single { 1 } else { self.batch.unwrap_or(if is_latency { 1 } else { BATCH }) };
        let rate = self.rate.or(is_latency.then_some(LATENCY_RATE));
        let in_default = if batch == 1 { SINGLES_IN_FLIGHT } else { BATCHES_IN_FLIGHT };
        let in_flight = self.in_flight.unwrap_or(in_default);
        if batch > 1 && in_flight > BATCHES_IN_FLIGHT {
            return usage(format!(
                "--in-flight {in_flight}: of batches at most {BATCHES_IN_FLIGHT} can be under way for each partition; of \
                 single messages (--batch 1) more"
            ));
        }
        let messages = match (self.messages, self.duration, rate) {
            (Some(messages), _, _) => Some(messages),
            // To read for a while takes something to be read.
            (None, Some(_), _) if workload != Workload::Consume => None,
            (None, _, Some(rate)) => Some(at_least_one(rate * LATENCY_SECONDS)),
            (None, _, None) => Some(MESSAGES),
        };
        let warmup = self.warmup.unwrap_or_else(|| match rate {
            Some(rate) if is_latency => at_least_one(rate).min(messages.map_or(u64::MAX, |messages| messages / 10)),
            _ => 0,
        });
        Ok(Plan {
            workload,
            is_count_given: self.messages.is_some(),
            messages,
            size: usize::try_from(self.size).unwrap_or(usize::MAX),
            batch,
            linger: self.linger.unwrap_or(if rate.is_some() { RATED_LINGER } else { LINGER }),
            in_flight,
            producers: self.producers,
            consumers: if workload == Workload::Publish { 0 } else { self.consumers.unwrap_or(1) },
            partitions: self.partitions,
            ack: self.ack.map(AckLevel::from),
            compression: self.compression.into(),
            rate,
            duration: self.duration,
            warmup,
            topic: self.topic.clone(),
            keep: self.keep,
            patience: self.timeout,
            csv: self.csv.clone(),
        })
    }

    /// Options that contradict each other.
    fn check(&self, workload: Workload, output: Output) -> Result<(), Failure> {
        let name = workload.as_str();
        if workload == Workload::Publish && self.consumers.is_some() {
            return usage("--consumers: nothing is read by 'bench publish'; 'bench mixed' does both".to_owned());
        }
        if workload == Workload::Consume {
            let of_sending = [("--rate", self.rate.is_some()), ("--warmup", self.warmup.is_some())];
            if let Some((option, _)) = of_sending.iter().find(|(_, is_given)| *is_given) {
                return usage(format!("{option}: 'bench consume' publishes nothing while it measures"));
            }
        }
        if self.size == 0 {
            return usage("--size 0: a message has at least 1 byte".to_owned());
        }
        if workload == Workload::Latency && self.size < HEADER_BYTES as u64 {
            return usage(format!(
                "--size {}: a message that says when it was sent has at least {HEADER_BYTES} bytes",
                self.size
            ));
        }
        let is_single = self.single || self.batch == Some(1) || (self.batch.is_none() && workload == Workload::Latency);
        if is_single && workload != Workload::Consume {
            let of_batches = [("--linger", self.linger.is_some()), ("--compression", self.compression != Codec::None)];
            if let Some((option, _)) = of_batches.iter().find(|(_, is_given)| *is_given) {
                return usage(format!(
                    "{option} is for batches: 'bench {name}' sends single messages, --batch N batches"
                ));
            }
        }
        if output == Output::Json && self.csv == Some(None) {
            return usage("--csv and --output json both print to standard output: name a file, --csv FILE".to_owned());
        }
        Ok(())
    }
}

fn usage<T>(text: String) -> Result<T, Failure> {
    Err(Failure::Usage(format!("bench: {text}")))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of messages within bounds")]
fn at_least_one(count: f64) -> u64 {
    (count as u64).max(1)
}

impl From<Ack> for AckLevel {
    fn from(ack: Ack) -> AckLevel {
        match ack {
            Ack::Leader => AckLevel::Leader,
            Ack::Durable => AckLevel::Durable,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn plan(workload: Workload, arguments: &[&str], output: Output) -> Result<Plan, String> {
        let line = Line::try_parse_from([&["bench"], arguments].concat()).map_err(|error| error.to_string())?;
        line.options.plan(workload, output).map_err(|failure| failure.to_string())
    }

    #[test]
    fn what_is_not_given_is_chosen() {
        let check = |workload, arguments: &[&str], messages, warmup, batch, in_flight, linger_ms| {
            let plan = plan(workload, arguments, Output::Text).expect("a plan");
            let chosen = (plan.messages, plan.warmup, plan.batch, plan.in_flight, plan.linger.as_millis());
            assert_eq!(chosen, (messages, warmup, batch, in_flight, linger_ms), "{workload:?} {arguments:?}");
        };
        let all = Some(1_000_000);
        check(Workload::Publish, &[], all, 0, 1000, 5, 1000);
        check(Workload::Publish, &["--single"], all, 0, 1, 1000, 1000);
        check(Workload::Publish, &["--batch", "1", "--in-flight", "7"], all, 0, 1, 7, 1000);
        check(Workload::Publish, &["--duration", "5s"], None, 0, 1000, 5, 1000);
        check(Workload::Publish, &["--duration", "5s", "-n", "10k"], Some(10_000), 0, 1000, 5, 1000);
        check(Workload::Mixed, &["--rate", "100"], Some(1_000), 0, 1000, 5, 1);
        check(Workload::Consume, &["--duration", "5s"], all, 0, 1000, 5, 1000);
        check(Workload::Latency, &[], Some(100_000), 10_000, 1, 1000, 1);
        check(Workload::Latency, &["--duration", "1m"], None, 10_000, 1, 1000, 1);
        check(Workload::Latency, &["-n", "50", "--batch", "10", "--linger", "3"], Some(50), 5, 10, 5, 3);
    }

    #[test]
    fn contradictions_are_named() {
        let check = |workload, arguments: &[&str], output, named: &str| {
            let text = plan(workload, arguments, output).expect_err(named);
            assert!(text.contains(named), "{arguments:?}: {text}");
        };
        check(Workload::Publish, &["--consumers", "2"], Output::Text, "bench mixed");
        check(Workload::Publish, &["--size", "0"], Output::Text, "at least 1 byte");
        check(Workload::Publish, &["--in-flight", "6"], Output::Text, "at most 5");
        check(Workload::Publish, &["--single", "--batch", "5"], Output::Text, "--batch");
        check(Workload::Publish, &["--single", "--linger", "5ms"], Output::Text, "--linger is for batches");
        check(Workload::Latency, &["--compression", "lz4"], Output::Text, "--compression is for batches");
        check(Workload::Latency, &["--size", "23"], Output::Text, "at least 24 bytes");
        check(Workload::Consume, &["--rate", "5"], Output::Text, "publishes nothing");
        check(Workload::Consume, &["--warmup", "5"], Output::Text, "publishes nothing");
        check(Workload::Mixed, &["--csv"], Output::Json, "name a file");
        check(Workload::Mixed, &["--messages", "1x"], Output::Text, "'1x' is no count");
        check(Workload::Mixed, &["--size", "2GiB"], Output::Text, "'2GiB' is no size");
        check(Workload::Mixed, &["--rate", "0"], Output::Text, "no number of messages per second");
        check(Workload::Mixed, &["--duration", "soon"], Output::Text, "'soon' is no duration");
        check(Workload::Mixed, &["--producers", "0"], Output::Text, "1..=1000");
    }
}
