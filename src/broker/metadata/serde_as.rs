//! How the shared newtypes stand in JSON: names as text, times as milliseconds.

/// A topic's name, checked when read.
pub(in crate::broker) mod topic_name {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use crate::types::TopicName;

    pub(in crate::broker) fn serialize<S: Serializer>(name: &TopicName, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(name.as_str())
    }

    pub(in crate::broker) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TopicName, D::Error> {
        let name = String::deserialize(deserializer)?;
        TopicName::new(&name).map_err(de::Error::custom)
    }
}

/// A time in milliseconds.
pub(super) mod timestamp_ms {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::types::Timestamp;

    pub(in crate::broker::metadata) fn serialize<S: Serializer>(
        timestamp: &Timestamp,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(timestamp.millis())
    }

    pub(in crate::broker::metadata) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Timestamp, D::Error> {
        i64::deserialize(deserializer).map(Timestamp::from_millis)
    }
}
