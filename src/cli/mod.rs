//! The command lines.

pub mod client;
