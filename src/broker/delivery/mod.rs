//! Delivery to subscribers: what one that acknowledges has been sent, and what it must be sent again.
//!
//! State machines only: whoever sends the records hands in the time and does what comes out.

mod unacknowledged;

pub use unacknowledged::{UNACKED_BYTES_MAX, UNACKED_RECORDS_MAX, Unacknowledged, UnacknowledgedLimits};
