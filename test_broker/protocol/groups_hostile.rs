//! Groups and who means them ill: frames that no client sends, and more of everything than anybody needs.

use serde_json::{Value, json};

use super::start;
use crate::harness::Setup;
use crate::harness::lines::{Terminal, lines_address};
use crate::harness::peer::{
    ACK, COMMIT, DELETE_GROUP, DESCRIBE_GROUP, GROUP_HEARTBEAT, JOIN_GROUP, LIST_GROUPS, Peer, RESET_GROUP, Raw,
    SUBSCRIBE, frame,
};

fn join(sequence: u64, group: &str) -> Raw {
    let properties = [("wiber.group", group), ("wiber.session_timeout_ms", "300000")];
    frame(JOIN_GROUP, sequence, &properties).with_body(br#"{"topics":["t"]}"#)
}

fn groups(peer: &mut Peer) -> Vec<Value> {
    let listed = peer.ask(&frame(LIST_GROUPS, 1, &[]));
    let listed: Value = serde_json::from_slice(&listed.body).expect("JSON");
    listed["groups"].as_array().expect("a list").clone()
}

#[test]
fn bodies_that_nobody_means() {
    let (_directory, server) = start(&[]);
    let mut peer = Peer::connect(&server);
    peer.create("t", 2);
    let member = peer.ask(&join(1, "g"));
    let member = member.get("wiber.member").expect("an id").to_owned();
    let group = ("wiber.group", "g");
    let deep = "[".repeat(1 << 19);
    let nested = format!(r#"{{"topics":["t"],"else":{deep}"#);
    let many = json!({ "topics": vec!["a"; 200_000] }).to_string();
    let bad_owned = r#"{"topics":["t"],"owned":[{"topic":"t","partition":4294967296,"generation":1}]}"#;
    let negative = r#"{"topics":["t"],"owned":[{"topic":"t","partition":-1,"generation":1}]}"#;
    for body in [&*deep, &nested, &many, bad_owned, negative, "", "null", "{\"topics\":[\"\u{0}\"]}"] {
        peer.refused(&frame(JOIN_GROUP, 2, &[group]).with_body(body.as_bytes()), "invalid_property");
    }
    peer.refused(&frame(JOIN_GROUP, 2, &[group, ("wiber.member", &"m".repeat(256))]), "invalid_property");
    // What it says it reads and nobody ever gave it changes nothing.
    let everything: Vec<_> =
        (0..15_000).map(|index| json!({"topic": "t", "partition": index, "generation": u64::MAX})).collect();
    let body = json!({"topics": ["t"], "owned": everything}).to_string();
    let again = peer.ask(&frame(JOIN_GROUP, 3, &[group, ("wiber.member", &member)]).with_body(body.as_bytes()));
    let again: Value = serde_json::from_slice(&again.body).expect("JSON");
    assert_eq!(again["assigned"].as_array().map(Vec::len), Some(2), "{again}");
    let reads = json!({ "owned": everything }).to_string();
    peer.ask(&frame(GROUP_HEARTBEAT, 4, &[group, ("wiber.member", &member)]).with_body(reads.as_bytes()));
    for body in [&*deep, "[]", "x"] {
        let beat = frame(GROUP_HEARTBEAT, 5, &[group, ("wiber.member", &member)]);
        peer.refused(&beat.with_body(body.as_bytes()), "invalid_property");
        peer.refused(&frame(RESET_GROUP, 5, &[group]).with_body(body.as_bytes()), "invalid_property");
    }
    let positions = vec![json!({"topic": "t", "partition": 0, "offset": 0}); 10_001];
    let reset = frame(RESET_GROUP, 6, &[("wiber.group", "other")]);
    let body = json!({ "positions": positions }).to_string();
    peer.refused(&reset.with_body(body.as_bytes()), "limit_exceeded");
    // A member of one group is nobody in another.
    peer.ask(&join(7, "other"));
    let as_stranger = [("wiber.group", "other"), ("wiber.member", &*member), ("wiber.generation", "99")];
    peer.refused(&frame(GROUP_HEARTBEAT, 8, &as_stranger[..2]), "unknown_member");
    let mut commit = vec![("topic", "t"), ("offset", "0")];
    commit.extend(as_stranger);
    peer.refused(&frame(COMMIT, 9, &commit), "unknown_member");
    peer.refused(&frame(SUBSCRIBE, 10, &commit), "unknown_member");
    peer.is_alive();
}

/// One connection joins thousands of groups, and one group more often than it takes.
#[test]
fn groups_and_members_without_number() {
    let (_directory, server) = start(&[]);
    let mut peer = Peer::connect(&server);
    peer.create("t", 2);
    let before = server.resident_bytes();
    let frames: Vec<Raw> = (0..4_000).map(|number| join(number, &format!("g{number}"))).collect();
    for some in frames.chunks(500) {
        peer.send(some);
        for asked in some {
            let reply = peer.next();
            assert_eq!((reply.kind, reply.sequence, reply.get("status")), (ACK, asked.sequence, Some("success")));
        }
    }
    let listed = groups(&mut peer);
    assert_eq!(listed.len(), 4_000);
    assert!(listed.iter().all(|group| group["members"] == 1 && group["state"] == "stable"));
    let mut refused = 0;
    for number in 0..1_001 {
        // Whoever is there already is told of what it has to release meanwhile.
        peer.send(&[join(10_000 + number, "crowded")]);
        let reply = std::iter::repeat_with(|| peer.next()).find(|reply| reply.kind == ACK).expect("an answer");
        refused += u64::from(reply.get("code") == Some("limit_exceeded"));
    }
    assert_eq!(refused, 1, "a group has a thousand members");
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "{} MiB more", grown >> 20);
}

/// A group whose members take turns could be deleted and set back under them: the listing said that nobody is there. What they
/// read on moved the position to where it had been, and the group's name was free for another kind.
#[test]
fn members_that_take_turns_are_members() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut server = Setup::new(&directory.path().join("data")).start();
    let address = lines_address(&mut server);
    let mut peer = Peer::connect(&server);
    let mut member = Terminal::connect(address);
    member.ask("SUB t g", "OK subscribed t in group g");
    let group = [("wiber.group", "g")];
    let listed = groups(&mut peer);
    assert_eq!(
        (&listed[0]["kind"], &listed[0]["members"], &listed[0]["state"]),
        (&json!("queue"), &json!(1), &json!("stable"))
    );
    peer.refused(&frame(DELETE_GROUP, 2, &group), "group_not_empty");
    let body = br#"{"positions":[{"topic":"t","partition":0,"offset":0}]}"#;
    peer.refused(&frame(RESET_GROUP, 3, &group).with_body(body), "group_not_empty");
    let commit = [("topic", "t"), ("offset", "0"), ("wiber.group", "g")];
    peer.refused(&frame(COMMIT, 4, &commit), "group_not_empty");
    member.ask("QUIT", "OK bye");
    let mut described = json!({});
    for _ in 0..2_000 {
        let reply = peer.ask(&frame(DESCRIBE_GROUP, 5, &group));
        described = serde_json::from_slice(&reply.body).expect("JSON");
        if described["state"] == "empty" {
            break;
        }
    }
    assert_eq!(described["state"], "empty");
    peer.ask(&frame(RESET_GROUP, 6, &group).with_body(body));
    peer.ask(&frame(DELETE_GROUP, 7, &group));
    assert_eq!(groups(&mut peer).len(), 0);
    server.terminate();
}
