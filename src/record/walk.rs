//! One record's bytes taken apart, borrowed and unallocated: what admission walks and readers build on.

use super::error::RecordDefect;
use super::varint::{read_i32, read_i64, read_nullable, read_short, read_slice, unzigzag32};

/// The length -1 of a key or value that is not there.
const ABSENT: u8 = 1;

/// The fields of one record, as slices of the batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct RawRecord<'a> {
    pub(super) timestamp_delta: i64,
    pub(super) offset_delta: i32,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: RawHeaders<'a>,
}

/// The headers of one record, not yet walked.
#[derive(Debug, Clone, Copy)]
pub(super) struct RawHeaders<'a> {
    left: usize,
    rest: &'a [u8],
}

/// Takes the next record off the front of `rest`. Its headers are still to be walked to their end.
#[inline(always)]
pub(super) fn next_record<'a>(rest: &mut &'a [u8]) -> Result<RawRecord<'a>, RecordDefect> {
    let length = read_i32(rest)?;
    let mut inside = read_slice(rest, length, "record length")?;
    let [_attributes, after_attributes @ ..] = inside else {
        return Err(RecordDefect::Truncated);
    };
    inside = after_attributes;
    let timestamp_delta = read_i64(&mut inside)?;
    let offset_delta = read_i32(&mut inside)?;
    let key = read_nullable(&mut inside, "key length")?;
    let value = read_nullable(&mut inside, "value length")?;
    let count = read_i32(&mut inside)?;
    let left = usize::try_from(count).map_err(|_| RecordDefect::Negative { field: "headers count", value: count })?;
    let headers = RawHeaders { left, rest: inside };
    Ok(RawRecord { timestamp_delta, offset_delta, key, value, headers })
}

/// What admission looks at in a record, where it is as most are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PlainRecord {
    pub(super) timestamp_delta: i32,
    pub(super) offset_delta: i32,
    pub(super) value_bytes: usize,
}

/// Takes the next record off the front of `rest` where it has no headers and its varints are short; nothing of any other,
/// nor of one that has a defect.
#[inline(always)]
pub(super) fn plain_record(rest: &mut &[u8]) -> Option<PlainRecord> {
    let mut behind_length = *rest;
    let bytes = plain_length(&mut behind_length)?;
    let (record, behind) = behind_length.split_at_checked(bytes)?;
    let [_attributes, inside @ ..] = record else { return None };
    let mut inside = inside;
    let timestamp_delta = unzigzag32(read_short(&mut inside)?);
    let offset_delta = unzigzag32(read_short(&mut inside)?);
    plain_field(&mut inside)?;
    let value_bytes = plain_field(&mut inside)?;
    // No headers, and nothing behind their count.
    if inside != [0] {
        return None;
    }
    *rest = behind;
    Some(PlainRecord { timestamp_delta, offset_delta, value_bytes })
}

/// Passes over a key or value; returns its bytes, 0 where there is none.
#[inline(always)]
fn plain_field(inside: &mut &[u8]) -> Option<usize> {
    if let [ABSENT, tail @ ..] = inside {
        *inside = tail;
        return Some(0);
    }
    let bytes = plain_length(inside)?;
    *inside = inside.get(bytes..)?;
    Some(bytes)
}

/// A short length that is not negative.
#[inline(always)]
fn plain_length(rest: &mut &[u8]) -> Option<usize> {
    let raw = read_short(rest)?;
    if raw & 1 == 0 { Some((raw >> 1) as usize) } else { None }
}

impl<'a> RawHeaders<'a> {
    /// Whether there is none.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// The next header's key and value; `None` after the last one, which must end where the record does.
    #[inline]
    #[expect(clippy::type_complexity, reason = "one pair, borrowed, used by two callers")]
    pub(super) fn next(&mut self) -> Result<Option<(&'a [u8], Option<&'a [u8]>)>, RecordDefect> {
        if self.left == 0 {
            return match self.rest.len() {
                0 => Ok(None),
                bytes => Err(RecordDefect::Surplus { bytes }),
            };
        }
        self.left -= 1;
        let length = read_i32(&mut self.rest)?;
        let key = read_slice(&mut self.rest, length, "header key length")?;
        let value = read_nullable(&mut self.rest, "header value length")?;
        Ok(Some((key, value)))
    }

    /// Walks all headers to the record's end.
    #[inline(always)]
    pub(super) fn check(self) -> Result<(), RecordDefect> {
        // Mostly there is none.
        if self.left == 0 && self.rest.is_empty() { Ok(()) } else { self.check_each() }
    }

    fn check_each(mut self) -> Result<(), RecordDefect> {
        while self.next()?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever is taken for a plain record is one to the careful walk as well, and the same; and what most records are is
    /// plain.
    #[test]
    fn a_plain_record_is_what_the_careful_walk_finds() {
        let long_value = [&[0xda, 1, 0, 0x84, 1, 0x80, 1, 1, 0xc8, 1][..], &[7; 100], &[0, 9]].concat();
        let records: [&[u8]; 5] = [
            &[0x0e, 0, 2, 4, 2, b'k', 0, 0, 9, 9],
            &[0x0c, 0, 0, 0, 1, 1, 0],
            &[0x14, 0, 0, 0, 1, 1, 2, 4, b'a', b'b', 1],
            &[0x0a, 0, 0, 0, 1, 1],
            &long_value,
        ];
        let check = |bytes: &[u8]| {
            let (mut rest, mut careful_rest) = (bytes, bytes);
            let plain = plain_record(&mut rest)?;
            let careful = next_record(&mut careful_rest).expect("a record");
            careful.headers.check().expect("no headers");
            let found = (i64::from(plain.timestamp_delta), plain.offset_delta, plain.value_bytes);
            let value_bytes = careful.value.map_or(0, <[u8]>::len);
            assert_eq!((found, rest), ((careful.timestamp_delta, careful.offset_delta, value_bytes), careful_rest));
            Some(plain)
        };
        let plain = records.map(|record| check(record).map(|plain| plain.value_bytes));
        assert_eq!(plain, [Some(0), Some(0), None, None, Some(100)]);
        for record in records {
            for place in 0..record.len() {
                check(&record[..place]);
                for value in 0..=u8::MAX {
                    let mut changed = record.to_vec();
                    changed[place] = value;
                    check(&changed);
                }
            }
        }
    }
}
