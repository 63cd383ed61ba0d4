//! What stands before the crate that decodes requests: it makes room for as many items as an array declares, and keeps as
//! many tagged fields as a structure says it has, whatever came with them.
//!
//! So a request's shape is walked first, by a table of shapes (`schema`), without holding anything: every declared length and
//! count must be covered by bytes that are there, and what decoding will hold is summed up and bounded. The crate allocates
//! in two places alone: the vector of an array, count × size of an item in memory, and the tree of a structure's tagged
//! fields. Strings and bytes share the buffer of the request; who keeps one for longer copies it.

use bytes::Bytes;
use kafka_protocol::protocol::Decodable;

use super::api::Api;
use super::schema::{self, Field, Kind, Shape};
use super::wire::{Encoding, Malformed, Reader};

/// Held for each byte of a request, at most.
const HELD_PER_BYTE_MAX: usize = 4;
/// Held beside that, at most: a few hundred of the smallest items.
const HELD_BYTES_FREE: usize = 60 << 10;
/// What a node of a tree of tagged fields takes at most, and how many of them it has at least.
const TREE_NODE_BYTES: usize = 640;
const TREE_NODE_FIELDS: usize = 5;

/// Checks that decoding a request's body reads nothing that is not there and holds at most four times its bytes and 64 KiB.
/// Returns how long it is; what comes after is nobody's.
///
/// # Errors
/// [`Malformed`], also for Produce and Fetch, which are read by code of their own.
pub(super) fn check(api: Api, version: i16, body: &[u8]) -> Result<usize, Malformed> {
    let Some(fields) = schema::of(api) else { return Err(Malformed::Refused("read by code of its own")) };
    if !api.serves(version) {
        return Err(Malformed::Refused("a version that is not served"));
    }
    let reader = Reader::new(body, Encoding::of(version, api.row().flexible_since));
    let held_bytes_max = HELD_PER_BYTE_MAX.saturating_mul(body.len()).saturating_add(HELD_BYTES_FREE);
    let mut walk = Walk { reader, version, held_bytes: 0, held_bytes_max };
    walk.structure(fields)?;
    Ok(walk.reader.at())
}

/// Decodes the body of a request of `api`, which must be the one that `T` is.
///
/// # Errors
/// [`Malformed`].
pub(super) fn decode<T: Decodable>(api: Api, version: i16, mut body: Bytes) -> Result<T, Malformed> {
    check(api, version, &body)?;
    // What the walk leaves to the crate: strings that are not UTF-8, and null where a value has to be.
    T::decode(&mut body, version)
        .map_err(|_| Malformed::Refused("a string that is not UTF-8, or null where a value has to be"))
}

struct Walk<'a> {
    reader: Reader<'a>,
    version: i16,
    held_bytes: usize,
    held_bytes_max: usize,
}

impl Walk<'_> {
    fn structure(&mut self, fields: &[Field]) -> Result<(), Malformed> {
        let version = self.version;
        for field in fields.iter().filter(|field| field.is_in(version)) {
            match field.kind {
                Kind::Fixed(bytes) => {
                    self.reader.range(bytes)?;
                }
                Kind::Text => {
                    self.reader.text_range()?;
                }
                Kind::Blob => {
                    self.reader.blob_range()?;
                }
                Kind::Array { shape, held_bytes } => self.array(shape, held_bytes)?,
            }
        }
        let tagged = self.reader.end_of_structure()?;
        if tagged == 0 { Ok(()) } else { self.hold((1 + tagged / TREE_NODE_FIELDS) * TREE_NODE_BYTES) }
    }

    fn array(&mut self, shape: Shape, held_bytes: usize) -> Result<(), Malformed> {
        let Some(count) = self.reader.count_or_null()? else { return Ok(()) };
        self.hold(count.saturating_mul(held_bytes))?;
        for _ in 0..count {
            match shape {
                Shape::Fixed(bytes) => {
                    self.reader.range(bytes)?;
                }
                Shape::Text => {
                    self.reader.text_range()?;
                }
                Shape::Structure(fields) => self.structure(fields)?,
            }
        }
        Ok(())
    }

    fn hold(&mut self, bytes: usize) -> Result<(), Malformed> {
        self.held_bytes = self.held_bytes.saturating_add(bytes);
        if self.held_bytes > self.held_bytes_max { Err(Malformed::TooMuch(self.held_bytes)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
