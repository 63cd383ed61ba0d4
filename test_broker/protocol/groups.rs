//! Groups by raw frames: who gets which partition, what a member that is gone may still do, and what stays over a restart.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::{setup, start};
use crate::harness::Server;
use crate::harness::peer::{
    ASSIGNMENT, COMMIT, DELETE_GROUP, DESCRIBE_GROUP, GROUP_HEARTBEAT, JOIN_GROUP, LEAVE_GROUP, LIST_GROUPS,
    LIST_OFFSETS, Peer, RESET_GROUP, Raw, SUBSCRIBE, UNSUBSCRIBE, frame,
};

fn json_of(frame: &Raw) -> Value {
    serde_json::from_slice(&frame.body).unwrap_or_else(|error| panic!("{error}: {frame:?}"))
}

/// Partition and generation of everything assigned.
fn assigned(frame: &Raw) -> Vec<(u64, u64)> {
    let body = json_of(frame);
    let entries = body["assigned"].as_array().expect("a list").iter();
    entries
        .map(|entry| (entry["partition"].as_u64().expect("one"), entry["generation"].as_u64().expect("one")))
        .collect()
}

/// A member of group `g`, over a connection of its own.
struct Member {
    peer: Peer,
    id: String,
    owned: Vec<(u64, u64)>,
}

impl Member {
    fn join(server: &Server) -> Member {
        Member::join_as(server, None, &json!([]))
    }

    fn join_as(server: &Server, id: Option<&str>, owned: &Value) -> Member {
        Member::join_for(server, "30000", id, owned)
    }

    fn join_for(server: &Server, session_ms: &str, id: Option<&str>, owned: &Value) -> Member {
        let mut peer = Peer::connect(server);
        let mut properties = vec![("wiber.group", "g"), ("wiber.session_timeout_ms", session_ms)];
        properties.extend(id.map(|id| ("wiber.member", id)));
        let body = json!({"topics": ["t"], "owned": owned}).to_string();
        let reply = peer.ask(&frame(JOIN_GROUP, 1, &properties).with_body(body.as_bytes()));
        let id = reply.get("wiber.member").expect("an id").to_owned();
        assert_eq!(reply.number("wiber.heartbeat_ms"), session_ms.parse::<i64>().expect("a number") / 3);
        Member { owned: assigned(&reply), peer, id }
    }

    /// Takes the next assignment, and says that it is obeyed.
    fn obey(&mut self) {
        let told = self.peer.next();
        assert_eq!((told.kind, told.sequence, told.get("wiber.group")), (ASSIGNMENT, 0, Some("g")), "{told:?}");
        assert_eq!(told.get("wiber.member"), Some(&*self.id));
        self.owned = assigned(&told);
        let owned: Vec<_> = self.owned.iter().map(|(index, _)| json!({"topic": "t", "partition": index})).collect();
        let body = json!({ "owned": owned }).to_string();
        let properties = [("wiber.group", "g"), ("wiber.member", &*self.id)];
        let reply = self.peer.ask(&frame(GROUP_HEARTBEAT, 2, &properties).with_body(body.as_bytes()));
        self.owned = assigned(&reply);
    }

    fn partitions(&self) -> BTreeSet<u64> {
        self.owned.iter().map(|(index, _)| *index).collect()
    }

