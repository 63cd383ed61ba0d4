//! Tests of what goes out on a connection, with a peer that reads when it is told to.

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use uuid::Uuid;

use super::super::Surroundings;
use super::super::memory::OWN_BYTES;
use super::*;
use crate::protocol::native::{Decoded, FrameCodec, FrameLimits, FrameType};
use crate::replica::AckFailure;
use crate::types::{Offset, PartitionIndex, Timestamp, TopicId, TopicName};

struct Rig {
    outbox: Arc<Outbox>,
    peer: TcpStream,
    codec: FrameCodec,
    bytes: BytesMut,
}

impl Rig {
    async fn new() -> Rig {
        Rig::with_memory(PeerMemory::new(256 << 20, Duration::from_secs(10))).await
    }

    async fn with_memory(memory: Arc<PeerMemory>) -> Rig {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (peer, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let surroundings = Surroundings {
            now: Arc::new(|| Timestamp::from_millis(1)),
            fresh_topic_id: Arc::new(|| TopicId::new(Uuid::nil())),
            fresh_member_id: Arc::new(Uuid::nil),
        };
        let outbox = Outbox::new(ConnectionNumber(1), Arc::new(accepted.unwrap().0), surroundings, memory);
        let codec = FrameCodec::new(FrameLimits::for_messages(1 << 20));
        Rig { outbox, peer: peer.unwrap(), codec, bytes: BytesMut::new() }
    }

    /// The next frame: its type, number, and code or status.
    async fn next(&mut self) -> (FrameType, u64, String) {
        loop {
            match self.codec.next(&mut self.bytes) {
                Some(Decoded::Frame(frame)) => {
                    let said = frame.properties.get("code").or(frame.properties.get("status"));
                    return (frame.kind, frame.sequence, said.unwrap_or_default().to_owned());
                }
                Some(other) => panic!("{other:?}"),
                None => {
                    let read = tokio::time::timeout(Duration::from_secs(10), self.peer.read_buf(&mut self.bytes));
                    assert_ne!(read.await.expect("in time").expect("read"), 0, "closed");
                }
            }
        }
    }

    async fn expect(&mut self, expected: &[(u64, &str)]) {
        for (sequence, said) in expected {
            assert_eq!(self.next().await, (FrameType::Ack, *sequence, (*said).to_owned()));
        }
    }

    fn group(&self, sequences: std::ops::Range<u64>) -> Group {
        Group {
            topic: TopicName::new("t").unwrap(),
            partition: PartitionIndex(0),
            places: sequences.map(|sequence| self.outbox.reserve(sequence)).collect(),
            not_before: Offset::ZERO,
            whole: None,
        }
    }
}

fn refused(text: &str) -> Answer {
    Answer::Refused(Refusal::new(ErrorCode::Internal, text))
}

#[tokio::test]
async fn answers_wait_for_their_turn() {
    let mut rig = Rig::new().await;
    let places: Vec<Place> = (1..=3).map(|sequence| rig.outbox.reserve(sequence)).collect();
    rig.outbox.answer(places[2], refused("third"));
    rig.outbox.answer(places[1], Answer::Silence);
    rig.outbox.answer(places[0], refused("first"));
    rig.expect(&[(1, "internal"), (3, "internal")]).await;
}

/// Whatever a subscription's task still had in its hands: once the subscription is over nothing of it goes out.
#[tokio::test]
async fn data_goes_only_while_its_subscription_lives() {
    let mut rig = Rig::new().await;
    let (topic, partition, last) = (TopicName::new("t").unwrap(), PartitionIndex(0), Offset::ZERO);
    let mut encoded = BytesMut::new();
    reply::heartbeat(&mut encoded, 7, Timestamp::from_millis(1));
    let encoded = encoded.freeze();
    let try_data = |outbox: &Outbox, subscription| {
        outbox.try_data(
            &Data { subscription, topic: &topic, partition, last, frames: &encoded, batches: &[] },
            &mut outbox.memory.nothing(),
        )
    };
    let (first, second) = (rig.outbox.begin(), rig.outbox.begin());
    assert_eq!(try_data(&rig.outbox, first), Sent::Gone);
    rig.outbox.end(first);
    assert_eq!([first, second].map(|id| try_data(&rig.outbox, id)), [Sent::Ended, Sent::Gone]);
    rig.outbox.answer_next(1, refused("last"));
    let kinds = [rig.next().await.0, rig.next().await.0, rig.next().await.0];
    assert_eq!(kinds, [FrameType::Heartbeat, FrameType::Heartbeat, FrameType::Ack]);
}

#[tokio::test]
async fn what_is_dropped_before_it_is_appended_is_refused() {
    let mut rig = Rig::new().await;
    let group = rig.group(1..3);
    drop(rig.outbox.enter(group));
    rig.expect(&[(1, "shutting_down"), (2, "shutting_down")]).await;
}

#[tokio::test]
async fn a_stop_refuses_what_nobody_will_answer_and_waits_for_the_rest() {
    let mut rig = Rig::new().await;
    let lost = rig.outbox.reserve(1);
    let entered = rig.outbox.enter(rig.group(2..4));
    let token = entered.token();
    entered.appended();
    rig.outbox.reserve(4);
    rig.outbox.refuse_lost();
    rig.expect(&[(1, "shutting_down")]).await;
    // Done all the same, but said to be refused: the second word does not count.
    rig.outbox.answer(lost, refused("late"));
    let outcome = Err(AckFailure::StorageFull);
    rig.outbox.complete(&mut std::iter::once(Completion { token, outcome }));
    rig.expect(&[(2, "storage_full"), (3, "storage_full"), (4, "shutting_down")]).await;
    rig.outbox.answered().await;
    rig.outbox.sent().await;
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_not_heaped_with_heartbeats() {
    let rig = Rig::new().await;
    rig.outbox.heartbeat();
    let (long, before) = ("x".repeat(100_000), rig.outbox.state.lock().outgoing.len());
    assert_eq!(before, 0);
    while rig.outbox.has_room() {
        rig.outbox.answer_next(1, refused(&long));
    }
    let waiting = rig.outbox.state.lock().outgoing.len();
    assert!((BUFFERED_BYTES_MAX..BUFFERED_BYTES_MAX + 200_000).contains(&waiting), "{waiting}");
    rig.outbox.heartbeat();
    assert_eq!(rig.outbox.state.lock().outgoing.len(), waiting);
}

#[tokio::test]
async fn answers_that_wait_for_an_earlier_one_count() {
    let mut rig = Rig::new().await;
    let first = rig.outbox.reserve(1);
    let (long, mut sent) = ("x".repeat(60_000), 0);
    while rig.outbox.has_room() {
        sent += 1;
        rig.outbox.answer_next(1 + sent, refused(&long));
    }
    assert!(sent * 60_000 < 2 * BUFFERED_BYTES_MAX as u64, "{sent} long answers");
    rig.outbox.answer(first, refused("first"));
    let outbox = Arc::clone(&rig.outbox);
    tokio::select! {
        _ = outbox.write_rest() => panic!("the connection goes on"),
        () = async {
            for sequence in 1..=1 + sent {
                rig.expect(&[(sequence, "internal")]).await;
            }
        } => {}
    }
    rig.outbox.request_may_come().await;
    assert_eq!(rig.outbox.state.lock().kept_bytes, 0);
}

#[tokio::test]
async fn an_idle_connection_keeps_no_room() {
    let rig = Rig::new().await;
    let places: Vec<Place> = (0..1_000).map(|sequence| rig.outbox.reserve(sequence)).collect();
    for place in places {
        rig.outbox.answer(place, Answer::Silence);
    }
    assert!(rig.outbox.state.lock().answers.capacity() >= 1_000);
    rig.outbox.heartbeat();
    let state = rig.outbox.state.lock();
    assert_eq!(state.answers.capacity(), 0);
    assert!(state.outgoing.capacity() < 1_000, "{}", state.outgoing.capacity());
}

/// What waits is counted, by whoever it was put there, and no longer than until the socket has taken it.
#[tokio::test]
async fn what_waits_is_on_loan() {
    let memory = PeerMemory::new(64 << 20, Duration::from_secs(10));
    let mut rig = Rig::with_memory(Arc::clone(&memory)).await;
    let long = "x".repeat(50_000);
    let mut sent = 0;
    while rig.outbox.has_room() {
        sent += 1;
        rig.outbox.answer_next(sent, refused(&long));
    }
    assert_eq!(memory.used(), rig.outbox.state.lock().outgoing.len() - OWN_BYTES);
    let outbox = Arc::clone(&rig.outbox);
    tokio::select! {
        _ = outbox.write_rest() => panic!("the connection goes on"),
        () = async {
            for sequence in 1..=sent {
                rig.expect(&[(sequence, "internal")]).await;
            }
            outbox.sent().await;
        } => {}
    }
    assert_eq!(memory.used(), 0);
}

/// Where there is no memory for more answers no more requests are read, and what was answered goes out all the same.
#[tokio::test]
async fn answers_go_out_without_memory() {
    let memory = PeerMemory::new(1 << 20, Duration::from_secs(3_600));
    let mut rig = Rig::with_memory(Arc::clone(&memory)).await;
    let all = memory.take(1 << 20).await;
    let first = rig.outbox.reserve(1);
    let (long, mut sent) = ("x".repeat(1_000), 1);
    while rig.outbox.has_room() {
        sent += 1;
        rig.outbox.answer_next(sent, refused(&long));
    }
    assert!(sent < 2 * OWN_BYTES as u64 / 1_000, "{sent} answers");
    rig.outbox.answer(first, refused("first"));
    for sequence in 1..=sent {
        rig.expect(&[(sequence, "internal")]).await;
    }
    rig.outbox.request_may_come().await;
    drop(all);
}

/// A peer that reads nothing is let go where somebody waits for what it holds.
#[tokio::test]
async fn who_does_not_read_ends_where_others_wait() {
    let memory = PeerMemory::new(2 << 20, Duration::from_millis(1));
    let rig = Rig::with_memory(Arc::clone(&memory)).await;
    let long = "x".repeat(100_000);
    while rig.outbox.state.lock().outgoing.is_empty() || rig.outbox.has_room() {
        rig.outbox.answer_next(1, refused(&long));
    }
    let outbox = Arc::clone(&rig.outbox);
    let mut writing = Box::pin(outbox.write_rest());
    let patience = Duration::from_millis(20);
    assert!(tokio::time::timeout(patience, &mut writing).await.is_err(), "nobody waits");
    let (ended, ()) = tokio::join!(writing, async {
        let wanted = memory.take(2 << 20);
        tokio::select! {
            _ = wanted => panic!("it is not free"),
            () = tokio::time::sleep(patience) => {}
        }
    });
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
}
