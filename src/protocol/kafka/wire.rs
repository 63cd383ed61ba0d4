//! Kafka's primitive types, read from borrowed bytes. It believes no length: what is declared must be there.
//!
//! Big-endian throughout. A request is in the *classic* encoding or, from a version on that each API has of its own, in the
//! *flexible* one:
//!
//! | | classic | flexible |
//! |---|---|---|
//! | string | i16 length, −1 for null | unsigned varint of length + 1, 0 for null |
//! | bytes | i32 length, −1 for null | unsigned varint of length + 1, 0 for null |
//! | array | i32 count, −1 for null | unsigned varint of count + 1, 0 for null |
//! | end of a structure | nothing | tagged fields: a count, and of each its tag, its length, its bytes |

use std::ops::Range;

/// Most tagged fields of one structure: Kafka defines at most five for any.
pub const TAGGED_FIELDS_MAX: usize = 16;

/// What can be wrong with a request whose end is known. It is not answered: the connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It ends within a field, or declares more than is there.
    #[error("the request ends within a field")]
    Short,
    /// A length below −1.
    #[error("a length of {0}")]
    Length(i32),
    /// A varint of more than 32 bits.
    #[error("a varint of more than 32 bits")]
    Varint,
    /// Null where a value has to be.
    #[error("null where a value has to be")]
    Null,
    /// A string that is not UTF-8.
    #[error("a string that is not UTF-8")]
    Text,
    /// Tagged fields out of order, or more than [`TAGGED_FIELDS_MAX`].
    #[error("tagged fields out of order, or more than {TAGGED_FIELDS_MAX}")]
    TaggedFields,
    /// So many small things that holding them takes far more than what came.
    #[error("{0} bytes and more to hold what the request says in so few")]
    TooMuch(usize),
    /// A value outside what the field may have, or a version that is not supported.
    #[error("{0}")]
    Refused(&'static str),
}

/// How lengths are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Classic,
    Flexible,
}

impl Encoding {
    /// That of a version, where `flexible_since` is the first flexible one.
    pub(super) const fn of(version: i16, flexible_since: i16) -> Encoding {
        if version >= flexible_since { Encoding::Flexible } else { Encoding::Classic }
    }
}

