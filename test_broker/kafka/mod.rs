//! Kafka's protocol, byte by byte and with the messages of a crate that others wrote.

mod append_time;
mod cluster;
mod configs;
mod connection;
mod groups;
mod list_offsets;
mod metadata;
mod produce_fetch;
mod producers;
mod records;
mod topics;
mod versions;
