//! The steering properties: the closed list, and the `wiber.*` names that mean something to a request.

use std::ops::RangeInclusive;

use super::RequestError;
use crate::protocol::native::frame::Frame;
use crate::types::{Offset, PartitionIndex, TopicName};

/// The steering properties of a frame, each at most once.
#[derive(Default)]
pub(super) struct Steering<'a> {
    pub(super) topic: Option<&'a str>,
    pub(super) client_id: Option<&'a str>,
    pub(super) partition: Option<&'a str>,
    pub(super) key: Option<&'a str>,
    pub(super) id: Option<&'a str>,
    pub(super) offset: Option<&'a str>,
    pub(super) auto_ack: Option<&'a str>,
    pub(super) version: Option<&'a str>,
    pub(super) wiber_ack: Option<&'a str>,
    pub(super) wiber_start: Option<&'a str>,
    pub(super) wiber_stamp: Option<&'a str>,
    pub(super) wiber_stamps: Option<&'a str>,
    /// Whether there are properties that a published record keeps as its headers.
    pub(super) has_headers: bool,
}

impl<'a> Steering<'a> {
    /// Collects them; `own` are the `wiber.*` names that mean something to this request.
    pub(super) fn of(frame: &'a Frame, own: &[&str]) -> Result<Steering<'a>, RequestError> {
        let mut steering = Steering::default();
        for (name, value) in &frame.properties {
            match name.as_bytes() {
                b"topic" => set_once(&mut steering.topic, "topic", value)?,
                b"client_id" => {
                    set_once(&mut steering.client_id, "client_id", value)?;
                    steering.has_headers = true;
                }
                b"partition" => set_once(&mut steering.partition, "partition", value)?,
                b"key" => set_once(&mut steering.key, "key", value)?,
                b"id" => {
                    set_once(&mut steering.id, "id", value)?;
                    steering.has_headers = true;
                }
                b"offset" => set_once(&mut steering.offset, "offset", value)?,
                b"auto_ack" => set_once(&mut steering.auto_ack, "auto_ack", value)?,
                b"version" => steering.version = Some(value),
                [b'w', b'i', b'b', b'e', b'r', b'.', ..] => steering.set_own(name, value, own)?,
                _ => steering.has_headers = true,
            }
        }
        Ok(steering)
    }

    /// One of the `wiber.*` names.
    fn set_own(&mut self, name: &str, value: &'a str, own: &[&str]) -> Result<(), RequestError> {
        if !own.contains(&name) {
            return Err(RequestError::Unknown(shortened(name)));
        }
        match name {
            "wiber.ack" => set_once(&mut self.wiber_ack, "wiber.ack", value),
            "wiber.start" => set_once(&mut self.wiber_start, "wiber.start", value),
            "wiber.stamp" => set_once(&mut self.wiber_stamp, "wiber.stamp", value),
            "wiber.stamps" => set_once(&mut self.wiber_stamps, "wiber.stamps", value),
            // The request reads its own where it needs them.
            _ => Ok(()),
        }
    }

    pub(super) fn topic(&self) -> Result<&'a str, RequestError> {
        self.topic.ok_or(RequestError::Missing("topic"))
    }

    /// The offset a request cannot do without.
    pub(super) fn offset(&self) -> Result<Offset, RequestError> {
        let value = self.offset.ok_or(RequestError::Missing("offset"))?;
        let offset = number(value).and_then(Offset::new);
        offset.ok_or_else(|| RequestError::invalid("offset", value, "an offset, from 0"))
    }

    pub(super) fn topic_name(&self) -> Result<TopicName, RequestError> {
        Ok(TopicName::new(self.topic()?)?)
    }

    /// The partition; the first where none was given.
    pub(super) fn partition_or_first(&self) -> Result<PartitionIndex, RequestError> {
        Ok(self.partition()?.unwrap_or(PartitionIndex(0)))
    }

    pub(super) fn partition(&self) -> Result<Option<PartitionIndex>, RequestError> {
        let Some(value) = self.partition else {
            return Ok(None);
        };
        let index = number(value).and_then(|n| u32::try_from(n).ok());
        match index {
            Some(index) => Ok(Some(PartitionIndex(index))),
            None => Err(RequestError::invalid("partition", value, "a number from 0")),
        }
    }
}

pub(super) fn set_once<T>(slot: &mut Option<T>, name: &'static str, value: T) -> Result<(), RequestError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(RequestError::Twice(name)),
    }
}

/// A number of digits alone: no sign, no blanks.
pub(super) fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// Whether a property says yes.
pub(super) fn flag(name: &'static str, value: &str) -> Result<bool, RequestError> {
    match value {
        "1" => Ok(true),
        "0" => Ok(false),
        _ if value.eq_ignore_ascii_case("true") => Ok(true),
        _ if value.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(RequestError::invalid(name, value, "true or false")),
    }
}

/// A peer's text as an error shows it.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

/// A property of the request's own: its value, given at most once.
pub(super) fn own<'a>(frame: &'a Frame, name: &'static str) -> Result<Option<&'a str>, RequestError> {
    let mut found = None;
    for (other, value) in &frame.properties {
        if other == name {
            set_once(&mut found, name, value)?;
        }
    }
    Ok(found)
}

/// A property of the request's own that is a number in a range.
pub(super) fn own_number(
    frame: &Frame,
    name: &'static str,
    range: RangeInclusive<u64>,
    expected: &'static str,
) -> Result<Option<u64>, RequestError> {
    let Some(value) = own(frame, name)? else { return Ok(None) };
    let found = number(value).filter(|found| range.contains(found));
    found.map(Some).ok_or_else(|| RequestError::invalid(name, value, expected))
}
