//! `wiber-client`: the command line.

use std::process::ExitCode;

/// Large buffers come and go with every batch: memory that was given back is not asked of the system again.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    wiber::cli::client::main()
}
