//! Groups of a whole broker: what is on its way to the log when members come and go, and what a restart finds.

mod classic;
mod generations;
mod threads;

use std::collections::BTreeSet;

use super::*;
use crate::broker::groups::{
    Assigned, Assignment, Fence, Generation, GroupError, GroupKind, JoinGroup, Joined, MemberDetails, MemberId,
    MemberSink, TopicSelection,
};
use crate::disk::faulty::{OpKind, Rule};
use crate::types::TopicPartition;

const SESSION_MS: i64 = 10_000;

type Slip<T> = Arc<Mutex<Option<Result<T, BrokerError>>>>;

#[derive(Debug)]
struct Hears;

impl MemberSink for Hears {
    fn assigned(&self, _: &MemberId, _: &Assignment) -> bool {
        true
    }
}

fn slip<T>() -> (Slip<T>, impl FnOnce(Result<T, BrokerError>) + Send + 'static)
where
    T: Send + 'static,
{
    let slip: Slip<T> = Arc::default();
    let told = Arc::clone(&slip);
    (slip, move |result| assert!(told.lock().replace(result).is_none(), "answered twice"))
}

fn taken<T>(slip: &Slip<T>) -> Result<T, BrokerError> {
    slip.lock().take().expect("an answer")
}

fn details(topics: &[&str], session_timeout_ms: i64) -> MemberDetails {
    MemberDetails {
        client_id: "".into(),
        host: "".into(),
        topics: TopicSelection::new(topics.iter().copied()).unwrap(),
        session_timeout_ms,
        rebalance_timeout_ms: 30_000,
    }
}

fn joining(group: &str, member: &str, claims: Vec<Assigned>) -> JoinGroup {
    JoinGroup {
        group: group.into(),
        member: Some(MemberId::new(member)),
        fresh_id: Uuid::from_u128(9),
        details: details(&["events"], SESSION_MS),
        claims,
        sink: Arc::new(Hears),
    }
}

fn position_of(group: &str, index: u32) -> PositionKey {
    let owner = PositionOwner::Group(group.into());
    PositionKey { owner, topic: name("events"), partition: PartitionIndex(index) }
}

fn offset(value: u64) -> Offset {
    Offset::new(value).unwrap()
}

impl Rig {
    fn begin_join(&self, group: &str, member: &str) -> Slip<Joined> {
        let (joined, reply) = slip();
        self.broker.join_group(joining(group, member, Vec::new()), at(0), reply);
        joined
    }

    fn join(&self, group: &str, member: &str) -> Assignment {
        let joined = self.begin_join(group, member);
        self.work();
        taken(&joined).unwrap().assignment
    }

    fn leave(&self, group: &str, member: &str) {
        self.broker.leave_group(&group.into(), &MemberId::new(member), at(0)).unwrap();
    }

    fn begin_delete(&self, group: &str) -> Slip<()> {
        let (deleted, reply) = slip();
        self.broker.delete_group(&group.into(), at(0), reply);
        deleted
    }

    fn begin_member_commit(&self, group: &str, member: &str, generation: Generation, value: u64) -> Slip<Offset> {
        let (kept, reply) = slip();
        let fence = Fence { member: MemberId::new(member), generation };
        let commit = (position_of(group, 0), offset(value), AckLevel::Durable);
        self.broker.commit_as_member(fence, None, commit, at(0), reply);
        kept
    }

    fn begin_reset(&self, group: &str, value: u64) -> Slip<Offset> {
        let (kept, reply) = slip();
        self.broker.reset_position(position_of(group, 0), offset(value), at(0), reply);
        kept
    }

    fn work(&self) {
        while self.work_once() {}
    }

    fn work_once(&self) -> bool {
        let next = self.queue.0.lock().pop_front();
        next.map(|(partition, work)| partition.run(work, at(0))).is_some()
    }

    fn owned(&self, group: &str, member: &str) -> BTreeSet<u32> {
        let described = self.broker.describe_group(&group.into(), at(0)).unwrap();
        let members = described.members.iter().filter(|described| described.member.as_str() == member);
        members.flat_map(|member| member.assigned.iter().map(|assigned| assigned.partition)).collect()
    }
}

/// A broker with a topic of two partitions, ten records in the first.
fn started() -> Rig {
    let rig = Rig::new();
    rig.broker.start_positions(at(0)).unwrap();
    rig.settle();
    rig.create("events", 2, 10);
    (0..10).for_each(|_| rig.publish("events", 0, "x"));
    rig
}

/// A member at most once had its position on the way to the disk when it was removed. The next owner asked where to begin,
/// was told of the position before, and both sent the same records. Once entered, a commit is what the next one begins with.
#[test]
fn a_new_owner_begins_behind_what_the_last_one_has_on_its_way() {
    let rig = started();
    let first = rig.join("g", "a").generation;
    let kept = rig.begin_member_commit("g", "a", first, 4);
    rig.work();
    assert_eq!(taken(&kept), Ok(offset(4)));
    let under_way = rig.begin_member_commit("g", "a", first, 7);
    rig.leave("g", "a");
    let _joined = rig.begin_join("g", "b");
    assert_eq!(rig.broker.committed(&position_of("g", 0)), Some(offset(4)), "nobody was told of more");
    assert_eq!(rig.broker.next_owner_start(&position_of("g", 0)), Some(offset(7)));
    rig.work();
    assert_eq!(taken(&under_way), Ok(offset(7)));
    assert_eq!(rig.broker.next_owner_start(&position_of("g", 0)), Some(offset(7)));
}

/// What never reaches the disk is not where anybody begins for long.
#[test]
fn a_commit_that_fails_is_begun_behind_no_more() {
    let rig = started();
    let first = rig.join("g", "a").generation;
    rig.work();
    rig.disk.inject(Rule::failing(OpKind::Sync).on("__offsets"));
    let failing = rig.begin_member_commit("g", "a", first, 7);
    assert_eq!(rig.broker.next_owner_start(&position_of("g", 0)), Some(offset(7)));
    rig.work();
    assert!(matches!(taken(&failing), Err(BrokerError::StorageFailed(_))));
    assert_eq!(rig.broker.next_owner_start(&position_of("g", 0)), None);
}

/// Two resets at a time were numbered alike, and of those the one that reaches further won: an operator who set a position
/// to 8 and then to 2 was told it is at 8. And a member that joined before a reset was on the disk began where it was before.
#[test]
fn of_two_resets_at_a_time_the_second_counts() {
    let rig = started();
    let resets = [rig.begin_reset("g", 8), rig.begin_reset("g", 2)];
    assert_eq!(rig.broker.next_owner_start(&position_of("g", 0)), Some(offset(2)));
    rig.work();
    let _first = taken(&resets[0]).unwrap();
    assert_eq!(taken(&resets[1]), Ok(offset(2)));
    assert_eq!(rig.broker.committed(&position_of("g", 0)), Some(offset(2)));
    // What is committed lazily after a reset is further on than it, also while that is on its way.
    let third = rig.begin_reset("g", 1);
    rig.broker.commit(position_of("g", 0), offset(6), AckLevel::None, at(0), |_| {});
    rig.work();
    assert!(taken(&third).is_ok());
    assert_eq!(rig.broker.committed(&position_of("g", 0)), Some(offset(6)));
}

/// The record of a new group was on its way when the group was deleted, which found no members. Then the member was in, of a
/// group that the log had forgotten: nobody could describe it, a queue could take its name, and after a restart its generations
/// began anew.
#[test]
fn a_group_deleted_while_its_first_member_joins_begins_anew() {
    let rig = started();
    let joined = rig.begin_join("g", "a");
    let deleted = rig.begin_delete("g");
    rig.work();
    assert_eq!((taken(&deleted), taken(&joined).map(|joined| joined.member)), (Ok(()), Ok(MemberId::new("a"))));
    assert_eq!(rig.owned("g", "a"), [0, 1].into());
    let generation = rig.join("g", "b").generation;
    let again = open(&rig.disk.power_cut(1));
    assert!(again.join("g", "c").generation > generation);
}

/// A commit was on its way when its group was deleted: the position was back as soon as that landed, and stayed.
#[test]
fn a_deleted_group_keeps_nothing_that_was_on_its_way() {
    for (is_lazy, was_kept) in [(false, false), (false, true), (true, false), (true, true)] {
        let rig = started();
        if was_kept {
            let kept = rig.begin_reset("g", 1);
            rig.work();
            taken(&kept).unwrap();
        }
        let ack = if is_lazy { AckLevel::None } else { AckLevel::Durable };
        let (kept, reply) = slip();
        rig.broker.commit(position_of("g", 0), offset(4), ack, at(0), reply);
        rig.broker.request_durable();
        let (second, reply) = slip();
        rig.broker.commit(position_of("g", 0), offset(5), ack, at(0), reply);
        rig.join("h", "x");
        rig.broker.positions.step(at(1_000));
        let (waiting, reply) = slip();
        rig.broker.commit(position_of("g", 0), offset(6), ack, at(0), reply);
        rig.broker.positions.step(at(2_000));
        let deleted = rig.begin_delete("g");
        rig.work();
        assert_eq!(taken(&deleted), Ok(()), "{is_lazy} {was_kept}");
        [kept, second, waiting].iter().for_each(|reply| drop(taken(reply)));
        assert_eq!(rig.broker.committed(&position_of("g", 0)), None, "{is_lazy} {was_kept}");
        let again = open(&rig.disk.power_cut(1));
        assert_eq!(again.broker.committed(&position_of("g", 0)), None, "{is_lazy} {was_kept}, after a power cut");
    }
}

/// Two listeners asked at the same moment for one group, as two kinds: both were told that it is theirs.
#[test]
fn a_group_is_of_one_kind_also_while_it_is_being_written() {
    let rig = started();
    let (claimed, reply) = slip();
    rig.broker.claim_group(&"g".into(), GroupKind::Queue, at(0), reply);
    let joined = rig.begin_join("g", "a");
    rig.work();
    assert_eq!(taken(&claimed), Ok(()));
    assert!(matches!(taken(&joined), Err(BrokerError::Group(GroupError::Kind { .. }))));
}

/// A group whose record does not reach the disk has not begun; the same member may try again.
#[test]
fn a_join_on_a_full_or_broken_disk_is_refused() {
    let rig = started();
    rig.disk.inject(Rule::failing(OpKind::Sync).on("__offsets"));
    let joined = rig.begin_join("g", "a");
    rig.work();
    assert!(matches!(taken(&joined), Err(BrokerError::StorageFailed(_))));
    assert!(rig.broker.groups().is_empty());
    let again = open(&rig.disk.power_cut(1));
    assert_eq!(again.join("g", "a").assigned.len(), 2);
}

/// A member with a long session joined while the disk was full. That it is expected back for so long after a restart was
/// never written again.
#[test]
fn a_record_that_found_no_room_is_written_once_there_is_some() {
    let rig = started();
    rig.join("g", "a");
    // The space kept back for the broker's own logs goes first.
    rig.disk.set_capacity(Some(rig.disk.used_bytes()));
    let mut refused = false;
    for number in 0..200 {
        let kept = rig.begin_reset(&format!("{}{number}", "y".repeat(200)), 1);
        rig.work();
        refused |= taken(&kept).is_err();
    }
    assert!(refused, "the disk is full");
    let join = JoinGroup { details: details(&["events"], 300_000), ..joining("g", "b", Vec::new()) };
    let (joined, reply) = slip();
    rig.broker.join_group(join, at(0), reply);
    rig.work();
    taken(&joined).unwrap();
    rig.disk.set_capacity(None);
    for step in 1..8 {
        rig.broker.step(at(step * 250));
        rig.work();
    }
    let again = open(&rig.disk.power_cut(1));
    let (joined, reply) = slip();
    again.broker.join_group(joining("g", "c", Vec::new()), at(200_000), reply);
    again.work();
    assert_eq!(taken(&joined).unwrap().assignment.assigned, [], "those with long sessions are still expected");
}

/// The same with a broker: before the group has looked, a commit and a subscription of the old topic's owner are refused.
#[test]
fn a_topic_created_anew_takes_no_commit_of_what_was_read_of_the_old_one() {
    let rig = started();
    let old = rig.join("g", "a").generation;
    rig.delete("events");
    rig.create("events", 2, 20);
    (0..10).for_each(|_| rig.publish("events", 0, "x"));
    let kept = rig.begin_member_commit("g", "a", old, 7);
    rig.work();
    assert!(matches!(taken(&kept), Err(BrokerError::Group(GroupError::Fenced { .. }))));
    let events = TopicPartition { topic: name("events"), partition: PartitionIndex(0) };
    let fence = |generation| Fence { member: MemberId::new("a"), generation };
    let check = |generation| rig.broker.check_group_reader(&"g".into(), &fence(generation), &events, at(0));
    assert!(matches!(check(old), Err(BrokerError::Group(GroupError::Fenced { .. }))));
    let new = rig.broker.heartbeat_group(&"g".into(), &MemberId::new("a"), None, at(0)).unwrap().generation;
    assert_eq!(check(new), Ok(()));
    assert_eq!(rig.broker.next_owner_start(&position_of("g", 0)), None);
}

/// Records of groups stayed for ever. Who gives each run of a job a group of its own had used up all names one day, and then
/// nobody could begin a group any more.
#[test]
fn a_group_that_keeps_nothing_is_forgotten_as_positions_are() {
    let expiry_ms = options().positions.expiry_ms;
    for has_restarted in [false, true] {
        let mut rig = started();
        for group in ["gone", "keeps", "lives"] {
            rig.join(group, "a");
        }
        let generation = rig.join("keeps", "a").generation;
        rig.leave("gone", "a");
        rig.leave("keeps", "a");
        rig.work();
        if has_restarted {
            rig.broker.snapshot_now(at(0)).unwrap();
            rig = open(&rig.disk.power_cut(1));
            rig.join("lives", "a");
        }
        let groups = |rig: &Rig| -> Vec<String> {
            rig.broker.groups().iter().map(|summary| summary.group.to_string()).collect()
        };
        rig.broker.step_groups(at(expiry_ms - 1));
        let (kept, reply) = slip();
        rig.broker.commit(position_of("keeps", 0), offset(4), AckLevel::Durable, at(expiry_ms - 1), reply);
        rig.work();
        taken(&kept).unwrap();
        // Whoever lives says so.
        rig.broker.heartbeat_group(&"lives".into(), &MemberId::new("a"), None, at(5_000_000)).unwrap_err();
        rig.join("lives", "a");
        rig.broker.step_groups(at(expiry_ms * 5));
        rig.work();
        assert_eq!(groups(&rig), ["keeps", "lives"], "{has_restarted}");
        let again = open(&rig.disk.fork().kill());
        assert_eq!(groups(&again), ["keeps", "lives"], "{has_restarted}");
        assert!(again.join("keeps", "b").generation > generation);
    }
}

/// Members that joined a new group at once each wrote its record, and each record made those before it void: a hundred of them
/// wrote ten thousand, and waited for members of before a restart that had never been.
#[test]
fn members_that_join_a_new_group_at_once_begin_it_together() {
    let rig = started();
    let joined: Vec<_> = (0..20).map(|number| rig.begin_join("g", &format!("m{number:02}"))).collect();
    rig.work();
    let assignments: Vec<_> =
        joined.iter().map(|joined| joined.lock().take().expect("answered").unwrap().assignment).collect();
    assert!(assignments.iter().all(|assignment| assignment.generation < Generation(100)), "{assignments:?}");
    assert!(!assignments[0].assigned.is_empty(), "nobody is waited for");
    let described = rig.broker.groups();
    assert_eq!((described.len(), described[0].members), (1, 20));
}
