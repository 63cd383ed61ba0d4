//! What a client asks of topics, offsets and positions.

use std::time::Duration;

use super::error::{self, ClientError};
use super::reading;
use super::record::{BatchReader, Record};
use super::topics::{
    OffsetsQuery, PartitionOffsets, TopicAlteration, TopicDescription, TopicSettings, TopicSummary, about,
};
use super::{Client, given};
use crate::protocol::native::{Frame, FrameType, Properties};
use crate::types::{Offset, PartitionIndex, Timestamp, TopicName};

/// Topics asked for at once.
const PAGE: usize = 1_000;

/// How much to fetch, and how long to wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchOptions {
    /// Bytes at which no further batch is added. The first comes in any case.
    pub max_bytes: u32,
    /// Bytes to wait for.
    pub min_bytes: u32,
    /// How long to wait for them; at most half the client's `request_timeout` and 60 s.
    pub max_wait: Duration,
}

impl Default for FetchOptions {
    /// Up to 1 MiB of what there is, without waiting.
    fn default() -> FetchOptions {
        FetchOptions { max_bytes: 1 << 20, min_bytes: 1, max_wait: Duration::ZERO }
    }
}

/// What a fetch brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The records from the offset on; none where there was nothing in time.
    pub records: Vec<Record>,
    /// Where to go on.
    pub next_offset: Offset,
    /// The first offset that is kept.
    pub log_start: Offset,
    /// What lies below it may be read.
    pub high_watermark: Offset,
}

/// Where a fetch begins.
#[derive(Debug, Clone, Copy)]
enum Begin {
    Offset(Offset),
    Time(Timestamp),
}

impl Client {
    /// Creates a topic with settings of its own and returns its number of partitions. One that exists with the same
    /// number is no error.
    ///
    /// # Errors
    /// [`ClientError::Refused`], and what every call may meet.
    pub async fn create_topic_with(
        &self,
        topic: &str,
        partitions: Option<u32>,
        settings: &TopicSettings,
    ) -> Result<u32, ClientError> {
        let mut pairs = settings.to_pairs();
        pairs.extend(partitions.map(|count| ("partitions", count.to_string())));
        let reply = self.request(FrameType::CreateTopic, about(topic, &pairs)?, None).await?;
        error::number(&reply, "partitions")
    }

    /// Deletes a topic with everything in it.
    ///
    /// # Errors
    /// [`ClientError::Refused`] where there is none, and what every call may meet.
    pub async fn delete_topic(&self, topic: &str) -> Result<(), ClientError> {
        self.request(FrameType::DeleteTopic, about(topic, &[])?, None).await?;
        Ok(())
    }

    /// Changes a topic and returns its number of partitions.
    ///
    /// # Errors
    /// [`ClientError::Refused`], and what every call may meet.
    pub async fn alter_topic(&self, topic: &str, alteration: &TopicAlteration) -> Result<u32, ClientError> {
        let properties = about(topic, &alteration.to_pairs())?;
        let reply = self.request(FrameType::AlterTopic, properties, None).await?;
        error::number(&reply, "partitions")
    }

