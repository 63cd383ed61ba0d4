//! Tests of how connections end: turned away, given up, stopped.

use super::*;

const PUBLISH: FrameType = FrameType::Publish;

#[tokio::test]
async fn who_finds_no_place_is_told_so() {
    let rig = Rig::new(1).await;
    let mut first = rig.connect().await;
    first.send(&request(FrameType::Heartbeat, 7, &[], b"")).await;
    first.expect(&[(7, "heartbeat")]).await;
    for _ in 0..3 {
        let mut late = rig.connect().await;
        late.send(&request(PUBLISH, 1, &[("topic", "t")], b"never read")).await;
        late.expect(&[(0, "limit_exceeded")]).await;
        assert_eq!(late.said().await, None);
    }
    // The one there has not suffered, and its place is free once it goes.
    first.send(&request(FrameType::Heartbeat, 8, &[], b"")).await;
    first.expect(&[(8, "heartbeat")]).await;
    drop(first);
    loop {
        let mut next = rig.connect().await;
        next.send(&request(FrameType::Heartbeat, 9, &[], b"")).await;
        if next.said().await == Some((9, "heartbeat".to_owned())) {
            break;
        }
    }
}

/// A stop waited five seconds for the answers of a connection that itself waited for queue space: dropped with its
/// task, they would never have come.
#[tokio::test]
async fn a_stop_does_not_wait_for_queue_space() {
    let rig = Rig::new(10).await;
    let mut peer = rig.connect().await;
    peer.create_topic("t").await;
    rig.hands.hold();
    let large = [b'x'; PENDING_BYTES as usize];
    let requests = [
        request(PUBLISH, 2, &[("topic", "t")], &large),
        request(FrameType::Heartbeat, 3, &[], b""),
        // This one waits for space, and what comes behind it is not looked at.
        request(PUBLISH, 4, &[("topic", "t")], &large),
        request(FrameType::Metadata, 5, &[("topic", "t")], b""),
        request(PUBLISH, 6, &[("topic", "t"), ("wiber.ack", "none")], b"x"),
        request(PUBLISH, 7, &[("topic", "t")], b"x"),
    ];
    peer.send(&requests.concat()).await;
    rig.has_work().await;
    let mut idle = rig.connect().await;
    idle.send(&request(FrameType::Heartbeat, 1, &[], b"")).await;
    idle.expect(&[(1, "heartbeat")]).await;
    rig.stop.send(true).unwrap();
    // Once this one is closed, the other has heard of the stop too, and there may be space again.
    assert_eq!(idle.said().await, None);
    rig.hands.go_on();
    peer.expect(&[(2, "success"), (3, "heartbeat")]).await;
    peer.expect(&[(4, "shutting_down"), (5, "shutting_down"), (7, "shutting_down")]).await;
    assert_eq!(peer.said().await, None);
    drop(peer);
    timeout(BOUND, rig.serving).await.expect("stopped").unwrap();
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_disk_that_does_not_answer() {
    let rig = Rig::new(10).await;
    let mut peer = rig.connect().await;
    peer.create_topic("t").await;
    rig.hands.hold();
    peer.send(&request(PUBLISH, 2, &[("topic", "t")], b"x")).await;
    rig.has_work().await;
    rig.stop.send(true).unwrap();
    peer.expect(&[(2, "timed_out")]).await;
    assert_eq!(peer.said().await, None);
    drop(peer);
    timeout(BOUND, rig.serving).await.expect("stopped").unwrap();
}

#[tokio::test]
async fn a_fetch_that_waits_ends_with_the_server() {
    let rig = Rig::new(10).await;
    let mut peer = rig.connect().await;
    peer.create_topic("t").await;
    let fetch = [("topic", "t"), ("offset", "0"), ("wiber.max_wait_ms", "60000")];
    let requests = [request(FrameType::Fetch, 2, &fetch, b""), request(FrameType::Heartbeat, 3, &[], b"")];
    peer.send(&requests.concat()).await;
    // Once another connection is served, this one has most likely been read; if not, it gets no answers.
    let mut other = rig.connect().await;
    other.send(&request(FrameType::Heartbeat, 1, &[], b"")).await;
    other.expect(&[(1, "heartbeat")]).await;
    rig.stop.send(true).unwrap();
    let mut answers = Vec::new();
    while let Some(said) = peer.said().await {
        answers.push(said);
    }
    let expected = [(2, "shutting_down".to_owned()), (3, "heartbeat".to_owned())];
    assert!(answers.is_empty() || answers == expected, "{answers:?}");
    assert_eq!(other.said().await, None);
    drop((peer, other));
    timeout(BOUND, rig.serving).await.expect("stopped").unwrap();
}

#[tokio::test]
async fn a_client_that_closes_its_side_gets_its_answers() {
    let rig = Rig::new(10).await;
    let mut peer = rig.connect().await;
    peer.create_topic("t").await;
    rig.hands.hold();
    peer.send(&request(PUBLISH, 2, &[("topic", "t")], b"x")).await;
    peer.send(&request(FrameType::CreateTopic, 3, &[("topic", "u")], b"")).await;
    peer.stream.shutdown().await.unwrap();
    rig.has_work().await;
    rig.hands.go_on();
    peer.expect(&[(2, "success"), (3, "success")]).await;
    assert_eq!(peer.said().await, None);
}
