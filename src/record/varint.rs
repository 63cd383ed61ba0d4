//! Zigzag varints as records carry them, and the length-prefixed fields made of them.
//!
//! Readers take a slice they advance. They never read past it and never allocate.

use super::error::RecordDefect;

const MORE: u8 = 0x80;
const GROUP: u8 = 0x7f;
const VARINT_BYTES_MAX: usize = 5;
const VARLONG_BYTES_MAX: usize = 10;

/// Reads a varint of at most 5 bytes.
#[inline(always)]
pub(super) fn read_i32(rest: &mut &[u8]) -> Result<i32, RecordDefect> {
    if let Some(raw) = read_short(rest) {
        return Ok(unzigzag32(raw));
    }
    let raw = read_groups(rest, VARINT_BYTES_MAX)?;
    let raw = u32::try_from(raw).map_err(|_| RecordDefect::Varint)?;
    Ok(unzigzag32(raw))
}

/// Reads a varlong of at most 10 bytes.
#[inline(always)]
pub(super) fn read_i64(rest: &mut &[u8]) -> Result<i64, RecordDefect> {
    if let Some(raw) = read_short(rest) {
        return Ok(unzigzag32(raw).into());
    }
    read_groups(rest, VARLONG_BYTES_MAX).map(unzigzag64)
}

/// Reads a length and that many bytes; `None` for length -1.
#[inline]
pub(super) fn read_nullable<'a>(rest: &mut &'a [u8], field: &'static str) -> Result<Option<&'a [u8]>, RecordDefect> {
    match read_i32(rest)? {
        -1 => Ok(None),
        length => read_slice(rest, length, field).map(Some),
    }
}

/// Takes `length` bytes off the front.
#[inline]
pub(super) fn read_slice<'a>(rest: &mut &'a [u8], length: i32, field: &'static str) -> Result<&'a [u8], RecordDefect> {
    let Ok(bytes) = usize::try_from(length) else {
        return Err(RecordDefect::Negative { field, value: length });
    };
    let (taken, tail) = rest.split_at_checked(bytes).ok_or(RecordDefect::Truncated)?;
    *rest = tail;
    Ok(taken)
}

/// Bytes the varint of `value` takes.
#[inline]
pub(super) const fn len_i64(value: i64) -> usize {
    let bits = 64 - (zigzag64(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Bytes that a field of `length` bytes takes with its length before it; saturates.
#[inline]
pub(super) const fn len_sized(length: usize) -> usize {
    len_i64(length as i64).saturating_add(length)
}

/// A few varints on the stack, on their way into a batch.
#[derive(Debug)]
pub(super) struct Scratch<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Scratch<N> {
    /// An empty one.
    #[inline]
    pub(super) const fn new() -> Self {
        Scratch { bytes: [0; N], len: 0 }
    }

    /// Appends one plain byte.
    #[inline]
    pub(super) const fn push_byte(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    /// Appends a varint; a varint and a varlong of the same value have the same bytes.
    #[inline]
    pub(super) const fn push(&mut self, value: i64) {
        let mut raw = zigzag64(value);
        while raw >= MORE as u64 {
            self.push_byte(raw.to_le_bytes()[0] | MORE);
            raw >>= 7;
        }
        self.push_byte(raw.to_le_bytes()[0]);
    }

    /// Appends the length of a nullable field.
    #[inline]
    pub(super) const fn push_length(&mut self, field: Option<&[u8]>) {
        match field {
            Some(bytes) => self.push(bytes.len() as i64),
            None => self.push(-1),
        }
    }

    /// All of its bytes, and how many of them were appended: a copy of fixed length takes less time than one that is shorter.
    #[inline]
    pub(super) const fn whole(&self) -> (&[u8; N], usize) {
        (&self.bytes, self.len)
    }

    /// What was appended.
    #[inline]
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The groups of a varint of one or two bytes: all but few of those in a batch.
#[inline(always)]
pub(super) fn read_short(rest: &mut &[u8]) -> Option<u32> {
    let (raw, tail) = match *rest {
        [first, tail @ ..] if *first < MORE => (u32::from(*first), tail),
        [first, second, tail @ ..] if *second < MORE => (u32::from(*first & GROUP) | u32::from(*second) << 7, tail),
        _ => return None,
    };
    *rest = tail;
    Some(raw)
}

#[cold]
fn read_groups(rest: &mut &[u8], bytes_max: usize) -> Result<u64, RecordDefect> {
    let mut raw = 0_u64;
    for (index, byte) in rest.iter().take(bytes_max).enumerate() {
        let group = u64::from(byte & GROUP);
        let shift = 7 * index;
        if group << shift >> shift != group {
            return Err(RecordDefect::Varint);
        }
        raw |= group << shift;
        if *byte < MORE {
            *rest = &rest[index + 1..];
            return Ok(raw);
        }
    }
    Err(if rest.len() < bytes_max { RecordDefect::Truncated } else { RecordDefect::Varint })
}

#[inline(always)]
pub(super) const fn unzigzag32(raw: u32) -> i32 {
    (raw >> 1).cast_signed() ^ -((raw & 1).cast_signed())
}

const fn unzigzag64(raw: u64) -> i64 {
    (raw >> 1).cast_signed() ^ -((raw & 1).cast_signed())
}

const fn zigzag64(value: i64) -> u64 {
    (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: i64) -> Vec<u8> {
        let mut scratch = Scratch::<VARLONG_BYTES_MAX>::new();
        scratch.push(value);
        scratch.as_slice().to_vec()
    }

    #[test]
    fn there_and_back() {
        let powers = (0..63).map(|bit| 1_i64 << bit);
        let near = powers.flat_map(|power| [power - 1, power, -power, -power - 1]);
        for value in near.chain([i64::MAX, i64::MIN]) {
            let bytes = written(value);
            assert_eq!(bytes.len(), len_i64(value), "{value}");
            let mut rest = &bytes[..];
            assert_eq!(read_i64(&mut rest), Ok(value));
            assert!(rest.is_empty());
            let expected = i32::try_from(value).map_err(|_| RecordDefect::Varint);
            assert_eq!(read_i32(&mut &bytes[..]), expected, "{value}");
            for cut in 0..bytes.len() {
                assert_eq!(read_i64(&mut &bytes[..cut]), Err(RecordDefect::Truncated));
            }
        }
    }

    #[test]
    fn bytes() {
        let check = |value, expected: &[u8]| assert_eq!(written(value), expected);
        check(0, &[0]);
        check(-1, &[1]);
        check(1, &[2]);
        check(63, &[0x7e]);
        check(-64, &[0x7f]);
        check(64, &[0x80, 1]);
        check(i64::from(i32::MAX), &[0xfe, 0xff, 0xff, 0xff, 0x0f]);
        check(i64::MIN, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
    }

    #[test]
    fn too_long() {
        assert_eq!(read_i32(&mut &[0x80, 0x80, 0x80, 0x80, 0x80, 0][..]), Err(RecordDefect::Varint));
        assert_eq!(read_i32(&mut &[0xff, 0xff, 0xff, 0xff, 0x1f][..]), Err(RecordDefect::Varint));
        assert_eq!(read_i64(&mut &[0xff; 11][..]), Err(RecordDefect::Varint));
        let past_64_bits = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2];
        assert_eq!(read_i64(&mut &past_64_bits[..]), Err(RecordDefect::Varint));
    }
}
