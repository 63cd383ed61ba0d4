//! Sockets: one listener for each protocol, each a thin translation into calls of the one broker.
//!
//! A listener knows sockets and its wire format, and nothing else: it decides nothing about records.

pub mod native;
