//! OffsetFetch: the positions that groups keep. What is not there is no error: it is an offset of −1.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::messages;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse};
use kafka_protocol::protocol::StrBytes;

use super::named;
use crate::broker::positions::PositionNote;
use crate::broker::{CLIENT_ID_BYTES_MAX, PositionKey, PositionOwner};
use crate::listener::kafka::KafkaListener;
use crate::listener::kafka::asked::Asked;
use crate::listener::kafka::cluster::wire_name;
use crate::types::{Epoch, Offset};

/// The first version in which several groups are asked for at a time.
const SEVERAL_SINCE: i16 = 8;
/// "None", of an offset and of an epoch.
const NONE: i32 = -1;

/// A topic that is asked for, and the numbers of its partitions.
type Wanted = (messages::TopicName, Vec<i32>);
/// What is known of a topic's partitions, in the form of the later versions.
type Known = (messages::TopicName, Vec<OffsetFetchResponsePartitions>);

impl KafkaListener {
    pub(in crate::listener::kafka) async fn offset_fetch(
        self: &Arc<Self>,
        asked: &Asked,
        request: OffsetFetchRequest,
    ) -> OffsetFetchResponse {
        if asked.version < SEVERAL_SINCE {
            let wanted =
                request.topics.map(|topics| topics.into_iter().map(|topic| (topic.name, topic.partition_indexes)));
            let known = self.positions_of(request.group_id.as_str(), wanted);
            return OffsetFetchResponse::default().with_topics(known.into_iter().map(of_earlier).collect());
        }
        // Each once: what is told of a group is many times as long as its name.
        let mut seen = BTreeSet::new();
        let groups = request.groups.into_iter().filter(|group| seen.insert(group.group_id.clone())).map(|group| {
            let wanted =
                group.topics.map(|topics| topics.into_iter().map(|topic| (topic.name, topic.partition_indexes)));
            let known = self.positions_of(group.group_id.as_str(), wanted);
            let topics = known.into_iter().map(|(name, partitions)| {
                OffsetFetchResponseTopics::default().with_name(name).with_partitions(partitions)
            });
            OffsetFetchResponseGroup::default().with_group_id(group.group_id).with_topics(topics.collect())
        });
        OffsetFetchResponse::default().with_groups(groups.collect())
    }

    /// The positions of a group in the partitions that are wanted, or all of them.
    fn positions_of(&self, group: &str, wanted: Option<impl Iterator<Item = Wanted>>) -> Vec<Known> {
        let can_be = (1..=CLIENT_ID_BYTES_MAX).contains(&group.len());
        let group: Arc<str> = Arc::from(if can_be { group } else { "" });
        let Some(wanted) = wanted else { return self.all_positions_of(&group) };
        // Each once, as with groups.
        let mut seen = BTreeSet::new();
        let of_topic = |(name, mut partitions): Wanted| {
            partitions.retain(|index| seen.insert((name.clone(), *index)));
            let known = partitions.into_iter().map(|index| {
                let position = named(&name, index).ok().and_then(|of| {
                    let owner = PositionOwner::Group(Arc::clone(&group));
                    let key = PositionKey { owner, topic: of.topic, partition: of.partition };
                    self.broker.committed_noted(&key)
                });
                answered(index, position)
            });
            let known = known.collect();
            (name, known)
        };
        wanted.map(of_topic).collect()
    }

    fn all_positions_of(&self, group: &Arc<str>) -> Vec<Known> {
        let mut all: Vec<Known> = Vec::new();
        let mut positions = self.broker.noted_group_positions(group);
        positions.sort_unstable_by(|(a, ..), (b, ..)| a.cmp(b));
        for (of, offset, note) in positions {
            let index = i32::try_from(of.partition.0).unwrap_or(i32::MAX);
            let known = answered(index, Some((offset, note)));
            match all.last_mut().filter(|(topic, _)| topic.as_str() == of.topic.as_str()) {
                Some((_, partitions)) => partitions.push(known),
                None => all.push((wire_name(&of.topic), vec![known])),
            }
        }
        all
    }
}

fn answered(index: i32, position: Option<(Offset, PositionNote)>) -> OffsetFetchResponsePartitions {
    let answer = OffsetFetchResponsePartitions::default().with_partition_index(index);
    let Some((offset, note)) = position else {
        return answer.with_committed_offset(NONE.into()).with_committed_leader_epoch(NONE);
    };
    let text = StrBytes::from_string(note.text.into());
    answer
        .with_committed_offset(offset.to_i64())
        .with_committed_leader_epoch(note.leader_epoch.map_or(NONE, Epoch::get))
        .with_metadata(Some(text))
}

fn of_earlier((name, partitions): Known) -> OffsetFetchResponseTopic {
    let partition = |known: OffsetFetchResponsePartitions| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(known.partition_index)
            .with_committed_offset(known.committed_offset)
            .with_committed_leader_epoch(known.committed_leader_epoch)
            .with_metadata(known.metadata)
    };
    let partitions = partitions.into_iter().map(partition).collect();
    OffsetFetchResponseTopic::default().with_name(name).with_partitions(partitions)
}
