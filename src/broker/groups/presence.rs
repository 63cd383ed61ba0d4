//! Members of groups whose kind needs no coordinator: that they are there is all the broker knows of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::broker::Broker;

/// How many members there are of each group that has any.
#[derive(Debug, Default)]
pub(super) struct Present(Mutex<BTreeMap<Arc<str>, usize>>);

impl Present {
    pub(super) fn count(&self, group: &str) -> usize {
        self.0.lock().get(group).copied().unwrap_or(0)
    }

    pub(super) fn all(&self) -> BTreeMap<Arc<str>, usize> {
        self.0.lock().clone()
    }
}

/// A member that is there until this is dropped.
#[derive(Debug)]
pub struct GroupPresence {
    broker: Arc<Broker>,
    group: Arc<str>,
}

impl Broker {
    /// Notes that a member of a group is there that takes turns with others.
    #[must_use]
    pub fn enter_group(self: &Arc<Self>, group: &Arc<str>) -> GroupPresence {
        *self.groups.present().0.lock().entry(Arc::clone(group)).or_default() += 1;
        GroupPresence { broker: Arc::clone(self), group: Arc::clone(group) }
    }
}

impl Drop for GroupPresence {
    fn drop(&mut self) {
        let mut present = self.broker.groups.present().0.lock();
        if let Some(count) = present.get_mut(&self.group) {
            *count -= 1;
            if *count == 0 {
                present.remove(&self.group);
            }
        }
    }
}
