//! The composition root: the one place that sees the whole configuration.

pub mod config;
