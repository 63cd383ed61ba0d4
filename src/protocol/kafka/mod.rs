//! Kafka's protocol, as far as it is bytes: requests in, responses out.
//!
//! The way of a request: [`RequestFrames`] cuts it from the bytes read, [`open`] reads its header, and what follows depends on
//! its [`Api`]. Most are decoded by the crate `kafka-protocol`, behind a guard ([`decode`]) that bounds what it makes room
//! for. No file here knows a socket or the broker.

mod api;
mod error;
mod frame;
mod guard;
mod header;
mod schema;
mod wire;

pub use api::{APIS, Api, ApiRow};
pub use error::{KafkaError, NO_ERROR};
pub use frame::{BadLength, FIRST_REQUEST_BYTES_MAX, LENGTH_BYTES, REQUEST_BYTES_MIN, RequestFrames};
pub use guard::{check, decode};
pub use header::{CLIENT_ID_BYTES_MAX, Opened, RequestHeader, open};
pub use wire::{Malformed, TAGGED_FIELDS_MAX};
