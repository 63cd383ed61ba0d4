//! The topic of a run: made for it, or found as it is.

use super::options::Plan;
use crate::cli::client::failure::Failure;
use crate::cli::client::{Context, note, time};
use crate::client::{Client, ClientError, ErrorCode, OffsetsQuery, PartitionIndex};

/// The topic of a run.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) partitions: u32,
    /// Whether it was made for this run.
    is_ours: bool,
}

impl Topic {
    /// Finds the topic that was asked for, or makes a new one.
    pub(super) async fn prepare(client: &Client, plan: &Plan) -> Result<Topic, Failure> {
        let name = match &plan.topic {
            Some(name) => name.clone(),
            None => format!("bench-{:x}-{:x}", time::now().millis(), std::process::id()),
        };
        match client.describe_topic(&name).await {
            Ok(found) => {
                let partitions = u32::try_from(found.partitions.len()).unwrap_or(u32::MAX);
                if plan.partitions.is_some_and(|wanted| wanted != partitions) {
                    let text =
                        format!("bench: topic '{name}' exists with {partitions} partitions: leave --partitions out");
                    return Err(Failure::Usage(text));
                }
                Ok(Topic { name, partitions, is_ours: false })
            }
            Err(error) if error.code() == Some(ErrorCode::UnknownTopic) => {
                let created = client.create_topic(&name, Some(plan.partitions.unwrap_or(1)), None).await;
                let partitions =
                    created.map_err(|source| Failure::Request { doing: format!("create topic '{name}'"), source })?;
                Ok(Topic { name, partitions, is_ours: true })
            }
            Err(source) => Err(Failure::Request { doing: format!("look at topic '{name}'"), source }),
        }
    }

    /// Whether it holds nothing but what this run publishes.
    pub(super) fn is_ours(&self) -> bool {
        self.is_ours
    }

    /// How many messages each partition holds. Under `--ack leader` some may wait for their sync yet: readers wait with them.
    pub(super) async fn held(&self, client: &Client) -> Result<Vec<u64>, Failure> {
        let mut held = Vec::new();
        for partition in 0..self.partitions {
            let offsets = client.list_offsets(&self.name, PartitionIndex(partition), &OffsetsQuery::default()).await;
            let offsets = offsets
                .map_err(|source| Failure::Request { doing: format!("look at topic '{}'", self.name), source })?;
            held.push(offsets.log_end.get().saturating_sub(offsets.log_start.get()));
        }
        Ok(held)
    }

    /// Deletes it where it was made for this run and is not to be kept. The run has its result already: where this fails
    /// it is only said.
    pub(super) async fn clean_up(self, context: &Context, keep: bool) {
        if !self.is_ours || keep {
            return;
        }
        let deleted: Result<(), ClientError> = async {
            let client = Client::connect(context.options.clone()).await?;
            client.delete_topic(&self.name).await
        }
        .await;
        if let Err(error) = deleted {
            note(format_args!("Topic '{}' could not be deleted: {error}", self.name));
        }
    }
}
