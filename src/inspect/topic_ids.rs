//! The identities of topics, read from the records of `__meta` as they lie on disk.

use std::collections::BTreeMap;

use serde_json::Value;
use uuid::Uuid;

use super::directory::Inspected;
use super::error::InspectError;
use super::learn::{learn, segments_found};
use super::scan::ScanEvent;
use super::source::{SegmentSource, read_partition_file};
use crate::log::PartitionFileError;
use crate::record::Batch;
use crate::types::{Timestamp, TopicId, TopicPartition};

/// The directory of the metadata's one partition.
const META_PARTITION: &str = "__meta_p0";

/// The id of a partition's topic. The metadata's own is that of the directory.
pub(super) fn topic_id(inspected: &Inspected, partition: &TopicPartition) -> Result<TopicId, InspectError> {
    let name = partition.directory_name();
    let found =
        if name == META_PARTITION { inspected.id } else { topics(inspected)?.get(partition.topic.as_str()).copied() };
    found.map(TopicId::new).ok_or(InspectError::TopicIdUnknown { partition: name })
}

/// Whether a partition's directory, empty but for leftovers, is what an interrupted creation left: no topic owns it, and
/// the next start removes it. Metadata without any partition beside them are made anew.
pub(super) fn is_leftover(inspected: &Inspected, partition: &TopicPartition) -> Result<bool, InspectError> {
    let (disk, files) = (&*inspected.disk, inspected.files(partition));
    let is_missing = matches!(read_partition_file(disk, &files)?, Err(PartitionFileError::Missing));
    if !is_missing || !segments_found(disk, &files)?.is_empty() {
        return Ok(false);
    }
    let is_alone = inspected.partitions().len() == 1 && partition.topic.is_internal();
    Ok(is_alone || topic_id(inspected, partition).is_err())
}

/// Every topic that the whole batches of `__meta` create and do not delete.
fn topics(inspected: &Inspected) -> Result<BTreeMap<String, Uuid>, InspectError> {
    let mut topics = BTreeMap::new();
    let Ok(meta) = inspected.partition(META_PARTITION) else { return Ok(topics) };
    let (disk, files) = (&*inspected.disk, inspected.files(meta));
    let file = match read_partition_file(disk, &files)? {
        Ok(file) => file,
        Err(_) => learn(disk, &files, meta, TopicId::new(Uuid::nil()), Timestamp::NONE)?,
    };
    for number in 0..file.segments.len() {
        let source = SegmentSource::open(disk, &files, &file, number)?;
        for event in source.scan(&file.history).into_iter().flatten() {
            if let ScanEvent::Batch(_, batch) = event {
                apply(&batch, &mut topics);
            }
        }
    }
    Ok(topics)
}

fn apply(batch: &Batch, topics: &mut BTreeMap<String, Uuid>) {
    if batch.header().attributes.is_control() {
        return;
    }
    for record in batch.records().into_iter().flatten().flatten() {
        let command: Value = serde_json::from_slice(&record.value.unwrap_or_default()).unwrap_or_default();
        let text = |field| command.get(field).and_then(Value::as_str);
        let (Some(topic), Some(id)) = (text("topic"), text("topic_id").and_then(|id| Uuid::parse_str(id).ok())) else {
            continue;
        };
        match text("type") {
            Some("create_topic") => {
                topics.entry(topic.to_owned()).or_insert(id);
            }
            Some("delete_topic") if topics.get(topic) == Some(&id) => {
                topics.remove(topic);
            }
            _ => {}
        }
    }
}
