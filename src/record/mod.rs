//! Kafka record batches, magic 2 (KIP-98): encode, decode, admission.
//!
//! Pure codecs: no I/O, no clock. No input makes them panic or allocate more than its length justifies.

mod header;
pub use header::*;
