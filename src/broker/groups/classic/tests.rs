//! Classic groups, step by step.

mod model;

use super::*;

/// A group, the time, and who waits.
struct Rig {
    group: ClassicGroup,
    now: Timestamp,
    tickets: u64,
    answers: Vec<ClassicAnswer>,
}

fn protocol(name: &str, metadata: &'static str) -> ClassicProtocol {
    ClassicProtocol { name: Arc::from(name), metadata: Bytes::from_static(metadata.as_bytes()) }
}

fn assignment(member: &MemberId, text: &str) -> ClassicAssignment {
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    ClassicAssignment { member: member.clone(), bytes, partitions: Vec::new() }
}

/// A join as consumers send it; `fresh` is the id a member without one gets.
fn join(member: Option<&str>, fresh: &str) -> ClassicJoin {
    ClassicJoin {
        member: member.map(MemberId::new),
        fresh_id: MemberId::new(fresh),
        takes_id_first: true,
        skips_assignment: false,
        instance: None,
        client_id: Box::from("client"),
        host: Box::from("127.0.0.1"),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 30_000,
        protocol_type: Arc::from("consumer"),
        protocols: vec![protocol("range", "r"), protocol("sticky", "s")],
        topics: None,
    }
}

fn of_instance(instance: &str, fresh: &str) -> ClassicJoin {
    ClassicJoin { instance: Some(Arc::from(instance)), ..join(None, fresh) }
}

