//! A peer on a loopback socket that plays a broker's part, for tests of the client and its command line.

mod groups;
pub(crate) mod scripted;

use std::collections::BTreeMap;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::protocol::native::{DataRecord, Decoded, ErrorCode, Frame, FrameCodec, FrameLimits, Request, reply};
use crate::types::{Offset, PartitionIndex, Timestamp};

const NOW: Timestamp = Timestamp::from_millis(1);

/// Serves connections one after another on a port of its own. Topic `t` exists, publishes are stored in memory,
/// subscriptions get what is stored; a record of `hang up` ends its
/// connection, one of `fall silent` leaves it open without a word.
pub(crate) async fn start() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        let mut stored = BTreeMap::new();
        while let Ok((stream, _)) = listener.accept().await {
            serve(stream, &mut stored).await;
        }
    });
    port
}

async fn serve(mut stream: TcpStream, stored: &mut BTreeMap<u64, bytes::Bytes>) {
    let mut codec = FrameCodec::new(FrameLimits::for_messages(1 << 20));
    let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
    while stream.read_buf(&mut input).await.is_ok_and(|read| read > 0) {
        while let Some(decoded) = codec.next(&mut input) {
            let Decoded::Frame(frame) = decoded else {
                panic!("{decoded:?}");
            };
            if frame.body == "hang up" {
                return;
            }
            if frame.body == "fall silent" {
                std::future::pending::<()>().await;
            }
            answer(&frame, stored, &mut output);
        }
        stream.write_all_buf(&mut output).await.expect("the client reads");
    }
}

fn answer(frame: &Frame, stored: &mut BTreeMap<u64, bytes::Bytes>, out: &mut BytesMut) {
    let sequence = frame.sequence;
    let partition = PartitionIndex(0);
    // A heartbeat of the broker's own may come at any time.
    reply::heartbeat(out, 0, NOW);
    match Request::parse(frame).expect("a request") {
        Request::Heartbeat => reply::heartbeat(out, sequence, NOW),
        Request::CreateTopic(create) => {
            let partitions = create.partitions.unwrap_or(1);
            reply::topic_ack(out, sequence, NOW, create.topic.as_str(), partitions);
        }
        Request::Publish(publish) if publish.topic != "t" => {
            reply::error_ack(out, sequence, NOW, ErrorCode::UnknownTopic, "no such topic", &[]);
        }
        Request::Publish(publish) => {
            let offset = stored.len() as u64;
            stored.insert(offset, publish.value.clone());
            let offset = Offset::new(offset).expect("small");
            reply::publish_ack(out, sequence, NOW, "t", partition, offset);
        }
        Request::Subscribe(_) => {
            reply::subscribe_ack(out, sequence, NOW, "t", partition, "", Offset::ZERO);
            for (offset, value) in stored {
                let record = DataRecord {
                    topic: "t",
                    partition,
                    offset: Offset::new(*offset).expect("small"),
                    timestamp: NOW,
                    key: Some(b"\xff"),
                    value: Some(value),
                    stamp: None,
                };
                let header: (&[u8], Option<&[u8]>) = (b"colour", Some(b"red"));
                reply::data(out, &record, [header].into_iter()).expect("fits");
            }
        }
        Request::Unsubscribe(_) => {
            reply::unsubscribe_ack(out, sequence, NOW, "t", partition, "");
        }
        Request::Ack(_) => {}
        Request::DeleteTopic(_)
        | Request::AlterTopic(_)
        | Request::Metadata(_)
        | Request::Fetch(_)
        | Request::Commit(_)
        | Request::PublishBatch(_)
        | Request::InitProducer
        | Request::ListOffsets(_)
        | Request::JoinGroup(_)
        | Request::GroupHeartbeat(_)
        | Request::LeaveGroup(_)
        | Request::ListGroups
        | Request::DescribeGroup(_)
        | Request::ResetGroup(_)
        | Request::DeleteGroup(_)
        | Request::SubscribeBatches(_) => {
            reply::error_ack(out, sequence, NOW, ErrorCode::UnknownType, "not played here", &[]);
        }
    }
}
