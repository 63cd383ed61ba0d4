//! Commands as bytes: one JSON object each, `type` and `version` first, so that `__meta` can be read by eye.
//!
//! ```json
//! {"type":"create_topic","version":1,"topic":"events","topic_id":"…","partitions":2,"created_at_ms":0,"settings":{}}
//! {"type":"delete_topic","version":1,"topic":"events","topic_id":"…"}
//! {"type":"alter_topic","version":1,"topic":"events","topic_id":"…","settings":{"retention_ms":3600000}}
//! {"type":"alter_topic","version":1,"topic":"events","topic_id":"…","settings":{},"partitions":4}
//! {"type":"allocate_producer_ids","version":1,"next":1000}
//! ```
//!
//! A broker that does not know a type, a version or a field must not guess at it, for its state would part from that of
//! the others; so each is an error.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::command::Command;

/// The version of every command this broker writes, and the newest it reads.
const VERSION: u32 = 1;

const CREATE_TOPIC: &str = "create_topic";
const DELETE_TOPIC: &str = "delete_topic";
const ALTER_TOPIC: &str = "alter_topic";
const ALLOCATE_PRODUCER_IDS: &str = "allocate_producer_ids";

/// Why bytes are no command.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not the JSON of a command.
    #[error("malformed metadata command: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A command this broker does not know.
    #[error("metadata command of unknown type {found:?}")]
    UnknownType {
        /// Its type.
        found: String,
    },
    /// A command as a newer broker writes it.
    #[error("metadata command {command_type:?} of version {found}: this broker knows up to {known}")]
    NewerVersion {
        /// Its type.
        command_type: String,
        /// Its version.
        found: u32,
        /// The newest version known here.
        known: u32,
    },
}

#[derive(Serialize)]
struct Tagged<'a, T> {
    r#type: &'static str,
    version: u32,
    #[serde(flatten)]
    body: &'a T,
}

#[derive(Deserialize)]
struct Untagged {
    r#type: String,
    version: u32,
    #[serde(flatten)]
    body: Map<String, Value>,
}

impl Command {
    /// The command as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Command::CreateTopic(body) => encode(CREATE_TOPIC, body),
            Command::DeleteTopic(body) => encode(DELETE_TOPIC, body),
            Command::AlterTopic(body) => encode(ALTER_TOPIC, body),
            Command::AllocateProducerIds(body) => encode(ALLOCATE_PRODUCER_IDS, body),
        }
    }

    /// The command these bytes are.
    ///
    /// # Errors
    /// [`DecodeError`] where they are none, or one of a newer broker.
    pub fn decode(bytes: &[u8]) -> Result<Command, DecodeError> {
        let untagged: Untagged = serde_json::from_slice(bytes)?;
        match untagged.r#type.as_str() {
            CREATE_TOPIC => untagged.body().map(Command::CreateTopic),
            DELETE_TOPIC => untagged.body().map(Command::DeleteTopic),
            ALTER_TOPIC => untagged.body().map(Command::AlterTopic),
            ALLOCATE_PRODUCER_IDS => untagged.body().map(Command::AllocateProducerIds),
            _ => Err(DecodeError::UnknownType { found: untagged.r#type }),
        }
    }
}

fn encode<T: Serialize>(r#type: &'static str, body: &T) -> Vec<u8> {
    let tagged = Tagged { r#type, version: VERSION, body };
    serde_json::to_vec(&tagged).expect("structs of plain fields always serialize")
}

impl Untagged {
    fn body<T: DeserializeOwned>(self) -> Result<T, DecodeError> {
        if self.version > VERSION {
            return Err(DecodeError::NewerVersion { command_type: self.r#type, found: self.version, known: VERSION });
        }
        Ok(serde_json::from_value(Value::Object(self.body))?)
    }
}
