//! DELETE_TOPIC, ALTER_TOPIC and METADATA.

use serde_json::{Value, json};

use super::create::wrong_settings;
use super::{setup, start};
use crate::harness::peer::{
    ALTER_TOPIC, COMMIT, CREATE_TOPIC, DATA, DELETE_TOPIC, FETCH, LIST_OFFSETS, METADATA, PUBLISH, PUBLISH_BATCH,
    Pairs, Peer, SUBSCRIBE, SUBSCRIBE_BATCHES, expect_refusal, frame,
};

fn metadata(peer: &mut Peer, properties: Pairs<'_>) -> (Option<String>, Value) {
    let reply = peer.ask(&frame(METADATA, 9, properties));
    let rest: Vec<_> = reply.pairs().into_iter().skip(1).map(|(name, _)| name.to_owned()).collect();
    assert!(rest.is_empty() || rest == ["wiber.next"], "{rest:?}");
    let body = serde_json::from_slice(&reply.body).unwrap_or_else(|error| panic!("{error} in {reply:?}"));
    (reply.get("wiber.next").map(str::to_owned), body)
}

fn names(list: &Value) -> Vec<&str> {
    let topics = list["topics"].as_array().expect("topics");
    topics.iter().map(|topic| topic["topic"].as_str().expect("a name")).collect()
}

#[test]
fn topics_are_listed_page_by_page() {
    let (_directory, server) = start(&[]);
    let mut peer = Peer::connect(&server);
    assert_eq!(metadata(&mut peer, &[]), (None, json!({ "topics": [] })));
    for (topic, partitions) in [("b", 2), ("a", 1), ("B", 3), ("a.b", 1), ("c", 1)] {
        peer.create(topic, partitions);
    }
    let all = ["B", "a", "a.b", "b", "c"];
    let (next, list) = metadata(&mut peer, &[]);
    assert_eq!((next, names(&list)), (None, all.to_vec()));
    assert_eq!(list["topics"][3]["partitions"], json!(2));
    let ids: Vec<_> =
        list["topics"].as_array().expect("topics").iter().map(|topic| topic["topic_id"].clone()).collect();
    assert!(ids.iter().all(|id| id.as_str().is_some_and(|id| id.len() == 36)), "{ids:?}");
    for limit in 1..=6 {
        let (mut seen, mut after) = (Vec::new(), None::<String>);
        loop {
            let limit = limit.to_string();
            let mut properties = vec![("wiber.limit", limit.as_str())];
            properties.extend(after.as_deref().map(|after| ("wiber.after", after)));
            let (next, page) = metadata(&mut peer, &properties);
            seen.extend(names(&page).into_iter().map(str::to_owned));
            let Some(next) = next else { break };
            assert_eq!(Some(&next), seen.last());
            after = Some(next);
        }
        assert_eq!(seen, all, "{limit} at a time");
    }
    // Behind a name that is not there, and behind the last.
    assert_eq!(names(&metadata(&mut peer, &[("wiber.after", "aa")]).1), ["b", "c"]);
    assert_eq!(names(&metadata(&mut peer, &[("wiber.after", "zzz")]).1), Vec::<&str>::new());
    assert_eq!(names(&metadata(&mut peer, &[("wiber.after", "")]).1), all);
    for (properties, code) in [
        (&[("wiber.limit", "0")][..], "invalid_property"),
        (&[("wiber.limit", "10001")], "invalid_property"),
        (&[("wiber.limit", "x")], "invalid_property"),
        (&[("wiber.limit", "1"), ("wiber.limit", "1")], "invalid_property"),
        (&[("wiber.after", "a"), ("wiber.after", "a")], "invalid_property"),
        (&[("wiber.start", "begin")], "invalid_property"),
        (&[("topic", "")], "invalid_topic"),
        (&[("topic", "absent")], "unknown_topic"),
    ] {
        peer.refused(&frame(METADATA, 1, properties), code);
    }
}

