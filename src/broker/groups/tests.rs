//! Groups by themselves: who gets what, who is told, who is fenced.

mod model;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;

use super::classic::ClassicOptions;
use super::group::{Group, Joining};
use super::registry::Coordinator;
use super::*;
use crate::types::{PartitionIndex, Timestamp, TopicName};

const SESSION_MS: i64 = 10_000;
const RELEASE_MS: i64 = 30_000;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + millis)
}

fn id(name: &str) -> MemberId {
    MemberId::new(name)
}

fn of(topic: &str, index: u32) -> TopicPartition {
    TopicPartition { topic: TopicName::new(topic).unwrap(), partition: PartitionIndex(index) }
}

fn view(topics: &[(&str, u32)]) -> TopicsView {
    seen(1, topics)
}

/// The topics of a time: those of another are others.
fn seen(time: u128, topics: &[(&str, u32)]) -> TopicsView {
    let seen = |&(name, partitions): &(&str, u32)| {
        (TopicName::new(name).unwrap(), SeenTopic { id: TopicId::new(Uuid::from_u128(time)), partitions })
    };
    Arc::new(topics.iter().map(seen).collect())
}

/// What each member was told, the newest last.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<(MemberId, Assignment)>>);

impl MemberSink for Told {
    fn assigned(&self, member: &MemberId, assignment: &Assignment) -> bool {
        self.0.lock().push((member.clone(), assignment.clone()));
        true
    }
}

fn details(topics: &[&str]) -> MemberDetails {
    MemberDetails {
        client_id: "".into(),
        host: "".into(),
        topics: TopicSelection::new(topics.iter().copied()).unwrap(),
        session_timeout_ms: SESSION_MS,
        rebalance_timeout_ms: RELEASE_MS,
    }
}

/// A group, and members that read what they are told.
struct Rig {
    group: Group,
    told: Arc<Told>,
    now: i64,
}

impl Rig {
    fn new(topics: &[(&str, u32)]) -> Rig {
        Rig { group: Group::new(Generation(0), view(topics), None), told: Arc::default(), now: 0 }
    }

    fn join(&mut self, member: &str, topics: &[&str], claims: Vec<Assigned>) -> Assignment {
        let sink = Arc::clone(&self.told) as Arc<dyn MemberSink>;
        let joining = Joining { member: id(member), details: details(topics), claims, sink };
        self.group.join(joining, at(self.now)).unwrap()
    }

    /// The member says that it reads exactly what it may.
    fn obey(&mut self, member: &str) -> Assignment {
        let reads =
            self.group.assignment(&id(member)).assigned.into_iter().map(|assigned| assigned.partition).collect();
        self.group.heartbeat(&id(member), Some(&reads), at(self.now)).unwrap().unwrap()
    }

    /// Who was told anything since the last call.
    fn told(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.told.0.lock()).into_iter().map(|(member, _)| member.to_string()).collect()
    }

    fn may_read(&self, member: &str) -> Vec<u32> {
        self.group.assignment(&id(member)).assigned.iter().map(|assigned| assigned.partition.partition.0).collect()
    }

    fn names(members: &[&str]) -> BTreeSet<String> {
        members.iter().map(ToString::to_string).collect()
    }
}

#[test]
fn a_second_member_gets_its_half_once_the_first_has_released_it() {
    let mut rig = Rig::new(&[("t", 4)]);
    let first = rig.join("a", &["t"], Vec::new());
    assert_eq!((first.generation, rig.may_read("a")), (Generation(1), vec![0, 1, 2, 3]));
    rig.told();
    let second = rig.join("b", &["t"], Vec::new());
    assert_eq!((second.generation, second.assigned), (Generation(2), Vec::new()));
    assert_eq!((rig.may_read("a"), rig.told()), (vec![0, 1], Rig::names(&["a"])));
    assert!(rig.group.is_rebalancing());
    // It may still commit what it is to release.
    rig.group.check_owner(&id("a"), Generation(1), &of("t", 3)).unwrap();
    assert!(rig.group.check_reader(&id("a"), Generation(1), &of("t", 3)).is_err());
    rig.obey("a");
    assert_eq!((rig.may_read("b"), rig.told()), (vec![2, 3], Rig::names(&["b"])));
    assert!(!rig.group.is_rebalancing());
    let fenced = rig.group.check_owner(&id("a"), Generation(3), &of("t", 3));
    assert_eq!(fenced, Err(GroupError::Fenced { member: id("a"), partition: of("t", 3) }));
    // Its own since the third generation: what it said of an earlier one is not true.
    assert!(rig.group.check_owner(&id("b"), Generation(2), &of("t", 3)).is_err());
    rig.group.check_owner(&id("b"), Generation(3), &of("t", 3)).unwrap();
}

