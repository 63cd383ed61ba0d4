//! A record of the load: who sent it, as which, and a payload that follows from that.

use std::fmt::Write;

use crate::harness::Chance;

/// Who sent a record, and as its how manieth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RecordId {
    /// The round.
    pub(crate) cycle: u64,
    /// The connection in it.
    pub(crate) connection: u64,
    /// The record among the connection's, from 1.
    pub(crate) sequence: u64,
}

/// A record as sent or found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LoadRecord {
    pub(crate) id: RecordId,
    /// The record among those its connection sent to its partition, from 1.
    pub(crate) in_partition: u64,
}

impl LoadRecord {
    /// The payload: a head that names the record, and a filling of a length that is the record's own.
    pub(crate) fn body(&self) -> String {
        let RecordId { cycle, connection, sequence } = self.id;
        let mut body = String::with_capacity(256);
        let _infallible = write!(body, "{cycle} {connection} {sequence} {} ", self.in_partition);
        let mut chance = Chance::new(sequence.wrapping_mul(31).wrapping_add(connection).wrapping_add(cycle << 32));
        let filling = usize::try_from(chance.below(200)).unwrap_or(0);
        let letter = char::from(b'a' + u8::try_from(chance.below(26)).unwrap_or(0));
        body.extend(std::iter::repeat_n(letter, filling));
        body
    }

    /// The record of a payload, which must be whole.
    pub(crate) fn of(body: &[u8]) -> LoadRecord {
        let text = std::str::from_utf8(body).expect("a payload of the load is text");
        let mut numbers = text.split(' ').map_while(|part| part.parse().ok());
        let mut number = || numbers.next().unwrap_or_else(|| panic!("no payload of the load: {text:?}"));
        let id = RecordId { cycle: number(), connection: number(), sequence: number() };
        let record = LoadRecord { id, in_partition: number() };
        assert_eq!(text, record.body(), "a payload that was not sent");
        record
    }
}