#[test]
fn a_topic_is_described() {
    let (_directory, server) = start(&[]);
    let mut peer = Peer::connect(&server);
    let created =
        [("topic", "t"), ("partitions", "2"), ("wiber.retention_ms", "5000"), ("wiber.cleanup_policy", "compact")];
    let ack = peer.ask(&frame(CREATE_TOPIC, 1, &created));
    for _ in 0..3 {
        peer.ask(&frame(PUBLISH, 1, &[("topic", "t"), ("partition", "1"), ("key", "k")]).with_body(b"value"));
    }
    let (_, mut told) = metadata(&mut peer, &[("topic", "t")]);
    let created_at = told["created_at_ms"].take();
    assert!((created_at.as_i64().expect("a time") - ack.timestamp).abs() < 60_000, "{created_at}");
    assert_eq!(told["topic_id"].take().as_str().map(str::len), Some(36));
    let epochs: Vec<_> = (0..2).map(|partition| told["partitions"][partition]["leader_epoch"].take()).collect();
    assert!(epochs.iter().all(|epoch| epoch.as_u64().is_some_and(|epoch| epoch >= 1)), "{epochs:?}");
    let bytes: Vec<_> = (0..2).map(|partition| told["partitions"][partition]["bytes"].take().as_u64()).collect();
    assert_eq!(bytes[0], Some(0));
    assert!(bytes[1].is_some_and(|bytes| bytes > 3 * 61), "{bytes:?}");
    let partition = |number: u32, end: u32| {
        json!({ "partition": number, "status": "online", "leader_epoch": null, "log_start": 0, "high_watermark": end,
            "log_end": end, "bytes": null })
    };
    let expected = json!({
        "topic": "t",
        "topic_id": null,
        "created_at_ms": null,
        "partitions": [partition(0, 0), partition(1, 3)],
        "settings": { "retention_ms": 5_000, "cleanup_policy": "compact" },
        "effective": { "retention_ms": 5_000, "retention_bytes": -1, "max_message_size": 1_048_576,
            "cleanup_policy": "compact", "segment_bytes": 104_857_600, "min_compaction_lag_ms": 120_000,
            "delete_retention_ms": 86_400_000, "max_batch_size": 1_048_588,
            "segment_ms": 2_500, "timestamp_type": "CreateTime" },
    });
    assert_eq!(told, expected);
}

