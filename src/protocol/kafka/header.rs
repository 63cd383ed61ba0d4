//! The header of a request, and what a connection does with one that it cannot serve.
//!
//! | bytes | field | |
//! |---|---|---|
//! | 2 | api key | |
//! | 2 | api version | |
//! | 4 | correlation id | carried back by the response |
//! | 2 + n | client id, −1 for null | not in version 0 |
//! | | tagged fields | from version 2 |
//!
//! Which version a header has, nothing says: it follows from key and version. Version 2 goes with the flexible encoding,
//! version 0 was ControlledShutdown's alone, which is not served. The client id is in the classic encoding always.

use bytes::{Buf, Bytes};

use super::api::Api;
use super::wire::{Encoding, Malformed, Reader};

/// Longest client id that is kept, in bytes; of a longer one the beginning is.
pub const CLIENT_ID_BYTES_MAX: usize = 255;

/// The header of a request that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    /// What is asked for.
    pub api: Api,
    /// In which version.
    pub version: i16,
    /// Carried back by the response.
    pub correlation_id: i32,
    /// What the client calls itself, shortened to [`CLIENT_ID_BYTES_MAX`].
    pub client_id: Option<Box<str>>,
}

/// What the beginning of a request says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// A request that is served: its header, and its body yet to be read.
    Request(RequestHeader, Bytes),
    /// ApiVersions in a version from the future: answered in version 0, with [`super::KafkaError::UnsupportedVersion`].
    UnknownApiVersions {
        /// Carried back by the response.
        correlation_id: i32,
    },
    /// A key or a version that was never advertised: the connection is closed.
    NotServed {
        /// The key as it stood there.
        key: i16,
        /// The version as it stood there.
        version: i16,
    },
}

/// Reads the header of a request.
///
/// # Errors
/// [`Malformed`]: the connection is closed.
pub fn open(mut request: Bytes) -> Result<Opened, Malformed> {
    let mut reader = Reader::new(&request, Encoding::Classic);
    let (key, version, correlation_id) = (reader.i16()?, reader.i16()?, reader.i32()?);
    let Some(api) = Api::from_wire(key) else { return Ok(Opened::NotServed { key, version }) };
    if !api.serves(version) {
        // Versions are numbered from 0; one below was never anybody's.
        let is_ahead = api == Api::ApiVersions && version >= 0;
        let unknown = Opened::UnknownApiVersions { correlation_id };
        return Ok(if is_ahead { unknown } else { Opened::NotServed { key, version } });
    }
    let client_id = reader.text_or_null()?.map(|id| Box::from(&id[..id.floor_char_boundary(CLIENT_ID_BYTES_MAX)]));
    if api.is_flexible(version) {
        reader.tagged_fields()?;
    }
    let header_bytes = reader.at();
    request.advance(header_bytes);
    Ok(Opened::Request(RequestHeader { api, version, correlation_id, client_id }, request))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(bytes: &[u8]) -> Result<Opened, Malformed> {
        open(Bytes::copy_from_slice(bytes))
    }

    /// By hand, as librdkafka begins: ApiVersions 3, correlation 1, client "rdkafka".
    const API_VERSIONS_3: &[u8] = b"\x00\x12\x00\x03\x00\x00\x00\x01\x00\x07rdkafka\x00\x0blibrdkafka\x062.0.2\x00";

    #[test]
    fn a_flexible_header() {
        let Ok(Opened::Request(header, body)) = opened(API_VERSIONS_3) else { panic!("not served") };
        assert_eq!((header.api, header.version, header.correlation_id), (Api::ApiVersions, 3, 1));
        assert_eq!(header.client_id.as_deref(), Some("rdkafka"));
        assert_eq!(body, &b"\x0blibrdkafka\x062.0.2\x00"[..]);
        let header_bytes = API_VERSIONS_3.len() - body.len();
        for end in 0..header_bytes {
            assert_eq!(opened(&API_VERSIONS_3[..end]), Err(Malformed::Short), "{end}");
        }
    }

    #[test]
    fn a_classic_header() {
        let expected = |client_id: Option<&str>, body: &'static [u8]| {
            let header = RequestHeader {
                api: Api::Metadata,
                version: 8,
                correlation_id: -2,
                client_id: client_id.map(Box::from),
            };
            Ok(Opened::Request(header, Bytes::from_static(body)))
        };
        assert_eq!(opened(b"\0\x03\0\x08\xff\xff\xff\xfe\0\x01abc"), expected(Some("a"), b"bc"));
        assert_eq!(opened(b"\0\x03\0\x08\xff\xff\xff\xfe\xff\xff"), expected(None, b""));
        assert_eq!(opened(b"\0\x03\0\x08\xff\xff\xff\xfe\xff\xfe"), Err(Malformed::Length(-2)));
        assert_eq!(opened(b"\0\x03\0\x08\xff\xff\xff\xfe\0\x01\xff"), Err(Malformed::Text));
    }

    #[test]
    fn what_is_not_served() {
        let header = |key: i16, version: i16| [&key.to_be_bytes()[..], &version.to_be_bytes(), &[0, 0, 0, 9]].concat();
        assert_eq!(opened(&header(18, 5)), Ok(Opened::UnknownApiVersions { correlation_id: 9 }));
        assert_eq!(opened(&header(18, i16::MAX)), Ok(Opened::UnknownApiVersions { correlation_id: 9 }));
        for (key, version) in [(18, -1), (0, 2), (0, 13), (3, 13), (68, 0), (-5, 0)] {
            assert_eq!(opened(&header(key, version)), Ok(Opened::NotServed { key, version }));
        }
    }

    #[test]
    fn a_long_client_id_is_shortened_between_characters() {
        let mut bytes = b"\0\x03\0\x08\0\0\0\0\x01\x2d".to_vec();
        bytes.push(b'a');
        bytes.extend_from_slice("\u{e9}".repeat(150).as_bytes());
        let Ok(Opened::Request(header, body)) = opened(&bytes) else { panic!("not served") };
        assert_eq!((header.client_id.map(|id| id.len()), body.len()), (Some(255), 0));
    }
}
