//! What every record of a command looks like, but for its payload: partition, key, headers and the rest.

use bytes::Bytes;
use serde_json::Value;

use crate::cli::client::failure::Failure;
use crate::client::{NewRecord, ProducerRecord};
use crate::protocol::native::{AckLevel, CLIENT_ID_HEADER};
use crate::types::PartitionIndex;

/// Properties that a broker takes and makes nothing of: no headers.
const IGNORED: [&str; 4] = ["offset", "auto_ack", "created_at", "version"];

/// The pattern of a record. What the command line says and what its `--properties` say stand here together.
#[derive(Debug, Clone, Default)]
pub(super) struct Pattern {
    pub(super) ack: Option<AckLevel>,
    partition: Option<PartitionIndex>,
    key: Option<String>,
    id: Option<String>,
    client_id: Option<String>,
    headers: Vec<(String, String)>,
    /// Properties that steer a single message and that lines cannot have.
    steering: Vec<(String, String)>,
}

impl Pattern {
    /// What the options of the command line say.
    pub(super) fn new(
        partition: Option<u32>,
        key: Option<String>,
        id: Option<String>,
        ack: Option<AckLevel>,
        client_id: Option<&str>,
    ) -> Pattern {
        let client_id = client_id.map(str::to_owned);
        Pattern { ack, partition: partition.map(PartitionIndex), key, id, client_id, ..Pattern::default() }
    }

    /// Adds the properties of a JSON object: headers, unless the name is one of the protocol's own.
    pub(super) fn with_properties(mut self, json: &str) -> Result<Pattern, Failure> {
        for (name, value) in properties(json)? {
            self.add(name, value)?;
        }
        Ok(self)
    }

    fn add(&mut self, name: String, value: String) -> Result<(), Failure> {
        let is_twice = match name.as_str() {
            "topic" => true,
            "key" => self.key.is_some(),
            "partition" => self.partition.is_some(),
            "id" => self.id.is_some(),
            "client_id" => self.client_id.is_some(),
            "wiber.ack" => self.ack.is_some(),
            _ => false,
        };
        let wrong = |fault: &str| Err(Failure::Usage(format!("--properties: '{name}' {fault}")));
        if is_twice {
            return wrong("is given elsewhere on the command line");
        }
        match name.as_str() {
            "key" => self.key = Some(value),
            "id" => self.id = Some(value),
            "partition" => match value.parse() {
                Ok(index) => self.partition = Some(PartitionIndex(index)),
                Err(_) => return wrong("must be a partition's number"),
            },
            "wiber.ack" => match AckLevel::from_name(&value) {
                Some(level) => self.ack = Some(level),
                None => return wrong("is none, leader or durable"),
            },
            _ if name == "client_id" || name.starts_with("wiber.") => self.steering.push((name, value)),
            _ if IGNORED.contains(&name.as_str()) => {}
            _ => self.headers.push((name, value)),
        }
        Ok(())
    }

    /// Whether lines can have this pattern.
    pub(super) fn check_for_lines(&self) -> Result<(), Failure> {
        if self.id.is_some() {
            let text = "an id names one message: lines are kept from being stored twice without one";
            return Err(Failure::Usage(text.to_owned()));
        }
        match self.steering.first() {
            Some((name, _)) => Err(Failure::Usage(format!("--properties: '{name}' is for single messages, not lines"))),
            None => Ok(()),
        }
    }

    /// A single message.
    pub(super) fn message(&self, body: Bytes) -> NewRecord {
        let mut record = NewRecord::new(body);
        if let Some(partition) = self.partition {
            record = record.partition(partition);
        }
        if let Some(key) = &self.key {
            record = record.key(key);
        }
        if let Some(id) = &self.id {
            record = record.property("id", id);
        }
        if let Some(ack) = self.ack {
            record = record.ack(ack);
        }
        let rest = self.headers.iter().chain(&self.steering);
        rest.fold(record, |record, (name, value)| record.property(name, value))
    }

