//! One input put through the decoder of Kafka's requests. The tests beside it and the fuzz target in `fuzz/` share it.

use bytes::{Bytes, BytesMut};
use wiber::protocol::kafka::{Opened, ProduceTopic, Request, RequestFrames, open};

/// Above what a connection may begin with.
const REQUEST_BYTES_MAX: usize = 96 << 10;

/// What the decoder made of an input, without the bytes themselves.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Read {
    /// Requests that were whole and are understood.
    pub(crate) requests: usize,
    /// Requests that were refused.
    pub(crate) refused: usize,
    /// Whether a length was wrong.
    pub(crate) is_closed: bool,
}

/// Decodes bytes that come in pieces of this many.
pub(crate) fn requests(input: &[u8], piece_bytes: usize) -> Read {
    let (mut frames, mut src, mut read) = (RequestFrames::new(REQUEST_BYTES_MAX), BytesMut::new(), Read::default());
    for piece in input.chunks(piece_bytes.max(1)) {
        src.extend_from_slice(piece);
        loop {
            match frames.next(&mut src) {
                Ok(Some(bytes)) => {
                    if request(bytes) {
                        frames.understood();
                        read.requests += 1;
                    } else {
                        read.refused += 1;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    assert!(!read.is_closed && !error.to_string().is_empty(), "nothing comes after the end");
                    read.is_closed = true;
                }
            }
        }
    }
    read
}

/// Decodes one request without its length; whether it is understood.
pub(crate) fn request(bytes: Bytes) -> bool {
    let whole = bytes.len();
    let Ok(Opened::Request(header, body)) = open(bytes) else { return false };
    match Request::parse(header.api, header.version, body) {
        Ok(Request::Produce(produce)) => {
            let of =
                |topic: &ProduceTopic<'_>| topic.partitions().filter_map(|p| p.records).map(|r| r.len()).sum::<usize>();
            let records: usize = produce.topics().map(|topic| of(&topic)).sum();
            assert!(records <= whole, "{records} bytes of {whole}");
            true
        }
        Ok(Request::Fetch(fetch)) => {
            assert_eq!(fetch.topics().map(|topic| topic.partitions().count()).sum::<usize>(), fetch.partition_count);
            assert_eq!(fetch.forgotten().map(|topic| topic.partitions().count()).sum::<usize>(), fetch.forgotten_count);
            true
        }
        Ok(_) => true,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}
