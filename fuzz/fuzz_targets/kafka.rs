//! Any bytes to the decoder of Kafka's requests, whole and in pieces.
#![no_main]

#[path = "../../tests/decoder/drive_kafka.rs"]
mod drive_kafka;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let whole = drive_kafka::requests(data, data.len());
    assert_eq!(drive_kafka::requests(data, 1), whole);
    assert_eq!(drive_kafka::requests(data, 13), whole);
    drive_kafka::request(bytes::Bytes::copy_from_slice(data));
});
