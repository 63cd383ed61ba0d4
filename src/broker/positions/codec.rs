//! Positions as records of `__offsets`: JSON keys and values, so that the log can be read by eye.
//!
//! ```json
//! {"client_id":"billing","topic_id":"…","partition":0}
//! {"version":1,"topic":"events","offset":42,"epoch":3,"time_ms":1700000000000}
//! ```
//!
//! A group has a record of its own as well, `{"group":"g"}` with `{"version":1,"kind":"partitioned","generations":10000,
//! "session_ms":10000}`: see [`GroupRecord`].
//!
//! A group's position has `group` in place of `client_id`; `resets` stands in the value where the position was set anew,
//! `ahead` where it was beyond the end of the log when it was said, `note` and `leader_epoch` where the client said them with it. The last record of a key counts; one without a value drops the position.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::key::{Place, Position, PositionNote, PositionOwner};
use crate::broker::groups::GroupRecord;
use crate::broker::metadata::topic_name;
use crate::record::Record;
use crate::types::{Epoch, Offset, PartitionIndex, Timestamp, TopicId, TopicName};

/// The version of every value this broker writes, and the newest it reads.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Key {
    #[serde(flatten)]
    owner: PositionOwner,
    topic_id: TopicId,
    partition: u32,
}

/// The key of a group's own record.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupKey<S> {
    group: S,
}

#[derive(Serialize, Deserialize)]
struct GroupValue {
    version: u32,
    #[serde(flatten)]
    record: GroupRecord,
}

/// What a record of the log says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// A position; none drops it.
    Position(Place, Option<Position>),
    /// A group's own record; none forgets the group.
    Group(Arc<str>, Option<GroupRecord>),
}

/// Whose a position is, as a member of JSON objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Owner {
    #[serde(rename = "client_id")]
    Client(String),
    #[serde(rename = "group")]
    Group(String),
}

impl From<PositionOwner> for Owner {
    fn from(owner: PositionOwner) -> Owner {
        match owner {
            PositionOwner::Client(id) => Owner::Client(id.to_string()),
            PositionOwner::Group(id) => Owner::Group(id.to_string()),
        }
    }
}

impl From<Owner> for PositionOwner {
    fn from(owner: Owner) -> PositionOwner {
        match owner {
            Owner::Client(id) => PositionOwner::Client(id.into()),
            Owner::Group(id) => PositionOwner::Group(id.into()),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Value {
    version: u32,
    #[serde(with = "topic_name")]
    topic: TopicName,
    offset: u64,
    epoch: i32,
    time_ms: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    resets: u32,
    #[serde(default, skip_serializing_if = "is_false")]
    ahead: bool,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    note: Box<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    leader_epoch: Option<i32>,
}

/// A position's note as members of JSON objects, and back.
pub(super) fn note_members(position: &Position) -> (Box<str>, Option<i32>) {
    let note = position.note.as_ref();
    note.map_or_else(Default::default, |note| (note.text.clone(), note.leader_epoch.map(Epoch::get)))
}

pub(super) fn read_note(text: Box<str>, leader_epoch: Option<i32>) -> Option<Arc<PositionNote>> {
    PositionNote { text, leader_epoch: leader_epoch.and_then(Epoch::new) }.said()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
pub(super) fn is_zero(resets: &u32) -> bool {
    *resets == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
pub(super) fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Why a record is no position.
#[derive(Debug, thiserror::Error)]
pub(super) enum DecodeError {
    #[error("malformed position: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("a position without a key")]
    NoKey,
    #[error("a position of version {found}: this broker knows up to {VERSION}")]
    NewerVersion { found: u32 },
    #[error("a position out of range")]
    OutOfRange,
}

pub(super) fn encode_key(place: &Place) -> Vec<u8> {
    let Place { topic_id, partition, owner } = place;
    let key = Key { owner: owner.clone(), topic_id: *topic_id, partition: partition.0 };
    serde_json::to_vec(&key).expect("structs of plain fields always serialize")
}

pub(super) fn encode_value(position: &Position) -> Vec<u8> {
    let (note, leader_epoch) = note_members(position);
    let value = Value {
        version: VERSION,
        topic: position.topic.clone(),
        offset: position.offset.get(),
        epoch: position.epoch.get(),
        time_ms: position.moved_at.millis(),
        resets: position.resets,
        ahead: position.is_ahead,
        note,
        leader_epoch,
    };
    serde_json::to_vec(&value).expect("structs of plain fields always serialize")
}

pub(super) fn encode_group_key(group: &str) -> Vec<u8> {
    serde_json::to_vec(&GroupKey { group }).expect("structs of plain fields always serialize")
}

pub(super) fn encode_group(record: &GroupRecord) -> Vec<u8> {
    let value = GroupValue { version: VERSION, record: *record };
    serde_json::to_vec(&value).expect("structs of plain fields always serialize")
}

/// What a record says.
pub(super) fn decode(record: &Record) -> Result<Entry, DecodeError> {
    let key = record.key.as_ref().ok_or(DecodeError::NoKey)?;
    if let Ok(GroupKey { group }) = serde_json::from_slice::<GroupKey<String>>(key) {
        let Some(value) = &record.value else { return Ok(Entry::Group(group.into(), None)) };
        let GroupValue { version, record } = serde_json::from_slice(value)?;
        check_version(version)?;
        return Ok(Entry::Group(group.into(), Some(record)));
    }
    let (place, position) = decode_position(key, record.value.as_deref())?;
    Ok(Entry::Position(place, position))
}

fn check_version(found: u32) -> Result<(), DecodeError> {
    if found > VERSION { Err(DecodeError::NewerVersion { found }) } else { Ok(()) }
}

fn decode_position(key: &[u8], value: Option<&[u8]>) -> Result<(Place, Option<Position>), DecodeError> {
    let key: Key = serde_json::from_slice(key)?;
    let partition = PartitionIndex(key.partition);
    let place = Place { topic_id: key.topic_id, partition, owner: key.owner };
    let Some(value) = value else { return Ok((place, None)) };
    let Value { version, topic, offset, epoch, time_ms, resets, ahead, note, leader_epoch } =
        serde_json::from_slice(value)?;
    check_version(version)?;
    let (offset, epoch) = Offset::new(offset).zip(Epoch::new(epoch)).ok_or(DecodeError::OutOfRange)?;
    let (moved_at, note) = (Timestamp::from_millis(time_ms), read_note(note, leader_epoch));
    Ok((place, Some(Position { topic, offset, epoch, moved_at, resets, is_ahead: ahead, note })))
}
