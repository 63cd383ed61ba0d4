//! Cutting requests from a stream of bytes that may be anything.
//!
//! A request is preceded by its length, an i32 that does not count itself. Until a connection has sent something that was
//! understood it may send only little at a time: whoever is not a Kafka client is found out before it costs anything. Some
//! clients begin with a Produce: that may be large at once, where it begins as one.
//!
//! ```text
//!            whole: its bytes                    a length outside its limits
//!   Reading ------------------> Reading    Reading ------------------------> Closed (whatever comes is dropped)
//! ```

use std::num::NonZeroUsize;

use bytes::{Buf, Bytes, BytesMut};

use super::api::Api;

/// Bytes of the length before a request, and before a response.
pub const LENGTH_BYTES: usize = 4;
/// Smallest request: key, version, correlation id.
pub const REQUEST_BYTES_MIN: usize = 8;
/// Largest request of a connection that has sent nothing yet that was understood, unless it is a Produce.
pub const FIRST_REQUEST_BYTES_MAX: usize = 64 << 10;

/// Smallest step by which the buffer of a request being received grows.
const GROWTH_BYTES_MIN: usize = 8 << 10;
/// A request of this many bytes gets a buffer to itself, which nobody else holds on to.
const OWN_BUFFER_BYTES_MIN: usize = 64 << 10;

/// Why no request can be found any more: close.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a request of {length} bytes, where {REQUEST_BYTES_MIN} to {allowed} are allowed")]
pub struct BadLength {
    /// The length as it stood there.
    pub length: i32,
    /// The largest allowed.
    pub allowed: usize,
}

/// Cuts requests from bytes as they come.
#[derive(Debug)]
pub struct RequestFrames {
    request_bytes_max: usize,
    is_understood: bool,
    is_closed: bool,
    missing: Option<NonZeroUsize>,
}

impl RequestFrames {
    /// Allows requests of so many bytes, once the first was understood.
    #[must_use]
    pub const fn new(request_bytes_max: usize) -> RequestFrames {
        RequestFrames { request_bytes_max, is_understood: false, is_closed: false, missing: None }
    }

    /// The peer has sent a request that was understood.
    pub const fn understood(&mut self) {
        self.is_understood = true;
    }

    /// The next request without its length; `None` while it is not whole.
    ///
    /// # Errors
    /// [`BadLength`] where the next request is none that may be; whatever comes after is dropped.
    pub fn next(&mut self, src: &mut BytesMut) -> Result<Option<Bytes>, BadLength> {
        self.missing = None;
        if self.is_closed {
            src.clear();
            return Ok(None);
        }
        let Some(length) = src.first_chunk::<LENGTH_BYTES>().copied().map(i32::from_be_bytes) else { return Ok(None) };
        let Some(allowed) = self.allowed(length, &src[LENGTH_BYTES..]) else { return Ok(None) };
        let whole = usize::try_from(length).ok().filter(|length| (REQUEST_BYTES_MIN..=allowed).contains(length));
        let Some(bytes) = whole else {
            self.is_closed = true;
            src.clear();
            return Err(BadLength { length, allowed });
        };
        let total = LENGTH_BYTES + bytes;
        if src.len() < total {
            let missing = total - src.len();
            if total >= OWN_BUFFER_BYTES_MIN {
                self.missing = NonZeroUsize::new(missing);
            } else {
                src.reserve(missing.min(src.len().max(GROWTH_BYTES_MIN)));
            }
            return Ok(None);
        }
        src.advance(LENGTH_BYTES);
        // One that came in a buffer of its own keeps it: nobody else refers to it then.
        let is_alone = total >= OWN_BUFFER_BYTES_MIN && src.len() == bytes;
        let request = if is_alone { std::mem::take(src) } else { src.split_to(bytes) };
        Ok(Some(request.freeze()))
    }

    /// What the request under way lacks, in bytes, where it is to have a buffer of its own.
    #[must_use]
    pub const fn missing(&self) -> Option<NonZeroUsize> {
        self.missing
    }

