//! Every codec there and back, foreign framings, damage, and bombs.

use super::*;

const WIDE: DecodeLimits = DecodeLimits { decompressed_bytes_max: 256 << 20, ratio_max: 1 << 20 };

fn compressed(compression: Compression, records: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    compress(compression, records, &mut out).unwrap();
    out.to_vec()
}

fn codecs() -> impl Iterator<Item = Compression> {
    Compression::ALL.into_iter().filter(|codec| *codec != Compression::None)
}

#[test]
fn numbers_and_names() {
    for (number, compression) in (0..).zip(Compression::ALL) {
        assert_eq!(compression.codec(), number);
        assert_eq!(Compression::from_codec(number), Some(compression));
    }
    assert_eq!(Compression::from_codec(5), None);
    assert_eq!(Compression::Lz4.to_string(), "lz4");
}

#[test]
fn there_and_back() {
    let noise: Vec<u8> = (0..200_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect();
    for records in [&b""[..], b"x", &noise[..SNAPPY_CHUNK_BYTES], &noise, &[7; 100_000]] {
        for codec in codecs() {
            let block = compressed(codec, records);
            let back = decompress(codec, &block, &DecodeLimits::default()).unwrap();
            assert!(back == records, "{codec}, {} bytes", records.len());
        }
    }
}

#[test]
fn raw_snappy_is_read_too() {
    let block = snap::raw::Encoder::new().compress_vec(b"some some some records").unwrap();
    let records = decompress(Compression::Snappy, &block, &DecodeLimits::default()).unwrap();
    assert_eq!(records, b"some some some records");
}

#[test]
fn blocks_of_several_frames_are_read() {
    for codec in [Compression::Gzip, Compression::Lz4, Compression::Zstd] {
        let mut block = compressed(codec, b"first ");
        block.extend(compressed(codec, b"second"));
        let records = decompress(codec, &block, &DecodeLimits::default()).unwrap();
        assert_eq!(records, b"first second", "{codec}");
    }
}

#[test]
fn truncated_and_damaged_blocks_never_panic() {
    let records = b"record after record after record".repeat(40);
    for codec in codecs() {
        let block = compressed(codec, &records);
        for length in 0..block.len() {
            if let Ok(part) = decompress(codec, &block[..length], &WIDE) {
                assert!(records.starts_with(&part), "{codec} cut to {length}");
            }
        }
        for at in 0..block.len() {
            for bit in 0..8 {
                let mut damaged = block.clone();
                damaged[at] ^= 1 << bit;
                let _ = decompress(codec, &damaged, &WIDE);
            }
        }
        assert!(decompress(codec, b"\xff\xff\xff\xff not a block", &WIDE).is_err(), "{codec}");
    }
}

#[test]
fn bombs_stop_at_the_ratio_and_at_the_ceiling() {
    let check = |codec, block: &[u8], limits: &DecodeLimits, expected: usize| match decompress(codec, block, limits) {
        Err(RecordError::TooLarge { bytes_max }) => assert_eq!(bytes_max, expected, "{codec}"),
        other => panic!("{codec}: {:?}", other.map(|records| records.len())),
    };
    let bomb = vec![0; 32 << 20];
    for codec in codecs() {
        let block = compressed(codec, &bomb);
        assert!(decompress(codec, &block, &WIDE).is_ok_and(|records| records == bomb), "{codec}");
        let steep = DecodeLimits { ratio_max: 10, ..DecodeLimits::default() };
        check(codec, &block, &steep, RATIO_FREE_BYTES.max(10 * block.len()));
        let low = DecodeLimits { decompressed_bytes_max: 5000, ratio_max: 1 << 20 };
        check(codec, &block, &low, 5000);
        let exact = DecodeLimits { decompressed_bytes_max: bomb.len(), ..WIDE };
        assert!(decompress(codec, &block, &exact).is_ok(), "{codec}");
        let one_less = DecodeLimits { decompressed_bytes_max: bomb.len() - 1, ..WIDE };
        check(codec, &block, &one_less, bomb.len() - 1);
    }
}

/// A few bytes that declare gigabytes: refused without the gigabytes ever being reserved.
#[test]
fn declared_lengths_are_not_believed() {
    // A raw snappy block of 2^32 - 1 bytes, the same in a xerial chunk, and a chunk of 2^31 - 1 bytes.
    let raw = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0];
    let chunk = [&XERIAL_HEADER[..], &[0, 0, 0, 7], &raw].concat();
    let long_chunk = [&XERIAL_HEADER[..], &[0x7f, 0xff, 0xff, 0xff], &raw].concat();
    for block in [&raw[..], &chunk, &long_chunk] {
        let limits = DecodeLimits { decompressed_bytes_max: usize::MAX, ratio_max: usize::MAX };
        let refused = decompress(Compression::Snappy, block, &limits);
        assert!(matches!(refused, Err(RecordError::Decompress { .. })));
    }
    // A zstd frame that declares 2^62 bytes of content and holds one byte repeated 4 times.
    let content = (1_u64 << 62).to_le_bytes();
    let zstd = [&[0x28, 0xb5, 0x2f, 0xfd, 0xe0][..], &content, &[0x23, 0, 0, 7]].concat();
    // One that declares a window of 2^41 bytes, and the same content.
    let window = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf8, 0x23, 0, 0, 7];
    for block in [&zstd[..], &window] {
        let refused = decompress(Compression::Zstd, block, &WIDE);
        assert!(matches!(refused, Err(RecordError::Decompress { .. })));
    }
    // A window of 128 MiB is lawful, and not needed for 4 bytes.
    let window = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x88, 0x23, 0, 0, 7];
    assert_eq!(decompress(Compression::Zstd, &window, &WIDE).unwrap(), [7; 4]);
    // The legacy LZ4 format.
    let legacy = [0x02, 0x21, 0x4c, 0x18, 1, 0, 0, 0, 0];
    assert!(decompress(Compression::Lz4, &legacy, &WIDE).is_err());
}
