//! The properties of a frame: UTF-8 `key=value` pairs, each ended by a NUL byte, the first `=` dividing.
//!
//! Kept as the bytes that came; a look-up walks them. Order and repetition are kept.

use std::str;

use bytes::Bytes;

use super::writer::EncodeError;

/// A checked block of properties, sharing the buffer it was read into.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Properties {
    block: Bytes,
}

/// Why a block is no list of properties.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedProperties {
    /// A byte sequence that is no UTF-8.
    #[error("the properties are not UTF-8")]
    NotUtf8,
    /// Bytes after the last NUL.
    #[error("the last property is not ended by a NUL byte")]
    Unterminated,
    /// A pair without `=`, or with nothing before it.
    #[error("a property has no key, or no '=' after it")]
    NoKey,
}

impl Properties {
    /// No properties.
    pub const EMPTY: Properties = Properties { block: Bytes::new() };

    /// Checks a block as a frame carries it.
    ///
    /// # Errors
    /// [`MalformedProperties`] says which rule is broken.
    pub fn from_wire(block: Bytes) -> Result<Properties, MalformedProperties> {
        let text = str::from_utf8(&block).map_err(|_| MalformedProperties::NotUtf8)?;
        if !text.is_empty() && !text.ends_with('\0') {
            return Err(MalformedProperties::Unterminated);
        }
        let mut pairs = PropertyPairs { rest: text };
        if pairs.by_ref().any(|(key, _)| key.is_empty()) || !pairs.rest.is_empty() {
            return Err(MalformedProperties::NoKey);
        }
        Ok(Properties { block })
    }

    /// Builds a block from pairs, in their order.
    ///
    /// # Errors
    /// [`EncodeError`] for a key that is empty or contains `=` or NUL, and for a value that contains NUL.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Properties, EncodeError> {
        let mut block = Vec::new();
        for (key, value) in pairs {
            EncodeError::check(key, value)?;
            block.extend_from_slice(key.as_bytes());
            block.push(b'=');
            block.extend_from_slice(value.as_bytes());
            block.push(0);
        }
        Ok(Properties { block: block.into() })
    }

    /// The pairs in the order of the wire.
    #[must_use]
    pub fn iter(&self) -> PropertyPairs<'_> {
        PropertyPairs { rest: str::from_utf8(&self.block).unwrap_or_default() }
    }

    /// The value of the first pair with this key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find_map(|(name, value)| (name == key).then_some(value))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.block.is_empty()
    }

    /// The block as a frame carries it.
    #[must_use]
    pub fn as_wire(&self) -> &Bytes {
        &self.block
    }
}

impl<'a> IntoIterator for &'a Properties {
    type Item = (&'a str, &'a str);
    type IntoIter = PropertyPairs<'a>;

    fn into_iter(self) -> PropertyPairs<'a> {
        self.iter()
    }
}

/// The pairs of a block, in order.
#[derive(Debug, Clone, Default)]
pub struct PropertyPairs<'a> {
    rest: &'a str,
}

impl<'a> Iterator for PropertyPairs<'a> {
    type Item = (&'a str, &'a str);

    /// Looks at each byte once. Dividing at `=` and NUL, which stand for themselves wherever they stand in UTF-8, gives
    /// text again.
    #[inline]
    fn next(&mut self) -> Option<(&'a str, &'a str)> {
        let bytes = self.rest.as_bytes();
        let divider = bytes.iter().position(|byte| matches!(byte, b'=' | 0)).filter(|at| bytes[*at] == b'=')?;
        let end = divider + bytes[divider..].iter().position(|byte| *byte == 0)?;
        let (key, value) = (&self.rest[..divider], &self.rest[divider + 1..end]);
        self.rest = &self.rest[end + 1..];
        Some((key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(block: &'static [u8], expected: Result<&[(&str, &str)], MalformedProperties>) {
        let parsed = Properties::from_wire(Bytes::from_static(block));
        let pairs = parsed.as_ref().map(|p| p.iter().collect::<Vec<_>>());
        assert_eq!(pairs.as_deref().map_err(|&&e| e), expected, "{block:?}");
    }

    #[test]
    fn blocks() {
        check(b"", Ok(&[]));
        check(b"a=\0", Ok(&[("a", "")]));
        check(b"a=b=c\0d=e\0a=f\0", Ok(&[("a", "b=c"), ("d", "e"), ("a", "f")]));
        check("ключ=значение\0".as_bytes(), Ok(&[("ключ", "значение")]));
        check(b"a=b", Err(MalformedProperties::Unterminated));
        check(b"a=b\0c", Err(MalformedProperties::Unterminated));
        check(b"\0", Err(MalformedProperties::NoKey));
        check(b"a=b\0\0", Err(MalformedProperties::NoKey));
        check(b"=b\0", Err(MalformedProperties::NoKey));
        check(b"a\0b=c\0", Err(MalformedProperties::NoKey));
        check(b"a=\xff\0", Err(MalformedProperties::NotUtf8));
    }

    #[test]
    fn building_keeps_order_and_refuses_what_would_not_come_back() {
        let built = Properties::from_pairs([("b", "1"), ("a", ""), ("b", "2=3")]).expect("valid");
        assert_eq!(&built.as_wire()[..], b"b=1\0a=\0b=2=3\0");
        assert_eq!(built.get("b"), Some("1"));
        assert_eq!(built.get("c"), None);
        for (key, value) in [("", "v"), ("a=b", "v"), ("a\0", "v"), ("a", "v\0")] {
            assert!(Properties::from_pairs([(key, value)]).is_err(), "{key:?}={value:?}");
        }
    }
}
