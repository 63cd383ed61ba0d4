//! Groups whose members share a topic's records one by one, in turn.
//!
//! This is the first step of queue groups: each record goes to one member and counts as dealt with when it goes (at most
//! once). [`QueueGroup`] decides who is next and what comes again because a member went before it was sent; it is
//! pure, and whoever drives it reads the records and owns the sockets. The group's position in each partition is kept
//! under [`PositionOwner::Group`](super::PositionOwner), and moves before the records go; that it is a queue group is
//! registered by [`Broker::claim_group`](super::Broker::claim_group).
//!
//! Where each record is to be acknowledged singly, the rest belongs beside it. A lease begins in [`QueueGroup::give`] and
//! ends in an acknowledgement or in [`QueueGroup::take_back`], by a member's word or when its time is over
//! (redelivery: the time is handed in); what was taken back too often goes to a dead-letter topic instead of to the
//! next member; and the position kept is then the oldest record that is leased or taken back, not the next one to read.

mod group;
mod start;
#[cfg(test)]
mod tests;

pub use group::{MemberId, QueueGroup, QueuedRecord};
pub use start::queue_position;
