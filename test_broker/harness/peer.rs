//! A client made from the document alone: frames are put together and taken apart here, byte by byte, by nothing of the
//! crate's own codec, so that a mistake made there is not made here too.

use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use super::{BOUND, Server};

pub(crate) const DATA: u32 = 1;
pub(crate) const ACK: u32 = 2;
pub(crate) const HEARTBEAT: u32 = 3;
pub(crate) const CREATE_TOPIC: u32 = 4;
pub(crate) const SUBSCRIBE: u32 = 5;
pub(crate) const UNSUBSCRIBE: u32 = 6;
pub(crate) const PUBLISH: u32 = 7;
pub(crate) const DELETE_TOPIC: u32 = 8;
pub(crate) const METADATA: u32 = 9;
pub(crate) const FETCH: u32 = 10;
pub(crate) const COMMIT: u32 = 11;
pub(crate) const PUBLISH_BATCH: u32 = 12;
pub(crate) const INIT_PRODUCER: u32 = 13;
pub(crate) const ALTER_TOPIC: u32 = 14;
pub(crate) const LIST_OFFSETS: u32 = 15;
pub(crate) const SUBSCRIBE_BATCHES: u32 = 16;
pub(crate) const BATCH: u32 = 17;
pub(crate) const JOIN_GROUP: u32 = 18;
pub(crate) const GROUP_HEARTBEAT: u32 = 19;
pub(crate) const LEAVE_GROUP: u32 = 20;
pub(crate) const ASSIGNMENT: u32 = 21;
pub(crate) const LIST_GROUPS: u32 = 22;
pub(crate) const DESCRIBE_GROUP: u32 = 23;
pub(crate) const RESET_GROUP: u32 = 24;
pub(crate) const DELETE_GROUP: u32 = 25;