#[test]
fn who_is_not_affected_hears_nothing() {
    let mut rig = Rig::new(&[("t", 6)]);
    for member in ["a", "b", "c"] {
        rig.join(member, &["t"], Vec::new());
        ["a", "b"].iter().filter(|other| **other < member).for_each(|other| drop(rig.obey(other)));
    }
    rig.told();
    rig.group.leave(&id("c"), at(1)).unwrap();
    assert_eq!((rig.told(), rig.may_read("a").len(), rig.may_read("b").len()), (Rig::names(&["a", "b"]), 3, 3));
    // Two have three each: a third one takes one of each, and nobody else is there to be told.
    rig.join("d", &["u"], Vec::new());
    assert_eq!(rig.told(), BTreeSet::new(), "what it asks for does not exist");
    rig.group.set_topics(&view(&[("t", 6), ("u", 1)]), at(2));
    assert_eq!((rig.told(), rig.may_read("d")), (Rig::names(&["d"]), vec![0]));
    rig.group.set_topics(&view(&[("t", 7), ("u", 1)]), at(2));
    assert_eq!(rig.told().len(), 1, "the new partition goes to one, and nothing moves");
    rig.group.set_topics(&view(&[("u", 1)]), at(3));
    assert_eq!((rig.told(), rig.may_read("a")), (Rig::names(&["a", "b"]), Vec::new()));
}

#[test]
fn the_silent_and_the_stubborn_are_removed() {
    let mut rig = Rig::new(&[("t", 2)]);
    rig.join("a", &["t"], Vec::new());
    rig.now = SESSION_MS;
    assert_eq!(rig.group.step(at(rig.now)), []);
    rig.join("b", &["t"], Vec::new());
    let removed = rig.group.step(at(rig.now + 1));
    assert_eq!(removed.iter().map(|(member, _)| member.as_str()).collect::<Vec<_>>(), ["a"]);
    assert_eq!(rig.may_read("b"), [0, 1]);
    let gone = rig.group.heartbeat(&id("a"), None, at(rig.now));
    assert_eq!(gone, Err(GroupError::UnknownMember { member: id("a") }));
    // One that lives and does not release what is to go.
    rig.join("c", &["t"], Vec::new());
    let begun = rig.now;
    while rig.now <= begun + RELEASE_MS {
        assert_eq!(rig.group.step(at(rig.now)), []);
        rig.now += SESSION_MS / 2;
        ["b", "c"].iter().for_each(|member| drop(rig.group.heartbeat(&id(member), None, at(rig.now))));
    }
    assert_eq!(rig.group.step(at(rig.now)).first().map(|(member, _)| member.clone()), Some(id("b")));
    assert_eq!(rig.may_read("c"), [0, 1]);
}

#[test]
fn a_broker_that_was_stopped_blames_nobody() {
    let mut rig = Rig::new(&[("t", 2)]);
    rig.join("a", &["t"], Vec::new());
    rig.group.excuse(SESSION_MS * 3);
    assert_eq!(rig.group.step(at(SESSION_MS * 3)), []);
}

#[test]
fn members_of_before_a_restart_keep_what_they_have() {
    let mut group = Group::new(Generation(100), view(&[("t", 4)]), Some(at(SESSION_MS)));
    let told: Arc<Told> = Arc::default();
    let join = |group: &mut Group, member: &str, claims: &[(u32, u64)]| {
        let claim = |(index, since): &(u32, u64)| Assigned { partition: of("t", *index), since: Generation(*since) };
        let claims = claims.iter().map(claim).collect();
        let sink = Arc::clone(&told) as Arc<dyn MemberSink>;
        group.join(Joining { member: id(member), details: details(&["t"]), claims, sink }, at(0)).unwrap()
    };
    let indexes = |group: &Group, member: &str| -> Vec<_> {
        group.assignment(&id(member)).assigned.iter().map(|a| (a.partition.partition.0, a.since.0)).collect()
    };
    // One that was thought dead before the restart comes back first, and one that is no member of those times.
    join(&mut group, "dead", &[(0, 7), (1, 7)]);
    join(&mut group, "new", &[]);
    assert_eq!((indexes(&group, "dead"), indexes(&group, "new")), (vec![(0, 7), (1, 7)], vec![]));
    join(&mut group, "b", &[(1, 9), (2, 9), (3, 100), (9, 3)]);
    assert_eq!((indexes(&group, "dead"), indexes(&group, "b")), (vec![(0, 7)], vec![(1, 9), (2, 9)]));
    assert!(told.0.lock().iter().any(|(member, _)| member.as_str() == "dead"), "it hears of its loss");
    // Nobody has claimed the last one, and there is time to.
    group.step(at(SESSION_MS - 1));
    assert!(indexes(&group, "new").is_empty());
    group.step(at(SESSION_MS));
    assert_eq!(indexes(&group, "new"), [(3, group.generation().0)]);
    assert_eq!((indexes(&group, "dead"), indexes(&group, "b")), (vec![(0, 7)], vec![(1, 9), (2, 9)]));
}

#[test]
fn a_member_that_begins_anew_gets_what_it_lost() {
    let mut rig = Rig::new(&[("t", 2)]);
    let first = rig.join("a", &["t"], Vec::new());
    // Its connection was lost, and with it what it read of one partition.
    let again = rig.join("a", &["t"], vec![first.assigned[0].clone()]);
    let since: Vec<_> = again.assigned.iter().map(|assigned| assigned.since.0).collect();
    assert_eq!(since, [1, 2], "the other one begins anew");
    assert!(rig.group.check_owner(&id("a"), Generation(1), &of("t", 1)).is_err());
}

