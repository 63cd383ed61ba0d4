//! The command lines.

#[cfg(feature = "server")]
pub mod server_tools;