/// Properties as a test writes them down.
pub(crate) type Pairs<'a> = &'a [(&'a str, &'a str)];

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Raw {
    pub(crate) kind: u32,
    pub(crate) sequence: u64,
    pub(crate) timestamp: i64,
    pub(crate) properties: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// A frame with these properties and no body, at time 0.
pub(crate) fn frame(kind: u32, sequence: u64, properties: Pairs<'_>) -> Raw {
    let properties = properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Raw { kind, sequence, timestamp: 0, properties, body: Vec::new() }
}

impl Raw {
    /// The same with a body.
    pub(crate) fn with_body(mut self, body: &[u8]) -> Raw {
        self.body = body.to_vec();
        self
    }

    /// The same made at this time.
    pub(crate) fn at(mut self, timestamp: i64) -> Raw {
        self.timestamp = timestamp;
        self
    }

    /// The first property of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// A property that is a number.
    pub(crate) fn number(&self, name: &str) -> i64 {
        let value = self.get(name).and_then(|value| value.parse().ok());
        value.unwrap_or_else(|| panic!("no number {name} in {self:?}"))
    }

    /// All properties, as a test writes them down.
    pub(crate) fn pairs(&self) -> Vec<(&str, &str)> {
        self.properties.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    /// The frame on the wire.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let block = self.properties.iter().flat_map(|(name, value)| format!("{name}={value}\0").into_bytes());
        bytes_of(self.kind, self.sequence, self.timestamp, &block.collect::<Vec<_>>(), &self.body)
    }
}

/// A frame on the wire whose block of properties may be anything.
pub(crate) fn bytes_of(kind: u32, sequence: u64, timestamp: i64, block: &[u8], body: &[u8]) -> Vec<u8> {
    let length = |bytes: usize| u32::try_from(bytes).expect("a frame's length").to_be_bytes();
    let mut bytes = Vec::with_capacity(32 + block.len() + body.len());
    bytes.extend(length(32 + block.len() + body.len()));
    bytes.extend(kind.to_be_bytes());
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(timestamp.to_be_bytes());
    bytes.extend(length(block.len()));
    bytes.extend(block);
    bytes.extend(length(body.len()));
    bytes.extend(body);
    bytes
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Peer {
    stream: BufReader<TcpStream>,
}

impl Peer {
    /// Connects to a server.
    pub(crate) fn connect(server: &Server) -> Peer {
        Peer::connect_to(server.address())
    }

    /// Connects to an address.
    pub(crate) fn connect_to(address: SocketAddr) -> Peer {
        let stream = TcpStream::connect(address).expect("connected");
        stream.set_read_timeout(Some(BOUND)).expect("a bound");
        stream.set_nodelay(true).expect("nodelay");
        Peer { stream: BufReader::with_capacity(64 << 10, stream) }
    }

    /// The socket itself.
    pub(crate) fn socket(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    /// Whether something has come that was not read yet.
    pub(crate) fn has_bytes(&self) -> bool {
        if !self.stream.buffer().is_empty() {
            return true;
        }
        self.socket().set_nonblocking(true).expect("a socket");
        let has = self.socket().peek(&mut [0]).is_ok();
        self.socket().set_nonblocking(false).expect("a socket");
        has
    }

    /// Sends frames in one write.
    pub(crate) fn send(&mut self, frames: &[Raw]) {
        let bytes: Vec<u8> = frames.iter().flat_map(Raw::bytes).collect();
        self.send_bytes(&bytes);
    }

    /// Sends bytes that need not be frames.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.socket().write_all(bytes).expect("sent");
    }

    /// Sends bytes to a server that may have closed meanwhile; whether they went out.
    pub(crate) fn try_send_bytes(&mut self, bytes: &[u8]) -> bool {
        self.socket().write_all(bytes).is_ok()
    }

    /// Says that nothing more will be sent.
    pub(crate) fn finish_sending(&mut self) {
        self.socket().shutdown(Shutdown::Write).expect("shut down");
    }

    /// The next frame; `None` where the server has closed.
    pub(crate) fn next_or_end(&mut self) -> Option<Raw> {
        let total = u32::from_be_bytes(self.take().ok()?);
        let read: std::io::Result<Raw> = (|| {
            let (kind, sequence) = (u32::from_be_bytes(self.take()?), u64::from_be_bytes(self.take()?));
            let timestamp = i64::from_be_bytes(self.take()?);
            let block = self.block()?;
            let body = self.block()?;
            assert_eq!(total as usize, 32 + block.len() + body.len(), "the lengths of a frame agree");
            Ok(Raw { kind, sequence, timestamp, properties: pairs_of(&block), body })
        })();
        Some(read.expect("a whole frame"))
    }

    fn take<const N: usize>(&mut self) -> std::io::Result<[u8; N]> {
        let mut bytes = [0; N];
        match self.stream.read_exact(&mut bytes) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("nothing came: {error}")
            }
            read => read.map(|()| bytes),
        }
    }

    fn block(&mut self) -> std::io::Result<Vec<u8>> {
        let length = u32::from_be_bytes(self.take()?) as usize;
        assert!(length <= 128 << 20, "the server sends a block of {length} bytes");
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// The next frame that is no heartbeat of the server's own.
    pub(crate) fn next(&mut self) -> Raw {
        loop {
            let frame = self.next_or_end().expect("a frame, not the end");
            if (frame.kind, frame.sequence) != (HEARTBEAT, 0) {
                return frame;
            }
        }
    }

    /// Whether the server closes, heartbeats of its own passed over.
    pub(crate) fn ends(&mut self) -> bool {
        loop {
            match self.next_or_end() {
                None => return true,
                Some(frame) if (frame.kind, frame.sequence) == (HEARTBEAT, 0) => {}
                Some(_) => return false,
            }
        }
    }

    /// A frame that comes within this time, or none. For what is expected to come; nothing is proved by silence.
    pub(crate) fn next_within(&mut self, time: Duration) -> Option<Raw> {
        if self.stream.buffer().is_empty() {
            self.socket().set_read_timeout(Some(time)).expect("a bound");
            let peeked = self.socket().peek(&mut [0]);
            self.socket().set_read_timeout(Some(BOUND)).expect("a bound");
            if peeked.is_err() {
                return None;
            }
        }
        self.next_or_end()
    }

    /// Sends a request; the next frame must be its successful reply.
    pub(crate) fn ask(&mut self, request: &Raw) -> Raw {
        self.send(std::slice::from_ref(request));
        let reply = self.next();
        assert_eq!(
            (reply.kind, reply.sequence, reply.get("status")),
            (ACK, request.sequence, Some("success")),
            "{reply:?}"
        );
        assert_eq!(reply.properties[0].0, "status", "{reply:?}");
        reply
    }

    /// Sends a request; the next frame must refuse it with this code.
    pub(crate) fn refused(&mut self, request: &Raw, code: &str) -> Raw {
        self.send(std::slice::from_ref(request));
        let reply = self.next();
        expect_refusal(&reply, request.sequence, code, &format!("{:?}", request.pairs()));
        reply
    }

    /// A heartbeat must be the next thing that comes back: nothing else was on its way.
    pub(crate) fn is_alive(&mut self) {
        let number = 0xA114E;
        self.send(&[frame(HEARTBEAT, number, &[])]);
        let reply = self.next();
        assert_eq!((reply.kind, reply.sequence), (HEARTBEAT, number), "{reply:?}");
        assert_eq!((reply.properties.len(), reply.body.len()), (0, 0), "{reply:?}");
    }

    /// The same where other frames may come first: each is handed on.
    pub(crate) fn is_alive_among(&mut self, others: &mut dyn FnMut(Raw)) {
        let number = 0xA114F;
        self.send(&[frame(HEARTBEAT, number, &[])]);
        loop {
            let next = self.next();
            if (next.kind, next.sequence) == (HEARTBEAT, number) {
                return;
            }
            others(next);
        }
    }

    /// Creates a topic.
    pub(crate) fn create(&mut self, topic: &str, partitions: u32) {
        let partitions = partitions.to_string();
        let reply = self.ask(&frame(CREATE_TOPIC, 901, &[("topic", topic), ("partitions", &partitions)]));
        assert_eq!(reply.get("partitions"), Some(&*partitions));
    }

    /// Publishes a record and returns its offset.
    pub(crate) fn publish(&mut self, topic: &str, partition: u32, body: &[u8]) -> u64 {
        let properties = [("topic", topic), ("partition", &*partition.to_string())];
        let reply = self.ask(&frame(PUBLISH, 902, &properties).with_body(body));
        u64::try_from(reply.number("offset")).expect("an offset")
    }

    /// Subscribes to partition 0 with these properties more; the next frame must be the ACK.
    pub(crate) fn subscribe(&mut self, topic: &str, more: Pairs<'_>) -> Raw {
        let mut request = frame(SUBSCRIBE, 903, more);
        request.properties.insert(0, ("topic".to_owned(), topic.to_owned()));
        self.ask(&request)
    }

    /// The next frame must be DATA.
    pub(crate) fn data(&mut self) -> Raw {
        let data = self.next();
        assert_eq!(data.kind, DATA, "{data:?}");
        data
    }

    /// Acknowledges a DATA frame, as clients do.
    pub(crate) fn acknowledge(&mut self, data: &Raw) {
        let (topic, partition) = (data.get("topic").expect("a topic"), data.get("partition").expect("a partition"));
        self.send(&[frame(ACK, data.sequence, &[("topic", topic), ("partition", partition)])]);
    }
}

/// This frame must be the refusal of a request with this code.
#[track_caller]
pub(crate) fn expect_refusal(reply: &Raw, sequence: u64, code: &str, of: &str) {
    let said = (reply.kind, reply.sequence, reply.get("status"), reply.get("code"));
    assert_eq!(said, (ACK, sequence, Some("error"), Some(code)), "{of}: {reply:?}");
    let names: Vec<_> = reply.properties.iter().take(3).map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["status", "error", "code"], "{of}: {reply:?}");
    assert!(reply.get("error").is_some_and(|text| !text.is_empty()), "{of}: {reply:?}");
}

fn pairs_of(block: &[u8]) -> Vec<(String, String)> {
    let text = std::str::from_utf8(block).expect("properties are UTF-8");
    assert!(text.is_empty() || text.ends_with('\0'), "every property ends with NUL: {text:?}");
    let pairs = text.split_terminator('\0').map(|pair| {
        let (name, value) = pair.split_once('=').expect("a property has a name and a value");
        assert!(!name.is_empty(), "a property has a name: {text:?}");
        (name.to_owned(), value.to_owned())
    });
    pairs.collect()
}
