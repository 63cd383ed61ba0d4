//! The client library against the real server: killed and started again under a producer and a subscriber.

mod consumer;
pub(crate) mod proxy;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};
use wiber::client::{
    Change, Client, ClientOptions, Compression, Delivery, DeliveryMode, ErrorCode, FetchOptions, Offset, OffsetsQuery,
    PartitionIndex, PartitionStatus, Position, Producer, ProducerOptions, ProducerRecord, Record, StartAt, Subscriber,
    SubscriberOptions, Timestamp, TopicAlteration, TopicSettings,
};

use crate::harness::{BOUND, Chance, Server, Setup, a_moment, cycles};
use proxy::Proxy;

const TOPIC: &str = "orders";
const PARTITIONS: u32 = 3;
/// Kills, unless `WIBER_CLIENT_KILL_CYCLES` says otherwise.
const CYCLES: u64 = 6;
/// Records acknowledged between two kills, at least.
const PROGRESS: u64 = 300;

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

fn setup(data_dir: &std::path::Path) -> Setup {
    Setup::new(data_dir).set("QB_LOG_LEVEL", "INFO").expect_line("a torn tail was cut off")
}

fn to(port: u16) -> ClientOptions {
    ClientOptions { port, client_id: Some("kitchen".to_owned()), ..ClientOptions::default() }
}

fn producer_options(port: u16) -> ProducerOptions {
    ProducerOptions {
        client: to(port),
        batch_records: 20,
        retry_backoff: Duration::from_millis(5),
        retry_backoff_max: Duration::from_millis(100),
        ..ProducerOptions::default()
    }
}

fn subscriber_options(port: u16) -> SubscriberOptions {
    SubscriberOptions {
        client: to(port),
        retry_backoff: Duration::from_millis(5),
        retry_backoff_max: Duration::from_millis(100),
        ..SubscriberOptions::default()
    }
}

async fn bounded<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(BOUND, future).await {
        Ok(done) => done,
        Err(_) => panic!("{what} takes too long"),
    }
}

/// Sends numbered records until told to stop; what was sent, in order.
async fn produce(producer: Producer, sent: mpsc::UnboundedSender<(String, Delivery)>, stop: watch::Receiver<bool>) {
    for number in 0_u64.. {
        if *stop.borrow() {
            return;
        }
        let value = number.to_string();
        let record = ProducerRecord::new(value.clone()).key(format!("key {}", number % 7)).header("n", value.clone());
        let delivery = bounded("room", producer.send(TOPIC, record)).await.expect("taken");
        sent.send((value, delivery)).expect("listened to");
    }
}

/// Waits for every delivery and counts them.
async fn acknowledge(
    mut sent: mpsc::UnboundedReceiver<(String, Delivery)>,
    count: watch::Sender<u64>,
) -> Vec<(String, Position)> {
    let mut stored = Vec::new();
    while let Some((value, delivery)) = sent.recv().await {
        stored.push((value, bounded("a delivery", delivery).await.expect("stored")));
        count.send_modify(|count| *count += 1);
    }
    stored
}

/// What was acknowledged may be shown a moment later.
fn patient() -> FetchOptions {
    FetchOptions { max_wait: Duration::from_secs(10), ..FetchOptions::default() }
}

/// Everything a topic holds, by partition.
async fn contents(client: &Client) -> BTreeMap<u32, Vec<Record>> {
    let mut contents = BTreeMap::new();
    for partition in 0..PARTITIONS {
        let (mut records, mut offset) = (Vec::new(), Offset::ZERO);
        let query = OffsetsQuery::default();
        let offsets = client.list_offsets(TOPIC, PartitionIndex(partition), &query).await.expect("listed");
        while offset < offsets.log_end {
            let fetched = client.fetch(TOPIC, PartitionIndex(partition), offset, patient()).await.expect("fetched");
            records.extend(fetched.records);
            offset = fetched.next_offset;
        }
        contents.insert(partition, records);
    }
    contents
}

fn text(record: &Record) -> String {
    String::from_utf8(record.value.clone().expect("a value").to_vec()).expect("text")
}

/// Kills and restarts a server behind a proxy whenever enough was acknowledged.
fn kill_again_and_again(
    runtime: &Runtime,
    setup: &Setup,
    mut server: Server,
    proxy: &Proxy,
    mut acknowledged: watch::Receiver<u64>,
) -> Server {
    let mut chance = Chance::new(7);
    for _ in 0..cycles("WIBER_CLIENT_KILL_CYCLES", CYCLES) {
        let wanted = *acknowledged.borrow() + PROGRESS;
        runtime.block_on(bounded("progress", acknowledged.wait_for(|count| *count >= wanted))).expect("going on");
        a_moment(&mut chance, 20);
        server.kill();
        server = setup.start();
        proxy.lead_to(server.address());
    }
    server
}

