//! Where a batch keeps its stamp: in the first header of its first record, which is the one at the base offset.
//!
//! The header's name is `wiber.hlc`, its value the stamp as 16 lower-case hexadecimal digits. Its place and length are
//! fixed when the first record is written, its value when the batch is finished: only then everything that was known to
//! whoever published its records has happened.

use super::walk::next_record;
use crate::types::Stamp;

/// The name of the header that holds a batch's stamp.
pub const STAMP_HEADER: &[u8] = b"wiber.hlc";

/// Bytes of the whole header.
pub const STAMP_HEADER_BYTES: usize = PREFIX.len() + Stamp::HEX_BYTES;

/// The header up to its value: the lengths as varints, which are twice what they say.
pub(super) const PREFIX: &[u8] = b"\x12wiber.hlc\x20";

/// The stamp of a batch whose uncompressed records these are; none where it never had one, or lost its first record.
pub(super) fn stamp_of(mut records: &[u8]) -> Option<Stamp> {
    let first = next_record(&mut records).ok().filter(|record| record.offset_delta == 0)?;
    let mut headers = first.headers;
    let (key, value) = headers.next().ok()??;
    if key == STAMP_HEADER { Stamp::from_hex(value?) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{
        Batch, BatchBuilder, BuilderOptions, Compression, DecodeLimits, Fate, Glimpse, Glimpses, HEADER_BYTES,
        RecordHeader, Thinned,
    };
    use crate::types::Timestamp;

    fn build(compression: Compression, stamp: Option<Stamp>, headers: &[(&[u8], Option<&[u8]>)]) -> Batch {
        let options = BuilderOptions { compression, is_stamped: true, ..BuilderOptions::default() };
        let mut builder = BatchBuilder::new(options);
        for value in [&b"first"[..], b"second"] {
            builder.append(Timestamp::from_millis(5), Some(b"key"), Some(value), headers).expect("fits");
        }
        if let Some(stamp) = stamp {
            builder.set_stamp(stamp);
        }
        Batch::verify(builder.finish_bytes().expect("records").freeze()).expect("whole")
    }

    #[test]
    fn a_stamp_is_written_last_and_read_first() {
        let stamp = Stamp::from_u64(0x018b_cfe5_6800_0007);
        let header = RecordHeader { key: "h".into(), value: Some("v".into()) };
        for compression in Compression::ALL {
            for headers in [&[][..], &[(&b"h"[..], Some(&b"v"[..]))]] {
                let batch = build(compression, Some(stamp), headers);
                assert_eq!(batch.records().expect("read").stamp(), Some(stamp), "{compression:?}");
                let all: Vec<_> = batch.records().expect("read").map(|record| record.expect("whole").headers).collect();
                let own = RecordHeader { key: STAMP_HEADER.into(), value: Some(stamp.to_string().into()) };
                assert_eq!(all[0][0], own, "it is a header like any other");
                assert_eq!((all[0].len(), all[1].len()), (headers.len() + 1, headers.len()));
                let shown = batch.records().expect("read").without_stamps();
                for record in shown {
                    assert_eq!(record.expect("whole").headers, vec![header.clone(); headers.len()]);
                }
            }
        }
    }

    #[test]
    fn what_was_never_stamped_has_no_stamp() {
        assert_eq!(build(Compression::None, None, &[]).records().expect("read").stamp(), None);
        let mut plain = BatchBuilder::new(BuilderOptions::default());
        plain.append(Timestamp::NONE, None, None, &[]).expect("fits");
        plain.set_stamp(Stamp::from_u64(1));
        let plain = Batch::verify(plain.finish_bytes().expect("a record").freeze()).expect("whole");
        assert_eq!(plain.records().expect("read").stamp(), None);
    }

    #[test]
    fn the_header_takes_what_it_says() {
        let bytes = |is_stamped| {
            let mut builder = BatchBuilder::new(BuilderOptions { is_stamped, ..BuilderOptions::default() });
            builder.append(Timestamp::NONE, None, Some(b"v"), &[]).expect("fits");
            builder.bytes_len()
        };
        assert_eq!(bytes(true) - bytes(false), STAMP_HEADER_BYTES);
    }

    /// What stands where the first record stood is not stamped: it was another's stamp then.
    #[test]
    fn compaction_takes_the_stamp_with_the_first_record() {
        let stamp = Stamp::from_u64(0x018b_cfe5_6800_0007);
        for (gone, expected) in [(0, None), (1, Some(stamp))] {
            let batch = build(Compression::Lz4, Some(stamp), &[]);
            let glimpses = Glimpses::open(&batch, &DecodeLimits::default()).expect("read");
            let fate = |record: &Glimpse<'_>| if record.offset.get() == gone { Fate::Goes } else { Fate::Stays };
            let Ok(Thinned::Part(part)) = glimpses.thin(Timestamp::NONE, fate) else { panic!("one stays") };
            assert_eq!(part.records().expect("read").stamp(), expected);
        }
    }

    #[test]
    fn nonsense_has_no_stamp() {
        let stamp = Stamp::from_u64(0x018b_cfe5_6800_0007);
        let batch = build(Compression::None, Some(stamp), &[]);
        let records = &batch.bytes()[HEADER_BYTES..];
        assert_eq!(stamp_of(records), Some(stamp));
        for end in 0..records.len() {
            let found = stamp_of(&records[..end]);
            assert!(found.is_none() || found == Some(stamp));
        }
        for position in 0..records.len() {
            let mut damaged = records.to_vec();
            damaged[position] ^= 0x55;
            let _any = stamp_of(&damaged);
        }
    }
}
