//! Whole batches: those of other clients, round trips, every truncation, every kind of damage.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::header::{CRC_FROM, write_crc};
use super::*;
use crate::types::{Epoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

type Header = (Vec<u8>, Option<Vec<u8>>);

/// A record as a test states it: timestamp, key, value, headers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<Header>,
}

/// The five records of `scripts/golden_batches.py`.
pub(super) fn golden_samples() -> Vec<Sample> {
    const BASE: i64 = 1_700_000_000_000;
    let sample = |after: i64, key: Option<&[u8]>, value: Option<&[u8]>, headers: Vec<Header>| {
        let (key, value) = (key.map(<[u8]>::to_vec), value.map(<[u8]>::to_vec));
        Sample { timestamp: BASE + after, key, value, headers }
    };
    let headers = vec![
        (b"h1".to_vec(), Some(b"v1".to_vec())),
        (b"h1".to_vec(), Some(Vec::new())),
        (Vec::new(), None),
        ("é".as_bytes().to_vec(), Some(vec![0, 0xff])),
    ];
    vec![
        sample(0, Some(b"k0"), Some(b"hello"), Vec::new()),
        sample(5, None, Some(b"no key"), Vec::new()),
        sample(-70, Some(b"tombstone"), None, Vec::new()),
        sample(1_000_000_000, Some(b""), Some(b""), headers),
        sample(3, Some(&b"long".repeat(50)), Some(&b"0123456789".repeat(100)), Vec::new()),
    ]
}

/// A batch of `samples`, fresh from the builder.
pub(super) fn build(samples: &[Sample], compression: Compression, producer: Option<ProducerStamp>) -> ProducedBatch {
    let mut builder =
        BatchBuilder::new(BuilderOptions { compression, producer, capacity: 256, ..BuilderOptions::default() });
    append_all(&mut builder, samples);
    builder.finish().unwrap()
}

/// Writes the checksum that a damaged batch would need to pass as whole.
pub(super) fn reseal(batch: &mut [u8]) {
    let crc = batch::checksum(batch);
    write_crc(batch, crc);
}

pub(super) fn stamp(id: i64, epoch: i16, sequence: i32) -> ProducerStamp {
    ProducerStamp {
        id: ProducerId::new(id).unwrap(),
        epoch: ProducerEpoch::new(epoch).unwrap(),
        base_sequence: Sequence::new(sequence),
    }
}

fn append_all(builder: &mut BatchBuilder, samples: &[Sample]) {
    for sample in samples {
        let headers: Vec<_> = sample.headers.iter().map(|(key, value)| (&key[..], value.as_deref())).collect();
        let timestamp = Timestamp::from_millis(sample.timestamp);
        builder.append(timestamp, sample.key.as_deref(), sample.value.as_deref(), &headers).unwrap();
    }
}

fn admit(bytes: &[u8]) -> Result<ProducedBatch, AdmissionError> {
    let limits = AdmissionLimits { batch_bytes_max: usize::MAX, ..AdmissionLimits::default() };
    ProducedBatch::admit(BytesMut::from(bytes), &limits, Timestamp::from_millis(0))
}

