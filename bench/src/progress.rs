//! How far a run is, and how long it will still take: first as reckoned beforehand, then by what the points took so far.

use std::time::{Duration, Instant};

use crate::workload::{Shape, Workload};

/// Seconds a point takes beside its load: warming, syncing, connecting, deleting.
const ASIDE_S: f64 = 3.0;
/// Seconds the start of a server is reckoned to take, with the clearing away of the one before.
pub(crate) const START_S: f64 = 3.0;
/// How many times the seconds of a point go by while what is to be read is stored, and is read.
const CONSUME_TIMES: f64 = 2.5;

/// Seconds a point is reckoned to take.
pub(crate) fn point_s(workload: &Workload, seconds: f64) -> f64 {
    let times = if workload.shape == Shape::Consume { CONSUME_TIMES } else { 1.0 };
    ASIDE_S + seconds * times
}

/// What is done, and what is to be done, in reckoned seconds.
#[derive(Debug)]
pub(crate) struct Progress {
    began: Instant,
    total_s: f64,
    done_s: f64,
    points: usize,
    point: usize,
}

impl Progress {
    pub(crate) fn new(points: usize, total_s: f64) -> Self {
        Self { began: Instant::now(), total_s, done_s: 0.0, points, point: 0 }
    }

    /// Something reckoned at so many seconds is done.
    pub(crate) fn passed(&mut self, reckoned_s: f64) {
        self.done_s += reckoned_s;
    }

    /// So is a point.
    pub(crate) fn point_passed(&mut self, reckoned_s: f64) {
        self.point += 1;
        self.passed(reckoned_s);
    }

    /// "12/246, 20 min left".
    pub(crate) fn say(&self) -> String {
        let left = left_s(self.began.elapsed().as_secs_f64(), self.done_s, self.total_s);
        format!("{}/{}, {} left", self.point, self.points, short_time(left))
    }
}

/// What was reckoned is corrected by what the part that is done really took, the more the more of it is done.
fn left_s(took_s: f64, done_s: f64, total_s: f64) -> f64 {
    let trust = (done_s / total_s * 10.0).clamp(0.0, 1.0);
    let pace = if done_s > 0.0 { took_s / done_s } else { 1.0 };
    (total_s - done_s).max(0.0) * (trust * pace + 1.0 - trust)
}

/// "45 s", "20 min".
pub(crate) fn short_time(seconds: f64) -> String {
    let seconds = Duration::from_secs_f64(seconds.max(0.0)).as_secs();
    if seconds < 100 { format!("{seconds} s") } else { format!("{} min", (seconds + 30) / 60) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_follows_what_was_taken() {
        for (took, done, total, left) in [
            (0.0, 0.0, 100.0, 100.0),
            (20.0, 10.0, 100.0, 180.0),
            (2.0, 1.0, 100.0, 108.9),
            (50.0, 100.0, 100.0, 0.0),
            (9.0, 110.0, 100.0, 0.0),
        ] {
            assert!((left_s(took, done, total) - left).abs() < 1e-9, "{took} {done} {total}");
        }
        assert_eq!(short_time(99.9), "99 s");
        assert_eq!(short_time(1199.0), "20 min");
    }

    #[test]
    fn points_are_counted() {
        let mut progress = Progress::new(2, 10.0);
        progress.passed(5.0);
        progress.point_passed(5.0);
        assert_eq!(progress.say(), "1/2, 0 s left");
    }
}
