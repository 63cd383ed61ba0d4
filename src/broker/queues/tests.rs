//! Turns, step by step, and against a model: members that come, go and take nothing, in any order.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::types::{Offset, PartitionIndex};

fn record(partition: u32, offset: u64) -> QueuedRecord {
    QueuedRecord::new(PartitionIndex(partition), Offset::new(offset).unwrap())
}

/// Joins a member that has room.
fn join(group: &mut QueueGroup) -> MemberId {
    let id = group.join();
    group.measure(|_| 1_000);
    id
}

fn turns(group: &mut QueueGroup, count: usize) -> Vec<MemberId> {
    (0..count).map_while(|_| group.give(1)).collect()
}

#[test]
fn members_take_turns_in_order_of_joining() {
    let mut group = QueueGroup::new([]);
    assert_eq!(group.give(1), None);
    let (a, b, c) = (join(&mut group), join(&mut group), join(&mut group));
    assert_eq!(turns(&mut group, 7), [a, b, c, a, b, c, a]);
    // It is b's turn, and stays so when others come and go.
    let d = join(&mut group);
    group.leave(a, []);
    assert_eq!(turns(&mut group, 4), [b, c, d, b]);
    group.leave(c, []);
    assert_eq!(turns(&mut group, 3), [d, b, d]);
    group.leave(d, []);
    group.leave(b, []);
    assert!(group.is_empty() && group.give(1).is_none());
    let e = join(&mut group);
    assert!(![a, b, c, d].contains(&e));
    assert_eq!(turns(&mut group, 2), [e, e]);
}

#[test]
fn a_member_without_room_is_passed_over() {
    let mut group = QueueGroup::new([]);
    let (a, b, c) = (join(&mut group), join(&mut group), join(&mut group));
    group.measure(|member| if member == b { 0 } else { 3 });
    assert_eq!(turns(&mut group, 10), [a, c, a, c, a, c], "until nobody has any");
    assert!(!group.has_room());
    group.measure(|member| usize::from(member == b));
    // However large, a record fits where there is any room.
    assert_eq!((group.give(1_000), group.give(1)), (Some(b), None));
}

#[test]
fn what_was_not_sent_goes_to_the_next_before_what_is_unread() {
    let mut group = QueueGroup::new([(PartitionIndex(0), Offset::ZERO), (PartitionIndex(1), Offset::ZERO)]);
    let (a, b) = (join(&mut group), join(&mut group));
    group.advance(PartitionIndex(0), Offset::new(6).unwrap());
    group.advance(PartitionIndex(1), Offset::new(2).unwrap());
    group.leave(a, [record(1, 0), record(0, 4), record(0, 2)]);
    for expected in [record(0, 2), record(0, 4), record(1, 0)] {
        assert_eq!((group.first_returned(), group.is_returned(expected)), (Some(expected), true));
        group.remove_returned(expected);
        assert_eq!(group.give(1), Some(b));
    }
    assert_eq!(group.first_returned(), None);
}

/// Nobody is left: a position can say that all behind it is unread, and nothing else.
#[test]
fn a_group_goes_back_over_what_nothing_behind_was_sent() {
    let mut group = QueueGroup::new([(PartitionIndex(0), Offset::ZERO), (PartitionIndex(1), Offset::ZERO)]);
    let a = join(&mut group);
    group.advance(PartitionIndex(0), Offset::new(9).unwrap());
    group.advance(PartitionIndex(1), Offset::new(2).unwrap());
    group.leave(a, [record(0, 3), record(0, 8), record(0, 7), record(1, 1), record(1, 0)]);
    let moved = group.go_back();
    assert_eq!(moved, [(PartitionIndex(0), Offset::new(7).unwrap()), (PartitionIndex(1), Offset::ZERO)]);
    assert_eq!(group.position(PartitionIndex(0)), Offset::new(7));
    assert_eq!(group.first_returned(), Some(record(0, 3)), "4 to 6 were sent");
    assert!(group.go_back().is_empty());
}

/// What happens to a group.
#[derive(Debug, Clone)]
enum Event {
    Join,
    /// A member takes so much from now on.
    Take(prop::sample::Index, usize),
    /// So many records are read and given.
    Give(u64),
    /// Of what a member holds so much is sent.
    Send(prop::sample::Index, usize),
    /// A member goes: what was not sent is returned.
    Leave(prop::sample::Index),
    /// Where nobody is left the group goes back.
    GoBack,
}

