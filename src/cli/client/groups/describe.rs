//! `wiber-client groups describe`: a group's members, and how far it is behind.

use std::io::{self, Write};

use clap::Args;
use serde_json::{Value, json};

use crate::cli::client::Context;
use crate::cli::client::failure::Failure;
use crate::cli::client::output::Output;
use crate::cli::client::table::{Align, write_table};
use crate::client::{GroupDescription, Offset, TopicPartition};

/// Show a group's members and how far it is behind
///
/// Of each partition: the member that reads it, the position kept (the next record to be read), what the log holds, and
/// the lag: records up to the log's end, and the age of the next record in seconds. Where no position is kept, the lag
/// counts from the log's start.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wiber-client groups describe billing
  wiber-client groups describe billing --output json | jq '[.partitions[].lag] | add'")]
pub(super) struct Describe {
    /// The group
    group: String,
}

impl Describe {
    pub(super) async fn run(self, context: &Context, out: &mut dyn Write) -> Result<(), Failure> {
        let client = context.connect().await?;
        let described = client.describe_group(&self.group).await;
        let description = described
            .map_err(|source| Failure::Request { doing: format!("describe group '{}'", self.group), source })?;
        let written = match context.output {
            Output::Text => write(out, &description),
            Output::Json => writeln!(out, "{}", to_json(&description)),
        };
        written.map_err(Failure::Output)
    }
}

fn write(out: &mut dyn Write, group: &GroupDescription) -> io::Result<()> {
    let lag: u64 = group.partitions.iter().filter_map(|partition| partition.lag).sum();
    writeln!(out, "Group:       {}", group.group)?;
    writeln!(out, "Kind:        {}", group.kind)?;
    writeln!(out, "State:       {}", group.state)?;
    writeln!(out, "Generation:  {}", group.generation)?;
    writeln!(out, "Lag:         {lag}")?;
    if !group.members.is_empty() {
        let columns = [
            ("MEMBER", Align::Left),
            ("CLIENT", Align::Left),
            ("HOST", Align::Left),
            ("HEARTBEAT", Align::Right),
            ("TOPICS", Align::Left),
            ("PARTITIONS", Align::Left),
        ];
        let rows = group.members.iter().map(|member| {
            let age = member.heartbeat_age_ms.map(|ms| format!("{}.{:01} s ago", ms / 1_000, ms % 1_000 / 100));
            vec![
                member.member.clone(),
                member.client_id.clone().filter(|id| !id.is_empty()).unwrap_or_else(|| "-".to_owned()),
                member.host.clone().unwrap_or_else(|| "-".to_owned()),
                age.unwrap_or_else(|| "-".to_owned()),
                member.topics.join(","),
                list(&member.assigned),
            ]
        });
        writeln!(out)?;
        write_table(out, &columns, &rows.collect::<Vec<_>>())?;
    }
    if !group.partitions.is_empty() {
        let columns = [
            ("PARTITION", Align::Left),
            ("OWNER", Align::Left),
            ("COMMITTED", Align::Right),
            ("LOG START", Align::Right),
            ("HIGH WATERMARK", Align::Right),
            ("LAG", Align::Right),
            ("LAG S", Align::Right),
        ];
        let offset = |offset: Option<Offset>| offset.map_or_else(|| "-".to_owned(), |offset| offset.to_string());
        let rows = group.partitions.iter().map(|partition| {
            vec![
                partition.partition.to_string(),
                partition.owner.clone().unwrap_or_else(|| "-".to_owned()),
                offset(partition.committed),
                offset(partition.log_start),
                offset(partition.high_watermark),
                partition.lag.map_or_else(|| "-".to_owned(), |lag| lag.to_string()),
                partition.lag_seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1}")),
            ]
        });
        writeln!(out)?;
        write_table(out, &columns, &rows.collect::<Vec<_>>())?;
    }
    Ok(())
}