/// Reads one field after another.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    encoding: Encoding,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8], encoding: Encoding) -> Reader<'a> {
        Reader { bytes, at: 0, encoding }
    }

    /// The same, beginning at a place that an earlier reader came to.
    pub(super) fn starting_at(bytes: &'a [u8], at: usize, encoding: Encoding) -> Reader<'a> {
        Reader { bytes, at: at.min(bytes.len()), encoding }
    }

    /// How far it has read.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// Bytes that are left.
    pub(super) const fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Where the next so many bytes lie; they are read with that.
    pub(super) fn range(&mut self, length: usize) -> Result<Range<usize>, Malformed> {
        if length > self.remaining() {
            return Err(Malformed::Short);
        }
        let start = self.at;
        self.at += length;
        Ok(start..self.at)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let range = self.range(N)?;
        self.bytes[range].try_into().map_err(|_| Malformed::Short)
    }

    pub(super) fn i8(&mut self) -> Result<i8, Malformed> {
        self.fixed().map(i8::from_be_bytes)
    }

    pub(super) fn i16(&mut self) -> Result<i16, Malformed> {
        self.fixed().map(i16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, Malformed> {
        self.fixed().map(i32::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, Malformed> {
        self.fixed().map(i64::from_be_bytes)
    }

    /// An unsigned varint of at most 32 bits.
    pub(super) fn varint(&mut self) -> Result<u32, Malformed> {
        let mut value = 0_u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.fixed()?;
            let bits = u32::from(byte & 0x7F);
            if shift == 28 && bits > 0xF {
                return Err(Malformed::Varint);
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed::Varint)
    }

    /// Where a string lies that may be null.
    pub(super) fn text_range(&mut self) -> Result<Option<Range<usize>>, Malformed> {
        let length = match self.encoding {
            Encoding::Classic => declared(i32::from(self.i16()?))?,
            Encoding::Flexible => self.compact()?,
        };
        length.map(|length| self.range(length)).transpose()
    }

    /// A string that may be null.
    pub(super) fn text_or_null(&mut self) -> Result<Option<&'a str>, Malformed> {
        let Some(range) = self.text_range()? else { return Ok(None) };
        std::str::from_utf8(&self.bytes[range]).map(Some).map_err(|_| Malformed::Text)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        self.text_or_null()?.ok_or(Malformed::Null)
    }

    /// Where bytes lie that may be null.
    pub(super) fn blob_range(&mut self) -> Result<Option<Range<usize>>, Malformed> {
        self.length()?.map(|length| self.range(length)).transpose()
    }

    /// How many items an array has that may be null; not more than there are bytes left.
    pub(super) fn count_or_null(&mut self) -> Result<Option<usize>, Malformed> {
        let count = self.length()?;
        if count.is_some_and(|count| count > self.remaining()) { Err(Malformed::Short) } else { Ok(count) }
    }

    pub(super) fn count(&mut self) -> Result<usize, Malformed> {
        self.count_or_null()?.ok_or(Malformed::Null)
    }

    /// Passes over the end of a structure, and says how many tagged fields there were.
    pub(super) fn end_of_structure(&mut self) -> Result<usize, Malformed> {
        match self.encoding {
            Encoding::Classic => Ok(0),
            Encoding::Flexible => self.tagged_fields(),
        }
    }

    /// Passes over tagged fields, whatever the encoding of the rest.
    pub(super) fn tagged_fields(&mut self) -> Result<usize, Malformed> {
        let count = self.varint()? as usize;
        if count > TAGGED_FIELDS_MAX {
            return Err(Malformed::TaggedFields);
        }
        let mut last = None;
        for _ in 0..count {
            let tag = self.varint()?;
            if last.is_some_and(|last| tag <= last) {
                return Err(Malformed::TaggedFields);
            }
            last = Some(tag);
            let length = self.varint()? as usize;
            self.range(length)?;
        }
        Ok(count)
    }

    /// The length of bytes or the count of an array.
    fn length(&mut self) -> Result<Option<usize>, Malformed> {
        match self.encoding {
            Encoding::Classic => declared(self.i32()?),
            Encoding::Flexible => self.compact(),
        }
    }

    fn compact(&mut self) -> Result<Option<usize>, Malformed> {
        Ok((self.varint()? as usize).checked_sub(1))
    }
}

/// What a signed length says.
fn declared(length: i32) -> Result<Option<usize>, Malformed> {
    match usize::try_from(length) {
        Ok(length) => Ok(Some(length)),
        Err(_) if length == -1 => Ok(None),
        Err(_) => Err(Malformed::Length(length)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn varint(bytes: &[u8]) -> Result<u32, Malformed> {
        Reader::new(bytes, Encoding::Flexible).varint()
    }

    #[test]
    fn varints() {
        for (bytes, expected) in [
            (&[0][..], Ok(0)),
            (&[0x7F], Ok(127)),
            (&[0xAC, 0x02], Ok(300)),
            (&[0xFF, 0xFF, 0xFF, 0xFF, 0x0F], Ok(u32::MAX)),
            (&[0xFF, 0xFF, 0xFF, 0xFF, 0x1F], Err(Malformed::Varint)),
            (&[0x80, 0x80, 0x80, 0x80, 0x80], Err(Malformed::Varint)),
            (&[0x80], Err(Malformed::Short)),
            (&[], Err(Malformed::Short)),
        ] {
            assert_eq!(varint(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn strings() {
        let classic = |bytes: &'static [u8]| Reader::new(bytes, Encoding::Classic).text_or_null();
        assert_eq!(classic(&[0, 2, b'a', b'b']), Ok(Some("ab")));
        assert_eq!(classic(&[0xFF, 0xFF]), Ok(None));
        assert_eq!(classic(&[0xFF, 0xFE]), Err(Malformed::Length(-2)));
        assert_eq!(classic(&[0, 2, b'a']), Err(Malformed::Short));
        assert_eq!(classic(&[0, 1, 0xFF]), Err(Malformed::Text));
        let flexible = |bytes: &'static [u8]| Reader::new(bytes, Encoding::Flexible).text_or_null();
        assert_eq!(flexible(&[3, b'a', b'b']), Ok(Some("ab")));
        assert_eq!(flexible(&[1]), Ok(Some("")));
        assert_eq!(flexible(&[0]), Ok(None));
        assert_eq!(Reader::new(&[0], Encoding::Flexible).text(), Err(Malformed::Null));
    }

    #[test]
    fn counts_are_not_believed() {
        assert_eq!(Reader::new(&[0x7F, 0xFF, 0xFF, 0xFF, 1, 2], Encoding::Classic).count(), Err(Malformed::Short));
        assert_eq!(Reader::new(&[0, 0, 0, 2, 1, 2], Encoding::Classic).count(), Ok(2));
        assert_eq!(Reader::new(&[0xFF, 0xFF, 0xFF, 0xFF, 0x0F], Encoding::Flexible).count(), Err(Malformed::Short));
        assert_eq!(Reader::new(&[0xFF; 4], Encoding::Classic).count(), Err(Malformed::Null));
    }

    #[test]
    fn tagged_fields_are_bounded_and_in_order() {
        let tagged = |bytes: &[u8]| Reader::new(bytes, Encoding::Classic).tagged_fields();
        assert_eq!(tagged(&[0]), Ok(0));
        assert_eq!(tagged(&[2, 0, 1, 9, 5, 0]), Ok(2));
        assert_eq!(tagged(&[2, 5, 0, 5, 0]), Err(Malformed::TaggedFields));
        assert_eq!(tagged(&[1, 0, 2, 9]), Err(Malformed::Short));
        assert_eq!(tagged(&[17]), Err(Malformed::TaggedFields));
    }
}
