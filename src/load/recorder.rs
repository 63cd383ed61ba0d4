//! Latencies, recorded in a histogram of bounded size: three significant digits from a nanosecond to an hour.

use hdrhistogram::Histogram;
use serde::Serialize;

const LONGEST_NS: u64 = 3_600_000_000_000;
const DIGITS: u8 = 3;

/// Records latencies. Each task has its own; they are merged in the end.
#[derive(Debug, Clone)]
pub struct Recorder {
    /// `None` where there could be no histogram, which fixed bounds rule out.
    histogram: Option<Histogram<u64>>,
}

impl Default for Recorder {
    fn default() -> Recorder {
        Recorder::new()
    }
}

impl Recorder {
    /// With nothing recorded.
    #[must_use]
    pub fn new() -> Recorder {
        Recorder { histogram: Histogram::new_with_bounds(1, LONGEST_NS, DIGITS).ok() }
    }

    /// Records a latency that `messages` messages had.
    pub fn record(&mut self, latency_ns: u64, messages: u64) {
        if let Some(histogram) = &mut self.histogram {
            histogram.saturating_record_n(latency_ns.max(1), messages);
        }
    }

    /// Takes in what another recorded.
    pub fn merge(&mut self, other: &Recorder) {
        if let (Some(own), Some(others)) = (&mut self.histogram, &other.histogram) {
            // The same bounds, so that everything fits.
            let _fits = own.add(others);
        }
    }

    /// Of how many messages latencies were recorded.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.histogram.as_ref().map_or(0, Histogram::len)
    }

    /// What the report says of them: nothing where nothing was recorded.
    #[must_use]
    pub fn latencies(&self) -> Latencies {
        let Some(histogram) = self.histogram.as_ref().filter(|histogram| !histogram.is_empty()) else {
            return Latencies::default();
        };
        let us = |ns: u64| Some((ns as f64 / 100.0).round() / 10.0);
        Latencies {
            p50_us: us(histogram.value_at_quantile(0.5)),
            p99_us: us(histogram.value_at_quantile(0.99)),
            p999_us: us(histogram.value_at_quantile(0.999)),
            max_us: us(histogram.max()),
        }
    }
}

/// Latencies in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Latencies {
    /// Half of the messages had at most this.
    pub p50_us: Option<f64>,
    /// 99 in 100 had at most this.
    pub p99_us: Option<f64>,
    /// 999 in 1000 had at most this.
    pub p999_us: Option<f64>,
    /// The longest.
    pub max_us: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_what_several_recorded() {
        let (mut all, mut other) = (Recorder::new(), Recorder::new());
        assert_eq!(all.latencies(), Latencies::default());
        all.record(100_000, 500);
        other.record(200_000, 499);
        other.record(u64::MAX, 1);
        all.merge(&other);
        assert_eq!(all.messages(), 1_000);
        let latencies = all.latencies();
        let close = |value: Option<f64>, expected: f64| value.is_some_and(|v| (v / expected - 1.0).abs() < 0.002);
        assert!(close(latencies.p50_us, 100.0) && close(latencies.p99_us, 200.0), "{latencies:?}");
        assert!(close(latencies.max_us, 3.6e9), "{latencies:?}");
    }
}