#[test]
fn a_producer_and_a_subscriber_survive_kills_of_the_server() {
    let directory = tempfile::tempdir().expect("a directory");
    let setup = setup(&directory.path().join("data"));
    let server = setup.start();
    let runtime = runtime();
    let proxy = runtime.block_on(Proxy::start(server.address()));
    let (stop, stopped) = watch::channel(false);
    let (count, counted) = watch::channel(0);
    let (sent, sending) = mpsc::unbounded_channel();
    let (producer, mut subscriber) = runtime.block_on(async {
        let client = Client::connect(to(proxy.port)).await.expect("connected");
        assert_eq!(client.create_topic(TOPIC, Some(PARTITIONS), None).await.expect("created"), PARTITIONS);
        let options = ProducerOptions { compression: Compression::Lz4, ..producer_options(proxy.port) };
        let producer = Producer::new(options).await.expect("connected");
        (producer, Subscriber::subscribe(subscriber_options(proxy.port), TOPIC).await.expect("subscribed"))
    });
    runtime.spawn(produce(producer.clone(), sent, stopped));
    let acknowledging = runtime.spawn(acknowledge(sending, count));
    let reading = runtime.spawn(async move {
        let mut seen: BTreeMap<u32, Vec<Record>> = (0..PARTITIONS).map(|partition| (partition, Vec::new())).collect();
        while let Some(record) = bounded("a record", subscriber.next()).await {
            let record = record.expect("a record");
            if record.value.as_deref() == Some(b"the end") {
                break;
            }
            seen.entry(record.partition.0).or_default().push(record);
        }
        seen
    });
    let server = kill_again_and_again(&runtime, &setup, server, &proxy, counted);
    stop.send_replace(true);
    let stored = runtime.block_on(bounded("the acknowledgements", acknowledging)).expect("no panic");
    runtime.block_on(async {
        producer.flush().await.expect("everything is stored");
        let client = Client::connect(to(proxy.port)).await.expect("connected");
        let contents = contents(&client).await;
        let in_all: usize = contents.values().map(Vec::len).sum();
        assert_eq!(in_all, stored.len(), "each once");
        for (value, position) in &stored {
            let index = usize::try_from(position.offset.get()).expect("small");
            assert_eq!(text(&contents[&position.partition.0][index]), *value, "{position:?}");
        }
        for records in contents.values() {
            let numbers: Vec<u64> = records.iter().map(|record| text(record).parse().expect("a number")).collect();
            assert!(numbers.is_sorted(), "in order");
        }
        // The subscriber has seen the same, once and in order.
        let end = ProducerRecord::new("the end").partition(PartitionIndex(0));
        producer.send(TOPIC, end).await.expect("taken").await.expect("stored");
        let mut seen = bounded("the subscriber", reading).await.expect("no panic");
        seen.retain(|_, records| !records.is_empty());
        for (partition, records) in seen {
            let known = &contents[&partition];
            assert_eq!(records, known[..records.len()], "partition {partition}");
            assert!(partition != 0 || records.len() == known.len());
        }
        producer.close().await.expect("closed");
    });
    server.terminate();
}

#[test]
fn what_was_committed_is_not_seen_again_after_a_kill() {
    let directory = tempfile::tempdir().expect("a directory");
    let setup = setup(&directory.path().join("data"));
    let server = setup.start();
    let runtime = runtime();
    let proxy = runtime.block_on(Proxy::start(server.address()));
    let careful = || SubscriberOptions {
        start: StartAt::Committed,
        mode: DeliveryMode::AtLeastOnce,
        ..subscriber_options(proxy.port)
    };
    let committed = runtime.block_on(async {
        let client = Client::connect(to(proxy.port)).await.expect("connected");
        client.create_topic(TOPIC, Some(1), None).await.expect("created");
        let producer = Producer::new(producer_options(proxy.port)).await.expect("connected");
        for number in 0..100 {
            producer.send(TOPIC, ProducerRecord::new(number.to_string())).await.expect("taken");
        }
        producer.close().await.expect("stored");
        let mut subscriber = Subscriber::subscribe(careful(), TOPIC).await.expect("subscribed");
        let mut last = None;
        for _ in 0..40 {
            last = Some(bounded("a record", subscriber.next()).await.expect("open").expect("a record"));
        }
        subscriber.commit(&last.expect("read")).await.expect("kept")
    });
    assert_eq!(committed.get(), 40);
    server.kill();
    let server = setup.start();
    proxy.lead_to(server.address());
    runtime.block_on(async {
        let mut subscriber = Subscriber::subscribe(careful(), TOPIC).await.expect("subscribed");
        for number in 40..100 {
            let record = bounded("a record", subscriber.next()).await.expect("open").expect("a record");
            assert_eq!(text(&record), number.to_string());
            subscriber.commit_async(&record);
        }
        subscriber.close().await.expect("kept");
        let client = Client::connect(to(proxy.port)).await.expect("connected");
        let query = OffsetsQuery { client_id: Some("kitchen".to_owned()), time: None, ..OffsetsQuery::default() };
        let offsets = client.list_offsets(TOPIC, PartitionIndex(0), &query).await.expect("listed");
        assert_eq!(offsets.committed.map(Offset::get), Some(100));
    });
    server.terminate();
}

