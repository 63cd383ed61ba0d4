//! A subscription without a group: every new record of a topic, to one connection.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::LinesListener;
use super::encode::{records, show};
use super::feed::{Ahead, Feed, MAKING_BYTES, Next, PIECE_BYTES};
use super::outbox::{Messages, Outbox, Sent};
use crate::listener::memory::{Loan, OWN_BYTES};
use crate::listener::shown::{Known, PIECE_BYTES_MAX, Piece};
use crate::protocol::lines::ShownTo;
use crate::record::{Batch, Compression};
use crate::replica::{Partition, ReadFailure};
use crate::types::Offset;

/// What a line has beside the record and the topic's name, in bytes, roughly.
const LINE_BYTES: usize = 64;

/// A broadcast at work.
#[derive(Debug)]
pub(super) struct Broadcast {
    pub(super) listener: Arc<LinesListener>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) feed: Feed,
}

impl Broadcast {
    /// Sends records until the topic or the connection ends.
    pub(super) async fn run(mut self) -> ReadFailure {
        loop {
            if let Err(failure) = self.send_some().await {
                return failure;
            }
        }
    }

    async fn send_some(&mut self) -> Result<(), ReadFailure> {
        let index = self.feed.readable().await.map_err(ReadFailure::Closed)?;
        let mut leave = self.outbox.read_ahead(super::feed::READ_BYTES).await;
        let mut ahead = self.feed.read(index).await?;
        leave.keep_only(crate::listener::reading::bytes_of(&ahead.batches));
        let part = self.feed.part(index);
        let (partition, from) = (Arc::clone(&part.partition), part.next.from);
        let Some(behind) = ahead.batches.last().map(|batch| batch.header().next_offset()) else { return Ok(()) };
        let next = send(&self.listener, &self.outbox, &partition, &mut ahead, from).await;
        self.feed.part(index).next = next.unwrap_or(behind.into());
        Ok(())
    }
}

/// Sends the records of batches from `from` on, as long as the peer takes them; where to go on later, if there is more.
async fn send(
    listener: &LinesListener,
    outbox: &Outbox,
    partition: &Arc<Partition>,
    ahead: &mut Ahead,
    from: Offset,
) -> Option<Next> {
    let Ahead { batches, making, .. } = ahead;
    for batch in batches.iter().filter(|batch| !batch.header().attributes.is_control()) {
        let next = match shown(listener, partition, batch, from).filter(|_| making.reach(MAKING_BYTES)) {
            Some(piece) => {
                let last = piece.records.last().map_or(from, |(offset, _)| *offset);
                hand_over(outbox, partition, &piece.frames, last, making).await;
                None
            }
            None => send_records(outbox, partition, batch, from, making).await,
        };
        if next.is_some() {
            return next;
        }
    }
    None
}

/// As [`send`], of one batch that nobody else is shown, or a large one.
async fn send_records(
    outbox: &Outbox,
    partition: &Arc<Partition>,
    batch: &Batch,
    from: Offset,
    making: &mut Loan,
) -> Option<Next> {
    let mut lines = BytesMut::new();
    let (mut last, mut piece_bytes) = (from, 0);
    for record in records(partition, batch).filter(|record| record.offset >= from) {
        if lines.is_empty() {
            if !outbox.is_open_for_messages() {
                return Some(record.offset.into());
            }
            piece_bytes = if making.reach(MAKING_BYTES) { PIECE_BYTES } else { OWN_BYTES / 2 };
        }
        let before = lines.len();
        show(&mut lines, ShownTo::Subscriber, partition, &record);
        let bytes = lines.len() - before;
        if bytes > piece_bytes && !making.reach(lines.len()) {
            lines.truncate(before);
            hand_over(outbox, partition, &lines.freeze(), last, making).await;
            return Some(Next { from: record.offset, bytes });
        }
        last = record.offset;
        if lines.len() >= piece_bytes {
            hand_over(outbox, partition, &lines.split().freeze(), last, making).await;
        }
    }
    hand_over(outbox, partition, &lines.freeze(), last, making).await;
    None
}

/// The lines of a small batch from `from` on, where others ask for them as well.
fn shown(listener: &LinesListener, partition: &Arc<Partition>, batch: &Batch, from: Offset) -> Option<Arc<Piece>> {
    let header = batch.header();
    let line_bytes = LINE_BYTES + partition.name().topic.as_str().len();
    let bytes = batch.bytes().len() + header.records_count as usize * line_bytes;
    if bytes > PIECE_BYTES_MAX || header.attributes.compression() != Some(Compression::None) {
        return None;
    }
    let from = from.max(header.base_offset);
    match listener.shown.find(partition, from) {
        Known::Piece(piece) => return Some(piece),
        Known::No => return None,
        Known::Wanted => {}
    }
    let (mut lines, mut ends) = (BytesMut::with_capacity(bytes), Vec::new());
    for record in records(partition, batch).filter(|record| record.offset >= from) {
        show(&mut lines, ShownTo::Subscriber, partition, &record);
        ends.push((record.offset, lines.len()));
    }
    Some(listener.shown.keep(partition, from, Piece { frames: lines.freeze(), records: ends }))
}

/// Hands over lines with records up to `last`, waiting until they may go.
async fn hand_over(outbox: &Outbox, partition: &Arc<Partition>, lines: &Bytes, last: Offset, making: &mut Loan) {
    if lines.is_empty() {
        return;
    }
    let messages = Messages { partition: partition.name(), last, lines };
    loop {
        match outbox.try_messages(&messages, making) {
            Sent::Gone => return,
            Sent::Wait => outbox.messages_may_go(&messages).await,
            // The task is about to be aborted.
            Sent::Ended => std::future::pending().await,
        }
    }
}
