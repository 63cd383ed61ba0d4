//! What is left of a batch, held against its records.

use super::*;
use crate::record::tests::stamp;
use crate::record::{BatchBuilder, BuilderOptions, verify};

fn batch(compression: Compression, values: &[Option<&[u8]>]) -> Batch {
    let options = BuilderOptions { compression, producer: Some(stamp(3, 1, 40)), ..BuilderOptions::default() };
    let mut builder = BatchBuilder::new(options);
    for (number, value) in (0_i64..).zip(values) {
        let key = [number.to_be_bytes()[7]];
        let headers: [(&[u8], Option<&[u8]>); 2] = [(b"h", Some(b"x")), (b"h", None)];
        builder.append(Timestamp::from_millis(1_000 + 7 * number), Some(&key), *value, &headers).unwrap();
    }
    builder.finish().unwrap().number(Offset::new(100).unwrap(), Epoch::new(5).unwrap())
}

fn thin(batch: &Batch, fates: &[Fate]) -> Thinned {
    let horizon = Timestamp::from_millis(90_000_000);
    let glimpses = Glimpses::open(batch, &DecodeLimits::default()).unwrap();
    glimpses.thin(horizon, |record| fates[usize::try_from(record.offset.get() - 100).unwrap()]).unwrap()
}

#[test]
fn every_choice_of_records() {
    let values: [Option<&[u8]>; 4] = [Some(b"a"), None, Some(b""), Some(&[7; 300])];
    let fates = [Fate::Stays, Fate::Goes, Fate::StaysUntilHorizon];
    for compression in Compression::ALL {
        let whole = batch(compression, &values);
        let all: Vec<_> = whole.records().unwrap().map(Result::unwrap).collect();
        for choice in 0..81_usize {
            let fates: Vec<Fate> = (0..4_u32).map(|place| fates[choice / 3_usize.pow(place) % 3]).collect();
            let expected: Vec<_> = all
                .iter()
                .zip(&fates)
                .filter(|(_, fate)| **fate != Fate::Goes)
                .map(|(record, _)| record.clone())
                .collect();
            let has_horizon = fates.contains(&Fate::StaysUntilHorizon);
            let part = match thin(&whole, &fates) {
                Thinned::Nothing => {
                    assert!(expected.is_empty());
                    continue;
                }
                Thinned::Whole => {
                    assert!(expected.len() == 4 && !has_horizon);
                    continue;
                }
                Thinned::Part(part) => part,
            };
            let (header, before) = (*part.header(), *whole.header());
            assert_eq!(verify(part.bytes()), Ok(header));
            let found: Vec<_> = part.records().unwrap().map(Result::unwrap).collect();
            assert_eq!(found, expected, "{compression} {fates:?}");
            assert_eq!((header.base_offset, header.last_offset_delta), (before.base_offset, before.last_offset_delta));
            assert_eq!((header.producer, header.leader_epoch), (before.producer, before.leader_epoch));
            assert_eq!(header.attributes.compression(), Some(compression));
            assert_eq!(Some(header.max_timestamp), expected.iter().map(|record| record.timestamp).max());
            let horizon = header.delete_horizon().map(Timestamp::millis);
            assert_eq!(horizon, has_horizon.then_some(90_000_000));
            // A horizon that is set stays.
            let stays: Vec<Fate> =
                fates.iter().map(|fate| if *fate == Fate::Goes { *fate } else { Fate::StaysUntilHorizon }).collect();
            if has_horizon {
                assert_eq!(thin(&part, &stays), Thinned::Whole);
            }
        }
    }
}

#[test]
fn batches_without_records_keep_their_place() {
    let whole = batch(Compression::Zstd, &[Some(b"a"), None]);
    let none = without_records(whole.header());
    assert_eq!(verify(none.bytes()), Ok(*none.header()));
    assert_eq!(none.header().producer, whole.header().producer);
    assert_eq!(none.header().next_offset(), whole.header().next_offset());
    assert_eq!(none.records().unwrap().count(), 0);
    assert_eq!(reaching(&none, Offset::new(200).unwrap()), None, "its sequence would no longer agree");

    let offset = |value| Offset::new(value).unwrap();
    let epoch = Epoch::new(2).unwrap();
    let time = Timestamp::from_millis(5);
    let hole_of = |from, to| hole(offset(from), offset(to), epoch, time);
    let ten = hole_of(10, 20).unwrap();
    assert_eq!(verify(ten.bytes()), Ok(*ten.header()));
    assert_eq!((ten.header().last_offset(), ten.records().unwrap().count()), (offset(19), 0));
    assert_eq!(reaching(&ten, offset(25)), hole_of(10, 25));
    for (from, to, is_possible) in [(5, 5, false), (5, 4, false), (5, 5 + SPAN_MAX, true), (5, 6 + SPAN_MAX, false)] {
        assert_eq!(hole_of(from, to).is_some(), is_possible, "{from} to {to}");
    }
}

#[test]
fn no_damage_makes_it_panic() {
    for compression in [Compression::None, Compression::Lz4] {
        let whole = batch(compression, &[Some(b"abc"), None, Some(b"d")]);
        for position in HEADER_BYTES..whole.bytes().len() {
            for bit in 0..8 {
                let mut bytes = BytesMut::from(&whole.bytes()[..]);
                bytes[position] ^= 1 << bit;
                let damaged = Batch::from_verified(bytes.freeze(), *whole.header());
                if let Ok(glimpses) = Glimpses::open(&damaged, &DecodeLimits::default()) {
                    let _any = glimpses.thin(Timestamp::from_millis(1), |_| Fate::StaysUntilHorizon);
                    let _any = glimpses.thin(Timestamp::from_millis(1), |record| {
                        if record.offset.get() % 2 == 0 { Fate::Goes } else { Fate::Stays }
                    });
                }
            }
        }
    }
}
