//! What handles ask of a connection, before a peer that says nothing.

use std::task::Poll;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::*;
use crate::protocol::native::{Decoded, FrameCodec, FrameLimits};
use crate::types::{Offset, PartitionIndex};

/// The longest a test waits.
const BOUND: Duration = Duration::from_secs(10);
const HUGE: usize = OUTGOING_BYTES_MAX;
static NONE: Properties = Properties::EMPTY;

async fn connected() -> (Requests, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let (stream, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (_, writer) = stream.expect("connected").into_split();
    (Requests::new(Arc::new(writer), Window::new(10, 1_000), BOUND), accepted.expect("accepted").0)
}

fn heartbeat() -> (Request<'static>, oneshot::Receiver<Result<Frame, ClientError>>) {
    let (reply, answer) = oneshot::channel();
    (Request::new(FrameType::Heartbeat, &NONE, Some(ReplyTo::Waiter(reply))), answer)
}

/// One that nobody answers, with a body.
fn unanswered(bytes: usize) -> Request<'static> {
    let body = Bytes::from(vec![7; bytes]);
    Request { body, ..Request::new(FrameType::Publish, &NONE, None) }
}

/// The type and number of so many frames.
async fn read(peer: &mut TcpStream, count: usize) -> Vec<(FrameType, u64)> {
    let mut codec = FrameCodec::new(FrameLimits::for_messages(4 << 20));
    let (mut bytes, mut frames) = (BytesMut::new(), Vec::new());
    while frames.len() < count {
        match codec.next(&mut bytes) {
            Some(Decoded::Frame(frame)) => frames.push((frame.kind, frame.sequence)),
            Some(other) => panic!("{other:?}"),
            None => assert!(peer.read_buf(&mut bytes).await.expect("open") > 0),
        }
    }
    assert!(bytes.is_empty());
    frames
}

#[tokio::test]
async fn the_first_goes_straight_to_the_socket_and_others_wait_for_the_task() {
    let (requests, mut peer) = connected().await;
    let mut outgoing = Outgoing::default();
    let (first, _first) = heartbeat();
    requests.send(first).await.expect("sent");
    assert_eq!(read(&mut peer, 1).await, [(FrameType::Heartbeat, 2)]);
    assert!(!requests.owes_nothing());
    let (second, _second) = heartbeat();
    requests.send(second).await.expect("queued");
    requests.send(unanswered(3)).await.expect("queued");
    requests.wake.notified().await;
    assert!(!requests.take_outgoing(&mut outgoing));
    let socket = requests.lock().socket.clone().expect("open");
    write(&socket, &mut outgoing).expect("little");
    assert_eq!(read(&mut peer, 2).await, [(FrameType::Heartbeat, 4), (FrameType::Publish, 7)]);
    requests.abandon();
    assert!(!requests.take_outgoing(&mut outgoing), "two are not answered");
}

#[tokio::test]
async fn replies_find_their_requests_and_the_others_are_left() {
    let (requests, _peer) = connected().await;
    let (request, answer) = heartbeat();
    requests.send(request).await.expect("sent");
    let (ticket, receipt) = requests.receipt();
    let publish = Request { reply: Some(ReplyTo::Publisher(ticket)), window_bytes: Some(9), ..unanswered(3) };
    requests.send(publish).await.expect("queued");
    let mut bytes = BytesMut::new();
    crate::protocol::native::reply::heartbeat(&mut bytes, 2, Timestamp::NONE);
    let decoded = FrameCodec::new(FrameLimits::for_messages(100)).next(&mut bytes);
    let Some(Decoded::Frame(frame)) = decoded else { panic!("{decoded:?}") };
    let (mut replies, mut answered) = (vec![(2, frame.clone()), (2, frame.clone()), (8, frame)], Vec::new());
    requests.answered(&mut replies, &mut answered);
    assert_eq!((answered.len(), replies.iter().map(|(number, _)| *number).collect::<Vec<_>>()), (1, vec![2, 8]));
    let position = Position { partition: PartitionIndex(1), offset: Offset::ZERO };
    let (mut stored, mut landings) = (vec![(5, position), (5, position), (99, position)], Vec::new());
    assert_eq!(requests.stored(&mut stored, &mut landings).expect("a publish"), 9);
    crate::client::receipts::land(&mut landings);
    assert!(matches!(receipt.try_result(), Some(Ok(found)) if found == position));
    assert!(requests.owes_nothing());
    drop((answered, answer));
    let (request, _answer) = heartbeat();
    requests.send(request).await.expect("sent");
    assert!(requests.stored(&mut vec![(7, position)], &mut landings).is_err(), "that was no publish");
}

#[tokio::test]
async fn a_full_connection_makes_everyone_wait_in_turn() {
    let (requests, _peer) = connected().await;
    let mut outgoing = Outgoing::default();
    let (first, _first) = heartbeat();
    requests.send(first).await.expect("sent");
    assert!(requests.try_send(&mut unanswered(HUGE)).expect("open"));
    assert!(!requests.try_send(&mut unanswered(1)).expect("open"));
    let (mut one, mut two) = (Box::pin(requests.send(unanswered(HUGE))), Box::pin(requests.send(unanswered(1))));
    let mut given_up = Box::pin(requests.send(unanswered(2)));
    for waiting in [&mut given_up, &mut one, &mut two] {
        assert!(look_at(waiting).is_pending());
    }
    drop(given_up);
    requests.take_outgoing(&mut outgoing);
    assert!(look_at(&mut two).is_pending(), "it is not its turn");
    assert!(matches!(look_at(&mut one), Poll::Ready(Ok(()))));
    assert!(look_at(&mut two).is_pending(), "there is no room");
    requests.take_outgoing(&mut outgoing);
    outgoing.advance(outgoing.remaining());
    requests.take_outgoing(&mut outgoing);
    assert!(matches!(look_at(&mut two), Poll::Ready(Ok(()))));
    drop((one, two));
    assert_eq!(requests.lock().waiting, 0);
}

#[tokio::test]
async fn the_end_reaches_all_who_wait() {
    let (requests, _peer) = connected().await;
    let (first, answer) = heartbeat();
    requests.send(first).await.expect("sent");
    let (ticket, receipt) = requests.receipt();
    let publish = Request { reply: Some(ReplyTo::Publisher(ticket)), ..unanswered(HUGE) };
    requests.send(publish).await.expect("queued");
    let mut waiting = Box::pin(requests.send(unanswered(1)));
    assert!(look_at(&mut waiting).is_pending());
    requests.end.get_or_init(|| "no more".to_owned());
    requests.close();
    let is_told = |error: &ClientError| matches!(error, ClientError::Closed { reason } if reason == "no more");
    assert!(answer.await.is_err());
    assert!(matches!(receipt.try_result(), Some(Err(error)) if is_told(&error)));
    let waited = tokio::time::timeout(BOUND, waiting).await.expect("an end");
    assert!(waited.is_err_and(|error| is_told(&error)));
    assert!(requests.send(unanswered(1)).await.is_err_and(|error| is_told(&error)));
    tokio::time::timeout(BOUND, requests.over()).await.expect("it is over");
    assert!(requests.window.room_for(1).await.is_none());
}

/// One look at a future.
fn look_at<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::pin::Pin::new(future).poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}
