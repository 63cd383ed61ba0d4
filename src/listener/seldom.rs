//! Warnings about what may happen thousands of times a second: one now and then, with how many were not shown.

use std::time::Duration;

use tokio::time::Instant;

/// Time between two warnings of the same kind.
const PAUSE: Duration = Duration::from_secs(10);

/// Lets one of many through.
#[derive(Debug, Default)]
pub(super) struct Seldom {
    last: Option<Instant>,
    passed_over: u64,
}

impl Seldom {
    /// Whether this one is to be shown: then the number of those that were not since the last.
    pub(super) fn is_due(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < PAUSE) {
            self.passed_over += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.passed_over))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_many_is_shown_and_the_others_are_counted() {
        let mut seldom = Seldom::default();
        let begin = Instant::now();
        assert_eq!(seldom.is_due(begin), Some(0));
        for millis in 1..=20 {
            assert_eq!(seldom.is_due(begin + Duration::from_millis(millis)), None);
        }
        assert_eq!(seldom.is_due(begin + PAUSE), Some(20));
        assert_eq!(seldom.is_due(begin + PAUSE), None);
        assert_eq!(seldom.is_due(begin + PAUSE * 2), Some(1));
    }
}