    /// All topics, in the order of their names.
    ///
    /// # Errors
    /// What every call may meet.
    pub async fn topics(&self) -> Result<Vec<TopicSummary>, ClientError> {
        let mut topics = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let limit = PAGE.to_string();
            let properties = given([("wiber.after", after.as_deref()), ("wiber.limit", Some(&limit))])?;
            let reply = self.request(FrameType::Metadata, properties, None).await?;
            topics.extend(reading::topics(&reply.body)?);
            let next = reply.properties.get("wiber.next").map(str::to_owned);
            // A peer that never comes to an end is none of ours.
            if next.is_some() && next <= after {
                return Err(ClientError::Protocol(format!("a page of topics after {after:?} leads to {next:?}")));
            }
            after = next;
            if after.is_none() {
                return Ok(topics);
            }
        }
    }

    /// Everything the broker says of one topic.
    ///
    /// # Errors
    /// [`ClientError::Refused`] where there is none, and what every call may meet.
    pub async fn describe_topic(&self, topic: &str) -> Result<TopicDescription, ClientError> {
        let reply = self.request(FrameType::Metadata, about(topic, &[])?, None).await?;
        reading::description(&reply.body)
    }

    /// The offsets of a partition.
    ///
    /// # Errors
    /// [`ClientError::Refused`], and what every call may meet.
    pub async fn list_offsets(
        &self,
        topic: &str,
        partition: PartitionIndex,
        query: &OffsetsQuery,
    ) -> Result<PartitionOffsets, ClientError> {
        let (partition, time) = (partition.to_string(), query.time.map(|time| time.to_string()));
        let properties = given([
            ("topic", Some(topic)),
            ("partition", Some(&partition)),
            ("client_id", query.client_id.as_deref()),
            ("wiber.group", query.group.as_deref()),
            ("wiber.time", time.as_deref()),
        ])?;
        let reply = self.request(FrameType::ListOffsets, properties, None).await?;
        offsets(&reply)
    }

    /// Reads records from an offset on.
    ///
    /// # Errors
    /// [`ClientError::Refused`] where the offset lies outside the log, and what every call may meet.
    pub async fn fetch(
        &self,
        topic: &str,
        partition: PartitionIndex,
        offset: Offset,
        options: FetchOptions,
    ) -> Result<Fetched, ClientError> {
        self.fetch_by(topic, partition, Begin::Offset(offset), options).await
    }

    /// Reads records from the first of a time, or later, on; from the end where all are older.
    ///
    /// # Errors
    /// [`ClientError::Refused`], and what every call may meet.
    pub async fn fetch_from_time(
        &self,
        topic: &str,
        partition: PartitionIndex,
        time: Timestamp,
        options: FetchOptions,
    ) -> Result<Fetched, ClientError> {
        self.fetch_by(topic, partition, Begin::Time(time), options).await
    }

    async fn fetch_by(
        &self,
        topic: &str,
        partition: PartitionIndex,
        begin: Begin,
        options: FetchOptions,
    ) -> Result<Fetched, ClientError> {
        let name = TopicName::new(topic).map_err(|error| ClientError::InvalidOptions(error.to_string()))?;
        let place = match begin {
            Begin::Offset(offset) => ("offset", offset.to_string()),
            Begin::Time(time) => ("wiber.time", time.millis().max(0).to_string()),
        };
        let max_wait = options.max_wait.min(self.options.request_timeout / 2).min(Duration::from_secs(60));
        let pairs = [
            ("partition", partition.to_string()),
            place,
            ("wiber.max_bytes", options.max_bytes.to_string()),
            ("wiber.min_bytes", options.min_bytes.to_string()),
            ("wiber.max_wait_ms", max_wait.as_millis().to_string()),
        ];
        let reply = self.request(FrameType::Fetch, about(topic, &pairs)?, None).await?;
        let next_offset = error::offset(&reply, "wiber.next_offset")?;
        let log_start = error::offset(&reply, "log_start")?;
        let high_watermark = error::offset(&reply, "high_watermark")?;
        let from = match begin {
            Begin::Offset(offset) => offset,
            Begin::Time(_) => error::offset(&reply, "offset")?,
        };
        let records = BatchReader::new(name, partition, reply.body, from).collect::<Result<_, _>>()?;
        Ok(Fetched { records, next_offset, log_start, high_watermark })
    }

    /// Keeps a position under the client's id: the offset of the next record to be read. Returns the position kept now,
    /// which never moves back.
    ///
    /// # Errors
    /// [`ClientError::InvalidOptions`] without a client id; [`ClientError::Refused`], and what every call may meet.
    pub async fn commit(&self, topic: &str, partition: PartitionIndex, offset: Offset) -> Result<Offset, ClientError> {
        let properties = commit_properties(self.options.client_id.as_deref(), topic, partition, offset)?;
        let reply = self.request(FrameType::Commit, properties, None).await?;
        error::offset(&reply, "offset")
    }
}

fn commit_properties(
    client_id: Option<&str>,
    topic: &str,
    partition: PartitionIndex,
    offset: Offset,
) -> Result<Properties, ClientError> {
    let Some(client_id) = client_id else {
        return Err(ClientError::InvalidOptions("a position is kept under a client_id".to_owned()));
    };
    let (partition, offset) = (partition.to_string(), offset.to_string());
    given([
        ("topic", Some(topic)),
        ("partition", Some(&partition)),
        ("client_id", Some(client_id)),
        ("offset", Some(&offset)),
    ])
}

/// The offsets that a LIST_OFFSETS was answered with.
pub(super) fn offsets(reply: &Frame) -> Result<PartitionOffsets, ClientError> {
    Ok(PartitionOffsets {
        log_start: error::offset(reply, "log_start")?,
        high_watermark: error::offset(reply, "high_watermark")?,
        log_end: error::offset(reply, "log_end")?,
        committed: maybe(reply, "committed")?,
        at_time: maybe(reply, "offset")?,
    })
}

/// An offset that may be missing or -1.
fn maybe(reply: &Frame, name: &str) -> Result<Option<Offset>, ClientError> {
    if reply.properties.get(name).is_none() {
        return Ok(None);
    }
    Ok(Offset::from_i64(error::number(reply, name)?))
}