    /// The largest request allowed here; `None` where that takes more of it to say.
    fn allowed(&self, length: i32, begun: &[u8]) -> Option<usize> {
        let first = FIRST_REQUEST_BYTES_MAX.min(self.request_bytes_max);
        if self.is_understood {
            return Some(self.request_bytes_max);
        }
        let is_large = usize::try_from(length).is_ok_and(|length| length > first && length <= self.request_bytes_max);
        if !is_large {
            return Some(first);
        }
        let [key_high, key_low, version_high, version_low] = *begun.first_chunk()?;
        let api = Api::from_wire(i16::from_be_bytes([key_high, key_low]));
        let is_served = Api::Produce.serves(i16::from_be_bytes([version_high, version_low]));
        Some(if api == Some(Api::Produce) && is_served { self.request_bytes_max } else { first })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(body: &[u8]) -> Vec<u8> {
        [&i32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat()
    }

    #[test]
    fn requests_come_whole_however_they_arrive() {
        let (one, two) = (vec![1; REQUEST_BYTES_MIN], vec![2; 300]);
        let stream = [framed(&one), framed(&two)].concat();
        for piece in 1..=stream.len() {
            let (mut frames, mut src, mut found) = (RequestFrames::new(1 << 20), BytesMut::new(), Vec::new());
            for part in stream.chunks(piece) {
                src.extend_from_slice(part);
                while let Some(request) = frames.next(&mut src).unwrap() {
                    found.push(request);
                }
            }
            assert_eq!(found, [&one[..], &two[..]], "in pieces of {piece}");
        }
    }

    #[test]
    fn lengths_are_limited_and_less_before_anything_was_understood() {
        let check = |is_understood: bool, length: i32, expected: Result<(), usize>| {
            let mut frames = RequestFrames::new(100_000);
            if is_understood {
                frames.understood();
            }
            let mut src = BytesMut::from(&length.to_be_bytes()[..]);
            let found = frames.next(&mut src);
            assert_eq!(found, expected.map(|()| None).map_err(|allowed| BadLength { length, allowed }));
            assert!(src.capacity() <= 64 << 10);
            if found.is_err() {
                src.extend_from_slice(&framed(&[0; 20]));
                assert_eq!((frames.next(&mut src), src.len()), (Ok(None), 0));
            }
        };
        for length in [i32::MIN, -1, 0, 7, 100_001, i32::MAX] {
            check(true, length, Err(100_000));
            check(false, length, Err(FIRST_REQUEST_BYTES_MAX));
        }
        check(false, 64 << 10, Ok(()));
        // Which request it is decides.
        check(false, (64 << 10) + 1, Ok(()));
        check(true, 100_000, Ok(()));
        check(true, 8, Ok(()));
    }

    #[test]
    fn only_a_produce_may_begin_large() {
        for (header, is_allowed) in [
            (&[0, 0, 0, 9][..], true),
            (&[0, 0, 0, 3], true),
            (&[0, 0, 0, 2], false),
            (&[0, 1, 0, 9], false),
            (b"GET ", false),
            (&[0, 0, 0], true),
        ] {
            let mut frames = RequestFrames::new(100_000);
            let mut src = BytesMut::from(&90_000_i32.to_be_bytes()[..]);
            src.extend_from_slice(header);
            assert_eq!(frames.next(&mut src).is_ok(), is_allowed, "{header:?}");
        }
    }

    /// So that a batch in it can be numbered where it lies.
    #[test]
    fn a_large_request_has_its_buffer_for_itself() {
        let mut frames = RequestFrames::new(1 << 20);
        frames.understood();
        let mut src = BytesMut::from(&framed(&[7; 100_000])[..]);
        let request = frames.next(&mut src).unwrap().unwrap();
        assert!(request.try_into_mut().is_ok_and(|request| request.len() == 100_000));
    }

    #[test]
    fn a_large_request_says_what_it_lacks() {
        let mut frames = RequestFrames::new(1 << 20);
        frames.understood();
        let mut src = BytesMut::from(&100_000_i32.to_be_bytes()[..]);
        assert_eq!(frames.next(&mut src), Ok(None));
        assert_eq!(frames.missing(), NonZeroUsize::new(100_000));
    }
}
