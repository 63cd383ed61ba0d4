//! Wiber: a partitioned, durable message broker.
//!
//! The layers, from the bottom: [`types`] and [`record`]; [`disk`], the one module that touches files; [`log`], a
//! partition's segments on disk; [`inspect`], the same seen offline; [`replica`], a partition as a replicated log; [`broker`], topics and their life;
//! [`protocol`], pure codecs; [`listener`], sockets; [`server`], the composition root. [`client`] and [`cli`] stand
//! beside the server and share only `protocol`, `record` and `types`; [`load`] is what measuring takes. ARCHITECTURE.md is the map.

pub mod client;
pub mod protocol;
pub mod record;
pub mod types;

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "cli")]
pub mod load;

#[cfg(feature = "server")]
pub mod broker;
#[cfg(feature = "server")]
pub mod disk;
#[cfg(feature = "server")]
pub mod inspect;
#[cfg(feature = "server")]
pub mod listener;
#[cfg(feature = "server")]
pub mod log;
#[cfg(feature = "server")]
pub mod replica;
#[cfg(feature = "server")]
pub mod server;

/// The README's examples, compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
