//! A raw connection: frames out, frames in, nothing done behind the test's back.

use std::io::{Read, Write};
use std::net::TcpStream;

use bytes::BytesMut;
use wiber::protocol::native::{Decoded, Frame, FrameCodec, FrameLimits, FrameType, Properties};
use wiber::types::Timestamp;

use super::{BOUND, Server};

/// A connection whose reads have a bound.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    codec: FrameCodec,
    bytes: BytesMut,
}

/// A request with these properties.
pub(crate) fn request(kind: FrameType, sequence: u64, properties: &[(&str, &str)], body: &[u8]) -> Frame {
    let properties = Properties::from_pairs(properties.iter().copied()).expect("properties");
    Frame { kind, sequence, timestamp: Timestamp::from_millis(0), properties, body: body.to_vec().into() }
}

impl Wire {
    /// Connects to a server.
    pub(crate) fn connect(server: &Server) -> Wire {
        let stream = TcpStream::connect(server.address()).expect("connected");
        stream.set_read_timeout(Some(BOUND)).expect("a bound");
        stream.set_nodelay(true).expect("nodelay");
        Wire { stream, codec: FrameCodec::new(FrameLimits::for_messages(64 << 20)), bytes: BytesMut::new() }
    }

    /// Sends one frame.
    pub(crate) fn send(&mut self, frame: &Frame) {
        self.send_all(std::slice::from_ref(frame));
    }

    /// Sends frames in one write.
    pub(crate) fn send_all(&mut self, frames: &[Frame]) {
        let mut bytes = BytesMut::new();
        for frame in frames {
            frame.encode(&mut bytes).expect("encodes");
        }
        self.send_bytes(&bytes);
    }

    /// Sends bytes that need not be frames.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("sent");
    }

    /// The next frame; `None` where the server has closed.
    pub(crate) fn next_or_end(&mut self) -> Option<Frame> {
        loop {
            match self.codec.next(&mut self.bytes) {
                Some(Decoded::Frame(frame)) => return Some(frame),
                Some(other) => panic!("the server sent no frame: {other:?}"),
                None => {}
            }
            let mut chunk = [0; 16 << 10];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(read) => self.bytes.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing came: {error}"),
            }
        }
    }

    /// The next frame.
    pub(crate) fn next(&mut self) -> Frame {
        self.next_or_end().expect("a frame, not the end")
    }

    /// Sends a request; the next frame must be its successful reply.
    pub(crate) fn ask(&mut self, frame: &Frame) -> Frame {
        self.send(frame);
        let reply = self.next();
        assert_eq!(reply.sequence, frame.sequence, "{reply:?}");
        if frame.kind != FrameType::Heartbeat {
            assert_eq!((reply.kind, reply.properties.get("status")), (FrameType::Ack, Some("success")), "{reply:?}");
        }
        reply
    }

    /// Sends a request; the next frame must refuse it with this code.
    pub(crate) fn refused(&mut self, frame: &Frame, code: &str) -> Frame {
        self.send(frame);
        self.expect_refusal(frame.sequence, code)
    }

    /// The next frame must be a refusal with this code.
    pub(crate) fn expect_refusal(&mut self, sequence: u64, code: &str) -> Frame {
        let reply = self.next();
        let said = (reply.kind, reply.sequence, reply.properties.get("status"), reply.properties.get("code"));
        assert_eq!(said, (FrameType::Ack, sequence, Some("error"), Some(code)), "{reply:?}");
        assert!(reply.properties.get("error").is_some_and(|text| !text.is_empty()), "{reply:?}");
        reply
    }

    /// Creates a topic.
    pub(crate) fn create_topic(&mut self, topic: &str, partitions: u32) {
        let properties = [("topic", topic), ("partitions", &partitions.to_string())];
        let reply = self.ask(&request(FrameType::CreateTopic, 1, &properties, b""));
        assert_eq!(reply.properties.get("partitions"), Some(&*partitions.to_string()));
    }

    /// Publishes a record and returns its offset.
    pub(crate) fn publish(&mut self, topic: &str, partition: u32, body: &[u8]) -> u64 {
        let properties = [("topic", topic), ("partition", &partition.to_string())];
        offset(&self.ask(&request(FrameType::Publish, 2, &properties, body)))
    }

    /// Subscribes from an offset; the next frame must be the ACK.
    pub(crate) fn subscribe(&mut self, topic: &str, partition: u32, from: u64) {
        let properties = [("topic", topic), ("partition", &partition.to_string()), ("offset", &from.to_string())];
        self.ask(&request(FrameType::Subscribe, 3, &properties, b""));
    }
}

/// The offset that an ACK names.
pub(crate) fn offset(ack: &Frame) -> u64 {
    ack.properties.get("offset").and_then(|offset| offset.parse().ok()).expect("an offset")
}
