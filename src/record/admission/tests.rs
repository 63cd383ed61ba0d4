//! Admission: one case per rule, and what is repaired instead of refused.

use super::*;
use crate::record::error::BatchError;
use crate::record::tests::{build, golden_samples, reseal, stamp};
use crate::record::{BatchBuilder, BuilderOptions, verify};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
/// Where the first record's fields stand in the golden batch: its length is one byte.
const FIRST_RECORD: usize = HEADER_BYTES;

fn admit(bytes: &[u8], limits: &AdmissionLimits) -> Result<ProducedBatch, AdmissionError> {
    ProducedBatch::admit(BytesMut::from(bytes), limits, NOW)
}

/// Applies `change` to a good batch, reseals it and says why it is refused.
fn refusal(compression: Compression, change: impl FnOnce(&mut Vec<u8>)) -> AdmissionError {
    let mut bytes = build(&golden_samples(), compression, None).into_bytes().to_vec();
    change(&mut bytes);
    let length = u32::try_from(bytes.len() - 12).unwrap();
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    reseal(&mut bytes);
    admit(&bytes, &AdmissionLimits::default()).unwrap_err()
}

#[test]
fn header_rules() {
    let check = |change: fn(&mut Vec<u8>), expected: AdmissionError| {
        for compression in Compression::ALL {
            assert_eq!(refusal(compression, change), expected, "{compression}");
        }
    };
    let counts = |records_count, last_offset_delta| AdmissionError::RecordsCount { records_count, last_offset_delta };
    check(|b| b[22] |= 0x20, AdmissionError::Control);
    check(|b| b[22] |= 0x10, AdmissionError::Transactional);
    check(|b| b[22] = 0x08, AdmissionError::Attributes { bits: 0x08 });
    check(|b| b[22] = 0x40, AdmissionError::Attributes { bits: 0x40 });
    check(|b| b[21..23].copy_from_slice(&[0x80, 0]), AdmissionError::Attributes { bits: 0x8000 });
    check(|b| b[22] = 5, AdmissionError::UnknownCompression { codec: 5 });
    check(|b| b[22] = 7, AdmissionError::UnknownCompression { codec: 7 });
    check(|b| b[60] = 0, counts(0, 4));
    check(|b| b[60] = 4, counts(4, 4));
    check(|b| b[26] = 5, counts(5, 5));
    check(|b| b[43..53].fill(0), AdmissionError::SequenceMissing);
}

#[test]
fn damage_is_passed_on() {
    let whole = build(&golden_samples(), Compression::None, None).into_bytes();
    let mut bad_crc = whole.clone();
    bad_crc[100] ^= 1;
    assert!(matches!(admit(&bad_crc, &AdmissionLimits::default()), Err(AdmissionError::Batch(BatchError::Crc { .. }))));
    let short = &whole[..whole.len() - 1];
    let (needed, have) = (whole.len(), whole.len() - 1);
    assert_eq!(admit(short, &AdmissionLimits::default()).unwrap_err(), BatchError::Truncated { needed, have }.into());
    let mut long = whole;
    long.extend_from_slice(&[0]);
    assert_eq!(admit(&long, &AdmissionLimits::default()).unwrap_err(), BatchError::Surplus { bytes: 1 }.into());
}

