//! What came of a run: one object, the same for every workload and every broker.

use serde::Serialize;

use super::recorder::{Latencies, Recorder};
use super::server_usage::Usage;

/// What a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// Publishes as fast as is acknowledged.
    Publish,
    /// Reads what is there.
    Consume,
    /// Publishes at a fixed rate and reads at the same time.
    Latency,
    /// Publishes and reads at the same time, as fast as goes.
    Mixed,
}

impl Workload {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Workload::Publish => "publish",
            Workload::Consume => "consume",
            Workload::Latency => "latency",
            Workload::Mixed => "mixed",
        }
    }
}

/// How a run was set.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// What it did.
    pub workload: Workload,
    /// The topic.
    pub topic: String,
    /// Bytes of a message.
    pub size: u64,
    /// Messages of a batch; 1 is single messages.
    pub batch: u32,
    /// Milliseconds a batch that is not full waits.
    pub linger_ms: f64,
    /// What each producer has under way: messages, or batches for each partition.
    pub in_flight: u32,
    /// Producers, each with its connection.
    pub producers: u32,
    /// Consumers, each with its connection.
    pub consumers: u32,
    /// Partitions of the topic.
    pub partitions: u32,
    /// What was waited for; `default` is what the broker's own policy says.
    pub ack: String,
    /// How batches were compressed.
    pub compression: String,
    /// Messages per second that were to be sent; `None` for as many as go.
    pub rate: Option<f64>,
    /// Messages sent before the clock was started.
    pub warmup: u64,
}

/// One of the sides of a run: those who publish, or those who read.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Side {
    /// Messages acknowledged, or read.
    pub messages: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Seconds from the first to the last.
    pub seconds: f64,
    /// Messages per second.
    pub messages_per_s: f64,
    /// 10^6 payload bytes per second.
    pub mb_per_s: f64,
    /// Of a producer from sending a message, or its batch, to the acknowledgement; of a reader from sending to
    /// delivery. At a fixed rate from the intended time of sending.
    #[serde(flatten)]
    pub latencies: Latencies,
}

impl Side {
    /// Messages and bytes in a time, with their latencies.
    #[must_use]
    pub fn new(messages: u64, bytes: u64, seconds: f64, recorder: &Recorder) -> Side {
        let per_s = |count: f64| if seconds > 0.0 { count / seconds } else { 0.0 };
        Side {
            messages,
            bytes,
            seconds: round(seconds, 6),
            messages_per_s: round(per_s(messages as f64), 1),
            mb_per_s: round(per_s(bytes as f64) / 1e6, 3),
            latencies: recorder.latencies(),
        }
    }
}

/// What was wrong with the messages that were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// Acknowledged, and not read.
    pub missing: u64,
    /// Read more than once.
    pub duplicates: u64,
    /// Read after later ones.
    pub misordered: u64,
    /// Not what was sent.
    pub damaged: u64,
}

impl Faults {
    /// Each with its name.
    #[must_use]
    pub fn named(&self) -> [(&'static str, u64); 4] {
        [
            ("missing", self.missing),
            ("twice", self.duplicates),
            ("out of order", self.misordered),
            ("damaged", self.damaged),
        ]
    }

    /// All of them.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.named().iter().map(|(_, count)| count).sum()
    }
}

/// What came of a run. As JSON one flat object of what every workload of every broker has: messages, bytes, seconds,
/// `messages_per_s`, `mb_per_s`, `p50_us`, `p99_us`, `p999_us`, `max_us`, errors, `server_cpu_s`, `server_rss_mib`; null where
/// it is not known.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// How it was set.
    #[serde(skip)]
    pub settings: Settings,
    /// Of `publish` what was acknowledged, of `consume` what was read; of `latency` and `mixed` what was acknowledged, in
    /// the time until all of it was both acknowledged and read, with the latencies from sending to delivery.
    #[serde(flatten)]
    pub total: Side,
    /// Messages that were to be published and were not acknowledged, and the faults.
    pub errors: u64,
    /// What was wrong with what was read.
    #[serde(skip)]
    pub faults: Faults,
    /// Messages read that are no run's, or another's, and were not verified.
    #[serde(skip)]
    pub foreign: u64,
    /// Processor time of the server during the run, in seconds.
    pub server_cpu_s: Option<f64>,
    /// Memory of the server after the run, in MiB.
    pub server_rss_mib: Option<f64>,
    /// The most memory the server has had since its start, in MiB.
    #[serde(skip)]
    pub server_peak_rss_mib: Option<f64>,
    /// Processor time of this side during the run, in seconds.
    #[serde(skip)]
    pub client_cpu_s: Option<f64>,
    /// The most that a message was sent after its intended time, in microseconds; latencies include it.
    #[serde(skip)]
    pub behind_max_us: Option<f64>,
    /// The publishing side, of `latency` and `mixed`.
    #[serde(skip)]
    pub publish: Option<Side>,
    /// The reading side, of `latency` and `mixed`: of all consumers together.
    #[serde(skip)]
    pub consume: Option<Side>,
    /// Why the run ended before it was through.
    #[serde(skip)]
    pub failure: Option<String>,
}

