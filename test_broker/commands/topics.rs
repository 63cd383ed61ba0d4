//! `wiber-client topics`.

use super::{json, refused, start};
use crate::harness::client;

#[test]
fn topics_are_listed_and_described() {
    let (_directory, server) = start(2);
    client(&server, &["topics", "create", "a-longer-name", "--partitions", "12"]).expect_out();
    let listed = client(&server, &["topics", "list"]).expect_text();
    assert_eq!(listed, "TOPIC          PARTITIONS\na-longer-name          12\nt                       2\n");
    let listed = json(&server, &["topics", "list"]);
    assert_eq!((&listed["topics"][1]["topic"], &listed["topics"][1]["partitions"]), (&"t".into(), &2.into()));

    client(&server, &["publish", "t", "x", "--partition", "1"]).expect_out();
    let described = json(&server, &["topics", "describe", "t"]);
    let partition = &described["partitions"][1];
    assert_eq!((&partition["status"], &partition["log_start"]), (&"online".into(), &0.into()), "{described}");
    assert_eq!((&partition["high_watermark"], &partition["log_end"]), (&1.into(), &1.into()), "{described}");
    assert!(partition["bytes"].as_u64().is_some_and(|bytes| bytes > 60), "{described}");
    assert_eq!(described["topic_id"], listed["topics"][1]["topic_id"]);
    assert_eq!(described["settings"], serde_json::json!({}), "{described}");
    let text = client(&server, &["topics", "describe", "t"]).expect_text();
    for part in ["Topic:      t\n", "Partitions: 2\n", "cleanup-policy      delete ", "        1  online"] {
        assert!(text.contains(part), "{text} lacks {part:?}");
    }
}

#[test]
fn topics_are_altered() {
    let (_directory, server) = start(2);
    let altered = client(&server, &["topics", "alter", "t", "--partitions", "3", "--retention", "24"]).expect_text();
    assert_eq!(altered, "Altered topic 't' with 3 partitions\n");
    let settings =
        ["topics", "alter", "t", "--retention-bytes", "-1", "--max-message-size", "100", "--segment-bytes", "2000000"];
    assert_eq!(json(&server, &settings)["partitions"], 3);
    let described = json(&server, &["topics", "describe", "t"]);
    let expected = serde_json::json!({
        "retention_ms": 86_400_000, "retention_bytes": -1, "max_message_size": 100, "segment_bytes": 2_000_000
    });
    assert_eq!(described["settings"], expected);
    refused(&server, &["publish", "t", &"x".repeat(101)], 1, "topics alter");
    client(&server, &["topics", "alter", "t", "--max-message-size", "default", "--retention", "0"]).expect_out();
    client(&server, &["publish", "t", &"x".repeat(101)]).expect_out();
    let described = json(&server, &["topics", "describe", "t"]);
    assert_eq!(
        (&described["settings"]["retention_ms"], &described["settings"]["max_message_size"]),
        (&(-1).into(), &serde_json::Value::Null)
    );
    assert_eq!(described["effective"]["max_message_size"], 1 << 20);
}

#[test]
fn settings_of_batches_times_and_segments() {
    let (_directory, server) = start(1);
    let settings = [
        "--max-batch-size",
        "2000000",
        "--segment-ms",
        "60000",
        "--timestamp-type",
        "LogAppendTime",
        "--partitions",
        "1",
    ];
    client(&server, &[&["topics", "create", "own"], &settings[..]].concat()).expect_out();
    let described = json(&server, &["topics", "describe", "own"]);
    let expected = serde_json::json!({
        "max_batch_size": 2_000_000, "segment_ms": 60_000, "timestamp_type": "LogAppendTime"
    });
    assert_eq!(described["settings"], expected);
    let text = client(&server, &["topics", "describe", "own"]).expect_text();
    for part in [
        "max-batch-size      2000000 bytes  topic",
        "segment-age         60 s ",
        "timestamp-type      LogAppendTime  topic",
    ] {
        assert!(text.contains(part), "{text} lacks {part:?}");
    }
    let back = ["--max-batch-size", "default", "--segment-ms", "default", "--timestamp-type", "CreateTime"];
    client(&server, &[&["topics", "alter", "own"], &back[..]].concat()).expect_out();
    let described = json(&server, &["topics", "describe", "own"]);
    assert_eq!(described["settings"], serde_json::json!({ "timestamp_type": "CreateTime" }));
    assert_eq!(described["effective"]["max_batch_size"], 1_048_588);
    refused(&server, &["topics", "alter", "own", "--timestamp-type", "mine"], 2, "LogAppendTime");
    refused(&server, &["topics", "create", "other", "--segment-ms", "0"], 2, "--segment-ms");
}

#[test]
fn topics_are_created_with_settings_and_deleted() {
    let (_directory, server) = start(1);
    let arguments = ["create-topic", "own", "--partitions", "1", "--retention", "2", "--cleanup-policy", "delete"];
    assert_eq!(client(&server, &arguments).expect_text(), "Created topic 'own' with 1 partitions\n");
    let settings = json(&server, &["topics", "describe", "own"])["settings"].clone();
    assert_eq!(settings, serde_json::json!({ "retention_ms": 7_200_000, "cleanup_policy": "delete" }));
    assert_eq!(client(&server, &["topics", "delete", "own", "--yes"]).expect_text(), "Deleted topic 'own'\n");
    refused(&server, &["topics", "describe", "own"], 4, "own");
    assert_eq!(json(&server, &["topics", "delete", "t", "-y"]), serde_json::json!({ "topic": "t", "deleted": true }));
    assert_eq!(client(&server, &["topics", "list"]).expect_text(), "TOPIC  PARTITIONS\n");
}
