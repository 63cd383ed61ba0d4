//! Who waits for topics to appear, to get more partitions, or to go.

use std::task::{Poll, Waker};

use parking_lot::Mutex;

use super::Broker;

/// How often topics have changed, and who is to be woken when they do again.
#[derive(Debug, Default)]
pub(super) struct TopicChanges {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    count: u64,
    waiting: Vec<Waker>,
}

impl TopicChanges {
    /// The topics that are shown have changed.
    pub(super) fn announce(&self) {
        let mut state = self.state.lock();
        state.count += 1;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl Broker {
    /// Ready with how often topics were created, altered or deleted, once that is not `seen`; the waker is called when
    /// that may be so. For few watchers, each of which tells others.
    pub fn poll_topic_changes(&self, seen: u64, waker: &Waker) -> Poll<u64> {
        let mut state = self.topic_changes.state.lock();
        if state.count != seen {
            return Poll::Ready(state.count);
        }
        if !state.waiting.iter().any(|waiting| waiting.will_wake(waker)) {
            state.waiting.push(waker.clone());
        }
        Poll::Pending
    }
}
