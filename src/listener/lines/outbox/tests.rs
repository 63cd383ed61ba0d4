//! The outgoing side over a real socket: the order of what goes, and what a group has back.

use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::*;
use crate::replica::AckFailure;
use crate::types::{Offset, PartitionIndex, TopicPartition};

struct Rig {
    outbox: Arc<Outbox>,
    peer: TcpStream,
    memory: Arc<PeerMemory>,
    room: Arc<Notify>,
}

fn topic() -> TopicName {
    TopicName::new("t").unwrap()
}

fn at(offset: u64) -> Offset {
    Offset::new(offset).unwrap()
}

impl Rig {
    async fn new() -> Rig {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (peer, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let memory = PeerMemory::new(64 << 20, std::time::Duration::from_secs(60));
        let outbox = Outbox::new(1, Arc::new(accepted.unwrap().0), Arc::clone(&memory));
        Rig { outbox, peer: peer.unwrap(), memory, room: Arc::default() }
    }

    /// PUBs at the next places, whose records are at `from` or behind it.
    fn enter(&self, count: usize, from: u64) -> u64 {
        let places = (0..count).map(|index| self.outbox.next_place().behind(index)).collect();
        self.outbox.reserve(count);
        let batch = Batch { topic: topic(), partition: PartitionIndex(0), places, not_before: at(from) };
        let entered = self.outbox.enter(batch);
        let token = entered.token();
        entered.appended();
        token
    }

    fn complete(&self, token: u64, outcome: Result<crate::replica::Acked, AckFailure>) {
        self.outbox.complete(&mut std::iter::once(Completion { token, outcome }));
    }

    fn give(&self, id: MembershipId, offsets: std::ops::Range<u64>, bytes: usize) -> bool {
        let line = |offset: u64| {
            let mut line = format!("MSG {offset} ").into_bytes();
            line.resize(bytes.max(line.len() + 1) - 1, b'x');
            line.push(b'\n');
            Bytes::from(line)
        };
        let record = |offset| QueuedRecord::new(PartitionIndex(0), at(offset));
        let gifts: Vec<_> = offsets.map(|offset| (record(offset), line(offset))).collect();
        self.outbox.give(id, &gifts, &mut self.memory.nothing())
    }

    async fn hears(&mut self, expected: &str) {
        let mut bytes = vec![0; expected.len()];
        self.peer.read_exact(&mut bytes).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&bytes), expected);
    }
}

#[tokio::test]
async fn answers_keep_the_order_of_commands() {
    let mut rig = Rig::new().await;
    let first = rig.enter(2, 0);
    rig.outbox.answer_next(Answer::okay("pong"));
    let second = rig.enter(1, 2);
    rig.complete(second, Err(AckFailure::StorageFull));
    rig.outbox.answer_next(Answer::refused("no\nsuch thing"));
    rig.outbox.refuse_batch(first, "late");
    rig.hears("ERR late\nERR late\nOK pong\nERR ").await;
    let mut rest = vec![0; 200];
    let read = rig.peer.read(&mut rest).await.unwrap();
    assert!(String::from_utf8_lossy(&rest[..read]).ends_with("\nERR no\\nsuch thing\n"));
    // What is lost is answered, what the broker has is waited for.
    let appended = rig.enter(1, 3);
    rig.outbox.reserve(1);
    rig.outbox.refuse_lost();
    rig.outbox.refuse_batch(appended, "then");
    rig.hears(&format!("ERR then\nERR {SHUTTING_DOWN}\n")).await;
}

/// Who publishes is answered before the record comes back, by a broadcast or as a member of a group.
#[tokio::test]
async fn a_pub_is_answered_before_its_record_is_shown() {
    let mut rig = Rig::new().await;
    let id = rig.outbox.join(&topic(), &rig.room);
    let token = rig.enter(1, 5);
    let partition = TopicPartition { topic: topic(), partition: PartitionIndex(0) };
    let lines = Bytes::from_static(b"MSG before\n");
    let mut nothing = rig.memory.nothing();
    let messages = Messages { partition: &partition, last: at(4), lines: &lines };
    assert_eq!(rig.outbox.try_messages(&messages, &mut nothing), Sent::Gone);
    let messages = Messages { last: at(5), ..messages };
    assert_eq!(rig.outbox.try_messages(&messages, &mut nothing), Sent::Wait);
    assert!(rig.give(id, 4..7, 0));
    rig.outbox.refuse_batch(token, "done");
    rig.hears("MSG before\nMSG 4 \nERR done\nMSG 5 \nMSG 6 \n").await;
    assert_eq!(rig.outbox.leave(id), []);
    assert!(!rig.give(id, 7..8, 0), "it is no member any more");
    assert_eq!(rig.outbox.try_messages(&messages, &mut nothing), Sent::Gone);
    rig.outbox.close();
    assert_eq!(rig.outbox.try_messages(&messages, &mut nothing), Sent::Ended);
    assert_eq!(rig.outbox.room(), 0);
}

/// A group is told when a member takes again, and has back what the socket did not take, and what waited for an answer.
#[tokio::test]
async fn what_the_socket_did_not_take_goes_back() {
    let mut rig = Rig::new().await;
    let id = rig.outbox.join(&topic(), &rig.room);
    let mut given = 0;
    while rig.outbox.room() > 0 {
        assert!(rig.give(id, given..given + 1, 10_000));
        given += 1;
    }
    // The peer reads: there is room again, and the group hears of it.
    let mut bytes = vec![0; 10_000];
    let outbox = Arc::clone(&rig.outbox);
    let writing = tokio::spawn(async move { outbox.write_rest().await });
    let told = Arc::clone(&rig.room);
    let mut told = std::pin::pin!(told.notified());
    let mut read = 0_u64;
    loop {
        tokio::select! {
            biased;
            () = &mut told => break,
            whole = rig.peer.read_exact(&mut bytes) => {
                whole.unwrap();
                read += 1;
                assert!(read < given, "it is told before all is read");
            }
        }
    }
    writing.abort();
    let _aborted = writing.await;
    while rig.outbox.room() > 0 {
        assert!(rig.give(id, given..given + 1, 10_000));
        given += 1;
    }
    let _token = rig.enter(1, given);
    assert!(rig.give(id, given..given + 2, 10));
    let unsent = rig.outbox.leave(id);
    let first = unsent.first().expect("something").offset.get();
    assert!(first >= read && first < given, "{first} of {given}, {read} were read");
    assert_eq!(
        unsent.iter().map(|record| record.offset.get()).collect::<Vec<_>>(),
        (first..given + 2).collect::<Vec<_>>()
    );
}
