//! The line protocol of the real server.

mod groups;
mod hostile;
mod many;
mod transcript;

use std::path::Path;

use crate::harness::lines::lines_address;
use crate::harness::{Server, Setup};

/// A server, and where it listens for lines.
fn start(setup: &Setup) -> (Server, std::net::SocketAddr) {
    let mut server = setup.start();
    let address = lines_address(&mut server);
    (server, address)
}

fn setup(directory: &Path) -> Setup {
    Setup::new(&directory.join("data"))
}
