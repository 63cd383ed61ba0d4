//! The end-to-end suite: the real binaries on port 0 and temporary directories, spoken to over sockets and pipes.
//!
//! Nothing here reaches into the broker: of the library it uses the native protocol's codec
//! alone, and in `client_library` the client that is tested there.
//! A server that logs a WARN or an ERROR its test has not listed fails the test.

mod client_library;
mod commands;
mod corpus;
mod dedup;
mod harness;
mod hostile;
mod kafka;
mod kill;
mod kill_producers;
mod life;
mod lines;
mod load;
mod operations;
mod order;
mod power;
mod protocol;
mod round_trip;
mod stamps;
