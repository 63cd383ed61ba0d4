//! Classic groups of a whole broker: beside groups of other kinds, over restarts, and the positions that they keep.

use bytes::Bytes;

use super::*;
use crate::broker::groups::classic::{
    ClassicAssignment, ClassicError, ClassicFence, ClassicJoin, ClassicProtocol, ClassicState, Joined as InRound,
    Synced,
};
use crate::broker::groups::{ClassicCommitter, ClassicDescription, GroupState};
use crate::broker::positions::{NOTE_BYTES_MAX, PositionNote, SeveralPositions, StatedPosition};
use crate::types::Epoch;

type Results = Vec<Result<(), BrokerError>>;

fn classic_join(member: Option<&str>, fresh: &str) -> ClassicJoin {
    ClassicJoin {
        member: member.map(MemberId::new),
        fresh_id: MemberId::new(fresh),
        takes_id_first: false,
        skips_assignment: false,
        instance: None,
        client_id: "client".into(),
        host: "127.0.0.1".into(),
        session_timeout_ms: SESSION_MS,
        rebalance_timeout_ms: 30_000,
        protocol_type: "consumer".into(),
        protocols: vec![ClassicProtocol { name: "range".into(), metadata: Bytes::from_static(b"m") }],
        topics: Some([name("events")].into()),
    }
}

fn refused<T: std::fmt::Debug>(result: Result<T, BrokerError>) -> ClassicError {
    match result {
        Err(BrokerError::Group(GroupError::Classic(error))) => error,
        other => panic!("{other:?}"),
    }
}

fn is_kind<T>(result: &Result<T, BrokerError>) -> bool {
    matches!(result, Err(BrokerError::Group(GroupError::Kind { .. })))
}

fn member(id: &str, generation: u64) -> ClassicCommitter {
    ClassicCommitter { member: Some(MemberId::new(id)), instance: None, generation: Some(Generation(generation)) }
}

fn events(index: u32) -> TopicPartition {
    TopicPartition { topic: name("events"), partition: PartitionIndex(index) }
}

fn stated(index: u32, value: u64, text: &str) -> StatedPosition {
    let note = PositionNote { text: text.into(), leader_epoch: Epoch::new(1).filter(|_| !text.is_empty()) };
    StatedPosition { partition: events(index), offset: offset(value), note }
}

impl Rig {
    fn begin_round(&self, group: &str, join: ClassicJoin, now: Timestamp) -> Slip<InRound> {
        let (joined, reply) = slip();
        self.broker.classic_join(&group.into(), join, now, reply);
        joined
    }

    /// The first member of a group is in, alone, and has its assignment.
    fn round(&self, group: &str, fresh: &str, now: i64) -> InRound {
        let joined = self.begin_round(group, classic_join(None, fresh), at(now));
        self.work();
        self.broker.step_groups(at(now + 250));
        let joined = taken(&joined).unwrap();
        let synced = self.begin_sync(group, fresh, joined.generation, &[fresh], now);
        assert_eq!(taken(&synced).unwrap().assignment, fresh.as_bytes());
        self.work();
        joined
    }

    fn begin_sync(&self, group: &str, id: &str, generation: Generation, members: &[&str], now: i64) -> Slip<Synced> {
        let (synced, reply) = slip();
        let id = MemberId::new(id);
        let fence = ClassicFence { member: &id, instance: None, generation };
        let assignment = |member: &&str| ClassicAssignment {
            member: MemberId::new(member),
            bytes: Bytes::copy_from_slice(member.as_bytes()),
            partitions: vec![events(0)],
        };
        let assignments = members.iter().map(assignment).collect();
        self.broker.classic_sync(&group.into(), fence, (None, None), assignments, at(now), reply);
        synced
    }

    fn beat(&self, group: &str, id: &str, generation: u64, now: i64) -> Result<(), BrokerError> {
        let id = MemberId::new(id);
        let fence = ClassicFence { member: &id, instance: None, generation: Generation(generation) };
        self.broker.classic_heartbeat(&group.into(), fence, at(now))
    }

    fn round_leave(&self, group: &str, id: &str, now: i64) {
        let id = MemberId::new(id);
        assert_eq!(self.broker.classic_leave(&group.into(), &[(Some(&id), None)], at(now)), [Ok(())]);
        self.work();
    }

