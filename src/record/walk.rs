//! One record's bytes taken apart, borrowed and unallocated: what admission walks and readers build on.

use super::error::RecordDefect;
use super::varint::{read_i32, read_i64, read_nullable, read_slice};

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
