//! Many records of one command on their way: sent as they are read, counted as they are acknowledged.

use std::collections::VecDeque;
use std::io::Write;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use indicatif::ProgressBar;
use serde_json::json;
use tokio::time::Instant;

use super::input::Input;
use super::pattern::Pattern;
use crate::cli::client::failure::Failure;
use crate::cli::client::lines::read_lines;
use crate::cli::client::output::Output;
use crate::cli::client::signals::interrupted;
use crate::cli::client::text::records;
use crate::cli::client::{note, output};
use crate::client::{Client, ClientError, ClientOptions, Delivery, Producer, ProducerOptions};
use crate::protocol::native::AckLevel;
use crate::record::Compression;

/// How long a record is tried where the broker does not take it.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(60);

/// Records not yet acknowledged at which the oldest is waited for. What they hold is bounded by the producer.
const UNDER_WAY_MAX: usize = 200_000;

/// How lines become batches.
pub(super) struct Batching {
    pub(super) compression: Compression,
    pub(super) records: Option<u32>,
    pub(super) linger: Option<Duration>,
}

/// Where records go.
pub(super) enum Sink {
    /// In batches, each stored once.
    Batches(Producer),
    /// One by one, and nobody tells what becomes of them.
    Unacknowledged(Client),
}

/// The records of one command.
pub(super) struct Bulk<'a> {
    sink: Sink,
    topic: &'a str,
    pattern: &'a Pattern,
    separator: Option<&'a [u8]>,
    /// Number of the line, and what becomes of it.
    under_way: VecDeque<(u64, Delivery)>,
    lines: u64,
    acknowledged: u64,
    missing: u64,
    bytes: u64,
    first_failure: Option<(u64, ClientError)>,
    progress: ProgressBar,
    started: Instant,
}

impl Sink {
    pub(super) async fn open(
        options: &ClientOptions,
        topic: &str,
        pattern: &Pattern,
        batching: &Batching,
    ) -> Result<Sink, Failure> {
        if pattern.ack == Some(AckLevel::None) {
            let client = Client::connect(options.clone()).await;
            return client.map(Sink::Unacknowledged).map_err(|source| Failure::of_connecting(options, source));
        }
        let defaults = ProducerOptions::default();
        let producer = ProducerOptions {
            client: options.clone(),
            ack: pattern.ack,
            linger: batching.linger.unwrap_or(defaults.linger),
            batch_records: batching.records.unwrap_or(defaults.batch_records),
            compression: batching.compression,
            delivery_timeout: DELIVERY_TIMEOUT,
            ..defaults
        };
        let doing = || format!("publish to topic '{topic}'");
        let producer = Producer::new(producer).await;
        producer.map(Sink::Batches).map_err(|source| Failure::of_starting(options, doing(), source))
    }
}

impl<'a> Bulk<'a> {
    pub(super) fn new(sink: Sink, topic: &'a str, pattern: &'a Pattern, separator: Option<&'a [u8]>) -> Bulk<'a> {
        Bulk {
            sink,
            topic,
            pattern,
            separator,
            under_way: VecDeque::new(),
            lines: 0,
            acknowledged: 0,
            missing: 0,
            bytes: 0,
            first_failure: None,
            progress: ProgressBar::hidden(),
            started: Instant::now(),
        }
    }

    /// Sends every line of the input, until it ends or a signal comes, and waits for what was sent.
    pub(super) async fn send_all(&mut self, input: Input, path: &Path) -> Result<(), Failure> {
        self.progress = input.progress;
        let mut lines = read_lines(input.reader);
        let mut stop = pin!(interrupted());
        let mut read_to_end = Ok(());
        'reading: loop {
            // Where lines and room never run out, nothing else would let a signal in.
            tokio::task::yield_now().await;
            let read = tokio::select! {
                biased;
                stopped = &mut stop => break stopped.map_err(Failure::Signal)?,
                read = lines.recv() => read,
            };
            match read {
                None => break,
                Some(Err(source)) => read_to_end = Err(Failure::Input { path: path.to_owned(), source }),
                Some(Ok(lines)) => {
                    for line in lines {
                        let sent = tokio::select! {
                            biased;
                            sent = self.send(line) => sent,
                            stopped = &mut stop => break 'reading stopped.map_err(Failure::Signal)?,
                        };
                        if let Err(failure) = sent {
                            read_to_end = Err(failure);
                            break 'reading;
                        }
                    }
                }
            }
            if self.first_failure.is_some() {
                break;
            }
        }
        let settled = self.settle().await;
        self.progress.finish_and_clear();
        if let Some((number, source)) = self.first_failure.take() {
            return Err(Failure::Line { topic: self.topic.to_owned(), number, source });
        }
        settled.and(read_to_end)
    }

