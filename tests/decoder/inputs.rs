//! Valid input of every kind, made without the library, and what chance makes of it.

/// A stream of numbers (xorshift64*).
#[derive(Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Chance {
        Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(high).expect("31 bits") % end
    }

    fn byte(&mut self) -> u8 {
        self.below(256).to_le_bytes()[0]
    }
}

/// A frame on the wire.
fn frame(kind: u32, block: &[u8], body: &[u8]) -> Vec<u8> {
    let length = |bytes: usize| u32::try_from(bytes).expect("small").to_be_bytes();
    let mut bytes = length(32 + block.len() + body.len()).to_vec();
    bytes.extend(kind.to_be_bytes());
    bytes.extend(9_u64.to_be_bytes());
    bytes.extend(1_700_000_000_000_u64.to_be_bytes());
    bytes.extend(length(block.len()));
    bytes.extend(block);
    bytes.extend(length(body.len()));
    bytes.extend(body);
    bytes
}

/// A valid frame of each type, from 1 to 17, with every property that its request knows.
pub(crate) fn frames() -> Vec<Vec<u8>> {
    let batch = batches().remove(0);
    let of = |kind: u32, properties: &str, body: &[u8]| frame(kind, properties.replace('|', "\0").as_bytes(), body);
    vec![
        of(1, "topic=t|partition=0|key=k|header=value|", b"value"),
        of(2, "topic=t|partition=0|", b""),
        of(3, "", b""),
        of(4, "topic=t|partitions=3|retention_hours=24|wiber.max_message_size=9|wiber.cleanup_policy=compact|", b""),
        of(5, "topic=t|client_id=c|partition=0|offset=1|auto_ack=false|wiber.start=committed|version=1.0|", b""),
        of(6, "topic=t|client_id=c|partition=0|", b""),
        of(7, "topic=t|client_id=c|key=k|id=i|created_at=1|a=b=c|ż=ó|wiber.ack=leader|", b"payload"),
        of(8, "topic=t|", b""),
        of(9, "wiber.after=a|wiber.limit=10|", b""),
        of(10, "topic=t|partition=0|offset=1|wiber.max_bytes=100|wiber.min_bytes=1|wiber.max_wait_ms=9|", b""),
        of(11, "topic=t|partition=0|client_id=c|offset=1|", b""),
        of(12, "topic=t|wiber.ack=durable|", &batch),
        of(13, "", b""),
        of(14, "topic=t|partitions=4|wiber.retention_ms=|wiber.segment_bytes=1024|", b""),
        of(15, "topic=t|partition=0|client_id=c|wiber.time=1700000000000|", b""),
        of(16, "topic=t|partition=0|wiber.start=1700000000000|", b""),
        of(17, "topic=t|partition=0|", &batch),
    ]
}

/// A valid batch of two records, one with a key and headers, and one of no key and no value.
pub(crate) fn batches() -> Vec<Vec<u8>> {
    let one: &[u8] = &[0, 0, 0, 2, b'k', 6, b'o', b'n', b'e', 4, 2, b'h', 2, b'v', 2, b'n', 1];
    let two: &[u8] = &[0, 0, 2, 1, 1, 0];
    let mut records = Vec::new();
    for record in [one, two] {
        records.push(u8::try_from(record.len() * 2).expect("small"));
        records.extend(record);
    }
    let of = |producer: i64, epoch: i16, sequence: i32| {
        let mut tail = Vec::new();
        tail.extend(0_i16.to_be_bytes());
        tail.extend(1_i32.to_be_bytes());
        tail.extend(1_699_999_999_000_i64.to_be_bytes());
        tail.extend(1_699_999_999_000_i64.to_be_bytes());
        tail.extend(producer.to_be_bytes());
        tail.extend(epoch.to_be_bytes());
        tail.extend(sequence.to_be_bytes());
        tail.extend(2_i32.to_be_bytes());
        tail.extend(&records);
        sealed(&tail)
    };
    vec![of(-1, -1, -1), of(5, 0, 17)]
}

/// A batch around what its CRC covers.
pub(crate) fn sealed(tail: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 8];
    bytes.extend(u32::try_from(tail.len() + 9).expect("small").to_be_bytes());
    bytes.extend((-1_i32).to_be_bytes());
    bytes.push(2);
    bytes.extend(crc32c(tail).to_be_bytes());
    bytes.extend(tail);
    bytes
}

fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 })
    };
    !bytes.iter().fold(u32::MAX, step)
}

/// Changes an input in one to eight places, each in one of the ways in which bytes go wrong or are made to.
pub(crate) fn mutate(bytes: &mut Vec<u8>, chance: &mut Chance) {
    const NUMBERS: [u32; 10] = [0, 1, 31, 32, 33, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 1 << 24, 28];
    for _ in 0..=chance.below(8) {
        let at = chance.below(bytes.len().max(1));
        match chance.below(9) {
            0 if at < bytes.len() => bytes[at] = chance.byte(),
            1 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
            2 => bytes.truncate(at),
            3 => bytes.insert(at.min(bytes.len()), chance.byte()),
            4 if at < bytes.len() => drop(bytes.remove(at)),
            5 if at + 4 <= bytes.len() => {
                bytes[at..at + 4].copy_from_slice(&NUMBERS[chance.below(NUMBERS.len())].to_be_bytes());
            }
            // A length field, where every frame has its own.
            6 if bytes.len() >= 28 => {
                let field = [0, 4, 24][chance.below(3)];
                let number = u32::try_from(chance.below(3_000)).expect("small");
                bytes[field..field + 4].copy_from_slice(&number.to_be_bytes());
            }
            7 if at < bytes.len() && bytes.len() < 4_000 => {
                let copied = bytes[at..].to_vec();
                bytes.extend(copied);
            }
            8 => bytes.extend((0..chance.below(40)).map(|_| chance.byte()).collect::<Vec<_>>()),
            _ => {}
        }
    }
}
