//! Record batches (format v2) made and read from the format's description alone, with a CRC of its own.

/// A record as a test writes it down.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Rec {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// A record with a value alone.
pub(crate) fn rec(value: &[u8]) -> Rec {
    Rec { value: Some(value.to_vec()), ..Rec::default() }
}

/// Who produced a batch: id, epoch and the sequence of its first record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
    pub(crate) sequence: i32,
}

/// Nobody in particular.
pub(crate) const NOBODY: Made = Made { id: -1, epoch: -1, sequence: -1 };

/// Bytes before the records.
pub(crate) const HEADER_BYTES: usize = 61;

/// A batch of these records, uncompressed, at this time.
pub(crate) fn batch(made: Made, timestamp: i64, records: &[Rec]) -> Vec<u8> {
    let mut body = Vec::new();
    for (number, record) in records.iter().enumerate() {
        put_record(&mut body, number, record);
    }
    let count = i32::try_from(records.len()).expect("few records");
    batch_of(made, timestamp, 0, count, &body)
}

/// A batch whose body and attributes may be anything.
pub(crate) fn batch_of(made: Made, timestamp: i64, attributes: i16, count: i32, body: &[u8]) -> Vec<u8> {
    let mut tail = Vec::new();
    tail.extend(attributes.to_be_bytes());
    tail.extend((count - 1).to_be_bytes());
    tail.extend(timestamp.to_be_bytes());
    tail.extend(timestamp.to_be_bytes());
    tail.extend(made.id.to_be_bytes());
    tail.extend(made.epoch.to_be_bytes());
    tail.extend(made.sequence.to_be_bytes());
    tail.extend(count.to_be_bytes());
    tail.extend(body);
    let mut bytes = Vec::new();
    bytes.extend(0_i64.to_be_bytes());
    bytes.extend(i32::try_from(tail.len() + 9).expect("a small batch").to_be_bytes());
    bytes.extend((-1_i32).to_be_bytes());
    bytes.push(2);
    bytes.extend(crc32c(&tail).to_be_bytes());
    bytes.extend(tail);
    bytes
}

/// The batches of a reply, each with its base offset and its records in order; compressed ones are not understood.
pub(crate) fn read_batches(mut bytes: &[u8]) -> Vec<(u64, Vec<Rec>)> {
    let mut batches = Vec::new();
    while !bytes.is_empty() {
        let base = u64::from_be_bytes(bytes[..8].try_into().expect("8 bytes"));
        let length = u32::from_be_bytes(bytes[8..12].try_into().expect("4 bytes")) as usize;
        let (whole, rest) = bytes.split_at(12 + length);
        assert_eq!(whole[16], 2, "magic");
        let crc = u32::from_be_bytes(whole[17..21].try_into().expect("4 bytes"));
        assert_eq!(crc, crc32c(&whole[21..]), "the CRC of the batch at {base}");
        assert_eq!(whole[22] & 0b10_0111, 0, "neither compressed nor a control batch");
        let count = u32::from_be_bytes(whole[57..61].try_into().expect("4 bytes"));
        let mut body = &whole[HEADER_BYTES..];
        batches.push((base, (0..count).map(|_| take_record(&mut body)).collect()));
        assert!(body.is_empty(), "nothing behind the last record");
        bytes = rest;
    }
    batches
}

/// The values of all records from an offset on, in order.
pub(crate) fn values_from(bytes: &[u8], offset: u64) -> Vec<Vec<u8>> {
    let numbered = read_batches(bytes).into_iter().flat_map(|(base, records)| (base..).zip(records));
    numbered.filter(|(at, _)| *at >= offset).map(|(_, record)| record.value.unwrap_or_default()).collect()
}

fn put_record(body: &mut Vec<u8>, number: usize, record: &Rec) {
    let mut bytes = vec![0];
    put_varint(&mut bytes, 0);
    put_varint(&mut bytes, i64::try_from(number).expect("few"));
    put_bytes(&mut bytes, record.key.as_deref());
    put_bytes(&mut bytes, record.value.as_deref());
    put_varint(&mut bytes, i64::try_from(record.headers.len()).expect("few"));
    for (name, value) in &record.headers {
        put_bytes(&mut bytes, Some(name));
        put_bytes(&mut bytes, value.as_deref());
    }
    put_varint(body, i64::try_from(bytes.len()).expect("small"));
    body.extend(bytes);
}

fn put_bytes(to: &mut Vec<u8>, bytes: Option<&[u8]>) {
    put_varint(to, bytes.map_or(-1, |bytes| i64::try_from(bytes.len()).expect("small")));
    to.extend(bytes.unwrap_or_default());
}

fn put_varint(to: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        to.push(u8::try_from(rest & 0x7F).expect("7 bits") | 0x80);
        rest >>= 7;
    }
    to.push(u8::try_from(rest).expect("7 bits"));
}

fn take_record(body: &mut &[u8]) -> Rec {
    let length = usize::try_from(take_varint(body)).expect("a length");
    let (mut record, rest) = body.split_at(length);
    *body = rest;
    record = &record[1..];
    let (_timestamp, _offset) = (take_varint(&mut record), take_varint(&mut record));
    let (key, value) = (take_bytes(&mut record), take_bytes(&mut record));
    let count = take_varint(&mut record);
    let headers = (0..count).map(|_| (take_bytes(&mut record).expect("a name"), take_bytes(&mut record))).collect();
    assert!(record.is_empty(), "nothing behind a record's headers");
    Rec { key, value, headers }
}

fn take_bytes(from: &mut &[u8]) -> Option<Vec<u8>> {
    let length = usize::try_from(take_varint(from)).ok()?;
    let (bytes, rest) = from.split_at(length);
    *from = rest;
    Some(bytes.to_vec())
}

fn take_varint(from: &mut &[u8]) -> i64 {
    let (mut value, mut shift) = (0_u64, 0);
    loop {
        let byte = from[0];
        *from = &from[1..];
        value |= u64::from(byte & 0x7F) << shift;
        shift += 7;
        if byte < 0x80 {
            return (value >> 1).cast_signed() ^ -((value & 1).cast_signed());
        }
    }
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 })
    };
    !bytes.iter().fold(u32::MAX, step)
}

#[test]
fn the_crc_is_the_right_one() {
    assert_eq!(crc32c(b"123456789"), 0xE306_9283);
}
