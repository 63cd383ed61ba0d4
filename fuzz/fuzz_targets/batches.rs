//! Any bytes to the admission of record batches, the CRC made right, which chance does not find.
#![no_main]

#[path = "../../tests/decoder/drive.rs"]
#[expect(dead_code, reason = "shared with the other target")]
mod drive;
#[path = "../../tests/decoder/inputs.rs"]
#[expect(dead_code, reason = "of this only the sealing is needed")]
mod inputs;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    drive::batch(data);
    drive::batch(&inputs::sealed(data));
});
