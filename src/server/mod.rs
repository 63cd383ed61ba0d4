//! The composition root: the one place that sees the whole configuration, and puts the layers together.

pub mod config;
mod logging;
mod options;
pub mod runtime;
mod startup;

pub use logging::init_logging;
pub use startup::{ServerError, serve};
