//! What is said about groups, as JSON. What a later version adds is passed over.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{GroupDescription, GroupMember, GroupPartition, GroupSummary};
use crate::client::ClientError;
use crate::client::reading::{list, number, parse, text};
use crate::types::{Offset, PartitionIndex, TopicName, TopicPartition};

/// What a member may read, all of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::client) struct Assignment {
    /// The group's generation.
    pub(in crate::client) generation: u64,
    /// The partitions, and since which generation they are the member's.
    pub(in crate::client) partitions: Vec<(TopicPartition, u64)>,
}

/// An assignment.
pub(in crate::client) fn assignment(body: &[u8]) -> Result<Assignment, ClientError> {
    let value = parse(body)?;
    let mut partitions = Vec::new();
    for entry in list(&value, "assigned")? {
        partitions.push((partition(entry)?, number(entry, "generation")?));
    }
    Ok(Assignment { generation: number(&value, "generation")?, partitions })
}

/// What a JOIN_GROUP says.
pub(in crate::client) fn join_body<'a>(
    topics: impl Iterator<Item = &'a str>,
    owned: impl Iterator<Item = (&'a TopicPartition, u64)>,
) -> Bytes {
    let owned = owned.map(|(partition, since)| {
        json!({ "topic": partition.topic.as_str(), "partition": partition.partition.0, "generation": since })
    });
    let body = json!({ "topics": topics.collect::<Vec<_>>(), "owned": owned.collect::<Vec<_>>() });
    body.to_string().into()
}

/// What a GROUP_HEARTBEAT says of what is still read.
pub(in crate::client) fn owned_body<'a>(owned: impl Iterator<Item = &'a TopicPartition>) -> Bytes {
    let owned = owned.map(|partition| json!({ "topic": partition.topic.as_str(), "partition": partition.partition.0 }));
    json!({ "owned": owned.collect::<Vec<_>>() }).to_string().into()
}

/// What a RESET_GROUP says.
pub(super) fn positions_body(positions: &[(TopicPartition, Offset)]) -> Bytes {
    let positions = positions.iter().map(|(partition, offset)| {
        json!({ "topic": partition.topic.as_str(), "partition": partition.partition.0, "offset": offset.get() })
    });
    json!({ "positions": positions.collect::<Vec<_>>() }).to_string().into()
}

pub(super) fn positions(body: &[u8]) -> Result<Vec<(TopicPartition, Offset)>, ClientError> {
    let value = parse(body)?;
    let positions = list(&value, "positions")?.iter();
    positions
        .map(|entry| {
            let offset = offset(entry, "offset").ok_or_else(|| lacking("offset"))?;
            Ok((partition(entry)?, offset))
        })
        .collect()
}

pub(super) fn groups(body: &[u8]) -> Result<Vec<GroupSummary>, ClientError> {
    let value = parse(body)?;
    list(&value, "groups")?
        .iter()
        .map(|group| {
            Ok(GroupSummary {
                group: text(group, "group")?,
                kind: text(group, "kind")?,
                state: text(group, "state")?,
                members: number(group, "members")?,
                generation: number(group, "generation")?,
            })
        })
        .collect()
}

pub(super) fn description(body: &[u8]) -> Result<GroupDescription, ClientError> {
    let value = parse(body)?;
    Ok(GroupDescription {
        group: text(&value, "group")?,
        kind: text(&value, "kind")?,
        state: text(&value, "state")?,
        generation: number(&value, "generation")?,
        members: list(&value, "members")?.iter().map(member).collect::<Result<_, _>>()?,
        partitions: list(&value, "partitions")?.iter().map(read_partition).collect::<Result<_, _>>()?,
    })
}

fn member(value: &Value) -> Result<GroupMember, ClientError> {
    let maybe = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let topics = list(value, "topics")?.iter().filter_map(Value::as_str);
    Ok(GroupMember {
        member: text(value, "member")?,
        client_id: maybe("client_id"),
        host: maybe("host"),
        topics: topics.map(str::to_owned).collect(),
        assigned: list(value, "assigned")?.iter().map(partition).collect::<Result<_, _>>()?,
        heartbeat_age_ms: value.get("heartbeat_age_ms").and_then(Value::as_u64),
    })
}

fn read_partition(value: &Value) -> Result<GroupPartition, ClientError> {
    Ok(GroupPartition {
        partition: partition(value)?,
        owner: value.get("owner").and_then(Value::as_str).map(str::to_owned),
        committed: offset(value, "committed"),
        log_start: offset(value, "log_start"),
        high_watermark: offset(value, "high_watermark"),
        lag: value.get("lag").and_then(Value::as_u64),
        lag_seconds: value.get("lag_seconds").and_then(Value::as_f64),
    })
}

fn partition(value: &Value) -> Result<TopicPartition, ClientError> {
    let topic = TopicName::new(&text(value, "topic")?).map_err(|error| ClientError::Protocol(error.to_string()))?;
    Ok(TopicPartition { topic, partition: PartitionIndex(number(value, "partition")?) })
}

fn offset(value: &Value, name: &str) -> Option<Offset> {
    value.get(name).and_then(Value::as_u64).and_then(Offset::new)
}

fn lacking(name: &str) -> ClientError {
    ClientError::Protocol(format!("a description without a usable '{name}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment() {
        let body = br#"{"generation":9,"assigned":[{"topic":"a","partition":2,"generation":7}],"later":1}"#;
        let read = assignment(body).expect("read");
        assert_eq!(read.generation, 9);
        assert_eq!(read.partitions[0].0.to_string(), "a:2");
        assert_eq!(read.partitions[0].1, 7);
        for bad in ["", "{}", r#"{"generation":1,"assigned":[{"topic":"a/b","partition":2,"generation":7}]}"#] {
            assert!(assignment(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_description() {
        let body = br#"{"group":"g","kind":"partitioned","state":"stable","generation":3,
            "members":[{"member":"m","client_id":null,"host":"h","topics":["t"],"heartbeat_age_ms":5,
                "assigned":[{"topic":"t","partition":0}]}],
            "partitions":[{"topic":"t","partition":0,"owner":"m","committed":null,"log_start":1,"high_watermark":4,
                "lag":3,"lag_seconds":1.5}]}"#;
        let read = description(body).expect("read");
        assert_eq!((read.members[0].client_id.as_deref(), read.members[0].assigned.len()), (None, 1));
        let partition = &read.partitions[0];
        assert_eq!((partition.committed, partition.lag, partition.lag_seconds), (None, Some(3), Some(1.5)));
        assert!(description(b"{}").is_err());
    }

    #[test]
    fn what_is_asked() {
        let partition = TopicPartition { topic: TopicName::new("t").expect("a name"), partition: PartitionIndex(1) };
        let body = join_body(["t", "l*"].into_iter(), [(&partition, 4)].into_iter());
        let expected = json!({"topics": ["t", "l*"], "owned": [{"topic": "t", "partition": 1, "generation": 4}]});
        assert_eq!(serde_json::from_slice::<Value>(&body).expect("JSON"), expected);
        let sent = positions_body(&[(partition.clone(), Offset::ZERO)]);
        assert_eq!(positions(&sent).expect("read"), [(partition, Offset::ZERO)]);
    }
}
