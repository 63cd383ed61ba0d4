//! A work queue that a test drains by hand, one piece of work after the other, in the order the test likes.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use wiber::replica::{Partition, Work, WorkQueue};
use wiber::types::Timestamp;

/// Collects work. Nothing runs by itself.
#[derive(Debug, Default)]
pub(crate) struct HandQueue {
    waiting: Mutex<VecDeque<(Arc<Partition>, Work)>>,
}

impl HandQueue {
    /// Runs the oldest work that `chosen` accepts; false where there is none.
    pub(crate) fn run_one(&self, now: Timestamp, chosen: impl Fn(&Partition, Work) -> bool) -> bool {
        let next = {
            let mut waiting = self.waiting.lock();
            let place = waiting.iter().position(|(partition, work)| chosen(partition, *work));
            place.and_then(|place| waiting.remove(place))
        };
        if let Some((partition, work)) = &next {
            partition.run(*work, now);
        }
        next.is_some()
    }
}

impl WorkQueue for HandQueue {
    fn submit(&self, partition: Arc<Partition>, work: Work) {
        self.waiting.lock().push_back((partition, work));
    }
}
