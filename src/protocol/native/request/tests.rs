//! Tests of requests: what each frame means, and the code of what means nothing.

use super::*;
use crate::protocol::native::OwnedPartition;
use crate::protocol::native::Properties;
use crate::types::{CleanupPolicy, TimestampType};

fn frame(kind: FrameType, pairs: &[(&str, &str)]) -> Frame {
    Frame {
        kind,
        sequence: 5,
        timestamp: Timestamp::from_millis(0),
        properties: Properties::from_pairs(pairs.iter().copied()).expect("valid"),
        body: Bytes::from_static(b"body"),
    }
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name).expect("valid")
}

/// Checks that a frame is refused with this code, for a reason that names this.
fn refused(kind: FrameType, pairs: &[(&str, &str)], code: ErrorCode, named: &str) {
    let frame = frame(kind, pairs);
    let error = Request::parse(&frame).expect_err(named);
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(named), "{error} lacks {named:?}");
}

#[test]
fn create_topic() {
    let parsed = |pairs: &[(&str, &str)]| {
        let frame = frame(FrameType::CreateTopic, pairs);
        match Request::parse(&frame) {
            Ok(Request::CreateTopic(request)) => (request.partitions, request.settings.retention_ms.flatten()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(parsed(&[("topic", "a")]), (None, None));
    let all = [("topic", "a"), ("partitions", "3"), ("retention_hours", "24"), ("version", "1.0")];
    assert_eq!(parsed(&all), (Some(3), Some(24 * 3_600_000)));

    let kind = FrameType::CreateTopic;
    refused(kind, &[], ErrorCode::InvalidProperty, "'topic' is missing");
    refused(kind, &[("topic", "a b")], ErrorCode::InvalidTopic, "a b");
    for bad in ["0", "-1", "", "1.5", " 1", "+1", "4294967296", "99999999999999999999"] {
        let pairs = [("topic", "a"), ("partitions", bad)];
        refused(kind, &pairs, ErrorCode::InvalidProperty, "'partitions'");
    }
    let pairs = [("topic", "a"), ("retention_hours", "day")];
    refused(kind, &pairs, ErrorCode::InvalidProperty, "'retention_hours'");
    let pairs = [("topic", "a"), ("wiber.ack", "none")];
    refused(kind, &pairs, ErrorCode::InvalidProperty, "wiber.ack");
}

#[test]
fn settings_of_a_topic() {
    let kind = FrameType::AlterTopic;
    let full = [
        ("topic", "a"),
        ("partitions", "9"),
        ("wiber.retention_ms", "-1"),
        ("wiber.retention_bytes", ""),
        ("wiber.max_message_size", "100"),
        ("wiber.cleanup_policy", "compact,delete"),
        ("wiber.segment_bytes", "4096"),
        ("wiber.min_compaction_lag_ms", "7"),
        ("wiber.delete_retention_ms", ""),
        ("wiber.max_batch_size", "2000"),
        ("wiber.segment_ms", "1"),
        ("wiber.timestamp_type", "LogAppendTime"),
    ];
    let alter = frame(kind, &full);
    let Ok(Request::AlterTopic(request)) = Request::parse(&alter) else { panic!("{alter:?}") };
    assert_eq!(request.partitions, Some(9));
    let expected = SettingsRequest {
        retention_ms: Some(Some(-1)),
        retention_bytes: Some(None),
        message_bytes_max: Some(Some(100)),
        cleanup_policy: Some(Some(CleanupPolicy::CompactAndDelete)),
        segment_bytes: Some(Some(4096)),
        min_compaction_lag_ms: Some(Some(7)),
        delete_retention_ms: Some(None),
        batch_bytes_max: Some(Some(2000)),
        segment_ms: Some(Some(1)),
        timestamp_type: Some(Some(TimestampType::LogAppendTime)),
    };
    assert_eq!(request.settings, expected);
    let create = frame(FrameType::CreateTopic, &full);
    let Ok(Request::CreateTopic(request)) = Request::parse(&create) else { panic!("{create:?}") };
    assert_eq!(request.settings, expected);

    for (name, bad) in [
        ("wiber.retention_ms", "-2"),
        ("wiber.retention_bytes", "1.5"),
        ("wiber.max_message_size", "0"),
        ("wiber.cleanup_policy", "never"),
        ("wiber.segment_bytes", "1023"),
        ("wiber.min_compaction_lag_ms", "-1"),
        ("wiber.delete_retention_ms", "1h"),
        ("wiber.max_batch_size", "4294967296"),
        ("wiber.segment_ms", "0"),
        ("wiber.timestamp_type", "logappendtime"),
    ] {
        refused(kind, &[("topic", "a"), (name, bad)], ErrorCode::InvalidProperty, name);
    }
    let twice = [("topic", "a"), ("wiber.retention_ms", "1"), ("wiber.retention_ms", "1")];
    refused(kind, &twice, ErrorCode::InvalidProperty, "given twice");
    let both = [("topic", "a"), ("retention_hours", "1"), ("wiber.retention_ms", "1")];
    refused(FrameType::CreateTopic, &both, ErrorCode::InvalidProperty, "'retention_hours'");
}

#[test]
fn metadata() {
    let parsed = |pairs: &[(&str, &str)]| match Request::parse(&frame(FrameType::Metadata, pairs)) {
        Ok(Request::Metadata(request)) => request,
        other => panic!("{other:?}"),
    };
    assert_eq!(parsed(&[]), MetadataRequest::List { after: None, limit: 1_000 });
    let page = [("wiber.after", "orders"), ("wiber.limit", "7")];
    assert_eq!(parsed(&page), MetadataRequest::List { after: Some("orders".to_owned()), limit: 7 });
    for (given, creates) in [(None, false), (Some("false"), false), (Some("true"), true)] {
        let pairs: Vec<_> =
            [("topic", "a")].into_iter().chain(given.map(|value| ("wiber.auto_create", value))).collect();
        assert_eq!(parsed(&pairs), MetadataRequest::Topic { topic: topic("a"), creates });
    }
    refused(
        FrameType::Metadata,
        &[("topic", "a"), ("wiber.auto_create", "1")],
        ErrorCode::InvalidProperty,
        "auto_create",
    );
    for bad in ["0", "10001", "many"] {
        refused(FrameType::Metadata, &[("wiber.limit", bad)], ErrorCode::InvalidProperty, "wiber.limit");
    }
}

#[test]
fn fetch() {
    let parsed = |pairs: &[(&str, &str)]| match Request::parse(&frame(FrameType::Fetch, pairs)) {
        Ok(Request::Fetch(request)) => (request.bytes_max, request.bytes_min, request.wait_max.as_millis()),
        other => panic!("{other:?}"),
    };
    assert_eq!(parsed(&[("topic", "a"), ("offset", "3")]), (1 << 20, 1, 0));
    let full = [
        ("topic", "a"),
        ("offset", "3"),
        ("wiber.max_bytes", "1000"),
        ("wiber.min_bytes", "2000"),
        ("wiber.max_wait_ms", "60000"),
    ];
    assert_eq!(parsed(&full), (1000, 1000, 60_000));
    let kind = FrameType::Fetch;
    refused(kind, &[("topic", "a")], ErrorCode::InvalidProperty, "'offset' is missing");
    for (name, bad) in
        [("wiber.max_bytes", "0"), ("wiber.max_bytes", "16777217"), ("wiber.max_wait_ms", "60001"), ("offset", "-1")]
    {
        let mut pairs = vec![("topic", "a"), (name, bad)];
        if name != "offset" {
            pairs.push(("offset", "0"));
        }
        refused(kind, &pairs, ErrorCode::InvalidProperty, name);
    }
}

#[test]
fn commit_and_list_offsets() {
    let pairs = [("topic", "a"), ("partition", "2"), ("client_id", "me"), ("offset", "7")];
    let commit = frame(FrameType::Commit, &pairs);
    let Ok(Request::Commit(request)) = Request::parse(&commit) else { panic!("{commit:?}") };
    assert_eq!(
        (request.owner, request.partition, request.offset.get()),
        (PositionOf::Client("me"), PartitionIndex(2), 7)
    );
    for missing in ["topic", "client_id", "offset"] {
        let rest: Vec<_> = pairs.into_iter().filter(|(name, _)| *name != missing).collect();
        refused(FrameType::Commit, &rest, ErrorCode::InvalidProperty, missing);
    }

    let list = frame(FrameType::ListOffsets, &[("topic", "a"), ("client_id", ""), ("wiber.time", "5")]);
    let Ok(Request::ListOffsets(request)) = Request::parse(&list) else { panic!("{list:?}") };
    assert_eq!((request.owner, request.time), (None, Some(Timestamp::from_millis(5))));
}

#[test]
fn publish() {
    let pairs = [
        ("created_at", "2024"),
        ("version", "1.0"),
        ("client_id", "me"),
        ("colour", "red"),
        ("topic", "a"),
        ("partition", "2"),
        ("key", "k"),
        ("id", "7"),
        ("wiber.ack", "durable"),
        ("colour", "blue"),
        ("offset", "1"),
    ];
    let full = frame(FrameType::Publish, &pairs);
    let Ok(Request::Publish(request)) = Request::parse(&full) else {
        panic!("{full:?}");
    };
    assert_eq!(request.topic, "a");
    assert_eq!(request.partition, Some(PartitionIndex(2)));
    assert_eq!((request.key, request.id), (Some("k"), Some("7")));
    assert_eq!(request.ack, Some(AckLevel::Durable));
    assert_eq!(&request.value[..], b"body");
    let headers: Vec<_> = request.headers().collect();
    let expected = [("wiber.client_id", "me"), ("colour", "red"), ("wiber.id", "7"), ("colour", "blue")];
    assert_eq!(headers, expected);

    let kind = FrameType::Publish;
    let invalid = ErrorCode::InvalidProperty;
    refused(kind, &[("key", "k")], invalid, "'topic' is missing");
    refused(kind, &[("topic", "a"), ("topic", "b")], invalid, "'topic' is given twice");
    refused(kind, &[("topic", "a"), ("partition", "-1")], invalid, "'partition'");
    refused(kind, &[("topic", "a"), ("wiber.ack", "all")], invalid, "'durable'");
    refused(kind, &[("topic", "a"), ("wiber.colour", "red")], invalid, "wiber.colour");
    refused(kind, &[("topic", "a"), ("wiber.start", "end")], invalid, "wiber.start");
}

#[test]
fn subscribe() {
    let start = |pairs: &[(&str, &str)]| {
        let pairs: Vec<_> = [("topic", "a")].iter().chain(pairs).copied().collect();
        let frame = frame(FrameType::Subscribe, &pairs);
        match Request::parse(&frame) {
            Ok(Request::Subscribe(request)) => request.start,
            other => panic!("{other:?}"),
        }
    };
    let at = |n| StartAt::Offset(Offset::new(n).expect("small"));
    assert_eq!(start(&[]), at(0));
    assert_eq!(start(&[("offset", "9")]), at(9));
    assert_eq!(start(&[("wiber.start", "committed"), ("offset", "9")]), at(9));
    assert_eq!(start(&[("wiber.start", "begin")]), StartAt::Begin);
    assert_eq!(start(&[("wiber.start", "end")]), StartAt::End);
    assert_eq!(start(&[("wiber.start", "committed")]), StartAt::Committed);
    let time = StartAt::Time(Timestamp::from_millis(17));
    assert_eq!(start(&[("wiber.start", "17")]), time);

    let pairs = [("topic", "a"), ("client_id", "c"), ("partition", "1"), ("auto_ack", "False"), ("version", "1.0")];
    let full = frame(FrameType::Subscribe, &pairs);
    let Ok(Request::Subscribe(request)) = Request::parse(&full) else {
        panic!("{full:?}");
    };
    let expected = SubscribeRequest {
        topic: topic("a"),
        partition: PartitionIndex(1),
        client_id: "c",
        member: None,
        start: at(0),
        auto_ack: false,
        needs_grace: true,
        stamps: false,
    };
    assert_eq!(request, expected);

    let kind = FrameType::Subscribe;
    let invalid = ErrorCode::InvalidProperty;
    refused(kind, &[("topic", "a"), ("offset", "-1")], invalid, "'offset'");
    refused(kind, &[("topic", "a"), ("offset", "9223372036854775808")], invalid, "'offset'");
    refused(kind, &[("topic", "a"), ("wiber.start", "now")], invalid, "'wiber.start'");
    refused(kind, &[("topic", "a"), ("auto_ack", "maybe")], invalid, "'auto_ack'");
}

#[test]
fn the_rest() {
    let pairs = [("topic", "a"), ("client_id", "c")];
    let unsubscribe = frame(FrameType::Unsubscribe, &pairs);
    let Ok(Request::Unsubscribe(request)) = Request::parse(&unsubscribe) else {
        panic!("{unsubscribe:?}");
    };
    assert_eq!((request.topic, request.partition, request.client_id), (topic("a"), PartitionIndex(0), "c"));

    let pairs = [("topic", "a"), ("partition", "3"), ("status", "success")];
    let ack = frame(FrameType::Ack, &pairs);
    let Ok(Request::Ack(request)) = Request::parse(&ack) else {
        panic!("{ack:?}");
    };
    let expected = AckRequest { topic: "a", partition: PartitionIndex(3), offset: Offset::new(5).expect("small") };
    assert_eq!(request, expected);

    assert!(matches!(Request::parse(&frame(FrameType::Heartbeat, &[])), Ok(Request::Heartbeat)));
    refused(FrameType::Data, &[], ErrorCode::UnknownType, "not a request");
}

#[test]
fn requests_of_members() {
    let join =
        frame(FrameType::JoinGroup, &[("wiber.group", "g"), ("client_id", "me"), ("wiber.session_timeout_ms", "1500")]);
    let body = br#"{"topics":["a","b*"],"owned":[{"topic":"a","partition":1,"generation":7}]}"#;
    let join = Frame { body: bytes::Bytes::from_static(body), ..join };
    let Ok(Request::JoinGroup(request)) = Request::parse(&join) else { panic!("{join:?}") };
    assert_eq!((request.group, request.member, request.client_id), ("g", None, "me"));
    assert_eq!((request.session_timeout_ms, request.rebalance_timeout_ms), (1_500, 30_000));
    let owned = OwnedPartition { topic: "a".to_owned(), partition: 1, generation: 7 };
    assert_eq!((request.body.topics, request.body.owned), (vec!["a".to_owned(), "b*".to_owned()], vec![owned]));

    let beat = frame(FrameType::GroupHeartbeat, &[("wiber.group", "g"), ("wiber.member", "m")]);
    let silent = Frame { body: bytes::Bytes::new(), ..beat };
    let Ok(Request::GroupHeartbeat(request)) = Request::parse(&silent) else { panic!("{silent:?}") };
    assert_eq!((request.group, request.member, request.reads), ("g", "m", None));
    let body = bytes::Bytes::from_static(br#"{"owned":[]}"#);
    let saying = Frame { body, ..silent };
    let Ok(Request::GroupHeartbeat(request)) = Request::parse(&saying) else { panic!("{saying:?}") };
    assert_eq!(request.reads, Some(Vec::new()));

    let fenced =
        [("topic", "a"), ("offset", "3"), ("wiber.group", "g"), ("wiber.member", "m"), ("wiber.generation", "9")];
    let commit = frame(FrameType::Commit, &fenced);
    let Ok(Request::Commit(request)) = Request::parse(&commit) else { panic!("{commit:?}") };
    let member = GroupMember { group: "g", member: Some("m"), generation: 9 };
    assert_eq!(request.owner, PositionOf::Group(member));

    let invalid = ErrorCode::InvalidProperty;
    refused(FrameType::JoinGroup, &[], invalid, "'wiber.group'");
    refused(FrameType::JoinGroup, &[("wiber.group", "g")], invalid, "the body must be JSON");
    refused(
        FrameType::JoinGroup,
        &[("wiber.group", "g"), ("wiber.session_timeout_ms", "999")],
        invalid,
        "milliseconds",
    );
    refused(FrameType::LeaveGroup, &[("wiber.group", "g")], invalid, "'wiber.member'");
    refused(FrameType::Subscribe, &[("topic", "a"), ("wiber.member", "m")], invalid, "'wiber.group'");
    refused(
        FrameType::Subscribe,
        &[("topic", "a"), ("wiber.group", "g"), ("wiber.member", "m")],
        invalid,
        "generation",
    );
    refused(FrameType::Assignment, &[], ErrorCode::UnknownType, "not a request");
}
