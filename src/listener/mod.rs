//! Sockets: one listener for each protocol, each a thin translation into calls of the one broker.
//!
//! A listener knows sockets and its wire format, and nothing else: it decides nothing about records. What all of them
//! need lies here: the door, memory for what comes and goes, reading without holding up others, and closing so that
//! what was sent arrives.

mod door;
mod farewell;
mod incoming;
pub mod kafka;
pub mod lines;
mod liveness;
mod memory;
pub mod native;
mod outgoing;
mod prompt;
mod reading;
mod seldom;
mod shown;
mod topic_commands;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use door::Places;
use memory::PeerMemory;

use crate::types::{Timestamp, TopicId};

/// How long a large frame or line may take to come while others wait for its memory.
const COMING_MAX: Duration = Duration::from_secs(10);
/// How long a peer may take next to nothing of what waits for it while others wait for its memory.
const STALLED_MAX: Duration = Duration::from_secs(10);

/// What a listener is lent: the clock and fresh identities, which nothing below the server makes for itself.
#[derive(Clone)]
pub struct Surroundings {
    /// The time now.
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// A fresh topic id.
    pub fresh_topic_id: Arc<dyn Fn() -> TopicId + Send + Sync>,
    /// What a member's id is made of.
    pub fresh_member_id: Arc<dyn Fn() -> Uuid + Send + Sync>,
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Surroundings")
    }
}

/// What all listeners of a server share: places for connections, and memory for what comes from peers and goes to them.
#[derive(Debug, Clone)]
pub struct Shared {
    places: Arc<Places>,
    incoming_memory: Arc<PeerMemory>,
    outgoing_memory: Arc<PeerMemory>,
}

impl Shared {
    /// For so many connections, so many bytes of large requests received at a time, and so many that wait for peers.
    #[must_use]
    pub fn new(connections_max: usize, incoming_bytes: usize, outgoing_bytes: usize) -> Shared {
        Shared {
            places: Places::new(connections_max),
            incoming_memory: PeerMemory::new(incoming_bytes, COMING_MAX),
            outgoing_memory: PeerMemory::new(outgoing_bytes, STALLED_MAX),
        }
    }
}