    fn commit_all(&self, committer: ClassicCommitter, positions: Vec<StatedPosition>) -> Result<Results, BrokerError> {
        let (kept, reply) = slip();
        let commit = SeveralPositions { group: "g".into(), committer, positions, ack: AckLevel::Durable };
        self.broker.commit_several(commit, at(0), reply);
        self.work();
        taken(&kept)
    }

    fn noted(&self, index: u32) -> Option<(u64, String)> {
        let key = PositionKey { partition: PartitionIndex(index), ..position_of("g", index) };
        self.broker.committed_noted(&key).map(|(offset, note)| (offset.get(), note.text.into()))
    }

    fn described(&self, group: &str) -> ClassicDescription {
        self.broker.describe_classic_group(&group.into()).unwrap()
    }

    fn members_bytes(&self) -> usize {
        self.broker.groups.coordinators().next().unwrap().members_bytes()
    }
}

#[test]
fn a_round_begins_on_time_and_tools_see_it() {
    let rig = started();
    let first = rig.begin_round("g", ClassicJoin { takes_id_first: true, ..classic_join(None, "a") }, at(0));
    assert!(first.lock().is_none(), "the group's record is not written");
    rig.work();
    assert_eq!(refused(taken(&first)), ClassicError::MemberIdRequired { member: MemberId::new("a") });
    let a = rig.begin_round("g", classic_join(Some("a"), "-"), at(0));
    let b = rig.begin_round("g", classic_join(None, "b"), at(100));
    assert_eq!(rig.broker.classic_due(&"g".into()), Some(at(250)));
    rig.broker.step_classic_group(&"g".into(), at(249));
    assert!(a.lock().is_none());
    // One that grew waits once more.
    rig.broker.step_classic_group(&"g".into(), at(250));
    assert!(a.lock().is_none());
    rig.broker.step_groups(at(500));
    let (a, b) = (taken(&a).unwrap(), taken(&b).unwrap());
    assert_eq!((a.generation, a.members.len(), b.members.len(), b.leader), (Generation(1), 2, 0, MemberId::new("a")));
    let of_b = rig.begin_sync("g", "b", Generation(1), &[], 500);
    assert!(of_b.lock().is_none());
    let of_a = rig.begin_sync("g", "a", Generation(1), &["a", "b"], 500);
    assert_eq!(
        (taken(&of_a).unwrap().assignment, taken(&of_b).unwrap().assignment),
        (b"a"[..].into(), b"b"[..].into())
    );
    let summaries = rig.broker.groups();
    assert_eq!((summaries.len(), summaries[0].kind, summaries[0].members), (1, GroupKind::Classic, 2));
    assert_eq!(rig.described("g").summary.state, ClassicState::Stable);
    let described = rig.broker.describe_group(&"g".into(), at(600)).unwrap();
    assert_eq!((described.summary.kind, described.summary.state), (GroupKind::Classic, GroupState::Stable));
    let of_a = &described.members[0];
    assert_eq!((&of_a.topics[..], of_a.assigned.len(), of_a.heartbeat_age_ms), (&["events".to_owned()][..], 1, 100));
    assert_eq!(described.partitions[0].owner, Some(MemberId::new("b")), "two claim it, and the last one is shown");
}

#[test]
fn a_group_has_one_kind() {
    let rig = started();
    rig.round("classic", "a", 0);
    let native = rig.begin_join("classic", "n");
    let (claimed, reply) = slip();
    rig.broker.claim_group(&"classic".into(), GroupKind::Queue, at(0), reply);
    rig.join("native", "n");
    let (queue, reply) = slip();
    rig.broker.claim_group(&"queue".into(), GroupKind::Queue, at(0), reply);
    rig.work();
    assert_eq!(taken(&queue), Ok(()));
    assert!(is_kind(&taken(&native)) && is_kind(&taken(&claimed)));
    for group in ["native", "queue"] {
        assert!(is_kind(&taken(&rig.begin_round(group, classic_join(None, "a"), at(0)))), "{group}");
    }
    // Also while the first one's record is on its way, and once the group is empty.
    let _first = rig.begin_round("new", classic_join(None, "a"), at(0));
    let native = rig.begin_join("new", "n");
    rig.round_leave("classic", "a", 0);
    let late = rig.begin_join("classic", "n");
    rig.work();
    assert!(is_kind(&taken(&native)) && is_kind(&taken(&late)));
    // Members of one kind are none of another.
    assert_eq!(refused(rig.beat("native", "n", 1, 0)), ClassicError::UnknownMember);
    let heard = rig.broker.heartbeat_group(&"new".into(), &MemberId::new("a"), None, at(0));
    assert!(matches!(heard, Err(BrokerError::Group(GroupError::UnknownMember { .. }))));
}

