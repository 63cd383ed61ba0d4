//! Kafka's protocol, byte by byte and with the messages of a crate that others wrote.

mod connection;
mod groups;
mod produce_fetch;
mod versions;