    /// A record of a batch, with a key of its own where it has one. It has the headers that a broker would give it as a
    /// single message.
    pub(super) fn record(&self, key: Option<Bytes>, value: Bytes) -> ProducerRecord {
        let mut record = ProducerRecord::new(value);
        if let Some(partition) = self.partition {
            record = record.partition(partition);
        }
        if let Some(key) = key.or_else(|| self.key.clone().map(Bytes::from)) {
            record = record.key(key);
        }
        for (name, value) in &self.headers {
            record = record.header(name.clone(), value.clone());
        }
        match &self.client_id {
            Some(client_id) => record.header(CLIENT_ID_HEADER, client_id.clone()),
            None => record,
        }
    }

    /// A single message with a key of its own. Such a key must be text.
    pub(super) fn keyed_message(&self, key: Option<Bytes>, body: Bytes) -> Result<NewRecord, String> {
        let record = self.message(body);
        let Some(key) = key else { return Ok(record) };
        match std::str::from_utf8(&key) {
            Ok(key) => Ok(record.key(key)),
            Err(_) => Err("without acknowledgement a key must be UTF-8".to_owned()),
        }
    }
}

/// The properties of a JSON object: text as it is, anything else as JSON writes it.
fn properties(json: &str) -> Result<Vec<(String, String)>, Failure> {
    let object: serde_json::Map<String, Value> = serde_json::from_str(json)
        .map_err(|e| Failure::Usage(format!("--properties must be a JSON object such as '{{\"a\": \"b\"}}': {e}")))?;
    let text = |value: Value| match value.as_str() {
        Some(text) => text.to_owned(),
        None => value.to_string(),
    };
    Ok(object.into_iter().map(|(name, value)| (name, text(value))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(json: &str) -> Result<Pattern, Failure> {
        Pattern::new(None, Some("k".to_owned()), None, None, Some("me")).with_properties(json)
    }

    #[test]
    fn properties_of_json() {
        let pairs = properties(r#"{"a": "x", "b": 1, "c": true, "d": {"e": null}}"#).expect("valid");
        let shown: Vec<String> = pairs.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(shown, ["a=x", "b=1", "c=true", r#"d={"e":null}"#]);
        for bad in ["", "[]", "1", "{", "null"] {
            let failure = properties(bad).expect_err(bad);
            assert_eq!(failure.exit_code(), crate::cli::client::failure::USAGE);
        }
    }

    #[test]
    fn properties_that_steer() {
        let found = pattern(r#"{"partition": 3, "wiber.ack": "leader", "id": "7", "version": "1.0", "a": "b"}"#);
        let found = found.expect("valid");
        assert_eq!((found.partition, found.ack), (Some(PartitionIndex(3)), Some(AckLevel::Leader)));
        assert_eq!((found.id.as_deref(), found.headers.len()), (Some("7"), 1));
        assert!(found.check_for_lines().is_err(), "an id for many lines");
        assert!(pattern(r#"{"wiber.ttl": 5}"#).expect("valid").check_for_lines().is_err());
        assert!(pattern(r#"{"a": 5}"#).expect("valid").check_for_lines().is_ok());
        for bad in [
            r#"{"key": "x"}"#,
            r#"{"topic": "x"}"#,
            r#"{"client_id": "x"}"#,
            r#"{"partition": "x"}"#,
            r#"{"wiber.ack": "x"}"#,
        ] {
            let failure = pattern(bad).expect_err(bad);
            assert!(matches!(failure, Failure::Usage(_)), "{failure}");
        }
    }

    #[test]
    fn a_line_has_the_headers_a_message_would_have() {
        let expected = ProducerRecord::new("v").key("own").header("a", "b").header("wiber.client_id", "me");
        let record = pattern(r#"{"a": "b"}"#).expect("valid").record(Some(Bytes::from("own")), Bytes::from("v"));
        assert_eq!(record, expected);
    }
}
