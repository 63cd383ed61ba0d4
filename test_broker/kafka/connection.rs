//! What holds for every request: versions, order, what closes a connection.

use kafka_protocol::messages::ApiVersionsRequest;
use kafka_protocol::protocol::StrBytes;
use tempfile::TempDir;

use crate::harness::Setup;
use crate::harness::kafka::{KafkaPeer, kafka_address};

fn named() -> ApiVersionsRequest {
    let text = StrBytes::from_static_str;
    ApiVersionsRequest::default().with_client_software_name(text("peer")).with_client_software_version(text("1.0"))
}

#[test]
fn every_version_of_api_versions_is_answered() {
    let directory = TempDir::new().expect("a directory");
    let mut server = Setup::new(directory.path()).start();
    let mut peer = KafkaPeer::of(&mut server);
    for version in 0..=4 {
        let answer = peer.call(version, &named());
        assert_eq!(answer.error_code, 0);
        let fetch = answer.api_keys.iter().find(|row| row.api_key == 1).expect("Fetch");
        assert_eq!((fetch.min_version, fetch.max_version), (4, 12));
    }
    // By hand: a version nobody knows yet, correlation 9; the answer is of version 0, error 35, with the versions there are.
    peer.send_frame(b"\x00\x12\x00\x63\x00\x00\x00\x09\x00\x01a\x00\x00");
    let answer = peer.receive_frame().expect("an answer");
    assert_eq!(answer, &b"\x00\x00\x00\x09\x00\x23\x00\x00\x00\x01\x00\x12\x00\x00\x00\x04"[..]);
    assert_eq!(peer.call(3, &named().with_client_software_name(StrBytes::from_static_str("a b"))).error_code, 42);
    server.terminate();
}

#[test]
fn what_is_not_served_closes_the_connection_alone() {
    let directory = TempDir::new().expect("a directory");
    let mut server = Setup::new(directory.path()).start();
    let address = kafka_address(&mut server);
    let mut well = KafkaPeer::connect(address);
    let closing: [&[u8]; 7] = [
        // Produce 2, Fetch 13, a key that nobody has, a header that ends, text that is none, a length of nothing, HTTP.
        b"\x00\x00\x00\x0a\x00\x00\x00\x02\x00\x00\x00\x01\xff\xff",
        b"\x00\x00\x00\x0a\x00\x01\x00\x0d\x00\x00\x00\x01\xff\xff",
        b"\x00\x00\x00\x0a\x01\x00\x00\x00\x00\x00\x00\x01\xff\xff",
        b"\x00\x00\x00\x08\x00\x03\x00\x01\x00\x00\x00\x01",
        b"\x00\x00\x00\x0b\x00\x12\x00\x00\x00\x00\x00\x01\x00\x01\xff",
        b"\x00\x00\x00\x00",
        b"GET / HTTP/1.1\r\n\r\n",
    ];
    for bytes in closing {
        let mut peer = KafkaPeer::connect(address);
        peer.send_bytes(bytes);
        peer.expect_closed();
        assert_eq!(well.call(0, &ApiVersionsRequest::default()).error_code, 0);
    }
    server.terminate();
}

/// What is answered comes first, and in its order.
#[test]
fn requests_are_answered_in_their_order_before_the_connection_closes() {
    let directory = TempDir::new().expect("a directory");
    let mut server = Setup::new(directory.path()).start();
    let mut peer = KafkaPeer::of(&mut server);
    for version in [0, 3, 1, 4, 2] {
        peer.send(version, &named());
    }
    peer.send_frame(b"\x01\x00\x00\x00\x00\x00\x00\x01\xff\xff");
    for version in [0, 3, 1, 4, 2] {
        assert_eq!(peer.receive::<ApiVersionsRequest>(version).error_code, 0);
    }
    peer.expect_closed();
    server.terminate();
}