#[test]
fn topics_are_created_described_altered_read_and_deleted() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = setup(&directory.path().join("data")).start();
    let options = || to(server.address().port());
    runtime().block_on(async {
        let client = Client::connect(options()).await.expect("connected");
        let settings = TopicSettings { retention_ms: Some(86_400_000), ..TopicSettings::default() };
        assert_eq!(client.create_topic_with(TOPIC, Some(2), &settings).await.expect("created"), 2);
        let topic = client.describe_topic(TOPIC).await.expect("described");
        assert_eq!((topic.topic.as_str(), topic.partitions.len()), (TOPIC, 2));
        assert!(topic.partitions.iter().all(|partition| partition.status == PartitionStatus::Online));
        assert_eq!((topic.settings.retention_ms, topic.effective.retention_ms), (Some(86_400_000), 86_400_000));
        let alteration =
            TopicAlteration { partitions: Some(3), retention_ms: Change::Reset, ..TopicAlteration::default() };
        assert_eq!(client.alter_topic(TOPIC, &alteration).await.expect("altered"), 3);
        assert_eq!(client.describe_topic(TOPIC).await.expect("described").settings.retention_ms, None);
        let names: Vec<_> = client.topics().await.expect("listed").into_iter().map(|topic| topic.topic).collect();
        assert_eq!(names, [TOPIC]);

        let producer = Producer::new(producer_options(options().port)).await.expect("connected");
        let partition = PartitionIndex(2);
        let timestamp = Timestamp::from_millis(1_700_000_000_000);
        let record = ProducerRecord::new("x").key("k").header("h", "v").partition(partition).timestamp(timestamp);
        let position = producer.send(TOPIC, record).await.expect("taken").await.expect("stored");
        assert_eq!((position.partition, position.offset), (partition, Offset::ZERO));
        let fetched = client.fetch(TOPIC, partition, Offset::ZERO, patient()).await.expect("fetched");
        assert_eq!((fetched.records.len(), fetched.next_offset.get()), (1, 1));
        assert_eq!(fetched.records[0].timestamp, timestamp);
        assert_eq!(fetched.records[0].key.as_deref(), Some(&b"k"[..]));
        let query =
            OffsetsQuery { client_id: Some("kitchen".to_owned()), time: Some(timestamp), ..OffsetsQuery::default() };
        let offsets = client.list_offsets(TOPIC, partition, &query).await.expect("listed");
        assert_eq!((offsets.committed, offsets.at_time), (None, Some(Offset::ZERO)));
        assert_eq!(client.commit(TOPIC, partition, fetched.next_offset).await.expect("kept").get(), 1);
        let error = client.commit(TOPIC, partition, Offset::MAX).await.expect_err("above the end");
        assert_eq!(error.code(), Some(ErrorCode::OffsetOutOfRange));

        let quick =
            SubscriberOptions { metadata_refresh: Duration::from_millis(50), ..subscriber_options(options().port) };
        let mut subscriber = Subscriber::subscribe(quick, TOPIC).await.expect("subscribed");
        bounded("a record", subscriber.next()).await.expect("open").expect("a record");
        client.delete_topic(TOPIC).await.expect("deleted");
        let error = bounded("the end", subscriber.next()).await.expect("told").expect_err("gone");
        assert_eq!(error.code(), Some(ErrorCode::UnknownTopic));
        assert!(subscriber.next().await.is_none());
        let delivery = producer.send(TOPIC, ProducerRecord::new("y")).await;
        let failed = match delivery {
            Ok(delivery) => delivery.await.expect_err("gone"),
            Err(error) => error,
        };
        assert_eq!(failed.code(), Some(ErrorCode::UnknownTopic), "{failed}");
    });
    server.terminate();
}
