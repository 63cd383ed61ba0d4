//! Frames: cutting them from received bytes, giving them meaning, writing them.

use bytes::BytesMut;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use wiber::protocol::native::{
    DataRecord, Decoded, FETCH_BYTES_MAX, Frame, FrameCodec, FrameLimits, FrameType, FrameWriter, Request, reply,
};
use wiber::record::Compression;
use wiber::types::{Offset, PartitionIndex};

use crate::samples::{BATCH_RECORDS, NOW, VALUE_BYTES, sent, stored, unshared, value};

/// Messages of one read from a socket.
const READ_MESSAGES: u32 = 64;

fn codec() -> FrameCodec {
    let batch_bytes_max = usize::try_from(FETCH_BYTES_MAX).expect("16 MiB are addressable");
    FrameCodec::new(FrameLimits::for_messages(1 << 20).with_batches(batch_bytes_max))
}

fn publish(dst: &mut BytesMut, sequence: u64, body: &[u8]) {
    let mut frame = FrameWriter::new(dst, FrameType::Publish, sequence, NOW);
    for (key, value) in [("topic", "orders"), ("partition", "0"), ("client_id", "producer-1"), ("version", "1.1")] {
        frame.property(key, value).expect("a good property");
    }
    frame.finish(body).expect("the frame fits");
}

fn publish_batch(dst: &mut BytesMut, body: &[u8]) {
    let mut frame = FrameWriter::new(dst, FrameType::PublishBatch, 1, NOW);
    for (key, value) in [("topic", "orders"), ("partition", "0"), ("wiber.ack", "durable")] {
        frame.property(key, value).expect("a good property");
    }
    frame.finish(body).expect("the frame fits");
}

fn next(codec: &mut FrameCodec, src: &mut BytesMut) -> Option<Frame> {
    match codec.next(src)? {
        Decoded::Frame(frame) => Some(frame),
        bad @ (Decoded::Malformed(_) | Decoded::TooLarge(_) | Decoded::Fatal(_)) => panic!("a good frame, not {bad:?}"),
    }
}

/// PUBLISH frames as one read brings them, cut and parsed.
#[divan::bench(args = VALUE_BYTES)]
fn decode_publish(bencher: Bencher, value_bytes: usize) {
    let mut read = BytesMut::new();
    (0..READ_MESSAGES).for_each(|sequence| publish(&mut read, sequence.into(), &value(value_bytes, 1)));
    let read = read.freeze();
    bencher
        .counter(ItemsCount::new(READ_MESSAGES))
        .counter(BytesCount::new(value_bytes * READ_MESSAGES as usize))
        .with_inputs(|| (codec(), unshared(&read)))
        .bench_local_values(|(mut codec, mut src)| {
            while let Some(frame) = next(&mut codec, &mut src) {
                black_box(Request::parse(&frame)).expect("a good request");
            }
        });
}

/// A PUBLISH_BATCH frame that came into a buffer of its own, cut and parsed, the batch taken out.
#[divan::bench(args = VALUE_BYTES)]
fn decode_publish_batch(bencher: Bencher, value_bytes: usize) {
    let mut read = BytesMut::new();
    publish_batch(&mut read, &sent(BATCH_RECORDS, value_bytes, Compression::None));
    let read = read.freeze();
    bencher
        .counter(ItemsCount::new(BATCH_RECORDS))
        .counter(BytesCount::new(value_bytes * BATCH_RECORDS))
        .with_inputs(|| (codec(), unshared(&read)))
        .bench_local_values(|(mut codec, mut src)| {
            let mut frame = next(&mut codec, &mut src).expect("a whole frame");
            black_box(Request::parse(&frame)).expect("a good request");
            frame.take_batch().try_into_mut().expect("nobody else holds the batch")
        });
}

/// The answers to as many PUBLISHes as one read brings.
#[divan::bench]
fn encode_publish_acks(bencher: Bencher) {
    let mut dst = BytesMut::with_capacity(64 << 10);
    bencher.counter(ItemsCount::new(READ_MESSAGES)).bench_local(|| {
        dst.clear();
        for sequence in 0..u64::from(READ_MESSAGES) {
            let offset = Offset::ZERO.plus(black_box(1_000_000) + sequence);
            reply::publish_ack(&mut dst, sequence, NOW, "orders", PartitionIndex(0), offset);
        }
        black_box(dst.len())
    });
}

/// PUBLISH frames, as a client writes them.
#[divan::bench(args = VALUE_BYTES)]
fn encode_publish(bencher: Bencher, value_bytes: usize) {
    let (value, mut dst) = (value(value_bytes, 1), BytesMut::with_capacity(256 << 10));
    let messages = u64::from(READ_MESSAGES);
    bencher
        .counter(ItemsCount::new(READ_MESSAGES))
        .counter(BytesCount::new(value_bytes as u64 * messages))
        .bench_local(|| {
            dst.clear();
            (0..messages).for_each(|sequence| publish(&mut dst, sequence, black_box(&value)));
            black_box(dst.len())
        });
}

/// DATA frames of a batch's records, for a subscriber without batches.
#[divan::bench(args = VALUE_BYTES)]
fn encode_data(bencher: Bencher, value_bytes: usize) {
    let batch = stored(BATCH_RECORDS, value_bytes, Compression::None);
    let mut dst = BytesMut::with_capacity(2 << 20);
    bencher.counter(ItemsCount::new(BATCH_RECORDS)).counter(BytesCount::new(value_bytes * BATCH_RECORDS)).bench_local(
        || {
            dst.clear();
            for record in batch.records().expect("a good batch") {
                let record = record.expect("a good record");
                let shown = DataRecord {
                    topic: "orders",
                    partition: PartitionIndex(0),
                    offset: record.offset,
                    timestamp: record.timestamp,
                    key: record.key.as_deref(),
                    value: record.value.as_deref(),
                    stamp: None,
                };
                let headers = record.headers.iter().map(|header| (&header.key[..], header.value.as_deref()));
                reply::data(&mut dst, &shown, headers).expect("the frame fits");
            }
            black_box(dst.len())
        },
    );
}

/// The head of a BATCH frame; its batches go out from where they lie.
#[divan::bench]
fn encode_batch_head(bencher: Bencher) {
    let mut dst = BytesMut::with_capacity(1 << 10);
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        dst.clear();
        reply::batch(&mut dst, Offset::ZERO, NOW, "orders", PartitionIndex(0), 1 << 20).expect("the frame fits");
        black_box(dst.len())
    });
}
