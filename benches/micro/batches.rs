//! Record batches: building them, admitting them, reading their records, compression.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use wiber::record::{AdmissionLimits, Batch, BatchBuilder, BuilderOptions, Compression, ProducedBatch};
use wiber::types::{Epoch, Offset};

use crate::samples::{BATCH_RECORDS, NOW, VALUE_BYTES, build as build_one, sent, stored, unshared, values};

/// The codecs a user may choose for speed.
const CODECS: [Compression; 2] = [Compression::Lz4, Compression::Zstd];

fn counted<'a, 'b>(bencher: Bencher<'a, 'b>, value_bytes: usize) -> Bencher<'a, 'b> {
    bencher.counter(ItemsCount::new(BATCH_RECORDS)).counter(BytesCount::new(value_bytes * BATCH_RECORDS))
}

/// A thousand records into one buffer, and the checksum.
#[divan::bench(args = VALUE_BYTES)]
fn build(bencher: Bencher, value_bytes: usize) {
    let values = values(BATCH_RECORDS, value_bytes);
    let capacity = (value_bytes + 32) * BATCH_RECORDS;
    let mut builder = BatchBuilder::new(BuilderOptions { capacity, ..BuilderOptions::default() });
    counted(bencher, value_bytes).bench_local(|| build_one(&mut builder, black_box(&values)));
}

/// A record to a batch, as a lone message becomes.
#[divan::bench(args = VALUE_BYTES)]
fn build_single(bencher: Bencher, value_bytes: usize) {
    let values = values(1, value_bytes);
    let mut builder = BatchBuilder::new(BuilderOptions::default());
    bencher
        .counter(ItemsCount::new(1_u32))
        .counter(BytesCount::new(value_bytes))
        .bench_local(|| build_one(&mut builder, black_box(&values)));
}

/// What a client's batch goes through on the server: checksum, every record's shape, then its numbers in place.
#[divan::bench(args = VALUE_BYTES)]
fn admit_and_number(bencher: Bencher, value_bytes: usize) {
    let bytes = sent(BATCH_RECORDS, value_bytes, Compression::None).freeze();
    let limits = AdmissionLimits { batch_bytes_max: 16 << 20, ..AdmissionLimits::default() };
    counted(bencher, value_bytes).with_inputs(|| unshared(&bytes)).bench_local_values(|bytes| {
        let batch = ProducedBatch::admit(bytes, &limits, NOW).expect("a good batch");
        batch.number(Offset::ZERO, Epoch::FIRST)
    });
}

/// The checksum alone, as every read of a file does it.
#[divan::bench(args = VALUE_BYTES)]
fn verify(bencher: Bencher, value_bytes: usize) {
    let bytes = stored(BATCH_RECORDS, value_bytes, Compression::None).into_bytes();
    counted(bencher, value_bytes).bench_local(|| Batch::verify(black_box(bytes.clone())).expect("a good batch"));
}

/// Every record of a batch, as a consumer sees them.
#[divan::bench(args = VALUE_BYTES)]
fn records(bencher: Bencher, value_bytes: usize) {
    let batch = stored(BATCH_RECORDS, value_bytes, Compression::None);
    counted(bencher, value_bytes).bench_local(|| walk(&batch));
}

/// Building and compressing a batch of 1 KiB records: to compare with [`build`].
#[divan::bench(args = CODECS)]
fn compress(bencher: Bencher, compression: Compression) {
    let value_bytes = VALUE_BYTES[1];
    let values = values(BATCH_RECORDS, value_bytes);
    let mut builder = BatchBuilder::new(BuilderOptions { compression, ..BuilderOptions::default() });
    counted(bencher, value_bytes).bench_local(|| build_one(&mut builder, black_box(&values)));
}

/// Decompressing it and reading its records: to compare with [`records`].
#[divan::bench(args = CODECS)]
fn decompress(bencher: Bencher, compression: Compression) {
    let batch = stored(BATCH_RECORDS, VALUE_BYTES[1], compression);
    counted(bencher, VALUE_BYTES[1]).bench_local(|| walk(&batch));
}

fn walk(batch: &Batch) -> usize {
    let records = batch.records().expect("a good batch");
    records.map(|record| record.expect("a good record").value.map_or(0, |value| value.len())).sum()
}
