//! `wiber-server`: the broker.

use std::process::ExitCode;

/// Large buffers come and go with every batch: memory that was given back is not asked of the system again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    wiber::cli::server::main()
}