/// Reads a batch's records back and compares them, offsets included.
fn check_records(batch: &Batch, samples: &[Sample]) {
    let base = batch.header().base_offset;
    let records: Vec<Record> = batch.records().unwrap().map(Result::unwrap).collect();
    assert_eq!(records.len(), samples.len());
    for (index, (record, sample)) in records.iter().zip(samples).enumerate() {
        assert_eq!(record.offset, base.plus(index as u64));
        let headers = record.headers.iter();
        let found = Sample {
            timestamp: record.timestamp.millis(),
            key: record.key.as_ref().map(|key| key.to_vec()),
            value: record.value.as_ref().map(|value| value.to_vec()),
            headers: headers.map(|h| (h.key.to_vec(), h.value.as_ref().map(|value| value.to_vec()))).collect(),
        };
        assert_eq!(&found, sample);
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}

macro_rules! golden {
    ($name:literal) => {
        unhex(include_str!(concat!("testdata/", $name, ".hex")))
    };
}

fn golden_batches() -> Vec<(Vec<u8>, Compression, Option<ProducerStamp>)> {
    vec![
        (golden!("aiokafka_none"), Compression::None, None),
        (golden!("aiokafka_gzip"), Compression::Gzip, None),
        (golden!("aiokafka_snappy"), Compression::Snappy, None),
        (golden!("aiokafka_lz4"), Compression::Lz4, None),
        (golden!("aiokafka_zstd"), Compression::Zstd, None),
        (golden!("aiokafka_idempotent"), Compression::None, Some(stamp(1234, 5, 77))),
        (golden!("librdkafka_none"), Compression::None, None),
        (golden!("librdkafka_gzip"), Compression::Gzip, None),
        (golden!("librdkafka_snappy"), Compression::Snappy, None),
        (golden!("librdkafka_lz4"), Compression::Lz4, None),
        (golden!("librdkafka_zstd"), Compression::Zstd, None),
        (golden!("librdkafka_idempotent"), Compression::None, Some(stamp(4711, 3, 0))),
    ]
}

#[test]
fn batches_of_other_clients_are_admitted_unchanged_and_read() {
    for (bytes, compression, producer) in golden_batches() {
        let admitted = admit(&bytes).unwrap();
        assert_eq!(admitted.bytes(), &bytes[..]);
        assert_eq!(admitted.header().attributes.compression(), Some(compression));
        assert_eq!(admitted.header().producer, producer);
        check_records(&Batch::verify(bytes.into()).unwrap(), &golden_samples());
    }
}

#[test]
fn the_builder_writes_the_same_bytes_as_other_clients() {
    for (mut theirs, compression, producer) in golden_batches() {
        if compression == Compression::None {
            // librdkafka leaves leader epoch 0 where Kafka's and our producers write -1; nobody reads it.
            theirs[12..16].fill(0xff);
            assert_eq!(build(&golden_samples(), compression, producer).bytes(), &theirs[..]);
        }
    }
}

#[test]
fn numbering_changes_two_fields_and_no_checksum() {
    let produced = build(&golden_samples(), Compression::None, None);
    let before = produced.bytes().to_vec();
    let batch = produced.number(Offset::new(1 << 40).unwrap(), Epoch::new(7).unwrap());
    assert_eq!(batch.bytes()[..8], (1_u64 << 40).to_be_bytes());
    assert_eq!(batch.bytes()[8..12], before[8..12]);
    assert_eq!(batch.bytes()[12..16], 7_u32.to_be_bytes());
    assert_eq!(batch.bytes()[16..], before[16..]);
    assert_eq!(batch.header().last_offset().get(), (1 << 40) + 4);
    assert_eq!(batch.header().next_offset().get(), (1 << 40) + 5);
    assert_eq!(Batch::verify(batch.bytes().clone()), Ok(batch.clone()));
    check_records(&batch, &golden_samples());
}

#[test]
fn uncompressed_records_share_the_batch_bytes() {
    let batch = Batch::verify(Bytes::from(golden!("aiokafka_none"))).unwrap();
    let range = batch.bytes().as_ptr_range();
    for record in batch.records().unwrap().map(Result::unwrap) {
        for field in [record.key, record.value].into_iter().flatten().filter(|f| !f.is_empty()) {
            assert!(range.contains(&field.as_ptr()));
        }
    }
}

#[test]
fn log_append_time_stands_for_every_record() {
    let mut bytes = golden!("aiokafka_none");
    bytes[22] |= 0b1000;
    bytes[35..43].copy_from_slice(&1_234_567_u64.to_be_bytes());
    reseal(&mut bytes);
    let batch = Batch::verify(bytes.into()).unwrap();
    assert_eq!(batch.header().attributes.timestamp_type(), TimestampType::LogAppend);
    for record in batch.records().unwrap() {
        assert_eq!(record.unwrap().timestamp.millis(), 1_234_567);
    }
}

#[test]
fn control_batches_are_marked_and_say_what_they_are() {
    for kind in [ControlKind::Abort, ControlKind::Commit, ControlKind::LeaderChange, ControlKind::NoOp] {
        let batch = control_batch(kind, Timestamp::from_millis(5)).number(Offset::ZERO, Epoch::FIRST);
        let batch = Batch::verify(batch.into_bytes()).unwrap();
        assert!(batch.header().attributes.is_control());
        let records: Vec<Record> = batch.records().unwrap().map(Result::unwrap).collect();
        let [record] = &records[..] else { panic!("{kind:?} has {} records", records.len()) };
        assert_eq!(ControlKind::from_key(record.key.as_deref().unwrap()), Some(kind));
        assert!(matches!(admit(batch.bytes()), Err(AdmissionError::Control)));
    }
    assert_eq!(ControlKind::from_key(&[0, 0, 9, 9]), None);
    assert_eq!(ControlKind::from_key(&[0, 0, 0]), None);
}

#[test]
fn every_truncation_and_a_surplus_are_told_apart_from_damage() {
    for (bytes, ..) in golden_batches() {
        for have in 0..bytes.len() {
            let needed = if have < HEADER_BYTES { HEADER_BYTES } else { bytes.len() };
            assert_eq!(verify(&bytes[..have]), Err(BatchError::Truncated { needed, have }));
        }
        let mut longer = bytes.clone();
        longer.extend([0; 3]);
        assert_eq!(verify(&longer), verify(&bytes));
        assert_eq!(Batch::verify(longer.into()), Err(BatchError::Surplus { bytes: 3 }));
    }
}

#[test]
fn truncated_records_behind_a_right_checksum_are_reported() {
    let whole = golden!("librdkafka_none");
    for total in HEADER_BYTES..whole.len() {
        let mut bytes = whole[..total].to_vec();
        bytes[8..12].copy_from_slice(&u32::try_from(total - 12).unwrap().to_be_bytes());
        reseal(&mut bytes);
        assert!(matches!(admit(&bytes), Err(AdmissionError::Record { .. })), "{total}");
        let batch = Batch::verify(bytes.into()).unwrap();
        let last = batch.records().unwrap().last();
        assert!(matches!(last, Some(Err(RecordError::Record { .. }))), "{total}");
    }
}

#[test]
fn every_flipped_bit_below_the_checksum_is_detected() {
    let bytes = golden!("librdkafka_lz4");
    for at in CRC_FROM..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            assert!(verify(&damaged).is_err(), "bit {bit} of byte {at}");
        }
    }
}

