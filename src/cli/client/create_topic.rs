//! `wiber-client create-topic`.

use std::io::Write;

use clap::Args;

use super::connect;
use super::failure::Failure;
use crate::client::ClientOptions;

/// Create a topic
///
/// Creating one that exists with the same number of partitions is no error.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wiber-client create-topic orders --partitions 3 --retention 72")]
pub(super) struct CreateTopic {
    /// Its name: 1 to 249 of a-z A-Z 0-9 . _ -
    topic: String,
    /// Number of partitions [default: the broker's topics.default_partitions]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    partitions: Option<u32>,
    /// Hours its records are kept, 0 for ever [default: the broker's topics.retention_hours]
    #[arg(long, value_name = "HOURS")]
    retention: Option<u32>,
}

impl CreateTopic {
    pub(super) async fn run(self, options: ClientOptions, out: &mut impl Write) -> Result<(), Failure> {
        let client = connect(options).await?;
        let topic = &self.topic;
        let created = client.create_topic(topic, self.partitions, self.retention).await;
        let partitions =
            created.map_err(|source| Failure::Request { doing: format!("create topic '{topic}'"), source })?;
        writeln!(out, "Created topic '{topic}' with {partitions} partitions").map_err(Failure::Output)
    }
}
