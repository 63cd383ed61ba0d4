//! A member through the changes of its group.

use super::*;
use crate::types::{PartitionIndex, TopicName};

fn partition(index: u32) -> TopicPartition {
    TopicPartition { topic: TopicName::new("t").expect("a name"), partition: PartitionIndex(index) }
}

fn assignment(generation: u64, partitions: &[(u32, u64)]) -> Assignment {
    let partitions = partitions.iter().map(|(index, since)| (partition(*index), *since)).collect();
    Assignment { generation, partitions }
}

fn take(index: u32, since: u64) -> Change {
    Change::Take(partition(index), since)
}

fn release(index: u32) -> Change {
    Change::Release(partition(index))
}

fn drop_it(index: u32) -> Change {
    Change::Drop(partition(index))
}

fn member(generation: u64, partitions: &[(u32, u64)]) -> Membership {
    let mut member = Membership::default();
    assert!(member.add_topic("t") && !member.add_topic("t") && member.has_to_join());
    member.joining();
    assert!(!member.has_to_join());
    member.joined("m", &assignment(generation, partitions));
    member.telling();
    member
}

fn held(member: &Membership) -> Vec<u32> {
    member.held().map(|(partition, _)| partition.partition.0).collect()
}

#[test]
fn what_goes_is_released_before_others_come() {
    let mut member = member(3, &[(0, 2), (1, 3)]);
    assert_eq!(member.assigned(&assignment(4, &[(0, 2), (2, 4)])), [release(1), take(2, 4)]);
    assert_eq!(held(&member), [0, 1, 2], "still held until finished");
    assert!(member.has_to_tell());
    assert_eq!((member.reads(&partition(0)), member.reads(&partition(1))), (Some(2), None));
    member.telling();
    assert_eq!(member.assigned(&assignment(4, &[(0, 2), (2, 4)])), [], "asked once");
    assert!(!member.has_to_tell());
    member.released(&partition(1));
    assert!(member.has_to_tell());
    member.released(&partition(0));
    assert_eq!(held(&member), [0, 2], "what is read is not released");
}

#[test]
fn those_who_keep_hear_nothing() {
    let mut member = member(3, &[(0, 2)]);
    assert_eq!(member.assigned(&assignment(5, &[(0, 2)])), []);
    assert!(!member.has_to_tell());
}

#[test]
fn what_is_old_changes_nothing() {
    let mut member = member(3, &[(0, 2)]);
    assert_eq!(member.assigned(&assignment(2, &[(1, 1)])), []);
    assert_eq!(Membership::default().assigned(&assignment(9, &[(1, 1)])), [], "no member yet");
}

#[test]
fn one_that_was_anothers_in_between_begins_anew() {
    let mut member = member(3, &[(0, 2)]);
    assert_eq!(member.assigned(&assignment(6, &[(0, 6)])), [drop_it(0), take(0, 6)]);
    assert_eq!(member.reads(&partition(0)), Some(6));
    assert_eq!(member.assigned(&assignment(7, &[])), [release(0)]);
    assert_eq!(member.assigned(&assignment(8, &[(0, 6)])), [drop_it(0), take(0, 6)], "never given away");
    assert_eq!(member.reads(&partition(0)), Some(6));
}

#[test]
fn a_lost_connection_keeps_what_is_held() {
    let mut member = member(3, &[(0, 2), (1, 3)]);
    member.disconnected();
    assert!(member.has_to_join() && !member.has_to_tell());
    assert_eq!(held(&member), [0, 1]);
    member.joining();
    assert_eq!(member.joined("m", &assignment(3, &[(0, 2), (1, 3)])), []);
    assert!(member.has_to_tell());
}

#[test]
fn a_stranger_begins_anew() {
    let mut member = member(3, &[(0, 2), (1, 3)]);
    assert_eq!(member.fenced(&partition(1), 2), [], "an older ownership");
    assert_eq!(member.fenced(&partition(1), 3), [drop_it(1)]);
    assert_eq!(member.expelled(), [drop_it(0)]);
    assert!(member.has_to_join() && member.member().is_none() && held(&member).is_empty());
    member.joining();
    assert_eq!(member.joined("n", &assignment(1, &[(0, 1)])), [take(0, 1)], "a group that began anew");
    member.joining();
    assert_eq!(member.joined("o", &assignment(2, &[(0, 2)])), [drop_it(0), take(0, 2)]);
    assert!(member.remove_topic("t") && member.has_to_join());
}
