//! How many partitions a new topic gets, however a client asks for them.

use std::collections::BTreeSet;

use kafka_protocol::messages::create_topics_request::CreatableTopic;

use super::super::cluster::NODE_ID;
use super::super::configs::Refused;
use super::{REPLICATION, invalid};
use crate::protocol::kafka::KafkaError;

/// "As the broker likes", for a number of partitions or replicas.
const DEFAULT: i32 = -1;

/// The number of partitions that is asked for, alone or by who is to have which.
pub(super) fn partitions_of_new_topic(
    wanted: &CreatableTopic,
    default: u32,
    partitions_max: u32,
) -> Result<u32, Refused> {
    let found = if wanted.assignments.is_empty() { counted(wanted, default)? } else { assigned(wanted)? };
    if found > partitions_max {
        let message = format!("A topic has 1 to {partitions_max} partitions, not {found}.");
        return Err(Refused::new(KafkaError::InvalidPartitions, message));
    }
    Ok(found)
}

fn counted(wanted: &CreatableTopic, default: u32) -> Result<u32, Refused> {
    let replication = |message: String| Err(Refused::new(KafkaError::InvalidReplicationFactor, message));
    match wanted.replication_factor {
        -1 | REPLICATION => {}
        factor if factor < 1 => {
            return replication("Replication factor must be larger than 0, or -1 to use the default value.".into());
        }
        factor => {
            return replication(format!(
                "Unable to replicate the partition {factor} time(s): The target replication factor of {factor} cannot \
                 be reached because only 1 broker(s) are registered."
            ));
        }
    }
    match u32::try_from(wanted.num_partitions) {
        Ok(partitions) if partitions > 0 => Ok(partitions),
        Err(_) if wanted.num_partitions == DEFAULT => Ok(default),
        _ => Err(Refused::new(
            KafkaError::InvalidPartitions,
            "Number of partitions was set to an invalid non-positive value.",
        )),
    }
}

fn assigned(wanted: &CreatableTopic) -> Result<u32, Refused> {
    let other =
        |what: &str| invalid(&format!("A manual partition assignment was specified, but {what} was not set to -1."));
    if wanted.num_partitions != DEFAULT {
        return Err(other("numPartitions"));
    }
    if i32::from(wanted.replication_factor) != DEFAULT {
        return Err(other("replication factor"));
    }
    let mut indexes = BTreeSet::new();
    for assignment in &wanted.assignments {
        let index = assignment.partition_index;
        if !indexes.insert(index) {
            return Err(bad_assignment(format!("Found multiple manual partition assignments for partition {index}")));
        }
        check_replicas(assignment.broker_ids.iter().map(|broker| broker.0))?;
    }
    if !indexes.iter().copied().eq((0..).take(indexes.len())) {
        return Err(bad_assignment("partitions should be a consecutive 0-based integer sequence".into()));
    }
    Ok(u32::try_from(indexes.len()).unwrap_or(u32::MAX))
}

/// A partition is on this broker, and there once.
pub(super) fn check_replicas(brokers: impl Iterator<Item = i32>) -> Result<(), Refused> {
    let mut found = 0;
    for broker in brokers {
        found += 1;
        if broker != NODE_ID {
            return Err(bad_assignment(format!(
                "The manual partition assignment includes broker {broker}, but no such broker is registered."
            )));
        }
        if found > 1 {
            return Err(bad_assignment(format!(
                "The manual partition assignment includes the broker {broker} more than once."
            )));
        }
    }
    if found == 0 {
        return Err(bad_assignment("The manual partition assignment includes an empty replica list.".into()));
    }
    Ok(())
}

pub(super) fn bad_assignment(message: String) -> Refused {
    Refused::new(KafkaError::InvalidReplicaAssignment, message)
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::BrokerId;
    use kafka_protocol::messages::create_topics_request::CreatableReplicaAssignment;

    use super::*;

    fn check(partitions: i32, replicas: i16, assigned: &[(i32, &[i32])], expected: Result<u32, KafkaError>) {
        let assignment = |(index, brokers): &(i32, &[i32])| {
            CreatableReplicaAssignment::default()
                .with_partition_index(*index)
                .with_broker_ids(brokers.iter().copied().map(BrokerId).collect())
        };
        let wanted = CreatableTopic::default()
            .with_num_partitions(partitions)
            .with_replication_factor(replicas)
            .with_assignments(assigned.iter().map(assignment).collect());
        let found = partitions_of_new_topic(&wanted, 3, 8).map_err(|refused| refused.error);
        assert_eq!(found, expected, "{partitions} {replicas} {assigned:?}");
    }

    #[test]
    fn partitions_are_counted_or_assigned() {
        use KafkaError::{InvalidPartitions, InvalidReplicaAssignment, InvalidReplicationFactor, InvalidRequest};
        check(-1, -1, &[], Ok(3));
        check(5, 1, &[], Ok(5));
        check(8, -1, &[], Ok(8));
        check(9, -1, &[], Err(InvalidPartitions));
        check(0, 1, &[], Err(InvalidPartitions));
        check(-2, 1, &[], Err(InvalidPartitions));
        check(i32::MAX, 1, &[], Err(InvalidPartitions));
        check(1, 0, &[], Err(InvalidReplicationFactor));
        check(1, -2, &[], Err(InvalidReplicationFactor));
        check(1, 3, &[], Err(InvalidReplicationFactor));
        check(-1, -1, &[(1, &[1]), (0, &[1])], Ok(2));
        check(2, -1, &[(1, &[1]), (0, &[1])], Err(InvalidRequest));
        check(-1, 1, &[(1, &[1]), (0, &[1])], Err(InvalidRequest));
        check(-1, -1, &[(1, &[1])], Err(InvalidReplicaAssignment));
        check(-1, -1, &[(0, &[1]), (0, &[1])], Err(InvalidReplicaAssignment));
        check(-1, -1, &[(-1, &[1]), (0, &[1])], Err(InvalidReplicaAssignment));
        check(-1, -1, &[(0, &[])], Err(InvalidReplicaAssignment));
        check(-1, -1, &[(0, &[1, 1])], Err(InvalidReplicaAssignment));
        check(-1, -1, &[(0, &[1, 2])], Err(InvalidReplicaAssignment));
        check(-1, -1, &[(0, &[0])], Err(InvalidReplicaAssignment));
    }
}
