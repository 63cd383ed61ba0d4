//! Whether a topic can have more partitions as a client asks for them.

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;

use super::super::configs::Refused;
use super::creation::{bad_assignment, check_replicas};
use super::unknown_topic;
use crate::broker::Broker;
use crate::protocol::kafka::KafkaError;
use crate::types::TopicName;

/// Which topic is to have how many.
pub(super) fn check_growth(broker: &Broker, wanted: &CreatePartitionsTopic) -> Result<(TopicName, u32), Refused> {
    let name = TopicName::new(&wanted.name.0).map_err(|_| unknown_topic())?;
    let topic = broker.user_topic(&name).map_err(|_| unknown_topic())?;
    let count = check_count(&name, topic.partitions_count(), broker.options().limits.partitions_max, wanted)?;
    Ok((name, count))
}

fn check_count(
    name: &TopicName,
    now: u32,
    partitions_max: u32,
    wanted: &CreatePartitionsTopic,
) -> Result<u32, Refused> {
    let refused = |message: String| Err(Refused::new(KafkaError::InvalidPartitions, message));
    let count = match u32::try_from(wanted.count) {
        Ok(count) if count == now => return refused(format!("Topic already has {now} partition(s).")),
        Ok(count) if count > now => count,
        _ => {
            let found = wanted.count;
            return refused(format!(
                "The topic {name} currently has {now} partition(s); {found} would not be an increase."
            ));
        }
    };
    if count > partitions_max {
        return refused(format!("A topic has 1 to {partitions_max} partitions, not {count}."));
    }
    if let Some(assignments) = &wanted.assignments {
        let (more, found) = (count - now, assignments.len());
        if usize::try_from(more) != Ok(found) {
            return Err(bad_assignment(format!(
                "Attempted to add {more} additional partition(s), but only {found} assignment(s) were specified."
            )));
        }
        for assignment in assignments {
            check_replicas(assignment.broker_ids.iter().map(|broker| broker.0))?;
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::BrokerId;
    use kafka_protocol::messages::create_partitions_request::CreatePartitionsAssignment;

    use super::*;

    #[test]
    fn a_topic_grows_to_more_partitions_on_this_broker() {
        let name = TopicName::new("events").unwrap();
        let check = |count: i32, assigned: Option<&[&[i32]]>, expected: Result<u32, KafkaError>| {
            let assignment = |brokers: &&[i32]| {
                CreatePartitionsAssignment::default().with_broker_ids(brokers.iter().copied().map(BrokerId).collect())
            };
            let wanted = CreatePartitionsTopic::default()
                .with_count(count)
                .with_assignments(assigned.map(|assigned| assigned.iter().map(assignment).collect()));
            let found = check_count(&name, 3, 8, &wanted).map_err(|refused| refused.error);
            assert_eq!(found, expected, "{count} {assigned:?}");
        };
        check(4, None, Ok(4));
        check(8, None, Ok(8));
        check(5, Some(&[&[1], &[1]]), Ok(5));
        for count in [3, 2, 0, -1, 9, i32::MIN] {
            check(count, None, Err(KafkaError::InvalidPartitions));
        }
        for assigned in [&[&[1][..]][..], &[&[1], &[2]], &[&[1], &[]], &[&[1], &[1, 1]], &[]] {
            check(5, Some(assigned), Err(KafkaError::InvalidReplicaAssignment));
        }
    }
}
