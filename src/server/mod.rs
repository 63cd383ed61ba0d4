//! The composition root: the one place that sees the whole configuration, and puts the layers together.

mod address;
mod announce;
pub mod config;
mod descriptors;
mod error;
mod logging;
mod options;
mod preflight;
pub mod runtime;
mod startup;

pub use announce::Console;
pub use descriptors::TooFewDescriptors;
pub use error::ServerError;
pub use logging::{LogFile, init_logging};
pub use preflight::preflight;
pub use startup::serve;
