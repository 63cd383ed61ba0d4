//! Wire formats as pure codecs: bytes in, values out, partial input is a value.
//!
//! Nothing here does I/O, reads a clock, panics on a peer's bytes or trusts a length it was sent.

#[cfg(feature = "server")]
pub mod kafka;
pub mod lines;
pub mod native;
