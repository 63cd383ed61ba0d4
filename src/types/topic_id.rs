//! Identity of a topic, which outlives its name.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The id a topic keeps from its creation to its end. A topic deleted and created anew under the same name has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TopicId(Uuid);

impl TopicId {
    /// The id of this UUID. Drawing one is the caller's: nothing here is random.
    #[must_use]
    pub const fn new(uuid: Uuid) -> TopicId {
        TopicId(uuid)
    }

    /// The plain UUID.
    #[must_use]
    pub const fn get(self) -> Uuid {
        self.0
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
