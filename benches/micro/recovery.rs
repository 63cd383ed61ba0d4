//! Opening a partition of 256 MiB, its files in the page cache: with the checkpoint of a clean stop, and without one,
//! where every batch is walked.

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use tempfile::TempDir;
use wiber::log::LogOptions;
use wiber::record::{BatchBuilder, BuilderOptions};
use wiber::replica::{AckLevel, Checkpoint};
use wiber::types::Offset;

use crate::samples::{BATCH_RECORDS, NOW, Shape, Surroundings, build, values};

/// Bytes of values in the partition.
const LOG_BYTES: usize = 256 << 20;

const SHAPES: [Shape; 2] =
    [Shape { records: BATCH_RECORDS, value_bytes: 1_024 }, Shape { records: 10, value_bytes: 100 }];

/// Fills a partition and stops it as a server does; its checkpoint, and the offset behind its last record.
fn fill(around: &Surroundings, shape: Shape) -> (Checkpoint, Offset) {
    let partition = around.create();
    let values = values(shape.records, shape.value_bytes);
    let mut builder = BatchBuilder::new(BuilderOptions::default());
    for _ in 0..LOG_BYTES / (shape.records * shape.value_bytes) {
        let batch = build(&mut builder, &values);
        partition.append(batch, AckLevel::None, None, NOW).expect("the partition takes it");
        around.queue.run(|_| true);
    }
    partition.request_durable();
    around.queue.run(|_| true);
    assert!(partition.is_idle(), "everything is durable");
    (partition.checkpoint(), partition.offsets().log_end())
}

fn open(bencher: Bencher, shape: Shape, has_checkpoint: bool) {
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let around = Surroundings::new(dir.path(), 0, LogOptions::default().segment_bytes);
    let (checkpoint, end) = fill(&around, shape);
    bencher.with_inputs(|| has_checkpoint.then(|| checkpoint.clone())).bench_local_values(|checkpoint| {
        let (partition, report) = around.open(checkpoint);
        assert_eq!(partition.offsets().log_end(), end, "every record is there");
        assert_eq!(report.checkpoint_used, has_checkpoint);
        partition
    });
}

/// After a clean stop.
#[divan::bench(args = SHAPES, sample_count = 10, sample_size = 1)]
fn with_checkpoint(bencher: Bencher, shape: Shape) {
    open(bencher, shape, true);
}

/// Without a snapshot: every batch is read and verified.
#[divan::bench(args = SHAPES, sample_count = 10, sample_size = 1)]
fn without_checkpoint(bencher: Bencher, shape: Shape) {
    let bencher = bencher.counter(ItemsCount::new(LOG_BYTES / shape.value_bytes)).counter(BytesCount::new(LOG_BYTES));
    open(bencher, shape, false);
}
