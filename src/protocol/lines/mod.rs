//! The line protocol: lines of text in, commands out, and the lines that answer them. `docs/lines.md` describes it.
//!
//! Nothing here does I/O. A line that has not ended yet is a value like any other, and whatever a client sends is
//! answered, never believed: a codec holds no more than one line of a limited length.

mod codec;
mod command;
mod message_id;
mod reply;

pub use codec::{Cut, DISCARDED_BYTES_MAX, LineCodec, LineLimits};
pub use command::{Command, CommandError, GROUP_BYTES_MAX};
pub use message_id::MessageId;
pub use reply::{ShownRecord, ShownTo, error, okay, record};

#[cfg(test)]
mod tests;
