//! Tests of what readers are sent: the same records to all of them, and FETCH when there is as much as it wants.

use super::*;

const RECORDS: u64 = 60;

fn body_of(offset: u64) -> Vec<u8> {
    // From small ones, shown to all at once, to one that is larger than a piece.
    let bytes = if offset % 20 == 19 { 300_000 } else { 10 + usize::try_from(offset * 37).unwrap() };
    vec![u8::try_from(offset).unwrap(); bytes]
}

async fn publish(peer: &mut Peer, offsets: std::ops::Range<u64>) {
    for offset in offsets {
        peer.send(&request(FrameType::Publish, 10 + offset, &[("topic", "t")], &body_of(offset))).await;
        peer.expect(&[(10 + offset, "success")]).await;
    }
}

/// Whoever keeps up, comes late, or acknowledges each record: everybody gets every record, once and in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribers_get_the_same() {
    let rig = Rig::new(30).await;
    let mut publisher = rig.connect().await;
    publisher.create_topic("t").await;
    let mut subscribers = Vec::new();
    for (number, from) in [0, 0, 0, 0, 1, 1, RECORDS / 2, RECORDS / 2].into_iter().enumerate() {
        if from > 0 && subscribers.len() == 4 {
            publish(&mut publisher, 0..RECORDS / 2).await;
        }
        let mut peer = rig.connect().await;
        let (from_text, mode) = (from.to_string(), if number % 2 == 0 { "true" } else { "false" });
        let properties = [("topic", "t"), ("partition", "0"), ("offset", &*from_text), ("auto_ack", mode)];
        peer.send(&request(FrameType::Subscribe, 1, &properties, b"")).await;
        peer.expect(&[(1, "success")]).await;
        subscribers.push((peer, from, mode));
    }
    publish(&mut publisher, RECORDS / 2..RECORDS).await;
    for (mut peer, from, mode) in subscribers {
        for offset in from..RECORDS {
            let frame = peer.next().await.expect("DATA");
            assert_eq!((frame.kind, frame.sequence), (FrameType::Data, offset), "auto_ack={mode} from {from}");
            assert!(frame.body == body_of(offset), "body of {offset}");
        }
    }
}

/// A FETCH is answered at once where there is as much as it wants, else when that has come or its time is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_waits_for_as_much_as_it_wants() {
    let rig = Rig::new(10).await;
    let (mut publisher, mut reader) = (rig.connect().await, rig.connect().await);
    publisher.create_topic("t").await;
    publish(&mut publisher, 0..2).await;
    let fetch = |offset: &str, bytes_min: &str, wait_ms: &str| {
        let properties = [
            ("topic", "t"),
            ("partition", "0"),
            ("offset", offset),
            ("wiber.min_bytes", bytes_min),
            ("wiber.max_wait_ms", wait_ms),
        ];
        request(FrameType::Fetch, 1, &properties, b"")
    };
    for (offset, bytes_min, wait_ms, next) in
        [("0", "1", "60000", "2"), ("0", "1000000", "0", "2"), ("2", "1", "1", "2"), ("1", "1000000", "20", "2")]
    {
        reader.send(&fetch(offset, bytes_min, wait_ms)).await;
        let frame = reader.next().await.expect("an answer");
        assert_eq!(frame.properties.get("wiber.next_offset"), Some(next), "{offset} {bytes_min} {wait_ms}");
    }
    // It wants more than the records before the large one.
    reader.send(&fetch("0", "100000", "60000")).await;
    publish(&mut publisher, 2..20).await;
    let frame = reader.next().await.expect("an answer");
    assert_eq!(frame.properties.get("wiber.next_offset"), Some("20"));
}