#[test]
fn record_rules() {
    let check = |change: fn(&mut Vec<u8>), index: u32, defect: RecordDefect| {
        let expected = AdmissionError::Record { index, defect };
        assert_eq!(refusal(Compression::None, change), expected);
    };
    // Zigzag: 1 is -1, 2 is 1, 3 is -2. Length, attributes, timestamp delta, offset delta, key length, k 0, value.
    check(|b| b[FIRST_RECORD + 3] = 2, 0, RecordDefect::OffsetDelta { found: 1 });
    check(|b| b[FIRST_RECORD + 3] = 1, 0, RecordDefect::OffsetDelta { found: -1 });
    check(|b| b[FIRST_RECORD + 4] = 3, 0, RecordDefect::Negative { field: "key length", value: -2 });
    check(|b| b[FIRST_RECORD + 4] = 100, 0, RecordDefect::Truncated);
    check(|b| b[FIRST_RECORD + 13] = 3, 0, RecordDefect::Negative { field: "headers count", value: -2 });
    check(|b| b[FIRST_RECORD + 13] = 2, 0, RecordDefect::Truncated);
    check(|b| b[FIRST_RECORD] = 1, 0, RecordDefect::Negative { field: "record length", value: -1 });
    check(|b| b[FIRST_RECORD] = 0, 0, RecordDefect::Truncated);
    check(|b| b[FIRST_RECORD] += 2, 0, RecordDefect::Surplus { bytes: 1 });
    check(|b| b[FIRST_RECORD..FIRST_RECORD + 6].fill(0xff), 0, RecordDefect::Varint);
    check(|b| b.truncate(FIRST_RECORD), 0, RecordDefect::Truncated);
    check(|b| b.truncate(FIRST_RECORD + 14), 1, RecordDefect::Truncated);
    check(|b| b.truncate(b.len() - 1), 4, RecordDefect::Truncated);
    assert_eq!(refusal(Compression::None, |b| b.extend([0, 0])), AdmissionError::Surplus { bytes: 2 });
}

#[test]
fn sizes() {
    let whole = build(&golden_samples(), Compression::None, None).into_bytes();
    let limits = |batch_bytes_max| AdmissionLimits { batch_bytes_max, ..Default::default() };
    assert!(admit(&whole, &limits(whole.len())).is_ok());
    let (bytes, bytes_max) = (whole.len(), whole.len() - 1);
    assert_eq!(admit(&whole, &limits(bytes_max)).unwrap_err(), AdmissionError::TooLarge { bytes, bytes_max });
}

#[test]
fn timestamps_behind_the_clock_are_refused_where_the_limits_say_so() {
    let limits = |max| AdmissionLimits { timestamp_before_max_ms: max, ..Default::default() };
    let now = Timestamp::from_millis(2 * NOW.millis() + 10_000_000_000);
    for compression in Compression::ALL {
        let batch = build(&golden_samples(), compression, None);
        // The first record is not the oldest; of a compressed batch it is the one that is seen.
        let first = if compression == Compression::None { 1_699_999_999_930 } else { 1_700_000_000_000 };
        let (bytes, behind) = (batch.into_bytes(), now.millis() - first);
        let admit = |limits: &AdmissionLimits| ProducedBatch::admit(bytes.clone(), limits, now).map(drop);
        assert_eq!((admit(&limits(None)), admit(&limits(Some(behind)))), (Ok(()), Ok(())));
        let (millis, before_max_ms) = (first, behind - 1);
        assert_eq!(admit(&limits(Some(before_max_ms))), Err(AdmissionError::PastTimestamp { millis, before_max_ms }));
    }
}

#[test]
fn timestamps_ahead_of_the_clock_are_refused_where_the_limits_say_so() {
    let limits = |max| AdmissionLimits { timestamp_after_max_ms: max, ..Default::default() };
    for compression in Compression::ALL {
        let batch = build(&golden_samples(), compression, None).into_bytes();
        let ahead = 1_000_000_000;
        assert!(admit(&batch, &limits(None)).is_ok());
        assert!(admit(&batch, &limits(Some(ahead))).is_ok());
        let millis = NOW.millis() + ahead;
        assert_eq!(
            admit(&batch, &limits(Some(ahead - 1))).unwrap_err(),
            AdmissionError::FutureTimestamp { millis, after_max_ms: ahead - 1 }
        );
    }
}