/// Without a session, and a moment after a restart, a member is none; and what it was told before is of no use to it.
#[test]
fn after_a_restart_members_come_anew_to_a_later_generation() {
    let rig = started();
    let before = rig.round("g", "a", 0).generation;
    assert_eq!(rig.commit_all(member("a", before.0), vec![stated(0, 4, "note")]).unwrap(), [Ok(())]);
    for has_snapshot in [false, true] {
        if has_snapshot {
            rig.broker.snapshot_now(at(0)).unwrap();
        }
        let again = open(&rig.disk.fork().power_cut(1));
        let summary = again.described("g").summary;
        assert_eq!((summary.state, summary.has_had_members), (ClassicState::Empty, true));
        assert_eq!(again.noted(0), Some((4, "note".to_owned())));
        assert_eq!(refused(again.beat("g", "a", before.0, 0)), ClassicError::UnknownMember);
        let committed = again.commit_all(member("a", before.0), vec![stated(0, 5, "")]);
        assert_eq!(refused(committed), ClassicError::UnknownMember);
        let back = again.begin_round("g", classic_join(Some("a"), "-"), at(0));
        assert_eq!(refused(taken(&back)), ClassicError::UnknownMember);
        assert!(again.round("g", "b", 0).generation > before);
        assert!(is_kind(&taken(&again.begin_join("g", "n"))));
    }
}

/// Each time its last member left, a group had skipped ten thousand generations: of those that fit into Kafka's number a job
/// that runs every few seconds had used up all within two weeks.
#[test]
fn generations_go_on_where_they_were_when_everybody_leaves() {
    let mut rig = started();
    let mut last = 0;
    for number in 0..20 {
        let joined = rig.round("g", "a", number * 1_000).generation.0;
        assert!(joined > last && joined <= last + 2, "{joined} after {last}");
        last = joined;
        if number == 10 {
            rig.round_leave("g", "a", number * 1_000);
            rig = open(&rig.disk.fork().power_cut(1));
        } else {
            rig.round_leave("g", "a", number * 1_000);
        }
    }
    assert_eq!(rig.members_bytes(), 0);
}

#[test]
fn the_silent_are_removed_and_the_broker_s_own_silence_is_forgiven() {
    let rig = started();
    let generation = rig.round("g", "a", 0).generation.0;
    for now in 1..40 {
        rig.broker.step_groups(at(now * 250));
    }
    assert_eq!(rig.beat("g", "a", generation, 9_750), Ok(()));
    rig.broker.step_groups(at(60_000));
    assert_eq!(rig.beat("g", "a", generation, 60_000), Ok(()));
    for now in 0..44 {
        rig.broker.step_groups(at(60_000 + now * 250));
    }
    assert_eq!(refused(rig.beat("g", "a", generation, 71_000)), ClassicError::UnknownMember);
    assert_eq!((rig.described("g").summary.state, rig.members_bytes()), (ClassicState::Empty, 0));
}

