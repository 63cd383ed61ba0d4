//! What a load program says at its end: one JSON object, in the form of `wiber-client bench -o json`.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The result of one load.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Messages acknowledged, or read where reading was measured.
    pub(crate) messages: u64,
    /// Bytes of their payloads.
    pub(crate) bytes: u64,
    /// From the first send to the last acknowledgement (or read).
    pub(crate) seconds: f64,
    pub(crate) messages_per_s: f64,
    /// 10^6 payload bytes a second.
    pub(crate) mb_per_s: f64,
    #[serde(default)]
    pub(crate) p50_us: Option<f64>,
    #[serde(default)]
    pub(crate) p99_us: Option<f64>,
    #[serde(default)]
    pub(crate) p999_us: Option<f64>,
    #[serde(default)]
    pub(crate) max_us: Option<f64>,
    /// Messages refused, or read other than they were sent.
    #[serde(default)]
    pub(crate) errors: u64,
    /// CPU seconds the server spent between the first send and the end.
    #[serde(default)]
    pub(crate) server_cpu_s: Option<f64>,
    /// Resident memory of the server at the end.
    #[serde(default)]
    pub(crate) server_rss_mib: Option<f64>,
}

/// Counts and times of one thread; many are added up.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) messages: u64,
    pub(crate) errors: u64,
    /// When the last message was acknowledged or read, from the start.
    pub(crate) last: Duration,
    latency: Histogram<u64>,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        // Nanoseconds, three digits: 1 µs is kept apart from 1.001 µs.
        let latency = Histogram::new(3).unwrap_or_else(|error| unreachable!("three digits are allowed: {error}"));
        Self { messages: 0, errors: 0, last: Duration::ZERO, latency }
    }

    /// Records that something took `time`.
    pub(crate) fn took(&mut self, time: Duration) {
        // Cannot fail: the histogram grows.
        let _ = self.latency.record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1));
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.errors += other.errors;
        self.last = self.last.max(other.last);
        // An automatically growing histogram takes any other.
        let _ = self.latency.add(&other.latency);
    }

    /// The report of messages of `size` bytes.
    pub(crate) fn report(&self, size: usize, usage: Option<(f64, f64)>) -> Report {
        let seconds = self.last.as_secs_f64();
        let bytes = self.messages * size as u64;
        let per_second = |count: f64| if seconds > 0.0 { count / seconds } else { 0.0 };
        let at = |quantile: f64| {
            (!self.latency.is_empty()).then(|| self.latency.value_at_quantile(quantile) as f64 / 1000.0)
        };
        Report {
            messages: self.messages,
            bytes,
            seconds,
            messages_per_s: per_second(self.messages as f64),
            mb_per_s: per_second(bytes as f64) / 1e6,
            p50_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: at(1.0),
            errors: self.errors,
            server_cpu_s: usage.map(|(cpu, _)| cpu),
            server_rss_mib: usage.map(|(_, rss)| rss),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_adds_up_and_goes_through_json() {
        let (mut one, mut two) = (Recorder::new(), Recorder::new());
        one.messages = 600;
        one.last = Duration::from_secs(1);
        one.took(Duration::from_micros(100));
        two.messages = 400;
        two.last = Duration::from_secs(2);
        two.errors = 3;
        two.took(Duration::from_micros(300));
        one.add(&two);
        let report = one.report(1000, Some((0.5, 64.0)));
        assert_eq!((report.messages, report.bytes, report.errors), (1000, 1_000_000, 3));
        assert_eq!((report.messages_per_s, report.mb_per_s), (500.0, 0.5));
        assert!((report.max_us.unwrap() - 300.0).abs() < 1.0);
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    }

    #[test]
    fn a_report_may_leave_out_what_was_not_measured() {
        let text = r#"{"messages":1,"bytes":2,"seconds":1.0,"messages_per_s":1.0,"mb_per_s":0.1,"more":"ignored"}"#;
        let report: Report = serde_json::from_str(text).unwrap();
        assert_eq!((report.p50_us, report.errors), (None, 0));
    }
}
