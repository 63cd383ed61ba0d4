//! `wiber-client`, run to its end.

use std::path::Path;
use std::process::{Command, Stdio};

use super::Server;

/// What a run left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Ran {
    /// Standard output of a run that must have succeeded.
    pub(crate) fn expect_out(self) -> Vec<u8> {
        assert_eq!(self.code, Some(0), "wiber-client failed: {}", self.err);
        self.out
    }

    /// The same as text.
    pub(crate) fn expect_text(self) -> String {
        String::from_utf8(self.expect_out()).expect("UTF-8")
    }
}

/// Runs `wiber-client` against a server.
pub(crate) fn client(server: &Server, arguments: &[&str]) -> Ran {
    run(server, arguments, Stdio::null())
}

/// Runs `wiber-client` against a server, with this file as its standard input.
pub(crate) fn client_with_input(server: &Server, arguments: &[&str], input: &Path) -> Ran {
    let input = std::fs::File::open(input).expect("input opens");
    run(server, arguments, Stdio::from(input))
}

fn run(server: &Server, arguments: &[&str], input: Stdio) -> Ran {
    let address = server.address();
    let mut command = Command::new(env!("CARGO_BIN_EXE_wiber-client"));
    command.args(["--host", &address.ip().to_string(), "--port", &address.port().to_string()]).args(arguments);
    let output = command.stdin(input).output().expect("wiber-client runs");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    Ran { code: output.status.code(), out: output.stdout, err }
}
