//! Kafka's protocol, byte by byte and with the messages of a crate that others wrote.

mod append_time;
mod bounds;
mod cluster;
mod configs;
mod connection;
mod groups;
mod hostile;
mod list_offsets;
mod metadata;
mod produce_fetch;
mod producers;
mod records;
mod topics;
mod versions;

use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::StrBytes;
use tempfile::TempDir;

use crate::harness::Setup;

/// A server that keeps records however old they say they are.
fn kept(directory: &TempDir) -> Setup {
    Setup::new(directory.path()).set("QB_TOPICS__RETENTION_HOURS", "0")
}

/// Text as messages have it.
fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A topic's name as messages have it.
fn name(topic: &str) -> TopicName {
    TopicName(text(topic))
}