impl Report {
    /// A report of nothing but messages in a time.
    #[must_use]
    pub fn new(settings: Settings, total: Side) -> Report {
        Report {
            settings,
            total,
            errors: 0,
            faults: Faults::default(),
            foreign: 0,
            server_cpu_s: None,
            server_rss_mib: None,
            server_peak_rss_mib: None,
            client_cpu_s: None,
            behind_max_us: None,
            publish: None,
            consume: None,
            failure: None,
        }
    }

    /// Adds what the server used between two samples, as far as there are such.
    #[must_use]
    pub fn with_server(mut self, before: Option<Usage>, after: Option<Usage>) -> Report {
        self.server_cpu_s = before.zip(after).map(|(before, after)| round(after.cpu_s - before.cpu_s, 3));
        self.server_rss_mib = after.map(|after| round(after.rss_mib, 1));
        self.server_peak_rss_mib = after.map(|after| round(after.peak_rss_mib, 1));
        self
    }

    /// Adds the processor time of this process between two readings.
    #[must_use]
    pub fn with_client_cpu(mut self, before: Option<f64>, after: Option<f64>) -> Report {
        self.client_cpu_s = before.zip(after).map(|(before, after)| round(after - before, 3));
        self
    }

    /// The titles of [`Report::csv_row`].
    pub const CSV_TITLES: &'static str = "workload,topic,messages,bytes,seconds,messages_per_s,mb_per_s,p50_us,p99_us,\
        p999_us,max_us,errors,missing,duplicates,misordered,damaged,server_cpu_s,server_rss_mib,client_cpu_s,size,batch,\
        linger_ms,in_flight,producers,consumers,partitions,ack,compression,rate,warmup";

    /// The report as a line of comma-separated values; what is not known is empty.
    #[must_use]
    pub fn csv_row(&self) -> String {
        let (set, total, faults) = (&self.settings, &self.total, &self.faults);
        let maybe = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
        let latencies = total.latencies;
        [
            set.workload.as_str().to_owned(),
            set.topic.clone(),
            total.messages.to_string(),
            total.bytes.to_string(),
            total.seconds.to_string(),
            total.messages_per_s.to_string(),
            total.mb_per_s.to_string(),
            maybe(latencies.p50_us),
            maybe(latencies.p99_us),
            maybe(latencies.p999_us),
            maybe(latencies.max_us),
            self.errors.to_string(),
            faults.missing.to_string(),
            faults.duplicates.to_string(),
            faults.misordered.to_string(),
            faults.damaged.to_string(),
            maybe(self.server_cpu_s),
            maybe(self.server_rss_mib),
            maybe(self.client_cpu_s),
            set.size.to_string(),
            set.batch.to_string(),
            set.linger_ms.to_string(),
            set.in_flight.to_string(),
            set.producers.to_string(),
            set.consumers.to_string(),
            set.partitions.to_string(),
            set.ack.clone(),
            set.compression.clone(),
            maybe(set.rate),
            set.warmup.to_string(),
        ]
        .join(",")
    }
}

fn round(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Report {
        let mut recorder = Recorder::new();
        recorder.record(1_000_000, 10);
        let settings = Settings {
            workload: Workload::Mixed,
            topic: "t".to_owned(),
            size: 100,
            batch: 10,
            linger_ms: 1.0,
            in_flight: 5,
            producers: 1,
            consumers: 2,
            partitions: 3,
            ack: "default".to_owned(),
            compression: "none".to_owned(),
            rate: None,
            warmup: 0,
        };
        let mut report = Report::new(settings, Side::new(10, 1_000, 0.5, &recorder));
        report.publish = Some(report.total);
        report
    }

    #[test]
    fn one_flat_object() {
        let expected = r#"{"messages":10,"bytes":1000,"seconds":0.5,"messages_per_s":20.0,"mb_per_s":0.002,"p50_us":1000.0,"p99_us":1000.0,"p999_us":1000.0,"max_us":1000.0,"errors":0,"server_cpu_s":null,"server_rss_mib":null}"#;
        let json = serde_json::to_string(&sample()).expect("JSON");
        // The histogram rounds to three digits.
        assert_eq!(json.replace("1000.4", "1000.0"), expected);
    }

    #[test]
    fn a_row_has_as_many_cells_as_titles() {
        let row = sample().csv_row();
        assert_eq!(row.split(',').count(), Report::CSV_TITLES.split(',').count(), "{row}");
        assert!(row.starts_with("mixed,t,10,1000,0.5,20,0.002,"), "{row}");
    }

    #[test]
    fn what_the_server_used() {
        let usage = |cpu_s| Some(Usage { cpu_s, rss_mib: 10.04, peak_rss_mib: 20.0 });
        let report = sample().with_server(usage(1.25), usage(2.0)).with_client_cpu(Some(1.0), None);
        assert_eq!((report.server_cpu_s, report.server_rss_mib), (Some(0.75), Some(10.0)));
        assert_eq!((report.client_cpu_s, sample().with_server(None, usage(1.0)).server_cpu_s), (None, None));
    }
}
