//! `wiber-client producer`: topics added and removed, messages sent.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::words::{Command, Names, split};
use super::{Actions, Reply, Vocabulary, converse, failed, nothing, one, topics};
use crate::cli::client::Context;
use crate::cli::client::failure::Failure;
use crate::client::{Producer, ProducerOptions};

/// Add and remove topics and send messages, at a prompt
///
/// At a terminal, Tab completes commands and topics, and earlier lines are kept in ~/.local/state/wiber. Commands also come
/// from a pipe, one a line. An error is told and ends nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Commands:
  add_topic TOPIC     creates it with one partition, where it does not exist
  remove_topic TOPIC  deletes it with everything in it
  send TOPIC MESSAGE  sends a message: the rest of the line as it is
  topics              lists the topics
  help, quit

Examples:
  wiber-client producer
  wiber-client producer --host broker.example --port 9999")]
pub(in crate::cli::client) struct Prompt {}

pub(super) const VOCABULARY: Vocabulary = Vocabulary {
    name: "producer",
    commands: &[
        Command {
            name: "add_topic",
            others: &["add", "create_topic"],
            takes: "TOPIC",
            about: "creates a topic with one partition, where it does not exist",
            names: Names::Topics,
        },
        Command {
            name: "remove_topic",
            others: &["remove", "delete_topic"],
            takes: "TOPIC",
            about: "deletes a topic with everything in it",
            names: Names::Topics,
        },
        Command {
            name: "send",
            others: &["send_message", "publish"],
            takes: "TOPIC MESSAGE",
            about: "sends a message: the rest of the line as it is",
            names: Names::Topics,
        },
        Command { name: "topics", others: &["list"], takes: "", about: "lists the topics", names: Names::Nothing },
    ],
};

struct Producing<'a> {
    producer: Producer,
    context: &'a Context,
}

impl Prompt {
    pub(in crate::cli::client) async fn run(self, context: &Context, out: &mut dyn Write) -> Result<(), Failure> {
        let client = context.options.clone();
        let options = ProducerOptions { client, linger: Duration::ZERO, ..ProducerOptions::default() };
        let producer = Producer::new(options).await;
        let producer = producer.map_err(|source| Failure::of_connecting(&context.options, source))?;
        let mut producing = Producing { producer, context };
        converse(&mut producing, context, out).await
    }
}

impl Actions for Producing<'_> {
    fn vocabulary(&self) -> &'static Vocabulary {
        &VOCABULARY
    }

    async fn act(&mut self, command: &str, rest: &str, _out: &mut dyn Write) -> Result<Reply, Failure> {
        match command {
            "add_topic" => {
                let topic = one(rest, command, "topic")?;
                let added = self.producer.add_topic(topic).await;
                added.map_err(failed(format!("add topic '{topic}'")))?;
                Ok(Reply::Said(format!("Added topic '{topic}'"), json!({ "topic": topic, "added": true })))
            }
            "remove_topic" => {
                let topic = one(rest, command, "topic")?;
                let removed = self.producer.remove_topic(topic).await;
                removed.map_err(failed(format!("remove topic '{topic}'")))?;
                Ok(Reply::Said(format!("Removed topic '{topic}'"), json!({ "topic": topic, "removed": true })))
            }
            "send" => {
                let (topic, message) = split(rest);
                if topic.is_empty() || message.is_empty() {
                    return Err(Failure::Usage("give it a topic and a message: send TOPIC MESSAGE".to_owned()));
                }
                let sent = self.producer.send_message(topic, message).await;
                sent.map_err(failed(format!("send to topic '{topic}'")))?;
                Ok(Reply::Said(format!("Sent message to topic '{topic}'"), json!({ "topic": topic, "sent": true })))
            }
            _ => {
                nothing(rest, command)?;
                topics(self.context).await
            }
        }
    }
}
