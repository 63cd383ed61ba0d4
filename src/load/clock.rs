//! The clock of a run: nanoseconds since it began. The one place here that asks what time it is.

use std::time::{Duration, Instant};

/// Time since a run began. Copies agree, on every thread of the process.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that stands at 0 now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "measuring time is what this module is for")]
    pub fn start() -> Clock {
        Clock { origin: Instant::now() }
    }

    /// Nanoseconds since the start.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.now().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Time since the start.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.origin.elapsed()
    }
}