    fn as_of(&self, generation: u64, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let generation = generation.to_string();
        let mut properties = vec![("topic", "t"), ("wiber.group", "g"), ("wiber.member", &*self.id)];
        properties.push(("wiber.generation", &generation));
        properties.extend(more);
        properties.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn request(&self, kind: u32, generation: u64, more: &[(&str, &str)]) -> Raw {
        let mut request = frame(kind, 7, &[]);
        request.properties = self.as_of(generation, more);
        request
    }
}

/// A server with topic `t` of four partitions, ten records in each.
fn started(variables: &[(&str, &str)]) -> (tempfile::TempDir, Server) {
    let (directory, server) = start(variables);
    let mut peer = Peer::connect(&server);
    peer.create("t", 4);
    for number in 0..40 {
        peer.publish("t", number % 4, number.to_string().as_bytes());
    }
    (directory, server)
}

fn committed(peer: &mut Peer, partition: u64) -> i64 {
    let partition = partition.to_string();
    let properties = [("topic", "t"), ("partition", &*partition), ("wiber.group", "g")];
    peer.ask(&frame(LIST_OFFSETS, 9, &properties)).number("committed")
}

#[test]
fn partitions_are_divided_and_only_what_must_moves() {
    let (_directory, server) = started(&[]);
    let mut first = Member::join(&server);
    assert_eq!(first.partitions(), (0..4).collect());
    let mut second = Member::join(&server);
    assert_eq!(second.partitions(), BTreeSet::new(), "the first one has not released anything");
    first.obey();
    second.obey();
    assert_eq!((first.partitions().len(), second.partitions().len()), (2, 2));
    assert!(first.partitions().is_disjoint(&second.partitions()));
    let before = (first.owned.clone(), second.owned.clone());
    // A third one takes one of four, so one of the others hears of it; the other one is left alone.
    let mut third = Member::join(&server);
    let is_first = first.peer.next_within(Duration::from_millis(50)).is_some_and(|told| told.kind == ASSIGNMENT);
    let (affected, spared) = if is_first { (&mut first, &mut second) } else { (&mut second, &mut first) };
    if is_first {
        // Said by a heartbeat what it still reads: it has kept the first of what it had.
        let kept = json!({"owned": [{"topic": "t", "partition": affected.owned[0].0}]}).to_string();
        let properties = [("wiber.group", "g"), ("wiber.member", &*affected.id)];
        let reply = affected.peer.ask(&frame(GROUP_HEARTBEAT, 2, &properties).with_body(kept.as_bytes()));
        affected.owned = assigned(&reply);
    } else {
        affected.obey();
    }
    third.obey();
    assert_eq!((affected.owned.len(), third.owned.len()), (1, 1));
    spared.peer.is_alive();
    assert!(before.0 == spared.owned || before.1 == spared.owned);
    // Its share comes back to the others when it goes.
    third.peer.ask(&frame(LEAVE_GROUP, 3, &[("wiber.group", "g"), ("wiber.member", &*third.id)]));
    affected.obey();
    assert_eq!(affected.owned.len(), 2);
    spared.peer.is_alive();
}

#[test]
fn a_member_thought_dead_is_fenced() {
    let (_directory, server) = started(&[]);
    let mut dead = Member::join_for(&server, "1000", None, &json!([]));
    let since = dead.owned[0].1;
    let zero = [("partition", "0")];
    dead.peer.ask(&dead.request(COMMIT, since, &[zero[0], ("offset", "3")]));
    let batches = [zero[0], ("wiber.start", "committed"), ("auto_ack", "true")];
    let reply = dead.peer.ask(&dead.request(SUBSCRIBE, since, &batches));
    assert_eq!(reply.number("start_offset"), 3);
    for offset in 3..10 {
        assert_eq!(dead.peer.data().sequence, offset);
    }
    let mut other = Peer::connect(&server);
    assert_eq!(committed(&mut other, 0), 10, "at most once: committed before it was sent");
    // It sends no heartbeats. A second one joins and gets everything once the first is removed.
    let mut heir = Member::join(&server);
    while heir.owned.len() < 4 {
        heir.obey();
    }
    // What its subscription would still bring it goes to the other one.
    other.publish("t", 0, b"new");
    let mut seen = Vec::new();
    dead.peer.is_alive_among(&mut |frame| seen.push(frame));
    let lost = |frame: &Raw| frame.get("code") == Some("fenced_member");
    while !seen.iter().any(lost) {
        seen.push(dead.peer.next());
    }
    assert!(seen.iter().all(|frame| frame.kind == ASSIGNMENT || lost(frame)), "{seen:?}");
    let (of_dead, of_heir) = (dead.request(COMMIT, since, &[zero[0], ("offset", "11")]), heir.owned[0].1);
    dead.peer.refused(&of_dead, "unknown_member");
    assert_eq!(committed(&mut other, 0), 10);
    let early = heir.request(COMMIT, since, &[zero[0], ("offset", "11")]);
    heir.peer.refused(&early, "fenced_member");
    heir.peer.ask(&heir.request(COMMIT, of_heir, &[zero[0], ("offset", "11")]));
    // A position never goes back.
    let back = heir.peer.ask(&heir.request(COMMIT, of_heir, &[zero[0], ("offset", "4")]));
    assert_eq!((back.number("offset"), back.get("wiber.group")), (11, Some("g")));
}

#[test]
fn a_killed_server_finds_its_members_where_they_were() {
    let (_directory, setup) = setup(&[]);
    let server = setup.start();
    let mut peer = Peer::connect(&server);
    peer.create("t", 4);
    let mut first = Member::join(&server);
    let mut second = Member::join(&server);
    first.obey();
    second.obey();
    let commit =
        first.request(COMMIT, first.owned[0].1, &[("partition", &first.owned[0].0.to_string()), ("offset", "0")]);
    first.peer.ask(&commit);
    server.kill();
    let server = setup.start();
    let claims = |member: &Member| {
        let claim = |(index, since): &(u64, u64)| json!({"topic": "t", "partition": index, "generation": since});
        Value::from(member.owned.iter().map(claim).collect::<Vec<_>>())
    };
    let second_again = Member::join_as(&server, Some(&second.id), &claims(&second));
    assert_eq!(second_again.owned, second.owned, "nothing has moved");
    let first_again = Member::join_as(&server, Some(&first.id), &claims(&first));
    assert_eq!(first_again.owned, first.owned);
    let mut peer = Peer::connect(&server);
    assert_eq!(committed(&mut peer, first.owned[0].0), 0);
}

#[test]
fn groups_are_described_reset_and_deleted() {
    let (_directory, server) = started(&[]);
    let mut member = Member::join(&server);
    let since = member.owned[0].1;
    member.peer.ask(&member.request(COMMIT, since, &[("partition", "1"), ("offset", "4")]));
    let group = [("wiber.group", "g")];
    let mut peer = Peer::connect(&server);
    let list = json_of(&peer.ask(&frame(LIST_GROUPS, 1, &[])));
    assert_eq!((&list["groups"][0]["group"], &list["groups"][0]["members"]), (&json!("g"), &json!(1)));
    let described = json_of(&peer.ask(&frame(DESCRIBE_GROUP, 1, &group)));
    assert_eq!((&described["kind"], &described["state"]), (&json!("partitioned"), &json!("stable")));
    assert_eq!(described["members"][0]["assigned"].as_array().map(Vec::len), Some(4));
    let lags: Vec<_> = described["partitions"].as_array().expect("a list").iter().map(|of| of["lag"].clone()).collect();
    assert_eq!(lags, [10, 6, 10, 10]);
    assert_eq!(
        (&described["partitions"][1]["committed"], &described["partitions"][0]["committed"]),
        (&json!(4), &Value::Null)
    );
    assert!(described["partitions"][1]["lag_seconds"].as_f64().expect("a number") >= 0.0);
    let positions = json!({"positions": [{"topic": "t", "partition": 1, "offset": 2}, {"topic": "t", "partition": 3, "offset": 10}]});
    let reset = frame(RESET_GROUP, 1, &group).with_body(positions.to_string().as_bytes());
    peer.refused(&reset, "group_not_empty");
    peer.refused(&frame(DELETE_GROUP, 1, &group), "group_not_empty");
    member.peer.ask(&frame(LEAVE_GROUP, 3, &[("wiber.group", "g"), ("wiber.member", &*member.id)]));
    assert_eq!(json_of(&peer.ask(&reset)), positions);
    assert_eq!((committed(&mut peer, 1), committed(&mut peer, 3)), (2, 10));
    let beyond = json!({"positions": [{"topic": "t", "partition": 1, "offset": 11}]}).to_string();
    peer.refused(&frame(RESET_GROUP, 1, &group).with_body(beyond.as_bytes()), "offset_out_of_range");
    peer.ask(&frame(DELETE_GROUP, 1, &group));
    assert_eq!((committed(&mut peer, 1), json_of(&peer.ask(&frame(LIST_GROUPS, 1, &[])))), (-1, json!({"groups": []})));
    peer.refused(&frame(DESCRIBE_GROUP, 1, &group), "unknown_group");
    peer.refused(&frame(DELETE_GROUP, 1, &group), "unknown_group");
}

#[test]
fn what_members_say_is_checked() {
    let (_directory, server) = started(&[]);
    let mut member = Member::join(&server);
    let group = ("wiber.group", "g");
    let peer = &mut member.peer;
    let long = "g".repeat(256);
    let topics = |entry: &str| json!({"topics": [entry]}).to_string();
    peer.refused(
        &frame(JOIN_GROUP, 1, &[("wiber.group", &long)]).with_body(topics("t").as_bytes()),
        "invalid_property",
    );
    peer.refused(&frame(JOIN_GROUP, 1, &[group]).with_body(topics("a b").as_bytes()), "invalid_property");
    peer.refused(&frame(JOIN_GROUP, 1, &[group]).with_body(b"{}"), "invalid_property");
    peer.refused(&frame(GROUP_HEARTBEAT, 1, &[group, ("wiber.member", "nobody")]), "unknown_member");
    peer.refused(&frame(LEAVE_GROUP, 1, &[("wiber.group", "none"), ("wiber.member", "nobody")]), "unknown_member");
    peer.refused(&frame(COMMIT, 1, &[("topic", "t"), ("offset", "1"), group]), "group_not_empty");
    let of_nobody = [("topic", "t"), group, ("wiber.member", "nobody"), ("wiber.generation", "1")];
    peer.refused(&frame(SUBSCRIBE, 1, &of_nobody), "unknown_member");
    peer.is_alive();
}

/// A client that knows nothing of groups but their name.
fn reader(server: &Server, more: &[(&str, &str)]) -> Peer {
    let mut peer = Peer::connect(server);
    let reply = peer.subscribe("t", &[&[("wiber.group", "g"), ("client_id", "simple")], more].concat());
    assert!(reply.get("wiber.member").is_some(), "{reply:?}");
    peer
}

/// The partitions of what comes until so many records have come.
fn partitions_of(peer: &mut Peer, count: usize) -> BTreeSet<i64> {
    (0..count).map(|_| peer.data().number("partition")).collect()
}

/// Waits until the group is at rest among so many members.
fn at_rest(peer: &mut Peer, members: u64) {
    loop {
        let list = json_of(&peer.ask(&frame(LIST_GROUPS, 1, &[])));
        let group =
            list["groups"].as_array().and_then(|groups| groups.iter().find(|group| group["group"] == "g").cloned());
        if group.is_some_and(|group| group["state"] == "stable" && group["members"] == members) {
            return;
        }
    }
}

#[test]
fn a_subscription_with_a_group_alone_shares_the_topic() {
    let (_directory, server) = started(&[]);
    let mut peer = Peer::connect(&server);
    let mut first = reader(&server, &[]);
    assert_eq!(partitions_of(&mut first, 40), (0..4).collect(), "everything there is");
    let mut second = reader(&server, &[]);
    at_rest(&mut peer, 2);
    for number in 0..8 {
        peer.publish("t", number % 4, b"shared");
    }
    let (of_first, of_second) = (partitions_of(&mut first, 4), partitions_of(&mut second, 4));
    assert_eq!((of_first.len(), of_second.len()), (2, 2));
    assert!(of_first.is_disjoint(&of_second));
    let mut again = frame(SUBSCRIBE, 904, &[("topic", "t"), ("wiber.group", "g")]);
    first.refused(&again, "already_subscribed");
    // One goes by its own word, the other one gets everything.
    again.kind = UNSUBSCRIBE;
    second.ask(&again);
    second.refused(&again, "not_subscribed");
    at_rest(&mut peer, 1);
    for number in 0..4 {
        peer.publish("t", number, b"alone");
    }
    assert_eq!(partitions_of(&mut first, 4), (0..4).collect());
    second.is_alive();
    drop(first);
    assert_eq!(committed(&mut peer, 0), 13, "kept before it was sent");
}

/// Where the client acknowledges, what it has not acknowledged when it goes comes again.
#[test]
fn what_a_member_did_not_acknowledge_comes_to_another() {
    let (_directory, server) = started(&[]);
    let mut peer = Peer::connect(&server);
    let mut first = reader(&server, &[("auto_ack", "false")]);
    let mut seen: Vec<Raw> = (0..40).map(|_| first.data()).collect();
    let (dealt_with, open): (Vec<_>, Vec<_>) = seen.drain(..).partition(|data| data.sequence < 7);
    dealt_with.iter().for_each(|data| first.acknowledge(data));
    first.is_alive();
    drop(first);
    nobody_is_left(&mut peer);
    let mut second = reader(&server, &[("auto_ack", "false")]);
    let again: BTreeSet<_> =
        open.iter().map(|_| second.data()).map(|data| (data.number("partition"), data.sequence)).collect();
    let expected = open.iter().map(|data| (data.number("partition"), data.sequence)).collect();
    assert_eq!(again, expected);
}

/// Waits until nobody belongs to the group.
fn nobody_is_left(peer: &mut Peer) {
    while json_of(&peer.ask(&frame(LIST_GROUPS, 1, &[])))["groups"][0]["members"] != 0 {}
}

/// A partition that cannot be opened keeps nobody from the others. (It was tried again at once and for ever; that it is not is
/// to be seen only in the time the processor takes.)
#[test]
fn a_group_reads_what_can_be_read() {
    let (directory, setup) = setup(&[]);
    let server = setup.start();
    Peer::connect(&server).create("t", 2);
    server.kill();
    std::fs::write(directory.path().join("data/t_p0/partition.json"), b"{}").expect("written");
    let server = setup.expect_line("t:0").expect_line("t_p0").start();
    let mut reading = reader(&server, &[]);
    let mut peer = Peer::connect(&server);
    peer.publish("t", 1, b"readable");
    assert_eq!(reading.data().body, b"readable");
    reading.is_alive();
}