#[test]
fn a_heartbeat_tells_what_could_not_be_told() {
    #[derive(Debug)]
    struct Deaf;
    impl MemberSink for Deaf {
        fn assigned(&self, _: &MemberId, _: &Assignment) -> bool {
            false
        }
    }
    let mut rig = Rig::new(&[("t", 2)]);
    let joining = Joining { member: id("a"), details: details(&["t"]), claims: Vec::new(), sink: Arc::new(Deaf) };
    rig.group.join(joining, at(0)).unwrap();
    assert_eq!(rig.group.heartbeat(&id("a"), None, at(0)), Ok(None), "the join has told it");
    rig.join("b", &["t"], Vec::new());
    let told = rig.group.heartbeat(&id("a"), None, at(0)).unwrap().unwrap();
    assert_eq!(told.assigned.len(), 1);
    assert_eq!(rig.group.heartbeat(&id("a"), None, at(0)), Ok(None));
}

/// A topic was deleted and created anew between two looks of the group, which saw as many partitions as before: the owner of
/// before could commit what it had read of the old topic, and the first records of the new one were read by nobody.
#[test]
fn a_topic_created_anew_is_another_one() {
    let mut rig = Rig::new(&[("t", 2), ("u", 1)]);
    rig.join("a", &["t", "u"], Vec::new());
    rig.told();
    let mut anew = BTreeMap::clone(&seen(2, &[("t", 2)]));
    anew.extend(view(&[("u", 1)]).iter().map(|(name, seen)| (name.clone(), *seen)));
    rig.group.set_topics(&Arc::new(anew), at(1));
    assert_eq!(rig.told(), Rig::names(&["a"]));
    let since: Vec<_> = rig.group.assignment(&id("a")).assigned.iter().map(|assigned| assigned.since.0).collect();
    assert_eq!(since, [2, 2, 1], "the partitions of the other topic stay as they are");
    assert!(rig.group.check_owner(&id("a"), Generation(1), &of("t", 0)).is_err());
}

/// One connection could join as often as it liked, each time as a new member with a long list of topics, and go: all of them
/// were remembered for five minutes, until there was no memory left.
#[test]
fn what_members_say_of_themselves_is_counted() {
    let mut coordinator = Coordinator::default();
    let (group, topics): (Arc<str>, _) = ("g".into(), view(&[("t", 2)]));
    let count = Arc::clone(&coordinator.members_bytes);
    let counted = || count.load(std::sync::atomic::Ordering::Relaxed);
    let beginning = Groups::new(1, ClassicOptions::default(), at(0)).beginning(None, SESSION_MS, at(0));
    coordinator.begin(&group, beginning, &topics);
    let names: Vec<_> = (0..256).map(|number| format!("{}{number}", "x".repeat(200))).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut join = |member: &str, topics: &[&str]| {
        let joining = Joining {
            member: id(member),
            details: details(topics),
            claims: Vec::new(),
            sink: Arc::new(Told::default()),
        };
        coordinator.change(&group, |group| group.join(joining, at(0))).unwrap();
    };
    join("a", &["t"]);
    let one = counted();
    join("b", &names);
    let two = counted();
    assert!(two > one + 256 * 200, "{two}");
    join("b", &names);
    assert_eq!(counted(), two, "who comes back is the same member");
    coordinator.change(&group, |group| group.leave(&id("b"), at(0))).unwrap();
    assert_eq!(counted(), one);
    count.store(MEMBERS_BYTES_MAX - 100, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(coordinator.check_room(&details(&["t"])), Err(GroupError::TooMuchOfMembers));
    count.store(one, std::sync::atomic::Ordering::Relaxed);
    coordinator.check_room(&details(&["t"])).unwrap();
    coordinator.step(None, at(SESSION_MS + 1));
    assert_eq!(counted(), 0, "it was silent for too long");
}

/// The clock was set back by an hour. Members that had died just before kept their partitions for an hour and a session.
#[test]
fn a_clock_that_is_set_back_keeps_no_dead_member() {
    let hour = 3_600_000;
    let mut coordinator = Coordinator::default();
    let (group, topics): (Arc<str>, _) = ("g".into(), view(&[("t", 2)]));
    let beginning = Groups::new(1, ClassicOptions::default(), at(0)).beginning(None, SESSION_MS, at(0));
    coordinator.begin(&group, beginning, &topics);
    let sink = Arc::new(Told::default());
    let joining = Joining { member: id("a"), details: details(&["t"]), claims: Vec::new(), sink };
    coordinator.change(&group, |group| group.join(joining, at(0))).unwrap();
    coordinator.step(None, at(250));
    let mut now = 500 - hour;
    while now < 500 - hour + SESSION_MS - 1_000 {
        coordinator.step(None, at(now));
        assert!(coordinator.get(&group).is_some(), "{now}");
        now += 250;
    }
    while now < 500 - hour + SESSION_MS + 1_000 {
        coordinator.step(None, at(now));
        now += 250;
    }
    assert!(coordinator.get(&group).is_none());
}
