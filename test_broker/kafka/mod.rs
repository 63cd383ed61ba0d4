//! Kafka's protocol, byte by byte and with the messages of a crate that others wrote.

mod cluster;
mod configs;
mod connection;
mod metadata;
mod produce_fetch;
mod topics;
mod versions;

use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::StrBytes;

/// Text as messages have it.
fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A topic's name as messages have it.
fn name(topic: &str) -> TopicName {
    TopicName(text(topic))
}