impl Rig {
    fn new() -> Rig {
        let group =
            ClassicGroup::new(ClassicOptions { first_delay_ms: 3_000, ..ClassicOptions::default() }, Generation(0));
        Rig { group, now: Timestamp::from_millis(1_000_000), tickets: 0, answers: Vec::new() }
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    fn join(&mut self, join: &ClassicJoin) -> Ticket {
        let ticket = self.ticket();
        self.group.join(join, ticket, self.now, &mut self.answers);
        ticket
    }

    fn sync(&mut self, member: &str, generation: u64, assignments: &[(&str, &'static str)]) -> Ticket {
        let ticket = self.ticket();
        let assignments = assignments.iter().map(|(id, text)| assignment(&MemberId::new(id), text));
        let assignments: Vec<_> = assignments.collect();
        let id = MemberId::new(member);
        let fence = ClassicFence { member: &id, instance: None, generation: Generation(generation) };
        self.group.sync(fence, (None, None), assignments, ticket, self.now, &mut self.answers);
        ticket
    }

    fn beat(&mut self, member: &str, generation: u64) -> Result<(), ClassicError> {
        let id = MemberId::new(member);
        let fence = ClassicFence { member: &id, instance: None, generation: Generation(generation) };
        self.group.heartbeat(fence, self.now)
    }

    fn leave(&mut self, member: Option<&str>, instance: Option<&str>) -> Result<(), ClassicError> {
        self.group.leave(member.map(MemberId::new).as_ref(), instance, self.now, &mut self.answers)
    }

    /// Time passes, a second at a time; who was removed.
    fn pass(&mut self, seconds: i64) -> Vec<String> {
        let mut removed = Vec::new();
        for _ in 0..seconds {
            self.now = self.now.plus_millis(1_000);
            removed.extend(self.group.step(self.now, &mut self.answers).iter().map(ToString::to_string));
        }
        removed
    }

    fn joined(&mut self, wanted: Ticket) -> Option<Result<Joined, ClassicError>> {
        let is_it = |answer: &ClassicAnswer| matches!(answer, ClassicAnswer::Join { ticket, .. } if *ticket == wanted);
        let at = self.answers.iter().position(is_it)?;
        match self.answers.remove(at) {
            ClassicAnswer::Join { result, .. } => Some(result.map(|joined| *joined)),
            ClassicAnswer::Sync { .. } => None,
        }
    }

    fn synced(&mut self, wanted: Ticket) -> Option<Result<String, ClassicError>> {
        let is_it = |answer: &ClassicAnswer| matches!(answer, ClassicAnswer::Sync { ticket, .. } if *ticket == wanted);
        let at = self.answers.iter().position(is_it)?;
        match self.answers.remove(at) {
            ClassicAnswer::Sync { result, .. } => {
                Some(result.map(|synced| String::from_utf8(synced.assignment.to_vec()).unwrap()))
            }
            ClassicAnswer::Join { .. } => None,
        }
    }

    /// The group with members `a`, which leads, and `b`, in generation 1, each with its own assignment.
    fn stable() -> Rig {
        let mut rig = Rig::new();
        let a = rig.join(&ClassicJoin { takes_id_first: false, ..join(None, "a") });
        let b = rig.join(&ClassicJoin { takes_id_first: false, ..join(None, "b") });
        rig.pass(6);
        assert_eq!(rig.joined(a).unwrap().unwrap().leader, MemberId::new("a"));
        rig.joined(b).unwrap().unwrap();
        let of_b = rig.sync("b", 1, &[]);
        assert_eq!(rig.synced(of_b), None);
        let of_a = rig.sync("a", 1, &[("a", "of a"), ("b", "of b")]);
        assert_eq!(rig.synced(of_a), Some(Ok("of a".to_owned())));
        assert_eq!(rig.synced(of_b), Some(Ok("of b".to_owned())));
        assert_eq!((rig.group.state(), rig.answers.len()), (ClassicState::Stable, 0));
        rig
    }
}

#[test]
fn a_new_member_comes_again_with_its_id() {
    let mut rig = Rig::new();
    let first = rig.join(&join(None, "a"));
    let required = ClassicError::MemberIdRequired { member: MemberId::new("a") };
    assert_eq!(rig.joined(first), Some(Err(required)));
    assert_eq!(rig.group.state(), ClassicState::Empty);
    let second = rig.join(&join(Some("a"), "-"));
    assert_eq!(rig.joined(second), None);
    assert_eq!(rig.group.state(), ClassicState::PreparingRebalance);
    rig.pass(3);
    let joined = rig.joined(second).unwrap().unwrap();
    assert_eq!((joined.generation, &*joined.protocol, &joined.leader), (Generation(1), "range", &MemberId::new("a")));
    assert_eq!(joined.members.len(), 1);
    assert_eq!(joined.members[0].metadata, &b"r"[..]);
    // An id that nobody was given, and one that was not used in time.
    let unknown = rig.join(&join(Some("x"), "-"));
    assert_eq!(rig.joined(unknown), Some(Err(ClassicError::UnknownMember)));
    let late = rig.join(&join(None, "late"));
    assert!(rig.joined(late).is_some());
    rig.sync("a", 1, &[]);
    rig.pass(10);
    let late = rig.join(&join(Some("late"), "-"));
    assert_eq!(rig.joined(late), Some(Err(ClassicError::UnknownMember)));
}

#[test]
fn who_comes_and_goes_makes_a_generation() {
    let mut rig = Rig::stable();
    // Nothing has changed for a follower that joins again; it only missed the answer.
    let again = rig.join(&join(Some("b"), "-"));
    assert_eq!(rig.joined(again).unwrap().unwrap().generation, Generation(1));
    let c = rig.join(&ClassicJoin { takes_id_first: false, ..join(None, "c") });
    assert_eq!(rig.group.state(), ClassicState::PreparingRebalance);
    assert_eq!(rig.beat("a", 1), Err(ClassicError::RebalanceInProgress));
    let stale = rig.sync("a", 1, &[]);
    assert_eq!(rig.synced(stale), Some(Err(ClassicError::RebalanceInProgress)));
    let a = rig.join(&join(Some("a"), "-"));
    assert_eq!(rig.joined(a), None);
    let b = rig.join(&join(Some("b"), "-"));
    let joined = rig.joined(a).unwrap().unwrap();
    let members: Vec<_> = joined.members.iter().map(|member| member.member.as_str()).collect();
    assert_eq!((joined.generation, members), (Generation(2), vec!["a", "b", "c"]));
    assert!(rig.joined(b).unwrap().unwrap().members.is_empty());
    assert!(rig.joined(c).unwrap().is_ok());
    assert_eq!(rig.beat("b", 1), Err(ClassicError::IllegalGeneration));
    assert_eq!(rig.beat("b", 2), Ok(()));
    // The leader leaves while others wait for it.
    let of_b = rig.sync("b", 2, &[]);
    assert_eq!(rig.leave(Some("a"), None), Ok(()));
    assert_eq!(rig.synced(of_b), Some(Err(ClassicError::RebalanceInProgress)));
    let (b, c) = (rig.join(&join(Some("b"), "-")), rig.join(&join(Some("c"), "-")));
    assert_eq!(rig.joined(b).unwrap().unwrap().leader, MemberId::new("b"));
    assert!(rig.joined(c).unwrap().unwrap().members.is_empty());
    assert_eq!(rig.leave(Some("a"), None), Err(ClassicError::UnknownMember));
    assert_eq!((rig.leave(Some("b"), None), rig.leave(Some("c"), None)), (Ok(()), Ok(())));
    assert_eq!((rig.group.state(), rig.group.generation()), (ClassicState::Empty, Generation(4)));
}

#[test]
fn the_silent_are_removed() {
    let mut rig = Rig::stable();
    for _ in 0..5 {
        rig.pass(3);
        let _ = rig.beat("a", 1);
    }
    // b was silent for ten seconds; a has thirty to join again.
    assert_eq!(rig.group.state(), ClassicState::PreparingRebalance);
    assert_eq!(rig.group.members().count(), 1);
    let a = rig.join(&join(Some("a"), "-"));
    assert_eq!(rig.joined(a).unwrap().unwrap().generation, Generation(2));
    // Who does not ask for its assignment in time is removed, though it lives.
    let mut removed = Vec::new();
    for _ in 0..31 {
        assert!(!removed.is_empty() || rig.beat("a", 2).is_ok());
        removed.extend(rig.pass(1));
    }
    assert_eq!((removed, rig.group.state()), (vec!["a".to_owned()], ClassicState::Empty));
    assert_eq!(rig.group.next_due(), None);
}

#[test]
fn who_does_not_join_in_time_is_left_behind() {
    let mut rig = Rig::stable();
    let c = rig.join(&ClassicJoin { takes_id_first: false, ..join(None, "c") });
    for _ in 0..29 {
        rig.pass(1);
        assert_eq!((rig.beat("a", 1), rig.beat("b", 1)).0, Err(ClassicError::RebalanceInProgress));
    }
    let b = rig.join(&join(Some("b"), "-"));
    assert_eq!(rig.joined(b), None);
    rig.pass(1);
    let joined = rig.joined(b).unwrap().unwrap();
    assert_eq!((joined.leader.as_str(), joined.members.len()), ("b", 2));
    assert!(rig.joined(c).unwrap().is_ok());
    assert_eq!(rig.beat("a", 2), Err(ClassicError::UnknownMember));
}

#[test]
fn a_protocol_that_all_know_is_chosen() {
    let mut rig = Rig::new();
    let of = |fresh: &str, names: &[&str]| ClassicJoin {
        takes_id_first: false,
        protocols: names.iter().map(|name| protocol(name, "m")).collect(),
        ..join(None, fresh)
    };
    let a = rig.join(&of("a", &["range", "sticky", "roundrobin"]));
    let refused = rig.join(&of("x", &["other"]));
    assert_eq!(rig.joined(refused), Some(Err(ClassicError::InconsistentProtocol)));
    rig.join(&of("b", &["sticky", "range"]));
    rig.join(&of("c", &["roundrobin", "sticky", "range"]));
    let refused = rig.join(&ClassicJoin { protocol_type: Arc::from("connect"), ..of("x", &["range"]) });
    assert_eq!(rig.joined(refused), Some(Err(ClassicError::InconsistentProtocol)));
    rig.pass(31);
    // Range has one vote, sticky two: of c the first that all know.
    assert_eq!(&*rig.joined(a).unwrap().unwrap().protocol, "sticky");
    let many: Vec<String> = (0..=PROTOCOLS_MAX).map(|number| number.to_string()).collect();
    let refused = rig.join(&of("x", &many.iter().map(String::as_str).collect::<Vec<_>>()));
    assert_eq!(rig.joined(refused), Some(Err(ClassicError::InconsistentProtocol)));
}

#[test]
fn session_timeouts_are_limited() {
    for (millis, is_allowed) in [(5_999, false), (6_000, true), (1_800_000, true), (1_800_001, false), (-1, false)] {
        let mut rig = Rig::new();
        let ticket = rig.join(&ClassicJoin { session_timeout_ms: millis, ..join(None, "a") });
        let is_refused = rig.joined(ticket) == Some(Err(ClassicError::SessionTimeout));
        assert_eq!(is_refused, !is_allowed, "{millis}");
    }
}

#[test]
fn an_instance_takes_its_place_again_and_nobody_notices() {
    let mut rig = Rig::new();
    let (a, b) = (rig.join(&of_instance("one", "a")), rig.join(&of_instance("two", "b")));
    rig.pass(6);
    assert!(rig.joined(a).unwrap().is_ok() && rig.joined(b).unwrap().is_ok());
    rig.sync("b", 1, &[]);
    rig.sync("a", 1, &[("a", "of a"), ("b", "of b")]);
    rig.answers.clear();
    let again = rig.join(&of_instance("two", "b2"));
    let joined = rig.joined(again).unwrap().unwrap();
    assert_eq!((joined.generation, joined.member.as_str(), joined.leader.as_str()), (Generation(1), "b2", "a"));
    let synced = rig.sync("b2", 1, &[]);
    assert_eq!(rig.synced(synced), Some(Ok("of b".to_owned())));
    // The one it was is fenced where it names its instance.
    let (old, generation) = (MemberId::new("b"), Generation(1));
    let fence = ClassicFence { member: &old, instance: Some("two"), generation };
    assert_eq!(rig.group.heartbeat(fence, rig.now), Err(ClassicError::FencedInstance));
    assert_eq!(rig.beat("b", 1), Err(ClassicError::UnknownMember));
    // A leader that comes back is told that it has nothing to assign, or that another leads.
    let again = rig.join(&of_instance("one", "a2"));
    let joined = rig.joined(again).unwrap().unwrap();
    assert_eq!((joined.leader.as_str(), joined.members.len()), ("a", 0));
    let again = rig.join(&ClassicJoin { skips_assignment: true, ..of_instance("one", "a3") });
    let joined = rig.joined(again).unwrap().unwrap();
    assert_eq!((joined.leader.as_str(), joined.members.len(), joined.skips_assignment), ("a3", 2, true));
    assert_eq!(rig.group.state(), ClassicState::Stable);
    assert_eq!(rig.leave(None, Some("two")), Ok(()));
    assert_eq!(rig.leave(None, Some("two")), Err(ClassicError::UnknownMember));
    assert_eq!(rig.leave(Some("a"), Some("one")), Err(ClassicError::FencedInstance));
    assert_eq!(rig.group.state(), ClassicState::PreparingRebalance);
}

#[test]
fn an_instance_is_waited_for_beyond_a_generation() {
    let mut rig = Rig::new();
    let (a, b) = (rig.join(&of_instance("one", "a")), rig.join(&of_instance("two", "b")));
    rig.pass(6);
    assert!(rig.joined(a).unwrap().is_ok() && rig.joined(b).unwrap().is_ok());
    rig.sync("b", 1, &[]);
    rig.sync("a", 1, &[]);
    // The leader joins anew, b lives and does not.
    let a = rig.join(&ClassicJoin { member: Some(MemberId::new("a")), ..of_instance("one", "-") });
    for _ in 0..30 {
        let _ = rig.beat("b", 1);
        rig.pass(1);
    }
    let joined = rig.joined(a).unwrap().unwrap();
    assert_eq!((joined.generation, joined.members.len()), (Generation(2), 2));
}

#[test]
fn commits_are_fenced() {
    let mut rig = Rig::new();
    assert_eq!(rig.group.may_commit(None, rig.now), Ok(()));
    rig = Rig::stable();
    assert_eq!(rig.group.may_commit(None, rig.now), Err(ClassicError::UnknownMember));
    let id = MemberId::new("a");
    let mut commit = |generation| {
        let fence = ClassicFence { member: &id, instance: None, generation: Generation(generation) };
        rig.group.may_commit(Some(fence), rig.now)
    };
    assert_eq!(commit(1), Ok(()));
    assert_eq!(commit(0), Err(ClassicError::IllegalGeneration));
    rig.join(&join(Some("a"), "-"));
    let fence = ClassicFence { member: &id, instance: None, generation: Generation(1) };
    assert_eq!(rig.group.may_commit(Some(fence), rig.now), Ok(()));
    rig.join(&join(Some("b"), "-"));
    let fence = ClassicFence { generation: Generation(2), ..fence };
    assert_eq!(rig.group.may_commit(Some(fence), rig.now), Err(ClassicError::RebalanceInProgress));
}

#[test]
fn a_deleted_group_answers_everybody() {
    let mut rig = Rig::stable();
    let a = rig.join(&join(Some("a"), "-"));
    rig.group.delete(&mut rig.answers);
    assert_eq!(rig.joined(a), Some(Err(ClassicError::Gone)));
    let again = rig.join(&join(Some("a"), "-"));
    assert_eq!((rig.joined(again), rig.group.state()), (Some(Err(ClassicError::Gone)), ClassicState::Dead));
    assert_eq!(rig.beat("a", 1), Err(ClassicError::Gone));
}

#[test]
fn nobody_is_to_blame_for_the_brokers_silence() {
    let mut rig = Rig::stable();
    rig.group.excuse(60_000);
    rig.now = rig.now.plus_millis(60_000);
    assert_eq!(rig.pass(9), Vec::<String>::new());
    assert_eq!(rig.group.state(), ClassicState::Stable);
}
