//! Single steps of the way of a record, each for itself: `cargo bench --bench micro [-- FILTER]`.
//!
//! Beside times every row has its allocations, which are the same on any machine and under any load. What the storage
//! core and the server do as wholes is for the benches `storage` and `wire`. Nothing here asserts a time.

mod batches;
mod frames;
mod partitions;
mod recovery;
mod samples;

use divan::AllocProfiler;
use tikv_jemallocator::Jemalloc;

/// The allocator of the programs, counted.
#[global_allocator]
static ALLOCATOR: AllocProfiler<Jemalloc> = AllocProfiler::new(Jemalloc);

fn main() {
    divan::main();
}