#[test]
fn a_topic_is_altered_and_stays_so() {
    let (_directory, setup) = setup(&[]);
    let mut server = setup.start();
    let mut peer = Peer::connect(&server);
    peer.create("t", 1);
    let steps: &[(Pairs<'_>, &str, Value)] = &[
        (&[], "1", json!({})),
        (&[("partitions", "1")], "1", json!({})),
        (&[("partitions", "3")], "3", json!({})),
        (&[("wiber.retention_ms", "-1")], "3", json!({ "retention_ms": -1 })),
        (
            &[("wiber.max_message_size", "10"), ("wiber.segment_bytes", "1024")],
            "3",
            json!({ "retention_ms": -1, "max_message_size": 10, "segment_bytes": 1_024 }),
        ),
        (
            &[("wiber.retention_ms", ""), ("wiber.retention_bytes", "2000"), ("partitions", "4")],
            "4",
            json!({ "max_message_size": 10, "segment_bytes": 1_024, "retention_bytes": 2_000 }),
        ),
        (
            &[("wiber.cleanup_policy", "compact,delete")],
            "4",
            json!({ "max_message_size": 10, "segment_bytes": 1_024, "retention_bytes": 2_000,
                "cleanup_policy": "compact,delete" }),
        ),
        (
            &[
                ("wiber.cleanup_policy", ""),
                ("wiber.max_message_size", ""),
                ("wiber.segment_bytes", ""),
                ("wiber.retention_bytes", ""),
            ],
            "4",
            json!({}),
        ),
        (&[("wiber.max_message_size", "10")], "4", json!({ "max_message_size": 10 })),
    ];
    for (change, partitions, settings) in steps {
        let reply = peer.ask(&frame(ALTER_TOPIC, 1, &[&[("topic", "t")], *change].concat()));
        assert_eq!(reply.pairs(), [("status", "success"), ("topic", "t"), ("partitions", *partitions)], "{change:?}");
        assert_eq!(metadata(&mut peer, &[("topic", "t")]).1["settings"], *settings, "{change:?}");
    }
    for _ in 0..2 {
        server.kill();
        server = setup.start();
        let mut peer = Peer::connect(&server);
        let told = metadata(&mut peer, &[("topic", "t")]).1;
        assert_eq!(told["settings"], json!({ "max_message_size": 10 }));
        assert_eq!(told["partitions"].as_array().map(Vec::len), Some(4));
        peer.refused(&frame(PUBLISH, 1, &[("topic", "t")]).with_body(&[b'x'; 11]), "message_too_large");
        peer.publish("t", 3, b"x");
    }
}

#[test]
fn changes_that_cannot_be_are_refused() {
    let (_directory, server) = start(&[]);
    let mut peer = Peer::connect(&server);
    peer.create("t", 4);
    for (properties, code) in [
        (&[][..], "invalid_property"),
        (&[("topic", "t"), ("partitions", "3")], "invalid_property"),
        (&[("topic", "t"), ("partitions", "0")], "invalid_property"),
        (&[("topic", "t"), ("partitions", "")], "invalid_property"),
        (&[("topic", "t"), ("partitions", "4097")], "invalid_property"),
        (&[("topic", "absent"), ("partitions", "3")], "unknown_topic"),
        (&[("topic", "__meta"), ("partitions", "3")], "invalid_topic"),
        (&[("topic", "__offsets"), ("wiber.retention_ms", "1")], "invalid_topic"),
        (&[("topic", ""), ("partitions", "3")], "invalid_topic"),
    ] {
        peer.refused(&frame(ALTER_TOPIC, 2, properties), code);
    }
    for (name, values) in wrong_settings() {
        for value in values {
            peer.refused(&frame(ALTER_TOPIC, 3, &[("topic", "t"), (name, *value)]), "invalid_property");
        }
    }
    assert_eq!(metadata(&mut peer, &[("topic", "t")]).1["settings"], json!({}));
}

/// Deleting a topic ends what is under way on it, and frees its name.
#[test]
fn a_deleted_topic_is_gone_for_everyone() {
    let (_directory, server) = start(&[]);
    let mut peer = Peer::connect(&server);
    for round in 0..3 {
        peer.create("t", 2);
        peer.create("kept", 1);
        assert_eq!(peer.publish("t", 1, b"x"), 0, "round {round}");
        let mut readers: Vec<_> = (0..3).map(|_| Peer::connect(&server)).collect();
        for (reader, kind) in readers.iter_mut().zip([SUBSCRIBE, SUBSCRIBE_BATCHES]) {
            reader.ask(&frame(kind, 5, &[("topic", "t"), ("partition", "1")]));
            assert_ne!(reader.next().sequence, 5);
        }
        // One that waits for what will never come.
        let wait = [("topic", "t"), ("offset", "0"), ("wiber.max_wait_ms", "60000"), ("wiber.min_bytes", "1000000")];
        readers[2].send(&[frame(FETCH, 6, &wait)]);
        let reply = peer.ask(&frame(DELETE_TOPIC, 1, &[("topic", "t")]));
        assert_eq!(reply.pairs(), [("status", "success"), ("topic", "t"), ("partitions", "2")]);
        for reader in &mut readers[..2] {
            // The subscription's end is told by a refusal that answers nothing.
            expect_refusal(&reader.next(), 0, "unknown_topic", "a subscription to a topic that was deleted");
            reader.is_alive();
        }
        expect_refusal(&readers[2].next(), 6, "unknown_topic", "a fetch of a topic that was deleted");
        let cases: &[(u32, Pairs<'_>)] = &[
            (DELETE_TOPIC, &[("topic", "t")]),
            (ALTER_TOPIC, &[("topic", "t"), ("partitions", "9")]),
            (METADATA, &[("topic", "t")]),
            (PUBLISH, &[("topic", "t")]),
            (PUBLISH_BATCH, &[("topic", "t")]),
            (SUBSCRIBE, &[("topic", "t")]),
            (SUBSCRIBE_BATCHES, &[("topic", "t")]),
            (FETCH, &[("topic", "t"), ("offset", "0")]),
            (LIST_OFFSETS, &[("topic", "t")]),
            (COMMIT, &[("topic", "t"), ("client_id", "me"), ("offset", "0")]),
        ];
        for (kind, properties) in cases {
            peer.refused(&frame(*kind, 2, properties), "unknown_topic");
        }
        assert_eq!(names(&metadata(&mut peer, &[]).1), ["kept"]);
    }
    for (properties, code) in [
        (&[][..], "invalid_property"),
        (&[("topic", "")], "invalid_topic"),
        (&[("topic", "__meta")], "invalid_topic"),
        (&[("topic", "__offsets")], "invalid_topic"),
        (&[("topic", "kept"), ("wiber.what", "1")], "invalid_property"),
    ] {
        peer.refused(&frame(DELETE_TOPIC, 3, properties), code);
    }
}

/// Deleting under load: every publish is answered, by an offset or by `unknown_topic`.
#[test]
fn a_topic_is_deleted_under_load() {
    let (_directory, server) = start(&[]);
    let mut owner = Peer::connect(&server);
    let mut publisher = Peer::connect(&server);
    for round in 0..10 {
        owner.create("t", 2);
        let mut reader = Peer::connect(&server);
        reader.subscribe("t", &[]);
        let many: Vec<_> = (1..=2_000).map(|n| frame(PUBLISH, n, &[("topic", "t"), ("wiber.ack", "leader")])).collect();
        publisher.send(&many);
        owner.ask(&frame(DELETE_TOPIC, 1, &[("topic", "t")]));
        let mut refused = 0;
        for n in 1..=2_000 {
            let reply = publisher.next();
            assert_eq!(reply.sequence, n, "round {round}");
            match reply.get("status") {
                Some("success") => {}
                _ => {
                    expect_refusal(&reply, n, "unknown_topic", "a publish");
                    refused += 1;
                }
            }
        }
        let mut next = 0;
        loop {
            let seen = reader.next();
            if seen.kind != DATA {
                expect_refusal(&seen, 0, "unknown_topic", "the end");
                break;
            }
            assert_eq!(seen.sequence, next);
            next += 1;
        }
        assert!(refused + next <= 2_000, "round {round}: {refused} refused, {next} of one partition delivered");
    }
}