#[test]
fn who_commits_what() {
    let rig = started();
    let nobody = ClassicCommitter::default;
    // In a group that nobody has heard of.
    assert_eq!(refused(rig.commit_all(member("a", 1), vec![stated(0, 1, "")])), ClassicError::IllegalGeneration);
    assert_eq!(rig.commit_all(nobody(), vec![stated(0, 7, "simple"), stated(1, 0, "")]).unwrap(), [Ok(()), Ok(())]);
    let summary = rig.described("g").summary;
    assert_eq!((summary.state, summary.has_had_members), (ClassicState::Empty, false));
    // Back, to the same place with another note, and to where it is.
    for (value, text) in [(3, "back"), (3, "other"), (3, "other"), (5, "on"), (0, "")] {
        assert_eq!(rig.commit_all(nobody(), vec![stated(0, value, text)]).unwrap(), [Ok(())]);
        assert_eq!(rig.noted(0), Some((value, text.to_owned())));
    }
    let long = "x".repeat(NOTE_BYTES_MAX + 1);
    let results =
        rig.commit_all(nobody(), vec![stated(0, 1, &long), stated(1, 9, ""), stated(9, 0, ""), stated(0, 2, "")]);
    // Kafka compares no commit with the log.
    let [Err(note), Ok(()), Err(unknown), Ok(())] = &results.unwrap()[..] else { panic!("not as expected") };
    assert_eq!(*note, BrokerError::Group(GroupError::TooMuchOfNotes));
    assert!(matches!(unknown, BrokerError::UnknownPartition { .. }), "{unknown}");
    // In a group with members.
    let generation = rig.round("g", "a", 0).generation.0;
    assert_eq!(refused(rig.commit_all(nobody(), vec![stated(0, 1, "")])), ClassicError::UnknownMember);
    assert_eq!(refused(rig.commit_all(member("b", generation), vec![])), ClassicError::UnknownMember);
    assert_eq!(refused(rig.commit_all(member("a", generation - 1), vec![])), ClassicError::IllegalGeneration);
    let ungenerated = ClassicCommitter { generation: None, ..member("a", 0) };
    assert_eq!(refused(rig.commit_all(ungenerated, vec![])), ClassicError::IllegalGeneration);
    assert_eq!(rig.commit_all(member("a", generation), vec![stated(0, 1, "mine")]).unwrap(), [Ok(())]);
    let _b = rig.begin_round("g", classic_join(None, "b"), at(0));
    assert_eq!(
        rig.commit_all(member("a", generation), vec![stated(0, 2, "")]).unwrap(),
        [Ok(())],
        "before it joins anew"
    );
    let a = rig.begin_round("g", classic_join(Some("a"), "-"), at(0));
    let generation = taken(&a).unwrap().generation.0;
    let committed = rig.commit_all(member("a", generation), vec![stated(0, 3, "")]);
    assert_eq!(refused(committed), ClassicError::RebalanceInProgress);
    // Nobody of another protocol, while it has members.
    let reset = rig.begin_reset("g", 1);
    assert!(matches!(taken(&reset), Err(BrokerError::Group(GroupError::NotEmpty { members: 2, .. }))));
    let again = open(&rig.disk.fork().power_cut(1));
    assert_eq!(again.noted(0), Some((2, String::new())));
}

/// Commits of one position on their way at the same time: the last one counts, wherever it goes.
#[test]
fn the_last_of_several_commits_counts() {
    let rig = started();
    let mut slips = Vec::new();
    for value in [8, 2, 5, 4, 4] {
        let (kept, reply) = slip();
        let (group, positions) = ("g".into(), vec![stated(0, value, "")]);
        let commit =
            SeveralPositions { group, committer: ClassicCommitter::default(), positions, ack: AckLevel::Durable };
        rig.broker.commit_several(commit, at(0), reply);
        slips.push(kept);
    }
    rig.work();
    assert!(slips.iter().all(|slip| taken(slip).unwrap() == [Ok(())]));
    assert_eq!(rig.noted(0), Some((4, String::new())));
    assert_eq!(open(&rig.disk.fork().power_cut(1)).noted(0), Some((4, String::new())));
}

