//! When messages are to be sent at a fixed rate. Settled before the first is sent and never adapted, so that a broker
//! that holds up its sender cannot hide it: a latency counts from the intended time.

/// The intended times of one sender's messages. Several senders of one rate take turns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    start_ns: u64,
    /// Between two messages of this sender.
    interval_ns: f64,
    /// Of the first message after the start.
    first_ns: f64,
}

impl Schedule {
    /// The schedule of sender `index` of `senders`, which together send `rate` messages per second from `start_ns` on.
    #[must_use]
    pub fn new(rate: f64, index: u32, senders: u32, start_ns: u64) -> Schedule {
        let step_ns = 1e9 / rate;
        let interval_ns = step_ns * f64::from(senders.max(1));
        Schedule { start_ns, interval_ns, first_ns: step_ns * f64::from(index) }
    }

    /// When message `number`, counted from 0, is to be sent.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "nanoseconds of a run, never negative")]
    pub fn due_ns(&self, number: u64) -> u64 {
        self.start_ns + (self.first_ns + self.interval_ns * number as f64) as u64
    }

    /// Time between two messages of this sender.
    #[must_use]
    pub fn interval_ns(&self) -> f64 {
        self.interval_ns
    }

    /// How many messages were to be sent by `now_ns`: those before this number are due.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count, never negative")]
    pub fn due_by(&self, now_ns: u64) -> u64 {
        if now_ns < self.start_ns {
            return 0;
        }
        let since = (now_ns - self.start_ns) as f64 - self.first_ns;
        let mut count = (since / self.interval_ns + 1.0).max(0.0) as u64;
        // Both ways round, `due_ns` has the last word.
        while count > 0 && self.due_ns(count - 1) > now_ns {
            count -= 1;
        }
        while self.due_ns(count) <= now_ns {
            count += 1;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_take_turns() {
        let schedules = [0, 1].map(|index| Schedule::new(1_000.0, index, 2, 500));
        let times: Vec<u64> = (0..3).flat_map(|n| schedules.map(|schedule| schedule.due_ns(n))).collect();
        assert_eq!(times, [500, 1_000_500, 2_000_500, 3_000_500, 4_000_500, 5_000_500]);
    }

    #[test]
    fn what_is_due_is_what_lies_in_the_past() {
        for rate in [0.3, 1.0, 7.0, 9_999.0, 10_000.0, 3e6] {
            let schedule = Schedule::new(rate, 1, 3, 1_000);
            assert_eq!(schedule.due_by(0), 0);
            for number in [0, 1, 2, 10, 999, 123_456] {
                let due = schedule.due_ns(number);
                assert!(schedule.due_by(due) > number && schedule.due_by(due - 1) <= number, "{rate} {number}");
            }
        }
    }
}