fn event() -> impl Strategy<Value = Event> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        2 => Just(Event::Join),
        2 => (index(), 0_usize..6).prop_map(|(member, room)| Event::Take(member, room)),
        6 => (1_u64..12).prop_map(Event::Give),
        3 => (index(), 0_usize..8).prop_map(|(member, count)| Event::Send(member, count)),
        1 => index().prop_map(Event::Leave),
        1 => Just(Event::GoBack),
    ]
}

/// The group as a list: who is in it, what each takes and holds, what was sent.
#[derive(Debug, Default)]
struct Model {
    members: Vec<(MemberId, usize, Vec<u64>)>,
    /// Who had the last turn, and who comes then.
    next_turn: usize,
    unread: u64,
    returned: BTreeSet<u64>,
    sent: BTreeMap<u64, MemberId>,
}

impl Model {
    /// Who is to get the next record: the first from whose turn it is on that takes any.
    fn give(&mut self, record: u64) -> Option<MemberId> {
        let count = self.members.len();
        let index = (0..count).map(|step| (self.next_turn + step) % count).find(|index| self.members[*index].1 > 0)?;
        self.next_turn = (index + 1) % count;
        let (id, room, held) = &mut self.members[index];
        *room -= 1;
        held.push(record);
        Some(*id)
    }
}

/// Gives one record, what was returned first; false where nobody takes any.
fn give_one(group: &mut QueueGroup, model: &mut Model) -> bool {
    group.measure(|member| model.members.iter().find(|(id, ..)| *id == member).map_or(0, |(_, room, _)| *room));
    let returned = group.first_returned();
    assert_eq!(returned, model.returned.first().map(|offset| record(0, *offset)));
    let offset = returned.map_or(model.unread, |record| record.offset.get());
    let (given, expected) = (group.give(1), model.give(offset));
    assert_eq!(given, expected, "whose turn it is");
    if given.is_none() {
        return false;
    }
    match returned {
        Some(record) => group.remove_returned(record),
        None => group.advance(PartitionIndex(0), Offset::new(offset + 1).unwrap()),
    }
    if !model.returned.remove(&offset) {
        model.unread += 1;
    }
    true
}

fn happen(group: &mut QueueGroup, model: &mut Model, event: &Event) {
    let some = |index: &prop::sample::Index, model: &Model| {
        (!model.members.is_empty()).then(|| index.index(model.members.len()))
    };
    match event {
        Event::Join => model.members.push((group.join(), 0, Vec::new())),
        Event::Take(index, room) => {
            if let Some(index) = some(index, model) {
                model.members[index].1 = *room;
            }
        }
        Event::Give(count) => {
            for _ in 0..*count {
                if !give_one(group, model) {
                    break;
                }
            }
        }
        Event::Send(index, count) => {
            if let Some(index) = some(index, model) {
                let (id, _, held) = &mut model.members[index];
                let count = (*count).min(held.len());
                for offset in held.drain(..count) {
                    assert_eq!(model.sent.insert(offset, *id), None, "{offset} was sent twice");
                }
            }
        }
        Event::Leave(index) => {
            if let Some(index) = some(index, model) {
                let (id, _, held) = model.members.remove(index);
                if index < model.next_turn {
                    model.next_turn -= 1;
                }
                if model.next_turn >= model.members.len() {
                    model.next_turn = 0;
                }
                group.leave(id, held.iter().map(|offset| record(0, *offset)));
                model.returned.extend(held);
            }
        }
        Event::GoBack if model.members.is_empty() => {
            group.go_back();
            while model.unread > 0 && model.returned.remove(&(model.unread - 1)) {
                model.unread -= 1;
            }
            assert_eq!(group.position(PartitionIndex(0)).unwrap().get(), model.unread);
        }
        Event::GoBack => {}
    }
}

proptest! {
    /// Each record is sent at most once; with everybody who holds one sending it, and one who takes all, exactly once.
    #[test]
    fn a_group_does_as_its_model(events in prop::collection::vec(event(), 0..120)) {
        let mut group = QueueGroup::new([(PartitionIndex(0), Offset::ZERO)]);
        let mut model = Model::default();
        events.iter().for_each(|event| happen(&mut group, &mut model, event));
        prop_assert_eq!(group.members().collect::<Vec<_>>(), model.members.iter().map(|(id, ..)| *id).collect::<Vec<_>>());
        model.members.push((group.join(), usize::MAX, Vec::new()));
        while !model.returned.is_empty() {
            prop_assert!(give_one(&mut group, &mut model));
        }
        for index in 0..model.members.len() {
            let (id, _, held) = &mut model.members[index];
            for offset in held.drain(..) {
                prop_assert_eq!(model.sent.insert(offset, *id), None);
            }
        }
        prop_assert_eq!(model.sent.len() as u64, model.unread, "every record that was read");
    }
}
