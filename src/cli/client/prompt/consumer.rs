//! `wiber-client consumer`: a member of a group, by hand.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::words::{Command, Names};
use super::{Actions, Reply, Vocabulary, converse, failed, listed, nothing, one, topics};
use crate::cli::client::Context;
use crate::cli::client::failure::Failure;
use crate::cli::client::subscribe::Printer;
use crate::cli::client::text::{records, seconds};
use crate::cli::client::{groups, note};
use crate::client::{ClientError, Consumer, ConsumerOptions, Record};

/// Join a group, subscribe to topics and poll messages, at a prompt
///
/// At a terminal, Tab completes commands, topics and groups, and earlier lines are kept in ~/.local/state/wiber. Commands
/// also come from a pipe, one a line. An error is told and ends nothing.
///
/// Each message goes to one member of the group, at most once. A group that is new to a topic begins with what is published
/// after the subscription.
#[derive(Debug, Args)]
#[command(after_help = "\
Commands:
  join GROUP         becomes a member of a group
  leave              ends the membership
  subscribe TOPIC    reads a topic as well; 'logs.*' means all topics of such a name
  unsubscribe TOPIC  reads it no more
  poll [SECONDS]     prints the next messages; waits a second for one, or as long as given
  assignment         lists the partitions that are this member's
  groups, topics     lists them
  help, quit

Examples:
  wiber-client consumer
  wiber-client consumer --host broker.example --port 9999")]
pub(in crate::cli::client) struct Prompt {}

pub(super) const VOCABULARY: Vocabulary = Vocabulary {
    name: "consumer",
    commands: &[
        Command {
            name: "join",
            others: &["join_consumer_group"],
            takes: "GROUP",
            about: "becomes a member of a group",
            names: Names::Groups,
        },
        Command {
            name: "leave",
            others: &["leave_consumer_group"],
            takes: "",
            about: "ends the membership",
            names: Names::Nothing,
        },
        Command {
            name: "subscribe",
            others: &[],
            takes: "TOPIC",
            about: "reads a topic as well; 'logs.*' means all topics of such a name",
            names: Names::Topics,
        },
        Command { name: "unsubscribe", others: &[], takes: "TOPIC", about: "reads it no more", names: Names::Topics },
        Command {
            name: "poll",
            others: &[],
            takes: "[SECONDS]",
            about: "prints the next messages; waits a second for one, or as long as given",
            names: Names::Nothing,
        },
        Command {
            name: "assignment",
            others: &["partitions"],
            takes: "",
            about: "lists the partitions that are this member's",
            names: Names::Nothing,
        },
        Command { name: "groups", others: &[], takes: "", about: "lists the groups", names: Names::Nothing },
        Command { name: "topics", others: &["list"], takes: "", about: "lists the topics", names: Names::Nothing },
    ],
};

struct Consuming<'a> {
    consumer: Consumer,
    printer: Printer,
    context: &'a Context,
}

impl Prompt {
    pub(in crate::cli::client) async fn run(self, context: &Context, out: &mut dyn Write) -> Result<(), Failure> {
        let printer = Printer::plain(context.output);
        let options = ConsumerOptions { client: context.options.clone(), ..ConsumerOptions::default() };
        let consumer = Consumer::new(options).await;
        let consumer = consumer.map_err(|source| Failure::of_connecting(&context.options, source))?;
        let mut consuming = Consuming { consumer, printer, context };
        let ended = converse(&mut consuming, context, out).await;
        let left = consuming.consumer.leave_consumer_group().await;
        ended?;
        left.map_err(failed("leave the group"))
    }
}

impl Consuming<'_> {
    /// The next messages, waiting so long for one.
    async fn poll(&self, patience: Option<Duration>) -> Result<Vec<Record>, ClientError> {
        let Some(patience) = patience else { return self.consumer.poll_records().await };
        let some = async {
            loop {
                let came = self.consumer.poll_records().await?;
                if !came.is_empty() {
                    return Ok(came);
                }
            }
        };
        tokio::time::timeout(patience, some).await.unwrap_or_else(|_| Ok(Vec::new()))
    }
}

impl Actions for Consuming<'_> {
    fn vocabulary(&self) -> &'static Vocabulary {
        &VOCABULARY
    }

    async fn act(&mut self, command: &str, rest: &str, out: &mut dyn Write) -> Result<Reply, Failure> {
        let consumer = &self.consumer;
        match command {
            "join" => {
                let group = one(rest, command, "group")?;
                consumer.join_consumer_group(group).await.map_err(failed(format!("join group '{group}'")))?;
                let json = json!({ "group": group, "member": consumer.member() });
                Ok(Reply::Said(format!("Joined group '{group}'"), json))
            }
            "leave" => {
                nothing(rest, command)?;
                let group = consumer.group();
                consumer.leave_consumer_group().await.map_err(failed("leave the group"))?;
                let text =
                    group.as_ref().map_or_else(|| "In no group".to_owned(), |group| format!("Left group '{group}'"));
                Ok(Reply::Said(text, json!({ "left": group })))
            }
            "subscribe" => {
                let topic = one(rest, command, "topic")?;
                consumer.subscribe(topic).await.map_err(failed(format!("subscribe to topic '{topic}'")))?;
                Ok(Reply::Said(format!("Subscribed to topic '{topic}'"), json!({ "subscribed": topic })))
            }
            "unsubscribe" => {
                let topic = one(rest, command, "topic")?;
                consumer.unsubscribe(topic).await.map_err(failed(format!("unsubscribe from topic '{topic}'")))?;
                Ok(Reply::Said(format!("Unsubscribed from topic '{topic}'"), json!({ "unsubscribed": topic })))
            }
            "poll" => {
                let patience = if rest.is_empty() { None } else { Some(seconds(rest).map_err(Failure::Usage)?) };
                let came = self.poll(patience).await.map_err(failed("poll"))?;
                for record in &came {
                    self.printer.record(record, out).map_err(Failure::Output)?;
                }
                note(format_args!("({})", records(came.len() as u64)));
                Ok(Reply::Printed)
            }
            "assignment" => {
                nothing(rest, command)?;
                let assigned = consumer.assignment();
                let names: Vec<String> = assigned.iter().map(ToString::to_string).collect();
                Ok(Reply::Said(groups::list(&assigned), json!({ "assigned": names })))
            }
            "groups" => {
                nothing(rest, command)?;
                let client = self.context.connect().await?;
                let groups = client.groups().await.map_err(failed("list the groups"))?;
                let names: Vec<String> = groups.into_iter().map(|group| group.group).collect();
                Ok(listed("groups", &names))
            }
            _ => {
                nothing(rest, command)?;
                topics(self.context).await
            }
        }
    }
}
