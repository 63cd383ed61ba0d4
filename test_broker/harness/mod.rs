//! What every test stands on: servers, raw connections, the command-line client, a source of chance.

mod chance;
mod client;
mod files;
mod server;
mod wire;

pub(crate) use chance::Chance;
pub(crate) use client::{Ran, client, client_with_input};
pub(crate) use files::{delete_derived, only_log};
pub(crate) use server::{Server, Setup};
pub(crate) use wire::{Wire, offset, request};

use std::time::Duration;

/// Longer than anything takes that works.
pub(crate) const BOUND: Duration = Duration::from_secs(120);
