//! Control batches: the broker's own markers in a log. They take one offset, and consumers skip them.
//!
//! A control batch has one record. Its key says what it is, its value is the kind's own business:
//!
//! ```text
//! key    0  2  version   0
//!        2  2  type      0 abort, 1 commit, 2 leader change (Kafka's); 1000 no-op (ours)
//! ```

use byteorder::{BigEndian, ByteOrder};

use super::admission::ProducedBatch;
use super::builder::BatchBuilder;
use crate::types::Timestamp;

const KEY_BYTES: usize = 4;
const KEY_VERSION: i16 = 0;
/// Kafka's LeaderChangeMessage, version 0, in its flexible encoding: version 0, leader -1, no voters, no granting
/// voters, no tagged fields.
const LEADER_CHANGE_VALUE: [u8; 9] = [0, 0, 0xff, 0xff, 0xff, 0xff, 1, 1, 0];

/// What a control batch marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ControlKind {
    /// A transaction was aborted.
    Abort,
    /// A transaction was committed.
    Commit,
    /// A leader took over: the first batch of its epoch.
    LeaderChange,
    /// Nothing: an offset used up.
    NoOp,
}

impl ControlKind {
    /// The type number in the record's key.
    #[must_use]
    pub const fn number(self) -> i16 {
        match self {
            ControlKind::Abort => 0,
            ControlKind::Commit => 1,
            ControlKind::LeaderChange => 2,
            ControlKind::NoOp => 1000,
        }
    }

    /// The kind that the key of a control record names; `None` where it is no key or a kind we do not know, which
    /// readers skip all the same. The version is not looked at: later ones may only add fields.
    #[must_use]
    pub fn from_key(key: &[u8]) -> Option<ControlKind> {
        let number = BigEndian::read_i16(key.get(2..KEY_BYTES)?);
        [Self::Abort, Self::Commit, Self::LeaderChange, Self::NoOp].into_iter().find(|kind| kind.number() == number)
    }
}

/// A control batch of that kind, to be numbered like any other.
#[must_use]
pub fn control_batch(kind: ControlKind, timestamp: Timestamp) -> ProducedBatch {
    let mut key = [0; KEY_BYTES];
    BigEndian::write_i16(&mut key, KEY_VERSION);
    BigEndian::write_i16(&mut key[2..], kind.number());
    let value = match kind {
        ControlKind::LeaderChange => Some(LEADER_CHANGE_VALUE.as_slice()),
        ControlKind::Abort | ControlKind::Commit | ControlKind::NoOp => None,
    };
    let mut builder = BatchBuilder::control();
    builder.append_small(timestamp, &key, value);
    builder.finish_uncompressed()
}
