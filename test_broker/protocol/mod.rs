//! The native protocol as `docs/protocol.md` has it: every request, every mode, every limit, every code, by frames that
//! the test puts together byte by byte. One file for each theme.

mod batches;
mod codes;
mod compaction;
mod create;
mod delivery;
mod fetch;
mod frames;
mod groups;
mod groups_hostile;
mod heartbeats;
mod limits;
mod original;
mod pipelines;
mod positions;
mod publish;
mod subscribe;
mod topics;

use crate::harness::{Server, Setup};

/// A server with these variables, in a directory of its own.
fn start(variables: &[(&str, &str)]) -> (tempfile::TempDir, Server) {
    let (directory, setup) = setup(variables);
    let server = setup.start();
    (directory, server)
}

/// How a server with these variables is to be started.
fn setup(variables: &[(&str, &str)]) -> (tempfile::TempDir, Setup) {
    let directory = tempfile::tempdir().expect("a directory");
    // Records of these tests are of any age: none is to go for it.
    let setup = Setup::new(&directory.path().join("data")).set("QB_TOPICS__RETENTION_HOURS", "0");
    let setup = variables.iter().fold(setup, |setup, (name, value)| setup.set(name, value));
    (directory, setup.expect_line("an acknowledged record survives a crash of the server, but"))
}
