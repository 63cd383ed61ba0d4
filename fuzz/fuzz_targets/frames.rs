//! Any bytes to the frame decoder, whole and in pieces.
#![no_main]

#[path = "../../tests/decoder/drive.rs"]
#[expect(dead_code, reason = "shared with the other target")]
mod drive;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let whole = drive::frames(data, data.len());
    assert_eq!(drive::frames(data, 1), whole);
    assert_eq!(drive::frames(data, 13), whole);
});
