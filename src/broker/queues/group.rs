//! Whose turn it is: the state machine of one group and topic.

use std::collections::{BTreeMap, BTreeSet};

use crate::types::{Offset, PartitionIndex};

/// A member of a group, unlike all it had before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

/// A record by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueuedRecord {
    /// Its partition.
    pub partition: PartitionIndex,
    /// Its offset there.
    pub offset: Offset,
}

impl QueuedRecord {
    /// The record of this partition and offset.
    #[must_use]
    pub fn new(partition: PartitionIndex, offset: Offset) -> QueuedRecord {
        QueuedRecord { partition, offset }
    }
}

/// One group's way through one topic.
///
/// ```text
///  unread ──give──► with a member ──► sent
///                        │ the member goes first
///                        └──take_back──► returned ──give──► with another member
/// ```
///
/// 1. A record is with one member at most.
/// 2. Turns are strict among those that have room: 1, 2, 3, 1 … in the order of joining. The turn passes over a member
///    without room, which does not get it later.
/// 3. What was returned goes before what is unread, oldest first within its partition.
#[derive(Debug, Default)]
pub struct QueueGroup {
    /// In order of joining.
    members: Vec<Member>,
    /// Whose turn it is, as an index; 0 where there is nobody.
    turn: usize,
    joined: u64,
    /// The next record to be given for the first time, in each partition.
    next: BTreeMap<PartitionIndex, Offset>,
    returned: BTreeSet<QueuedRecord>,
}

#[derive(Debug)]
struct Member {
    id: MemberId,
    /// Bytes it can be given now.
    room: usize,
}

impl QueueGroup {
    /// A group without members that stands at these positions.
    #[must_use]
    pub fn new(positions: impl IntoIterator<Item = (PartitionIndex, Offset)>) -> QueueGroup {
        QueueGroup { next: positions.into_iter().collect(), ..QueueGroup::default() }
    }

    /// Takes in a member, as the last in order. It has no room before it is said how much.
    pub fn join(&mut self) -> MemberId {
        self.joined += 1;
        let id = MemberId(self.joined);
        self.members.push(Member { id, room: 0 });
        id
    }

    /// Lets a member go; records that it was given and that were not sent come again.
    pub fn leave(&mut self, id: MemberId, unsent: impl IntoIterator<Item = QueuedRecord>) {
        if let Some(index) = self.members.iter().position(|member| member.id == id) {
            self.members.remove(index);
            if index < self.turn {
                self.turn -= 1;
            }
            if self.turn >= self.members.len() {
                self.turn = 0;
            }
        }
        unsent.into_iter().for_each(|record| self.take_back(record));
    }

    /// The members, in order of joining.
    pub fn members(&self) -> impl Iterator<Item = MemberId> + '_ {
        self.members.iter().map(|member| member.id)
    }

    /// Whether there is nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Says how many bytes each member can be given now.
    pub fn measure(&mut self, room_of: impl Fn(MemberId) -> usize) {
        self.members.iter_mut().for_each(|member| member.room = room_of(member.id));
    }

    /// Whether anybody can be given a record.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.members.iter().any(|member| member.room > 0)
    }

    /// The member that gets a record of so many bytes, which fits wherever there is any room; `None` where nobody has any.
    pub fn give(&mut self, bytes: usize) -> Option<MemberId> {
        let count = self.members.len();
        let in_turn = (0..count).map(|step| (self.turn + step) % count);
        let index = in_turn.into_iter().find(|index| self.members[*index].room > 0)?;
        self.turn = (index + 1) % count;
        let member = &mut self.members[index];
        member.room = member.room.saturating_sub(bytes);
        Some(member.id)
    }

    /// Takes back a record that was given and not sent.
    pub fn take_back(&mut self, record: QueuedRecord) {
        debug_assert!(self.position(record.partition).is_none_or(|next| record.offset < next), "{record:?} was given");
        self.returned.insert(record);
    }

    /// The first of what was returned.
    #[must_use]
    pub fn first_returned(&self) -> Option<QueuedRecord> {
        self.returned.first().copied()
    }

    /// Whether a record was returned.
    #[must_use]
    pub fn is_returned(&self, record: QueuedRecord) -> bool {
        self.returned.contains(&record)
    }

    /// What was returned is given, or is there no more.
    pub fn remove_returned(&mut self, record: QueuedRecord) {
        self.returned.remove(&record);
    }

    /// The next record to be given for the first time.
    #[must_use]
    pub fn position(&self, partition: PartitionIndex) -> Option<Offset> {
        self.next.get(&partition).copied()
    }

    /// All before `next` is given, or will never be.
    pub fn advance(&mut self, partition: PartitionIndex, next: Offset) {
        let position = self.next.entry(partition).or_insert(next);
        *position = next.max(*position);
    }

    /// Forgets what was returned where nothing behind it was sent, and goes back to it: where each such partition stands
    /// then. Of what was returned between records that were sent nothing but this group knows.
    pub fn go_back(&mut self) -> Vec<(PartitionIndex, Offset)> {
        let mut moved = Vec::new();
        for (partition, next) in &mut self.next {
            let before = *next;
            while let Some(offset) = next.get().checked_sub(1).and_then(Offset::new)
                && self.returned.remove(&QueuedRecord { partition: *partition, offset })
            {
                *next = offset;
            }
            if *next < before {
                moved.push((*partition, *next));
            }
        }
        moved
    }
}
