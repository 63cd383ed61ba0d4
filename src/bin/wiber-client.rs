//! `wiber-client`: the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    wiber::cli::client::main()
}