    /// Sends a line and takes what answers there are. Only what was handed over counts where this is dropped.
    async fn send(&mut self, line: Bytes) -> Result<(), Failure> {
        let number = self.lines + 1;
        let bytes = line.len() as u64 + 1;
        let (key, value) = self.divide(line).map_err(|fault| Failure::BadLine { number, fault })?;
        let failed = |source| Failure::Line { topic: self.topic.to_owned(), number, source };
        match &self.sink {
            Sink::Batches(producer) => {
                if self.under_way.len() >= UNDER_WAY_MAX
                    && let Some((_, oldest)) = self.under_way.front_mut()
                {
                    // Counted below, with all that have come.
                    let _counted_below = oldest.await;
                }
                let sent = producer.send(self.topic, self.pattern.record(key, value)).await;
                self.under_way.push_back((number, sent.map_err(failed)?));
            }
            Sink::Unacknowledged(client) => {
                let record = self.pattern.keyed_message(key, value);
                let record = record.map_err(|fault| Failure::BadLine { number, fault })?;
                client.publish(self.topic, record).await.map_err(failed)?;
            }
        }
        self.lines = number;
        self.bytes += bytes;
        self.progress.inc(bytes);
        while let Some(result) = self.under_way.front().and_then(|(_, delivery)| delivery.try_result()) {
            self.take(result.err());
        }
        Ok(())
    }

    /// A line's key, where it has one, and its value.
    fn divide(&self, line: Bytes) -> Result<(Option<Bytes>, Bytes), String> {
        let Some(separator) = self.separator else { return Ok((None, line)) };
        match line.windows(separator.len()).position(|window| window == separator) {
            Some(at) => Ok((Some(line.slice(..at)), line.slice(at + separator.len()..))),
            None => Err(format!("no {:?} divides a key from a value", String::from_utf8_lossy(separator))),
        }
    }

    /// Counts the oldest record under way.
    fn take(&mut self, failed: Option<ClientError>) {
        let Some((number, _)) = self.under_way.pop_front() else { return };
        match failed {
            None => self.acknowledged += 1,
            Some(error) => {
                self.missing += 1;
                self.first_failure.get_or_insert((number, error));
            }
        }
    }

    /// Waits for all answers, or for a signal.
    async fn settle(&mut self) -> Result<(), Failure> {
        let sink = &self.sink;
        let all_answered = async {
            match sink {
                // What failed shows in the records themselves.
                Sink::Batches(producer) => drop(producer.flush().await),
                Sink::Unacknowledged(client) => client.heartbeat().await?,
            }
            Ok(())
        };
        let answered = tokio::select! {
            answered = all_answered => answered,
            stopped = interrupted() => stopped.map(|()| Ok(())).map_err(Failure::Signal)?,
        };
        while let Some(result) = self.under_way.front().map(|(_, delivery)| delivery.try_result()) {
            match result {
                Some(result) => self.take(result.err()),
                None => {
                    self.missing += 1;
                    self.under_way.pop_front();
                }
            }
        }
        let topic = self.topic.to_owned();
        if let Err(source) = answered {
            return Err(Failure::Line { topic, number: self.lines, source });
        }
        if self.missing > 0 && self.first_failure.is_none() {
            return Err(Failure::Interrupted { topic, missing: self.missing });
        }
        Ok(())
    }

    /// Says what became of the lines: for people on standard error, for programs on standard output.
    pub(super) fn tell(&self, form: Output, out: &mut dyn Write) -> Result<(), Failure> {
        let seconds = self.started.elapsed().as_secs_f64().max(0.001);
        let is_acknowledged = matches!(self.sink, Sink::Batches(_));
        let sent = if is_acknowledged { self.acknowledged } else { self.lines };
        if form == Output::Json {
            let json = json!({
                "topic": self.topic,
                "sent": self.lines,
                "acknowledged": self.acknowledged,
                "not_acknowledged": self.lines - self.acknowledged,
                "bytes": self.bytes,
                "seconds": (seconds * 1e3).round() / 1e3,
            });
            return output::print(out, form, "", &json);
        }
        let mb = self.bytes as f64 / 1e6;
        let rates = format!("{:.0} records/s, {:.1} MB/s", sent as f64 / seconds, mb / seconds);
        let topic = self.topic;
        let said = if is_acknowledged { "Published" } else { "Sent, without acknowledgement," };
        note(format_args!("{said} {} ({mb:.1} MB) to topic '{topic}' in {seconds:.2} s: {rates}", records(sent)));
        if self.missing > 0 {
            note(format_args!("Not acknowledged: {}", records(self.missing)));
        }
        Ok(())
    }
}
