//! Responses that the crate encodes, and the answers to ApiVersions, which every client asks for first.

use bytes::BytesMut;
use kafka_protocol::messages::ApiVersionsResponse;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::protocol::Encodable;

use super::api::{APIS, Api, ApiRow};
use super::error::KafkaError;
use super::writer::{ResponseWriter, Unencodable};

/// Appends a whole response: its length, its header, and what the crate makes of `body`, which must be what `api` is answered
/// with.
///
/// # Errors
/// [`Unencodable`]; the buffer is then as before.
pub fn respond<T: Encodable>(
    out: &mut BytesMut,
    api: Api,
    version: i16,
    correlation_id: i32,
    body: &T,
) -> Result<(), Unencodable> {
    let mut writer = ResponseWriter::begin(out, api, version, correlation_id);
    match body.encode(writer.out(), version) {
        Ok(()) => writer.finish(0),
        Err(error) => {
            writer.abandon();
            Err(Unencodable::Crate(error.to_string()))
        }
    }
}

/// Appends the answer to ApiVersions in a version that is served: all that is advertised, or why not.
///
/// # Errors
/// [`Unencodable`]; the buffer is then as before.
pub fn respond_api_versions(
    out: &mut BytesMut,
    version: i16,
    correlation_id: i32,
    refused: Option<KafkaError>,
) -> Result<(), Unencodable> {
    let rows: &[ApiRow] = if refused.is_some() { &[] } else { APIS };
    let body = ApiVersionsResponse::default()
        .with_error_code(refused.map_or(super::NO_ERROR, KafkaError::to_wire))
        .with_api_keys(rows.iter().map(advertised).collect());
    respond(out, Api::ApiVersions, version, correlation_id, &body)
}

/// Appends the answer to ApiVersions in a version from the future: in version 0, which everybody reads, with the versions of
/// ApiVersions itself, so that the client asks again (KIP-511).
///
/// # Errors
/// [`Unencodable`]; the buffer is then as before.
pub fn refuse_api_versions(out: &mut BytesMut, correlation_id: i32) -> Result<(), Unencodable> {
    let body = ApiVersionsResponse::default()
        .with_error_code(KafkaError::UnsupportedVersion.to_wire())
        .with_api_keys(vec![advertised(&Api::ApiVersions.row())]);
    respond(out, Api::ApiVersions, 0, correlation_id, &body)
}

/// Whether a client may call its software so: letters and digits, and between them dots and hyphens. Others are answered with
/// [`KafkaError::InvalidRequest`].
#[must_use]
pub fn is_software_name(name: &str) -> bool {
    let is_inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let ends = [name.as_bytes().first(), name.as_bytes().last()];
    name.as_bytes().iter().all(is_inner) && ends.iter().all(|end| end.is_some_and(u8::is_ascii_alphanumeric))
}

fn advertised(row: &ApiRow) -> ApiVersion {
    ApiVersion::default().with_api_key(row.api.to_wire()).with_min_version(row.advertised_min).with_max_version(row.max)
}

#[cfg(test)]
mod tests {
    use bytes::{Buf, Bytes};
    use kafka_protocol::messages::{BrokerId, MetadataResponse, ResponseHeader};
    use kafka_protocol::protocol::Decodable;

    use super::*;

    fn answered(write: impl FnOnce(&mut BytesMut) -> Result<(), Unencodable>) -> Bytes {
        let mut out = BytesMut::from(&b"before"[..]);
        write(&mut out).unwrap();
        let mut bytes = out.freeze().slice(6..);
        let length = bytes.get_u32();
        assert_eq!(length as usize, bytes.len());
        bytes
    }

    #[test]
    fn what_is_advertised_is_answered_in_every_version() {
        for version in 0..=4 {
            let mut bytes = answered(|out| respond_api_versions(out, version, 5, None));
            // The header has no tagged fields, whatever the version.
            assert_eq!(bytes.get_i32(), 5);
            let response = ApiVersionsResponse::decode(&mut bytes, version).unwrap();
            assert!(bytes.is_empty());
            assert_eq!((response.error_code, response.api_keys.len()), (0, APIS.len()));
            let produce = &response.api_keys[0];
            assert_eq!((produce.api_key, produce.min_version, produce.max_version), (0, 0, 12));
        }
    }

    /// By hand, from KIP-511: correlation 9, error 35, one row: ApiVersions, 0 to 4.
    #[test]
    fn a_version_from_the_future_is_answered_in_version_0() {
        let bytes = answered(|out| refuse_api_versions(out, 9));
        assert_eq!(bytes, &b"\x00\x00\x00\x09\x00\x23\x00\x00\x00\x01\x00\x12\x00\x00\x00\x04"[..]);
    }

    #[test]
    fn a_refusal_lists_nothing() {
        let mut bytes = answered(|out| respond_api_versions(out, 3, 5, Some(KafkaError::InvalidRequest)));
        bytes.advance(4);
        let response = ApiVersionsResponse::decode(&mut bytes, 3).unwrap();
        assert_eq!((response.error_code, response.api_keys.len()), (42, 0));
    }

    #[test]
    fn other_responses_have_the_header_of_their_version() {
        for version in 0..=12 {
            let body = MetadataResponse::default().with_controller_id(BrokerId(if version >= 1 { 1 } else { -1 }));
            let mut bytes = answered(|out| respond(out, Api::Metadata, version, -3, &body));
            let header = ResponseHeader::decode(&mut bytes, i16::from(version >= 9)).unwrap();
            assert_eq!(header.correlation_id, -3);
            assert_eq!(MetadataResponse::decode(&mut bytes, version).unwrap(), body);
            assert!(bytes.is_empty());
        }
    }

    #[test]
    fn what_a_version_has_no_place_for_is_taken_back() {
        let mut out = BytesMut::from(&b"before"[..]);
        let refused = respond(&mut out, Api::Metadata, 99, 1, &MetadataResponse::default());
        assert!(matches!(refused, Err(Unencodable::Crate(_))));
        assert_eq!(out, &b"before"[..]);
    }

    #[test]
    fn names_of_software() {
        for name in ["librdkafka", "apache-kafka-java", "2.0.2", "a"] {
            assert!(is_software_name(name), "{name}");
        }
        for name in ["", "-a", "a-", "a b", "a\n", "\u{e9}", "a_b"] {
            assert!(!is_software_name(name), "{name:?}");
        }
    }
}
