//! Kafka's protocol, as far as it is bytes: requests in, responses out.
//!
//! The way of a request: [`RequestFrames`] cuts it from the bytes read, [`open`] reads its header, and what follows depends on
//! its [`Api`]: [`Request::parse`]. [`ProduceRequest`] and [`FetchRequest`] are walked where they lie, and batches go through untouched; all others
//! are decoded by the crate `kafka-protocol`, behind a guard that bounds what it makes room for. [`respond`],
//! [`ProduceResponse`] and [`FetchResponse`] append responses to the bytes to be written.
//!
//! No file here knows a socket or the broker.

mod api;
mod consumer;
mod error;
mod fetch;
mod frame;
mod guard;
mod header;
mod produce;
mod reply;
mod request;
mod schema;
mod topic_walk;
mod wire;
mod writer;

pub use api::{APIS, Api, ApiRow};
pub use consumer::{CONSUMER, assigned_partitions, encode_assignment, encode_subscription, subscribed_topics};
pub use error::{KafkaError, NO_ERROR};
pub use fetch::{
    FetchPartition, FetchPieces, FetchRequest, FetchResponse, FetchSession, FetchTopic, Fetched, FetchedPartition,
    ForgottenTopic, Piece,
};
pub use frame::{BadLength, FIRST_REQUEST_BYTES_MAX, LENGTH_BYTES, REQUEST_BYTES_MIN, RequestFrames};
pub use header::{CLIENT_ID_BYTES_MAX, Opened, RequestHeader, open};
pub use produce::{Acks, ProduceFailure, ProducePartition, ProduceRequest, ProduceResponse, ProduceTopic, Produced};
pub use reply::{is_software_name, refuse_api_versions, respond, respond_api_versions};
pub use request::Request;
pub use wire::{Malformed, TAGGED_FIELDS_MAX};
pub use writer::Unencodable;
