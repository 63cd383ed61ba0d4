//! Base64 (RFC 4648, section 4, padded): how a property carries bytes that are not NUL-free UTF-8.

use bytes::{BufMut, BytesMut};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Text that is no padded base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not base64 (RFC 4648 with padding)")]
pub struct InvalidBase64;

/// Appends the base64 form of `bytes` to `dst`: four characters for every three bytes begun.
pub fn encode_base64(bytes: &[u8], dst: &mut BytesMut) {
    dst.reserve(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let group = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            if place <= chunk.len() {
                let index = group >> (18 - 6 * place) & 63;
                dst.put_u8(ALPHABET[index as usize]);
            } else {
                dst.put_u8(b'=');
            }
        }
    }
}

/// The bytes behind a base64 text.
///
/// # Errors
/// [`InvalidBase64`] for a foreign character, a length that is no multiple of four, padding elsewhere than at the end,
/// or bits set where padding leaves none: every byte string has exactly one text.
pub fn decode_base64(text: &str) -> Result<Vec<u8>, InvalidBase64> {
    let text = text.as_bytes();
    if !text.len().is_multiple_of(4) {
        return Err(InvalidBase64);
    }
    let padding = text.iter().rev().take(2).take_while(|&&b| b == b'=').count();
    let digits = &text[..text.len() - padding];
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for chunk in digits.chunks(4) {
        let mut group = 0u32;
        for &digit in chunk {
            group = group << 6 | value_of(digit)?;
        }
        group <<= 6 * (4 - chunk.len());
        let [_, decoded @ ..] = group.to_be_bytes();
        let (kept, rest) = decoded.split_at(chunk.len() - 1);
        if rest.iter().any(|&b| b != 0) {
            return Err(InvalidBase64);
        }
        bytes.extend_from_slice(kept);
    }
    Ok(bytes)
}

fn value_of(digit: u8) -> Result<u32, InvalidBase64> {
    match digit {
        b'A'..=b'Z' => Ok(u32::from(digit - b'A')),
        b'a'..=b'z' => Ok(u32::from(digit - b'a') + 26),
        b'0'..=b'9' => Ok(u32::from(digit - b'0') + 52),
        b'+' => Ok(62),
        b'/' => Ok(63),
        _ => Err(InvalidBase64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(bytes: &[u8]) -> String {
        let mut dst = BytesMut::new();
        encode_base64(bytes, &mut dst);
        String::from_utf8(dst.to_vec()).expect("ASCII")
    }

    #[test]
    fn vectors_of_rfc_4648() {
        for (plain, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encoded(plain.as_bytes()), text);
            assert_eq!(decode_base64(text).expect("valid"), plain.as_bytes());
        }
    }

    #[test]
    fn refuses_what_is_not_base64() {
        for bad in ["Z", "Zg=", "Zg", "====", "Z===", "Zh==", "Zg==Zg==", "Zm9!", "Zm9v\n", "é=="] {
            assert_eq!(decode_base64(bad), Err(InvalidBase64), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(decode_base64(&encoded(&bytes)).expect("ours"), bytes);
        }
    }
}
