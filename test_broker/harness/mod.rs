//! What every test stands on: servers, raw connections, the command-line client, a source of chance.

pub(crate) mod batches;
mod chance;
mod client;
mod files;
pub(crate) mod kafka;
pub(crate) mod lines;
pub(crate) mod peer;
mod server;
mod wire;

pub(crate) use chance::{Chance, a_moment};
pub(crate) use client::{Ran, client, client_with_input};
pub(crate) use files::{delete_derived, only_log};
pub(crate) use server::{Server, Setup};
pub(crate) use wire::{Wire, offset, request};

use std::io::Write;
use std::time::Duration;

/// Longer than anything takes that works.
pub(crate) const BOUND: Duration = Duration::from_secs(120);

/// How many rounds a variable of the environment asks for.
pub(crate) fn cycles(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number of cycles"))
}

/// Says something that is shown though the test passes.
pub(crate) fn say(text: &str) {
    let _unheard = writeln!(std::io::stderr(), "{text}");
}
