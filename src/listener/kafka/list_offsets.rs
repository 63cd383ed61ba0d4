//! ListOffsets: the ends of partitions, and records by their time.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};

use super::KafkaListener;
use super::asked::Asked;
use super::fetch::check_epoch;
use crate::protocol::kafka::KafkaError;
use crate::replica::{Partition, ReadFailure, TimedRecord};
use crate::types::{Epoch, Offset, Timestamp};

/// "None", of offsets, times and epochs.
const NONE: i64 = -1;
/// The first version that tells epochs.
const EPOCHS_SINCE: i16 = 4;
/// A client that is no replica.
const CONSUMER: i32 = -1;

/// What is asked for in the place of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// The end.
    Latest,
    /// The beginning; of what lies here, which is all.
    Earliest,
    /// The record with the largest time.
    Newest,
    /// The first record of this time or later.
    At(Timestamp),
}

impl Wanted {
    /// What a number means in a version; `None` where it means nothing.
    fn from_wire(time: i64, version: i16) -> Option<Wanted> {
        match time {
            -1 => Some(Wanted::Latest),
            -2 => Some(Wanted::Earliest),
            -3 => (version >= 7).then_some(Wanted::Newest),
            -4 => (version >= 8).then_some(Wanted::Earliest),
            _ => (time >= 0).then(|| Wanted::At(Timestamp::from_millis(time))),
        }
    }
}

/// What was found: nothing, where no record is so new.
type Listed = Option<(Offset, Option<Timestamp>, Option<Epoch>)>;

impl KafkaListener {
    pub(super) async fn list_offsets(
        self: &Arc<Self>,
        asked: &Asked,
        request: ListOffsetsRequest,
    ) -> ListOffsetsResponse {
        let repeated = repeated(&request);
        let is_consumer = request.replica_id.0 == CONSUMER;
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for wanted in &topic.partitions {
                let is_repeated = repeated.contains(&(topic.name.to_string(), wanted.partition_index));
                let listed = if is_repeated {
                    Err(KafkaError::InvalidRequest)
                } else {
                    self.list(asked.version, &topic.name, wanted, is_consumer).await
                };
                partitions.push(response(asked.version, wanted.partition_index, listed));
            }
            topics.push(ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions));
        }
        ListOffsetsResponse::default().with_topics(topics)
    }

    async fn list(
        &self,
        version: i16,
        topic: &str,
        wanted: &ListOffsetsPartition,
        is_consumer: bool,
    ) -> Result<Listed, KafkaError> {
        let partition = self.partition(topic, wanted.partition_index)?;
        check_epoch(&partition, wanted.current_leader_epoch)?;
        let offsets = partition.offsets();
        match Wanted::from_wire(wanted.timestamp, version).ok_or(KafkaError::UnsupportedVersion)? {
            Wanted::Latest => {
                // Without transactions everything up to the high watermark is stable, whatever the isolation level.
                let end = if is_consumer { offsets.high_watermark() } else { offsets.log_end() };
                Ok(Some((end, None, Some(partition.epoch()))))
            }
            Wanted::Earliest => Ok(Some((offsets.log_start(), None, partition.epoch_at(offsets.log_start())))),
            Wanted::Newest => look_up(&partition, |partition| partition.newest_record()).await,
            Wanted::At(time) => look_up(&partition, move |partition| partition.record_at_time(time)).await,
        }
    }
}

/// Looks for a record in files.
async fn look_up(
    partition: &Arc<Partition>,
    find: impl FnOnce(&Partition) -> Result<Option<TimedRecord>, ReadFailure> + Send + 'static,
) -> Result<Listed, KafkaError> {
    let partition = Arc::clone(partition);
    let found = tokio::task::spawn_blocking(move || find(&partition)).await;
    let found = found.map_err(|_| KafkaError::UnknownServerError)?.map_err(|failure| KafkaError::from(&failure))?;
    Ok(found.map(|TimedRecord { offset, timestamp, epoch }| (offset, Some(timestamp), epoch)))
}

/// The partitions that a request names more than once.
fn repeated(request: &ListOffsetsRequest) -> BTreeSet<(String, i32)> {
    let mut seen = BTreeSet::new();
    let names = request
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|partition| (topic.name.as_str(), partition.partition_index)));
    let repeated = names.filter(|name| !seen.insert(*name));
    repeated.map(|(topic, index)| (topic.to_owned(), index)).collect()
}

fn response(version: i16, index: i32, listed: Result<Listed, KafkaError>) -> ListOffsetsPartitionResponse {
    let error_code = KafkaError::code_of(&listed);
    let (offset, time, epoch) = match listed.ok().flatten() {
        Some((offset, time, epoch)) => (offset.to_i64(), time.map_or(NONE, Timestamp::millis), epoch),
        None => (NONE, NONE, None),
    };
    ListOffsetsPartitionResponse::default()
        .with_partition_index(index)
        .with_error_code(error_code)
        .with_timestamp(time)
        .with_offset(offset)
        .with_leader_epoch(epoch.filter(|_| version >= EPOCHS_SINCE).map_or(-1, Epoch::get))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_the_place_of_a_time() {
        let at = |millis| Some(Wanted::At(Timestamp::from_millis(millis)));
        for (time, version, expected) in [
            (-1, 1, Some(Wanted::Latest)),
            (-2, 1, Some(Wanted::Earliest)),
            (-3, 6, None),
            (-3, 7, Some(Wanted::Newest)),
            (-4, 7, None),
            (-4, 8, Some(Wanted::Earliest)),
            (-5, 8, None),
            (i64::MIN, 8, None),
            (0, 1, at(0)),
            (i64::MAX, 8, at(i64::MAX)),
        ] {
            assert_eq!(Wanted::from_wire(time, version), expected, "{time} in version {version}");
        }
    }
}
