//! Those who wait for something of a partition to change.

use std::task::Waker;

/// Wakers that may be there before it is looked for one's second registration.
const UNSORTED_MIN: usize = 16;

/// Wakers to be called once. A task that asks again and again while it waits is there twice at most on average, and
/// entering costs the same however many wait: the partition's lock is held meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Wakers {
    wakers: Vec<Waker>,
    /// At this many, those that are there twice are dropped.
    sorted_at: usize,
}

impl Wakers {
    /// Enters a waker.
    pub(crate) fn register(&mut self, waker: &Waker) {
        if self.wakers.last().is_some_and(|last| last.will_wake(waker)) {
            return;
        }
        if self.wakers.len() >= self.sorted_at.max(UNSORTED_MIN) {
            self.wakers.sort_unstable_by_key(Waker::data);
            self.wakers.dedup_by(|a, b| a.will_wake(b));
            self.sorted_at = self.wakers.len() * 2;
        }
        self.wakers.push(waker.clone());
    }

    /// Drops a waker: its task waits no longer. Looks through all of them.
    pub(crate) fn forget(&mut self, waker: &Waker) {
        self.wakers.retain(|known| !known.will_wake(waker));
    }

    /// How many are entered.
    pub(crate) fn len(&self) -> usize {
        self.wakers.len()
    }

    /// Everybody who waits, to be woken.
    pub(crate) fn take(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.wakers)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Those who wait for long and ask often take no more room for it, and nobody is forgotten.
    #[test]
    fn who_asks_often_is_not_entered_as_often() {
        for count in [1, 2, 15, 16, 17, 100] {
            let tasks: Vec<Arc<Counted>> = (0..count).map(|_| Arc::default()).collect();
            let mut waiting = Wakers::default();
            for _ in 0..50 {
                tasks.iter().for_each(|task| waiting.register(&Waker::from(Arc::clone(task))));
            }
            assert!(waiting.wakers.len() <= 2 * count + UNSORTED_MIN, "{} of {count}", waiting.wakers.len());
            waiting.take().into_iter().for_each(Waker::wake);
            assert!(tasks.iter().all(|task| task.0.load(Ordering::Relaxed) > 0));
            assert!(waiting.take().is_empty());
        }
    }

    /// A waker keeps its task's memory: whoever goes away must not stay entered until something happens.
    #[test]
    fn who_goes_is_forgotten() {
        let (one, other): (Arc<Counted>, Arc<Counted>) = (Arc::default(), Arc::default());
        let mut waiting = Wakers::default();
        for task in [&one, &other, &one] {
            waiting.register(&Waker::from(Arc::clone(task)));
        }
        waiting.forget(&Waker::from(Arc::clone(&one)));
        assert_eq!((Arc::strong_count(&one), Arc::strong_count(&other)), (1, 2));
        waiting.take().into_iter().for_each(Waker::wake);
        assert_eq!((one.0.load(Ordering::Relaxed), other.0.load(Ordering::Relaxed)), (0, 1));
    }
}