/// `orders:0,1,2`: partitions, topic by topic.
pub(in crate::cli::client) fn list(partitions: &[TopicPartition]) -> String {
    let mut sorted: Vec<_> = partitions.iter().collect();
    sorted.sort();
    let mut text = String::new();
    let mut topic = None;
    for partition in sorted {
        if topic == Some(&partition.topic) {
            text.push_str(&format!(",{}", partition.partition));
        } else {
            let space = if topic.is_some() { " " } else { "" };
            text.push_str(&format!("{space}{partition}"));
            topic = Some(&partition.topic);
        }
    }
    if text.is_empty() { "-".to_owned() } else { text }
}

fn to_json(group: &GroupDescription) -> Value {
    let place =
        |partition: &TopicPartition| json!({ "topic": partition.topic.as_str(), "partition": partition.partition.0 });
    let members = group.members.iter().map(|member| {
        json!({
            "member": member.member,
            "client_id": member.client_id,
            "host": member.host,
            "topics": member.topics,
            "assigned": member.assigned.iter().map(place).collect::<Vec<_>>(),
            "heartbeat_age_ms": member.heartbeat_age_ms,
        })
    });
    let partitions = group.partitions.iter().map(|partition| {
        json!({
            "topic": partition.partition.topic.as_str(),
            "partition": partition.partition.partition.0,
            "owner": partition.owner,
            "committed": partition.committed.map(Offset::get),
            "log_start": partition.log_start.map(Offset::get),
            "high_watermark": partition.high_watermark.map(Offset::get),
            "lag": partition.lag,
            "lag_seconds": partition.lag_seconds,
        })
    });
    json!({
        "group": group.group,
        "kind": group.kind,
        "state": group.state,
        "generation": group.generation,
        "members": members.collect::<Vec<_>>(),
        "partitions": partitions.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{GroupMember, GroupPartition, PartitionIndex, TopicName};

    fn partition(topic: &str, index: u32) -> TopicPartition {
        TopicPartition { topic: TopicName::new(topic).expect("valid"), partition: PartitionIndex(index) }
    }

    fn sample() -> GroupDescription {
        let reads = |index, owner: Option<&str>, committed: Option<u64>| GroupPartition {
            partition: partition("orders", index),
            owner: owner.map(str::to_owned),
            committed: committed.and_then(Offset::new),
            log_start: Offset::new(0),
            high_watermark: Offset::new(50),
            lag: Some(50 - committed.unwrap_or(0)),
            lag_seconds: committed.map(|_| 1.25),
        };
        GroupDescription {
            group: "billing".to_owned(),
            kind: "partitioned".to_owned(),
            state: "stable".to_owned(),
            generation: 7,
            members: vec![GroupMember {
                member: "m-1".to_owned(),
                client_id: None,
                host: Some("127.0.0.1".to_owned()),
                topics: vec!["orders".to_owned()],
                assigned: vec![partition("orders", 1), partition("orders", 0), partition("a", 3)],
                heartbeat_age_ms: Some(1_250),
            }],
            partitions: vec![reads(0, Some("m-1"), Some(40)), reads(1, None, None)],
        }
    }

    #[test]
    fn a_description_for_people() {
        let mut out = Vec::new();
        write(&mut out, &sample()).expect("written");
        let expected = "\
Group:       billing
Kind:        partitioned
State:       stable
Generation:  7
Lag:         60

MEMBER  CLIENT  HOST       HEARTBEAT  TOPICS  PARTITIONS
m-1     -       127.0.0.1  1.2 s ago  orders  a:3 orders:0,1

PARTITION  OWNER  COMMITTED  LOG START  HIGH WATERMARK  LAG  LAG S
orders:0   m-1           40          0              50   10    1.2
orders:1   -              -          0              50   50      -
";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn a_description_for_programs() {
        let json = to_json(&sample());
        assert_eq!((&json["partitions"][0]["lag"], &json["partitions"][1]["committed"]), (&json!(10), &Value::Null));
        assert_eq!(json["members"][0]["assigned"][0], json!({ "topic": "orders", "partition": 1 }));
    }
}
