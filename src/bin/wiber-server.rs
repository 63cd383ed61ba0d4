//! `wiber-server`: the broker.

use std::process::ExitCode;

fn main() -> ExitCode {
    wiber::cli::server::main()
}
