//! What short requests may cost.

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopic};
use kafka_protocol::messages::{
    DescribeConfigsRequest, DescribeGroupsRequest, DescribeProducersRequest, GroupId, MetadataRequest,
    OffsetCommitRequest, OffsetFetchRequest,
};
use tempfile::TempDir;

use super::produce_fetch::{batch, fetch, fetched, produce, produced};
use super::{kept, name, text};
use crate::harness::kafka::{KafkaPeer, kafka_address};

/// What the server may occupy.
const RESIDENT_BYTES_MAX: u64 = 150 << 20;

fn committed(peer: &mut KafkaPeer) {
    let partition = OffsetCommitRequestPartition::default().with_committed_metadata(Some(text("note")));
    let topic = OffsetCommitRequestTopic::default().with_name(name("t")).with_partitions(vec![partition]);
    let commit = OffsetCommitRequest::default().with_group_id(GroupId(text("g"))).with_topics(vec![topic]);
    let answer = peer.call(8, &commit.with_generation_id_or_member_epoch(-1));
    assert_eq!(answer.topics[0].partitions[0].error_code, 0);
}

/// A request of a kilobyte that named one group three hundred times was answered with all its positions as often: two
/// gigabytes. The same held for a topic's id under ever new names, and for producers and members.
#[test]
fn what_is_named_again_is_told_once() {
    let directory = TempDir::new().expect("a directory");
    let mut server = kept(&directory).set("QB_TOPICS__CREATE", r#"{"t": 3}"#).start();
    let mut peer = KafkaPeer::of(&mut server);
    committed(&mut peer);
    let known = peer.call(12, &MetadataRequest::default().with_topics(None));
    let by_id = |number: usize| {
        let topic = MetadataRequestTopic::default().with_topic_id(known.topics[0].topic_id);
        topic.with_name(Some(name(&format!("n{number}"))))
    };
    let request = MetadataRequest::default().with_topics(Some((0..50).map(by_id).collect()));
    assert_eq!(peer.call(12, &request).topics.len(), 1);

    let group = || OffsetFetchRequestGroup::default().with_group_id(GroupId(text("g"))).with_topics(None);
    let request = OffsetFetchRequest::default().with_groups((0..50).map(|_| group()).collect());
    assert_eq!(peer.call(8, &request).groups.len(), 1);
    let topic = OffsetFetchRequestTopic::default().with_name(name("t")).with_partition_indexes(vec![0; 50]);
    let request = OffsetFetchRequest::default().with_group_id(GroupId(text("g"))).with_topics(Some(vec![topic]));
    assert_eq!(peer.call(7, &request).topics[0].partitions.len(), 1);

    let request = DescribeGroupsRequest::default().with_groups(vec![GroupId(text("g")); 50]);
    assert_eq!(peer.call(5, &request).groups.len(), 1);
    let topic = TopicRequest::default().with_name(name("t")).with_partition_indexes(vec![0; 50]);
    let request = DescribeProducersRequest::default().with_topics(vec![topic]);
    assert_eq!(peer.call(0, &request).topics[0].partitions.len(), 1);
    server.terminate();
}

/// Answers of megabytes to those who do not read them were held without any bound.
#[test]
fn long_answers_take_memory_of_which_there_is_so_much() {
    const TOPICS: usize = 400;
    const PEERS: usize = 40;
    /// Each of two megabytes: some of them the sockets hold.
    const REQUESTS: usize = 6;
    let directory = TempDir::new().expect("a directory");
    let topics: Vec<_> = (0..TOPICS).map(|number| format!(r#""topic{number}": 1"#)).collect();
    let mut server = kept(&directory)
        .set("QB_TOPICS__CREATE", &format!("{{{}}}", topics.join(", ")))
        .set("QB_SERVER__OUTGOING_BYTES", "16777216")
        .set("QB_LOG_LEVEL", "INFO")
        .expect_line("a client that does not read is disconnected")
        .start();
    let address = kafka_address(&mut server);
    let wanted = |number: usize| {
        let topic = DescribeConfigsResource::default().with_resource_type(2);
        topic.with_resource_name(text(&format!("topic{number}"))).with_configuration_keys(None)
    };
    let request = DescribeConfigsRequest::default().with_resources((0..TOPICS).map(wanted).collect());
    let request = request.with_include_synonyms(true).with_include_documentation(true);
    let mut peers: Vec<_> = (0..PEERS).map(|_| KafkaPeer::connect_narrowly(address)).collect();
    for peer in &mut peers {
        (0..REQUESTS).for_each(|_| peer.send(3, &request));
    }
    // Answers that are short need none of it.
    let mut well = KafkaPeer::connect(address);
    for _ in 0..20 {
        let wanted = MetadataRequestTopic::default().with_name(Some(name("topic7")));
        let known = well.call(9, &MetadataRequest::default().with_topics(Some(vec![wanted])));
        assert_eq!(known.topics[0].error_code, 0);
    }
    // The first who has waited long enough is given up: by then all were asked.
    server.wait_for("a client that does not read is disconnected");
    let resident = server.resident_bytes();
    assert!(resident < RESIDENT_BYTES_MAX, "{} MiB", resident >> 20);
    drop(peers);
    assert_eq!(well.call(3, &request).results.len(), TOPICS);
    server.terminate();
}

/// Batches come whole, so what comes is less than may come. A consumer whose least was as much as its most waited its time out
/// for each answer, however much there was.
#[test]
fn whoever_gets_as_much_as_may_come_waits_no_longer() {
    let directory = TempDir::new().expect("a directory");
    let mut server = kept(&directory).set("QB_TOPICS__CREATE", r#"{"t": 2}"#).start();
    let mut peer = KafkaPeer::of(&mut server);
    let value = "x".repeat(3_000);
    for _ in 0..4 {
        let answers = produced(&mut peer, 9, &produce(-1, "t", &[(0, Some(batch(&[&value])))]));
        assert_eq!(answers[0].error_code, 0);
    }
    // By the request's own bound, and by the partition's.
    for (all_max, partition_max) in [(8_000, 1 << 20), (1 << 20, 8_000)] {
        let mut request = fetch("t", 0, 0).with_min_bytes(8_000).with_max_bytes(all_max).with_max_wait_ms(i32::MAX);
        request.topics[0].partitions[0].partition_max_bytes = partition_max;
        let data = fetched(&mut peer, 12, &request);
        assert!(data[0].records.as_ref().is_some_and(|records| records.len() < 8_000));
    }
    server.terminate();
}
