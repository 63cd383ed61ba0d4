//! A client of Kafka's protocol, as its clients' authors would write the first one.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use socket2::{Domain, Socket, Type};

use super::{BOUND, Server};

/// Where a server listens for Kafka's clients.
pub(crate) fn kafka_address(server: &mut Server) -> SocketAddr {
    let line = server.wait_for("listening (Kafka protocol)");
    let address = line.split_once("address=").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    address.unwrap_or_else(|| panic!("an address in {line:?}"))
}

/// A request with its header, without its length.
pub(crate) fn frame<R: Request>(version: i16, request: &R, correlation: i32) -> BytesMut {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(StrBytes::from_static_str("peer")));
    let mut bytes = BytesMut::new();
    header.encode(&mut bytes, R::header_version(version)).expect("a header");
    request.encode(&mut bytes, version).expect("a request");
    bytes
}

/// A connection.
#[derive(Debug)]
pub(crate) struct KafkaPeer {
    stream: TcpStream,
    correlation: i32,
}

impl KafkaPeer {
    /// Connects.
    pub(crate) fn connect(address: SocketAddr) -> KafkaPeer {
        KafkaPeer::over(TcpStream::connect(address).expect("connected"))
    }

    /// Connects with next to no room for what it does not read.
    pub(crate) fn connect_narrowly(address: SocketAddr) -> KafkaPeer {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(4 << 10).expect("a small buffer");
        socket.connect(&address.into()).expect("connected");
        KafkaPeer::over(socket.into())
    }

    fn over(stream: TcpStream) -> KafkaPeer {
        stream.set_read_timeout(Some(BOUND)).expect("a bound");
        stream.set_nodelay(true).expect("nodelay");
        KafkaPeer { stream, correlation: 0 }
    }

    /// Connects to where this server listens.
    pub(crate) fn of(server: &mut Server) -> KafkaPeer {
        KafkaPeer::connect(kafka_address(server))
    }

    /// Where it is connected to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.stream.peer_addr().expect("connected")
    }

    /// Sends a request and waits for its response.
    pub(crate) fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        self.send(version, request);
        self.receive::<R>(version)
    }

    /// Sends a request.
    pub(crate) fn send<R: Request>(&mut self, version: i16, request: &R) {
        self.correlation += 1;
        self.send_frame(&frame(version, request, self.correlation));
    }

    /// Sends bytes behind their length.
    pub(crate) fn send_frame(&mut self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).expect("a length").to_be_bytes();
        self.send_bytes(&[&length[..], bytes].concat());
    }

    /// Sends bytes as they are.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("sent");
    }

    /// Waits for the response to a request of this kind.
    pub(crate) fn receive<R: Request>(&mut self, version: i16) -> R::Response {
        let mut bytes = self.receive_frame().expect("a response");
        let header = ResponseHeader::decode(&mut bytes, R::Response::header_version(version)).expect("a header");
        assert!(header.correlation_id <= self.correlation, "{header:?}");
        let response = R::Response::decode(&mut bytes, version).expect("a response");
        assert!(bytes.is_empty(), "{} bytes behind it", bytes.len());
        response
    }

    /// The next frame without its length; `None` where the server has closed.
    pub(crate) fn receive_frame(&mut self) -> Option<Bytes> {
        let mut length = [0; 4];
        match self.stream.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => return None,
            Err(error) => panic!("no frame: {error}"),
        }
        let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut bytes).expect("a whole frame");
        Some(bytes.into())
    }

    /// Sees that the server closes, and says nothing before it does.
    pub(crate) fn expect_closed(&mut self) {
        let frame = self.receive_frame();
        assert!(frame.is_none(), "{frame:?}");
    }
}
