//! Waiting for a record that was appended before: answered as its own append would have been, or said to be gone.

use super::*;
use crate::disk::faulty::{Fault, OpKind, Rule};
use std::io::ErrorKind;

impl Rig {
    fn wait_for(&self, ticket: &Ticket, ack: AckLevel, token: u64) -> Result<bool, AppendError> {
        self.partition.wait_for(ticket.base_offset, ticket.epoch, ack, self.waiter(token))
    }
}

#[test]
fn each_level_is_answered_when_it_is_reached_and_at_once_afterwards() {
    let rig = Rig::new(PartitionOptions { sync: SyncPolicy::Os, ..options() });
    rig.partition.append(produced(3, "first", None), AckLevel::None, None, at(0)).unwrap();
    let ticket = rig.append(0, AckLevel::None).unwrap();
    assert!(rig.wait_for(&ticket, AckLevel::Durable, 1).unwrap());
    assert!(rig.wait_for(&ticket, AckLevel::Leader, 2).unwrap());
    assert!(rig.wait_for(&ticket, AckLevel::None, 3).unwrap());
    assert!(rig.events.take().is_empty());
    rig.run(Work::Write);
    assert_eq!(rig.events.take(), ["2 at 3"]);
    assert!(rig.wait_for(&ticket, AckLevel::Leader, 4).unwrap());
    assert_eq!(rig.events.take(), ["4 at 3"]);
    rig.run(Work::Sync);
    assert_eq!(rig.events.take(), ["1 at 3"], "it was synced for the waiter alone");
    assert!(rig.wait_for(&ticket, AckLevel::Durable, 5).unwrap());
    assert_eq!(rig.events.take(), ["5 at 3"]);
}

#[test]
fn a_record_that_found_no_room_is_gone_also_when_another_has_its_offset() {
    let rig = Rig::new(options());
    rig.append(0, AckLevel::Durable).unwrap();
    rig.settle();
    let kept = rig.append(1, AckLevel::Durable).unwrap();
    rig.settle();
    rig.disk.inject(Rule::new(Fault::Fail(OpKind::Write, ErrorKind::StorageFull)).on(".log"));
    let lost = rig.append(2, AckLevel::Durable).unwrap();
    assert!(rig.wait_for(&lost, AckLevel::Durable, 3).unwrap(), "not yet known to be lost");
    rig.events.take();
    rig.settle();
    assert_eq!(rig.events.take(), ["2 full", "3 full"]);
    assert!(!rig.wait_for(&lost, AckLevel::Leader, 4).unwrap());
    rig.context.reserve.step(at(2_000)).unwrap();
    let other = rig.append(5, AckLevel::Durable).unwrap();
    assert_eq!(other.base_offset, lost.base_offset);
    assert!(!rig.wait_for(&lost, AckLevel::Leader, 6).unwrap(), "the other is not written");
    rig.settle();
    assert!(!rig.wait_for(&lost, AckLevel::Leader, 7).unwrap(), "the other is durable");
    assert!(rig.wait_for(&other, AckLevel::Durable, 8).unwrap());
    assert!(rig.wait_for(&kept, AckLevel::Durable, 9).unwrap(), "from before the failure");
    assert_eq!(rig.events.take(), ["5 at 2", "8 at 2", "9 at 1"]);
}

#[test]
fn a_record_that_was_taken_back_is_gone() {
    let rig = Rig::new(options());
    rig.append(0, AckLevel::Durable).unwrap();
    rig.settle();
    let lost = rig.append(1, AckLevel::Leader).unwrap();
    rig.run(Work::Write);
    rig.events.take();
    rig.partition.become_follower(epoch(2), Some("other:9999".into())).unwrap();
    let refused = rig.wait_for(&lost, AckLevel::Leader, 2).unwrap_err();
    assert!(matches!(refused, AppendError::NotLeader { .. }), "{refused}");
    rig.partition.truncate_to(offset(1), at(0)).unwrap();
    rig.partition.become_leader(epoch(3)).unwrap();
    assert!(!rig.wait_for(&lost, AckLevel::Leader, 3).unwrap());
    assert_eq!(rig.append(4, AckLevel::Durable).unwrap().base_offset, lost.base_offset);
    assert!(!rig.wait_for(&lost, AckLevel::Leader, 5).unwrap());
    rig.settle();
    assert!(!rig.wait_for(&lost, AckLevel::Leader, 6).unwrap());
    assert_eq!(rig.events.take(), ["4 at 1"]);
}

#[test]
fn after_a_failed_sync_only_what_is_durable_is_vouched_for() {
    let rig = Rig::new(options());
    let kept = rig.append(0, AckLevel::Durable).unwrap();
    rig.settle();
    let doubtful = rig.append(1, AckLevel::Leader).unwrap();
    rig.disk.inject(Rule::new(Fault::Fail(OpKind::Sync, ErrorKind::Other)).on(".log"));
    rig.settle();
    rig.events.take();
    assert!(rig.wait_for(&kept, AckLevel::Durable, 2).unwrap());
    let refused = rig.wait_for(&doubtful, AckLevel::Leader, 3).unwrap_err();
    assert!(matches!(refused, AppendError::StorageFailed(_)), "{refused}");
    assert_eq!(rig.events.take(), ["2 at 0"]);
}
