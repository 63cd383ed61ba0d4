//! HISTORY: the last records of a topic, found first and read a second time to be shown, so that only their places are
//! held meanwhile.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::BytesMut;

use super::LinesListener;
use super::encode::{records, show};
use super::feed::{Ahead, Next, PIECE_BYTES, READ_BYTES, read_ahead};
use super::outbox::{Answer, Outbox, Place};
use crate::broker::{BrokerError, TopicHandle};
use crate::listener::memory::Loan;
use crate::protocol::lines::ShownTo;
use crate::replica::{Partition, ReadFailure};
use crate::types::{Offset, PartitionIndex, Timestamp, TopicName};

/// Records that one HISTORY shows at most.
pub(super) const HISTORY_RECORDS_MAX: usize = 10_000;
/// What a line has beside the message, in bytes, roughly.
const LINE_BYTES: usize = 128;

/// Where a record is, ordered as it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    /// Its time, where that decides: a topic of one partition is shown by offset.
    timestamp: Option<Timestamp>,
    partition: PartitionIndex,
    offset: Offset,
    /// Its line, in bytes, roughly.
    bytes: usize,
}

/// One HISTORY at work.
#[derive(Debug)]
pub(super) struct History<'a> {
    pub(super) listener: &'a Arc<LinesListener>,
    pub(super) outbox: &'a Outbox,
}

impl History<'_> {
    /// Answers a HISTORY in its place.
    pub(super) async fn answer(&self, place: Place, topic: &TopicName, count: u64) {
        self.outbox.has_turn(place).await;
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(HISTORY_RECORDS_MAX);
        let shown = match self.listener.broker.user_topic(topic) {
            Ok(handle) => self.show_last(&handle, count).await.map_err(|failure| failure.to_string()),
            Err(BrokerError::UnknownTopic { .. }) => Ok(()),
            Err(error) => Err(error.to_string()),
        };
        let answer = match shown {
            Ok(()) => Answer::okay("history end"),
            Err(reason) => Answer::refused(reason),
        };
        self.outbox.answer(place, answer);
    }

    async fn show_last(&self, topic: &TopicHandle, count: usize) -> Result<(), ReadFailure> {
        let mut found = Vec::new();
        let by_time = topic.partitions_count() > 1;
        for partition in topic.open_partitions() {
            self.find_last(partition, count, by_time, &mut found).await?;
            if found.len() > count {
                found.sort_unstable_by_key(|found| Reverse(*found));
                found.truncate(count);
            }
        }
        found.sort_unstable();
        let mut rest = &found[..];
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = rest.iter().take_while(|found| {
                bytes += found.bytes;
                bytes <= PIECE_BYTES
            });
            let (piece, behind) = rest.split_at(fits.count().max(1));
            self.show(topic, piece).await?;
            rest = behind;
        }
        Ok(())
    }

    /// Finds the last records of a partition: as many from its end as could be enough, and before those where gaps or
    /// markers were among them.
    async fn find_last(
        &self,
        partition: &Arc<Partition>,
        count: usize,
        by_time: bool,
        found: &mut Vec<Found>,
    ) -> Result<(), ReadFailure> {
        let offsets = partition.offsets();
        let (mut upto, mut missing) = (offsets.high_watermark(), count);
        let mut reach = count as u64;
        while missing > 0 && upto > offsets.log_start() {
            let from = Offset::new(upto.get().saturating_sub(reach)).unwrap_or_default();
            let from = from.max(offsets.log_start());
            let first = found.len();
            self.find(partition, from, upto, by_time, found).await?;
            // Of a piece that holds more than are missing the last ones count.
            let more = (found.len() - first).saturating_sub(missing);
            found.drain(first..first + more);
            missing -= found.len() - first;
            (upto, reach) = (from, reach.saturating_mul(2));
        }
        Ok(())
    }

    async fn find(
        &self,
        partition: &Arc<Partition>,
        from: Offset,
        upto: Offset,
        by_time: bool,
        found: &mut Vec<Found>,
    ) -> Result<(), ReadFailure> {
        let mut next = from;
        while next < upto {
            let ahead = match read_ahead(self.listener, partition, next.into(), READ_BYTES).await {
                Err(ReadFailure::OutOfRange { log_start, .. }) if log_start > next => {
                    next = log_start;
                    continue;
                }
                other => other?,
            };
            let Some(behind) = ahead.batches.last().map(|batch| batch.header().next_offset()) else { break };
            for record in ahead.batches.iter().flat_map(|batch| records(partition, batch)) {
                if (next..upto).contains(&record.offset) {
                    found.push(Found {
                        timestamp: by_time.then_some(record.timestamp),
                        partition: partition.name().partition,
                        offset: record.offset,
                        bytes: record.value.as_ref().map_or(0, |value| value.len()) + LINE_BYTES,
                    });
                }
            }
            next = behind;
        }
        Ok(())
    }

    /// Shows records that are next, few or one large: reads them again, and sends them in their order.
    async fn show(&self, topic: &TopicHandle, piece: &[Found]) -> Result<(), ReadFailure> {
        let mut lines = BTreeMap::new();
        let mut making = self.listener.outgoing_memory.nothing();
        for partition in topic.open_partitions() {
            let index = partition.name().partition;
            let mut wanted: Vec<&Found> = piece.iter().filter(|found| found.partition == index).collect();
            wanted.sort_unstable_by_key(|found| found.offset);
            let mut rest = &wanted[..];
            while let Some(first) = rest.first() {
                // Who waits for memory has none of it: only what is alone in its piece brings its own.
                let bytes = if piece.len() == 1 { first.bytes } else { 0 };
                let read = read_ahead(self.listener, partition, Next { from: first.offset, bytes }, PIECE_BYTES).await;
                let ahead = match read {
                    // What retention took meanwhile is not there any more.
                    Err(ReadFailure::OutOfRange { .. }) => {
                        rest = &rest[1..];
                        continue;
                    }
                    other => other?,
                };
                rest = encode(partition, &ahead, rest, &mut lines);
                if piece.len() == 1 {
                    making = ahead.making;
                }
            }
        }
        let mut bytes = BytesMut::new();
        lines.into_values().for_each(|line| bytes.extend_from_slice(&line));
        self.send(bytes, making).await;
        Ok(())
    }

    async fn send(&self, lines: BytesMut, mut making: Loan) {
        let lines = lines.freeze();
        while !self.outbox.try_part(&lines, &mut making) {
            self.outbox.has_room_for_lines().await;
        }
    }
}

/// Encodes those that are wanted among what was read; those that follow.
fn encode<'f>(
    partition: &Partition,
    ahead: &Ahead,
    wanted: &'f [&'f Found],
    lines: &mut BTreeMap<Found, BytesMut>,
) -> &'f [&'f Found] {
    let mut rest = wanted;
    for record in ahead.batches.iter().flat_map(|batch| records(partition, batch)) {
        while let Some((_, behind)) = rest.split_first().filter(|(found, _)| found.offset < record.offset) {
            rest = behind;
        }
        if let Some((found, behind)) = rest.split_first().filter(|(found, _)| found.offset == record.offset) {
            let mut line = BytesMut::new();
            show(&mut line, ShownTo::History, partition, &record);
            lines.insert(**found, line);
            rest = behind;
        }
    }
    // What was not found is there no more.
    if rest.len() == wanted.len() { rest.get(1..).unwrap_or_default() } else { rest }
}
