//! CREATE_TOPIC: names, partitions, retention and settings.

use super::start;
use crate::harness::peer::{ALTER_TOPIC, CREATE_TOPIC, PUBLISH, Pairs, Peer, SUBSCRIBE, frame};

#[test]
fn topics_are_created_as_asked() {
    let (_directory, server) = start(&[("QB_DEFAULT_PARTITIONS", "3"), ("QB_TOPICS__MAX_PARTITIONS", "7")]);
    let mut peer = Peer::connect(&server);
    let longest = "n".repeat(249);
    let cases: &[(Pairs<'_>, &str)] = &[
        (&[("topic", "a")], "3"),
        (&[("topic", &longest)], "3"),
        (&[("topic", "A.b_c-9")], "3"),
        (&[("topic", "...")], "3"),
        (&[("topic", "_one")], "3"),
        (&[("topic", "one"), ("partitions", "1")], "1"),
        (&[("topic", "most"), ("partitions", "7")], "7"),
        (&[("topic", "zeros"), ("partitions", "0002")], "2"),
        (&[("topic", "day"), ("partitions", "2"), ("retention_hours", "24")], "2"),
        (&[("topic", "ever"), ("retention_hours", "0")], "3"),
        (&[("version", "1.0"), ("created_at", "2024-01-01T00:00:00"), ("topic", "old"), ("client_id", "me")], "3"),
        (&[("topic", "free"), ("anything", "else"), ("offset", "x"), ("auto_ack", "perhaps")], "3"),
    ];
    for (properties, partitions) in cases {
        let topic = properties.iter().find(|(name, _)| *name == "topic").expect("a topic").1;
        for round in ["new", "there already"] {
            let reply = peer.ask(&frame(CREATE_TOPIC, 5, properties));
            let expected = [("status", "success"), ("topic", topic), ("partitions", *partitions)];
            assert_eq!((reply.pairs(), reply.body.len()), (expected.to_vec(), 0), "{properties:?}, {round}");
        }
        peer.ask(&frame(
            PUBLISH,
            6,
            &[("topic", topic), ("partition", &(partitions.parse::<u32>().unwrap() - 1).to_string())],
        ));
        peer.refused(&frame(PUBLISH, 6, &[("topic", topic), ("partition", partitions)]), "unknown_partition");
    }
}

#[test]
fn topics_that_cannot_be_are_refused() {
    let (_directory, server) = start(&[("QB_TOPICS__MAX_PARTITIONS", "7")]);
    let mut peer = Peer::connect(&server);
    peer.create("t", 2);
    let too_long = "n".repeat(250);
    let mut cases: Vec<(Vec<(&str, &str)>, &str)> = vec![
        (vec![], "invalid_property"),
        (vec![("partitions", "2")], "invalid_property"),
        (vec![("topic", "t"), ("partitions", "1")], "topic_exists"),
        (vec![("topic", "t"), ("partitions", "3")], "topic_exists"),
        (vec![("topic", "u"), ("topic", "u")], "invalid_property"),
        (vec![("topic", "u"), ("partitions", "1"), ("partitions", "1")], "invalid_property"),
        (vec![("topic", "u"), ("retention_hours", "1"), ("retention_hours", "1")], "invalid_property"),
        (vec![("topic", "u"), ("retention_hours", "1"), ("wiber.retention_ms", "1")], "invalid_property"),
    ];
    for name in ["", ".", "..", "a b", "a/b", "ż", "a\u{7f}", "a:b", "__meta", "__offsets", "__own", &too_long] {
        cases.push((vec![("topic", name)], "invalid_topic"));
    }
    for number in ["0", "-1", "+1", " 1", "1 ", "1.0", "", "many", "0x2", "8", "4294967296", "99999999999999999999"] {
        cases.push((vec![("topic", "u"), ("partitions", number)], "invalid_property"));
    }
    for hours in ["-1", "x", "", "1.5", "4294967296"] {
        cases.push((vec![("topic", "u"), ("retention_hours", hours)], "invalid_property"));
    }
    for (name, values) in wrong_settings() {
        cases.extend(values.iter().map(|value| (vec![("topic", "u"), (name, *value)], "invalid_property")));
    }
    for (number, (properties, code)) in (100..).zip(&cases) {
        peer.refused(&frame(CREATE_TOPIC, number, properties), code);
    }
    peer.refused(&frame(PUBLISH, 1, &[("topic", "u")]), "unknown_topic");
    peer.is_alive();
}

/// Values that no setting has, for CREATE_TOPIC and ALTER_TOPIC.
pub(super) fn wrong_settings() -> Vec<(&'static str, &'static [&'static str])> {
    vec![
        ("wiber.retention_ms", &["-2", "x", "1.5", "99999999999999999999"]),
        ("wiber.retention_bytes", &["-2", "x", "99999999999999999999"]),
        ("wiber.max_message_size", &["0", "-1", "x"]),
        ("wiber.cleanup_policy", &["keep", "delete,delete", "compact,", "DELETE "]),
        ("wiber.segment_bytes", &["0", "1023", "2147483648", "x"]),
        ("wiber.unheard_of", &["1"]),
        ("wiber.ack", &["leader"]),
        ("wiber.start", &["begin"]),
        ("wiber.", &["x"]),
    ]
}

#[test]
fn settings_hold_from_the_first_record_on() {
    let (_directory, server) = start(&[]);
    let mut peer = Peer::connect(&server);
    let settings: Pairs<'_> = &[
        ("topic", "t"),
        ("partitions", "1"),
        ("wiber.retention_ms", "-1"),
        ("wiber.retention_bytes", "1000000"),
        ("wiber.max_message_size", "10"),
        ("wiber.cleanup_policy", "compact,delete"),
        ("wiber.segment_bytes", "1024"),
    ];
    peer.ask(&frame(CREATE_TOPIC, 1, settings));
    peer.ask(&frame(PUBLISH, 2, &[("topic", "t"), ("key", "k")]).with_body(&[b'x'; 10]));
    peer.refused(&frame(PUBLISH, 3, &[("topic", "t"), ("key", "k")]).with_body(&[b'x'; 11]), "message_too_large");
    peer.ask(&frame(ALTER_TOPIC, 4, &[("topic", "t"), ("wiber.max_message_size", "")]));
    peer.ask(&frame(PUBLISH, 5, &[("topic", "t"), ("key", "k")]).with_body(&[b'x'; 11]));
}

#[test]
fn no_more_topics_than_allowed() {
    let (_directory, server) = start(&[("QB_TOPICS__MAX_TOPICS", "3"), ("QB_TOPICS__AUTO_CREATE", "true")]);
    let mut peer = Peer::connect(&server);
    for topic in ["a", "b", "c"] {
        peer.create(topic, 1);
    }
    peer.refused(&frame(CREATE_TOPIC, 1, &[("topic", "d")]), "limit_exceeded");
    peer.refused(&frame(PUBLISH, 2, &[("topic", "d")]), "limit_exceeded");
    peer.refused(&frame(SUBSCRIBE, 3, &[("topic", "d")]), "limit_exceeded");
    peer.create("a", 1);
}

#[test]
fn topics_come_into_being_where_that_is_allowed() {
    let (_directory, server) = start(&[("QB_TOPICS__AUTO_CREATE", "true"), ("QB_DEFAULT_PARTITIONS", "2")]);
    let mut peer = Peer::connect(&server);
    assert_eq!(peer.publish("by.publish", 1, b"x"), 0);
    let reply = peer.subscribe("by.subscribe", &[("partition", "1")]);
    assert_eq!(reply.get("start_offset"), Some("0"));
    for (topic, code) in [("__own", "invalid_topic"), ("no/name", "invalid_topic"), ("", "invalid_topic")] {
        peer.refused(&frame(PUBLISH, 1, &[("topic", topic)]), code);
        let code = if topic == "__own" { "unknown_topic" } else { code };
        peer.refused(&frame(SUBSCRIBE, 1, &[("topic", topic)]), code);
    }
    peer.refused(&frame(PUBLISH, 1, &[("topic", "new"), ("partition", "2")]), "unknown_partition");
}

/// Many clients create the same topics at once: all of them succeed.
#[test]
fn a_topic_created_by_many_at_once_is_one() {
    let (_directory, server) = start(&[]);
    let mut peers: Vec<_> = (0..16).map(|_| Peer::connect(&server)).collect();
    for round in 0..5 {
        let topic = format!("t{round}");
        let request = frame(CREATE_TOPIC, round, &[("topic", &topic), ("partitions", "2")]);
        peers.iter_mut().for_each(|peer| peer.send(std::slice::from_ref(&request)));
        for peer in &mut peers {
            assert_eq!(peer.next().pairs(), [("status", "success"), ("topic", &topic), ("partitions", "2")]);
        }
        assert_eq!(peers[0].publish(&topic, 1, b"x"), 0);
    }
}
