//! The command lines.

pub mod client;
#[cfg(feature = "server")]
pub mod server;