fn any_compression() -> impl Strategy<Value = Compression> {
    prop::sample::select(&Compression::ALL[..])
}

fn any_bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop::option::of(prop::collection::vec(any::<u8>(), 0..200))
}

prop_compose! {
    fn any_sample()(
        timestamp in prop_oneof![-1_i64..1 << 42, Just(-1)],
        key in any_bytes(),
        value in any_bytes(),
        headers in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..20), any_bytes()), 0..3),
    ) -> Sample {
        Sample { timestamp, key, value, headers }
    }
}

proptest! {
    #[test]
    fn round_trip(
        samples in prop::collection::vec(any_sample(), 1..150),
        compression in any_compression(),
        base in 0_u64..1 << 62,
    ) {
        let produced = build(&samples, compression, None);
        let admitted = admit(produced.bytes()).unwrap();
        prop_assert_eq!(admitted.header(), produced.header());
        prop_assert_eq!(admitted.bytes(), produced.bytes());
        let batch = admitted.number(Offset::new(base).unwrap(), Epoch::FIRST);
        check_records(&batch, &samples);
    }

    #[test]
    fn damage_never_panics_and_never_passes(
        golden in prop::sample::select(golden_batches()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut damaged = golden.0.clone();
        for (at, byte) in changes {
            damaged[at.index(golden.0.len())] = byte;
        }
        if verify(&damaged).is_ok() {
            prop_assert_eq!(&damaged[16..], &golden.0[16..]);
            prop_assert_eq!(&damaged[8..12], &golden.0[8..12]);
        }
    }

    /// A producer may seal any nonsense: what admission lets through uncompressed can be read to its end.
    #[test]
    fn nonsense_under_a_right_checksum_is_refused_or_readable(
        golden in prop::sample::select(golden_batches()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = golden.0.clone();
        for (at, byte) in changes {
            bytes[CRC_FROM + at.index(golden.0.len() - CRC_FROM)] = byte;
        }
        reseal(&mut bytes);
        let read = |batch: Batch| -> Result<Vec<Record>, RecordError> { batch.records()?.collect() };
        if let Ok(batch) = Batch::verify(bytes.clone().into()) {
            let _ = read(batch);
        }
        if let Ok(admitted) = admit(&bytes) {
            let header = *admitted.header();
            let batch = admitted.number(Offset::ZERO, Epoch::FIRST);
            prop_assert_eq!(Batch::verify(batch.bytes().clone()), Ok(batch.clone()));
            if header.attributes.compression() == Some(Compression::None) {
                let records = read(batch).unwrap();
                prop_assert_eq!(records.len() as u64, u64::from(header.records_count));
                let max = records.iter().map(|record| record.timestamp).max();
                prop_assert_eq!(max, Some(header.max_timestamp));
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = verify(&bytes);
        let _ = admit(&bytes);
    }
}