#[test]
fn negative_timestamps_are_refused_and_none_is_not() {
    // Builds the batch a little later and moves its base timestamp, since the builder refuses what is tested here.
    let of = |timestamps: &[i64]| {
        const LATER: i64 = 1000;
        let mut builder = BatchBuilder::new(BuilderOptions::default());
        for millis in timestamps {
            let later = Timestamp::from_millis(millis + LATER);
            builder.append(later, None, None, &[]).unwrap();
        }
        let mut bytes = builder.finish_bytes().unwrap();
        bytes[27..35].copy_from_slice(&timestamps[0].to_be_bytes());
        reseal(&mut bytes);
        let admitted = admit(&bytes, &AdmissionLimits::default());
        admitted.map(|batch| batch.header().max_timestamp.millis()).map_err(|e| e.to_string())
    };
    let refused = Err("timestamp -2 is negative".to_owned());
    assert_eq!(of(&[-1, -1]), Ok(-1));
    assert_eq!(of(&[-1, 5]), Ok(5));
    assert_eq!(of(&[5, -1]), Ok(5));
    assert_eq!(of(&[-2]), refused);
    assert_eq!(of(&[-2, 5]), refused);
    assert_eq!(of(&[5, -2]), refused);
}

/// Kafka's broker writes the max timestamp of every batch it takes, so clients got away with leaving it out: Sarama
/// sent -1 until 2025. Refusing those batches would lock their users out; believing them would break time queries.
#[test]
fn a_wrong_max_timestamp_is_set_right() {
    let check = |compression, sent: i64, kept: i64| {
        let good = build(&golden_samples(), compression, Some(stamp(1, 2, 3)));
        let mut bytes = good.bytes().to_vec();
        bytes[35..43].copy_from_slice(&sent.to_be_bytes());
        reseal(&mut bytes);
        let admitted = admit(&bytes, &AdmissionLimits::default()).unwrap();
        assert_eq!(admitted.header().max_timestamp.millis(), kept);
        assert_eq!(verify(admitted.bytes()), Ok(*admitted.header()));
        assert_eq!(admitted.header().producer, good.header().producer);
    };
    let base = NOW.millis();
    let max = base + 1_000_000_000;
    for sent in [-1, 0, base, max, max + 1, i64::MAX, i64::MIN] {
        check(Compression::None, sent, max);
        check(Compression::Zstd, sent, sent.max(base));
    }
}

#[test]
fn the_append_time_is_every_record_s_time() {
    for compression in Compression::ALL {
        let produced = build(&golden_samples(), compression, Some(stamp(1, 2, 3)));
        let (before, keys) = (*produced.header(), |batch: &Batch| {
            batch.records().unwrap().map(|record| record.unwrap().key).collect::<Vec<_>>()
        });
        let mut admitted = admit(produced.bytes(), &AdmissionLimits::default()).unwrap();
        // Twice, as where there was no space for the first attempt.
        for millis in [NOW.millis(), NOW.millis() + 5] {
            let now = Timestamp::from_millis(millis);
            admitted.set_append_time(now);
            let header = *admitted.header();
            assert_eq!(verify(admitted.bytes()), Ok(header), "{compression}: the checksum fits");
            assert_eq!((header.max_timestamp, header.first_timestamp()), (now, now));
            assert_eq!((header.base_timestamp, header.producer), (before.base_timestamp, before.producer));
            let numbered = admit_again(&admitted).number(Offset::new(7).unwrap(), Epoch::FIRST);
            assert!(numbered.records().unwrap().all(|record| record.unwrap().timestamp == now));
            assert_eq!(keys(&numbered), keys(&produced_batch(compression)));
        }
        assert_eq!(before.first_timestamp(), before.base_timestamp);
    }
}

/// The same batch once more, as it is.
fn admit_again(batch: &ProducedBatch) -> ProducedBatch {
    ProducedBatch::from_builder(BytesMut::from(batch.bytes()), *batch.header())
}

fn produced_batch(compression: Compression) -> Batch {
    build(&golden_samples(), compression, None).number(Offset::ZERO, Epoch::FIRST)
}
