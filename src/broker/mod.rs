//! Topics and their life. Knows no wire format and no socket.

pub mod metadata;
pub mod snapshot;
