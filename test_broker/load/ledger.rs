//! What publishers were told, and whether it is true.

use std::collections::{BTreeMap, HashMap};

use wiber::protocol::native::FrameType;
use wiber::types::Timestamp;

use super::publisher::{Orders, TOPIC, level, read_ledger};
use super::record::{LoadRecord, RecordId};
use crate::harness::{Server, Wire, request};

/// Every acknowledgement given, by the place it named.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    acknowledged: BTreeMap<(u64, u64), Told>,
}

/// An acknowledgement: of which record, and when the server made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Told {
    id: RecordId,
    at_ms: u64,
}

/// One round's sums.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Round {
    pub(crate) sent: u64,
    pub(crate) acknowledged: u64,
    /// Acknowledged late: not held against the server.
    pub(crate) late: u64,
    /// Refused with `storage_failed`.
    pub(crate) refused: u64,
}

impl Round {
    /// Records sent that got no reply.
    pub(crate) fn in_flight(&self) -> u64 {
        self.sent - self.acknowledged - self.late - self.refused
    }
}

impl Ledger {
    /// Takes in what a publisher that has ended was told. What it was told at another level than these, or not before
    /// `until` by the server's clock, is not held against the server.
    pub(crate) fn take(&mut self, orders: &Orders, levels: &[&str], until: Option<Timestamp>) -> Round {
        let mut round = Round::default();
        for connection in 0..orders.connections {
            let is_held = levels.contains(&level(connection));
            let path = orders.ledger_of(connection);
            for line in read_ledger(&path) {
                let number = |at: usize| -> u64 { line[at].parse().expect("a number") };
                match line[0].as_str() {
                    "A" if until.is_some_and(|until| number(4) >= until.millis().cast_unsigned()) => round.late += 1,
                    "A" => {
                        round.acknowledged += 1;
                        let id = RecordId { cycle: orders.cycle, connection, sequence: number(2) };
                        let place = (number(1), number(3));
                        let told = Told { id, at_ms: number(4) };
                        let earlier = if is_held { self.acknowledged.insert(place, told) } else { None };
                        assert_eq!(earlier, None, "{place:?} was acknowledged again: {told:?}");
                    }
                    "R" => {
                        assert_eq!(line[2], "storage_failed", "{line:?}");
                        round.refused += 1;
                    }
                    _ => round.sent += number(1),
                }
            }
            std::fs::remove_file(&path).expect("removed");
        }
        round
    }

    /// How many acknowledgements are held.
    pub(crate) fn len(&self) -> usize {
        self.acknowledged.len()
    }

    /// Reads every partition from its start to its end. Every acknowledged record is at its offset; no record is there
    /// twice; and of what a connection sent to a partition, a beginning is there, without a gap and in order. Returns
    /// how many records there are.
    pub(crate) fn check(&self, server: &Server, partitions: u32) -> u64 {
        (0..partitions).map(|partition| self.check_partition(server, partition)).sum()
    }

    fn check_partition(&self, server: &Server, partition: u32) -> u64 {
        // A last record says where the log ends.
        let last = Wire::connect(server).publish(TOPIC, partition, b"the end");
        let mut reader = Wire::connect(server);
        reader.subscribe(TOPIC, partition, 0);
        let mut found: HashMap<(u64, u64), u64> = HashMap::new();
        let mut acknowledged = self.acknowledged.range((u64::from(partition), 0)..(u64::from(partition) + 1, 0));
        let mut next_acknowledged = acknowledged.next();
        for expected in 0..=last {
            let frame = reader.next();
            assert_eq!((frame.kind, frame.sequence), (FrameType::Data, expected), "partition {partition}");
            let is_end = &frame.body[..] == b"the end";
            let record = (!is_end).then(|| LoadRecord::of(&frame.body));
            if let Some(record) = record {
                let seen = found.entry((record.id.cycle, record.id.connection)).or_default();
                *seen += 1;
                assert_eq!(*seen, record.in_partition, "partition {partition}, offset {expected}: {record:?}");
            }
            if let Some((&(_, offset), told)) = next_acknowledged
                && offset == expected
            {
                let found = record.map(|record| record.id);
                assert_eq!(found, Some(told.id), "partition {partition}, offset {offset}: {told:?}");
                next_acknowledged = acknowledged.next();
            }
        }
        assert_eq!(next_acknowledged, None, "acknowledged in partition {partition}, beyond its end at {last}");
        let heartbeat = reader.ask(&request(FrameType::Heartbeat, 9, &[], b""));
        assert_eq!(heartbeat.kind, FrameType::Heartbeat, "nothing after the end");
        last
    }
}