#[test]
fn positions_in_topics_that_nobody_reads_are_deleted_for_good() {
    let rig = started();
    rig.create("other", 1, 11);
    let other = TopicPartition { topic: name("other"), partition: PartitionIndex(0) };
    let of_other = StatedPosition { partition: other.clone(), ..stated(0, 0, "o") };
    rig.commit_all(ClassicCommitter::default(), vec![stated(0, 3, "e"), stated(1, 0, "e"), of_other]).unwrap();
    let delete = |partitions: &[TopicPartition]| {
        let (deleted, reply) = slip();
        rig.broker.delete_positions(&"g".into(), partitions, at(0), reply);
        rig.work();
        taken(&deleted)
    };
    assert_eq!(delete(&[events(1)]), Ok(BTreeSet::new()));
    rig.round("g", "a", 0);
    assert_eq!(delete(&[events(0), other]), Ok([name("events")].into()));
    let again = open(&rig.disk.fork().power_cut(1));
    for rig in [&rig, &again] {
        let noted = rig.broker.noted_group_positions(&"g".into());
        let places: Vec<_> = noted.into_iter().map(|(of, ..)| of).collect();
        assert_eq!(places, [events(0)]);
    }
    // Of members nobody knows what they read, everything may be read.
    let joined = rig.begin_round("unknown", ClassicJoin { topics: None, ..classic_join(None, "a") }, at(0));
    rig.work();
    let (deleted, reply) = slip();
    rig.broker.delete_positions(&"unknown".into(), &[events(0)], at(0), reply);
    let result = taken(&deleted);
    assert!(matches!(result, Err(BrokerError::Group(GroupError::NotEmpty { .. }))), "{result:?}");
    let (deleted, reply) = slip();
    rig.broker.delete_positions(&"nobody".into(), &[events(0)], at(0), reply);
    assert!(matches!(taken(&deleted), Err(BrokerError::Group(GroupError::UnknownGroup { .. }))));
    assert!(joined.lock().is_none());
}

#[test]
fn a_classic_group_is_deleted_once_nobody_is_in_it() {
    let rig = started();
    let generation = rig.round("g", "a", 0).generation.0;
    rig.commit_all(member("a", generation), vec![stated(0, 3, "e")]).unwrap();
    let deleted = rig.begin_delete("g");
    assert!(matches!(taken(&deleted), Err(BrokerError::Group(GroupError::NotEmpty { members: 1, .. }))));
    rig.round_leave("g", "a", 0);
    // One who was given an id is no member yet.
    let waits = rig.begin_round("g", ClassicJoin { takes_id_first: true, ..classic_join(None, "b") }, at(0));
    rig.work();
    refused(taken(&waits));
    let deleted = rig.begin_delete("g");
    rig.work();
    assert_eq!(taken(&deleted), Ok(()));
    assert!(rig.broker.groups().is_empty() && rig.noted(0).is_none());
    let late = rig.begin_round("g", classic_join(Some("b"), "-"), at(0));
    assert_eq!(refused(taken(&late)), ClassicError::UnknownMember);
    assert!(open(&rig.disk.fork().power_cut(1)).broker.groups().is_empty());
    // Deleted while the record of its first member is on its way, it begins anew.
    let joined = rig.begin_round("g", classic_join(None, "c"), at(0));
    let deleted = rig.begin_delete("g");
    rig.work();
    rig.broker.step_groups(at(250));
    assert_eq!((taken(&deleted), taken(&joined).map(|joined| joined.member)), (Ok(()), Ok(MemberId::new("c"))));
}

#[test]
fn what_cannot_be_a_member_begins_no_group() {
    let rig = started();
    let long: &str = &"g".repeat(256);
    for (group, join, expected) in [
        ("g", ClassicJoin { session_timeout_ms: 5_999, ..classic_join(None, "a") }, ClassicError::SessionTimeout),
        ("g", ClassicJoin { protocols: Vec::new(), ..classic_join(None, "a") }, ClassicError::InconsistentProtocol),
        ("g", ClassicJoin { protocol_type: "".into(), ..classic_join(None, "a") }, ClassicError::InconsistentProtocol),
        ("g", classic_join(Some("a"), "-"), ClassicError::UnknownMember),
    ] {
        assert_eq!(refused(taken(&rig.begin_round(group, join, at(0)))), expected);
    }
    let joined = rig.begin_round(long, classic_join(None, "a"), at(0));
    assert_eq!(taken(&joined).unwrap_err(), BrokerError::InvalidClientId { bytes: 256 });
    assert!(rig.broker.groups().is_empty());
    rig.disk.inject(Rule::failing(OpKind::Sync).on("__offsets"));
    let joined = rig.begin_round("g", classic_join(None, "a"), at(0));
    let second = rig.begin_round("g", classic_join(None, "b"), at(0));
    rig.work();
    assert!([joined, second].iter().all(|slip| matches!(taken(slip), Err(BrokerError::StorageFailed(_)))));
    assert!(rig.broker.groups().is_empty());
}
