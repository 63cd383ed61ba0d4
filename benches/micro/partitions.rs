//! A partition: appending to it without a sync, reading its tail and its files.
//!
//! Appends go to the page cache; a partition that has become large is replaced by an empty one between two samples.

use std::cell::RefCell;
use std::sync::Arc;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use tempfile::TempDir;
use wiber::log::SEGMENT_BYTES_MAX;
use wiber::record::{Batch, Compression, ProducedBatch};
use wiber::replica::{AckLevel, Partition, Read, Ticket, Work};
use wiber::types::Offset;

use crate::samples::{BATCH_RECORDS, NOW, Shape, Surroundings, produced};

const SHAPES: [Shape; 4] = [
    Shape { records: BATCH_RECORDS, value_bytes: 1_024 },
    Shape { records: BATCH_RECORDS, value_bytes: 100 },
    Shape { records: 1, value_bytes: 1_024 },
    Shape { records: 1, value_bytes: 100 },
];
/// The server's default.
const TAIL_BYTES: usize = 16 << 20;
/// What a partition takes before it is replaced by an empty one.
const WRITTEN_BYTES_MAX: usize = 256 << 20;
/// Bytes that one read asks for.
const READ_BYTES: usize = 1 << 20;
/// Bytes of values that are there to be read.
const STORED_BYTES: usize = 16 << 20;

/// A partition on files of its own.
struct Bench {
    partition: Arc<Partition>,
    around: Surroundings,
    _dir: TempDir,
    written_bytes: usize,
}

impl Bench {
    fn new(tail_bytes: usize) -> Bench {
        let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let around = Surroundings::new(dir.path(), tail_bytes, SEGMENT_BYTES_MAX);
        Bench { partition: around.create(), around, _dir: dir, written_bytes: 0 }
    }

    fn filled(Shape { records, value_bytes }: Shape, tail_bytes: usize) -> Bench {
        let bench = Bench::new(tail_bytes);
        for _ in 0..STORED_BYTES / (records * value_bytes) {
            bench.append(produced(records, value_bytes, Compression::None));
        }
        bench
    }

    /// Appends, and writes here what is not written by the append itself. Nothing is synced.
    fn append(&self, batch: ProducedBatch) -> Ticket {
        let ticket = self.partition.append(batch, AckLevel::None, None, NOW).expect("the partition takes it");
        self.around.queue.run(|work| work == Work::Write);
        ticket
    }

    /// Counts what will be appended; beyond the limit the partition begins anew.
    fn make_room(&mut self, bytes: usize) {
        self.written_bytes += bytes;
        if self.written_bytes > WRITTEN_BYTES_MAX {
            *self = Bench::new(TAIL_BYTES);
        }
    }

    /// Committed batches from the middle of the partition on.
    fn read(&self) -> Vec<Batch> {
        let middle = Offset::ZERO.plus(self.partition.offsets().log_end().get() / 2);
        match self.partition.read(black_box(middle), READ_BYTES).expect("the records are there") {
            Read::Batches(batches) => batches,
            Read::Disk(read) => read.run().expect("the files are whole"),
        }
    }

    fn bench_read(&self, bencher: Bencher, shape: Shape) {
        let count = self.read().len() * shape.records;
        bencher
            .counter(ItemsCount::new(count))
            .counter(BytesCount::new(count * shape.value_bytes))
            .bench_local(|| self.read());
    }
}

/// A batch numbered, put on the tail and written: one `pwrite`.
#[divan::bench(args = SHAPES)]
fn append(bencher: Bencher, Shape { records, value_bytes }: Shape) {
    let bench = RefCell::new(Bench::new(TAIL_BYTES));
    bencher
        .counter(ItemsCount::new(records))
        .counter(BytesCount::new(records * value_bytes))
        .with_inputs(|| {
            let batch = produced(records, value_bytes, Compression::None);
            bench.borrow_mut().make_room(batch.header().total_bytes);
            batch
        })
        .bench_local_values(|batch| bench.borrow().append(batch));
}

/// One read of 1 MiB out of memory.
#[divan::bench(args = SHAPES)]
fn read_tail(bencher: Bencher, shape: Shape) {
    Bench::filled(shape, STORED_BYTES * 4).bench_read(bencher, shape);
}

/// One read of 1 MiB out of a file in the page cache, every batch verified.
#[divan::bench(args = SHAPES)]
fn read_file(bencher: Bencher, shape: Shape) {
    Bench::filled(shape, 0).bench_read(bencher, shape);
}
