//! Records as lines.

use bytes::BytesMut;

use crate::broker::dedup::ID_HEADER;
use crate::protocol::lines::{self, MessageId, ShownRecord, ShownTo};
use crate::record::{Batch, Record};
use crate::replica::Partition;

/// Adds the line that shows a record.
pub(super) fn show(bytes: &mut BytesMut, to: ShownTo, partition: &Partition, record: &Record) {
    let place = partition.name();
    let given = record.headers.iter().find(|header| header.key == ID_HEADER.as_bytes());
    let given = given.and_then(|header| MessageId::given(header.value.as_deref()?));
    let derived = || MessageId::derived(&place.topic, place.partition, record.offset, record.timestamp);
    let shown = ShownRecord {
        topic: &place.topic,
        id: given.unwrap_or_else(derived),
        offset: record.offset,
        timestamp: record.timestamp,
        value: record.value.as_deref(),
    };
    lines::record(bytes, to, &shown);
}

/// The records of a batch, as far as they can be taken apart; none of a control batch.
pub(super) fn records<'a>(partition: &'a Partition, batch: &'a Batch) -> impl Iterator<Item = Record> + 'a {
    let is_shown = !batch.header().attributes.is_control();
    let unreadable = |error: &dyn std::error::Error| {
        let offset = batch.header().base_offset.get();
        tracing::warn!(partition = %partition.name(), offset, %error, "records that cannot be shown are passed over");
    };
    let records = is_shown.then(|| batch.records().inspect_err(|error| unreadable(error)).ok()).flatten();
    records.into_iter().flatten().map_while(move |record| record.inspect_err(|error| unreadable(error)).ok())
}
