//! One connection, from its first request to its end.

use std::future::poll_fn;
use std::io;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::KafkaListener;
use super::asked::Asked;
use super::dispatch::Reply;
use super::requests::Requests;
use crate::listener::incoming::Incoming;
use crate::listener::memory::{Loan, PeerMemory, Stall};
use crate::listener::outgoing::Outgoing;
use crate::listener::{farewell, liveness};
use crate::protocol::kafka::{Opened, RequestFrames, open};

/// Largest request, in bytes: as Kafka's `socket.request.max.bytes`.
const REQUEST_BYTES_MAX: usize = 100 << 20;
/// Bytes that may wait for the peer before its next request is begun.
const UNSENT_BYTES_MAX: usize = 64 << 10;
/// How long requests that are under way have to be answered, and the peer to take the answers, when it has closed its side
/// or the server stops …
const LAST_ANSWERS_MAX: Duration = Duration::from_secs(2);
/// How long a request that waits for something else than the disk has when the server stops.
const LAST_WAIT_MAX: Duration = Duration::from_millis(200);

/// Serves a connection; returns why it ended.
pub(super) async fn run(
    listener: &Arc<KafkaListener>,
    number: u64,
    stream: TcpStream,
    mut stop: watch::Receiver<bool>,
) -> io::Result<&'static str> {
    let asked = Asked { version: 0, client_id: None, peer: stream.peer_addr()?, local: stream.local_addr()? };
    let mut connection = Connection {
        requests: Requests::new(Arc::clone(listener), asked),
        reader: Reader::new(&listener.incoming_memory),
        writer: Writer::new(number, &listener.outgoing_memory),
        idle_timeout: listener.options.idle_timeout,
    };
    let heard = connection.reader.incoming.heard();
    let ended = tokio::select! {
        ended = connection.serve(&stream) => Some(ended?),
        () = liveness::watch(&stream, &heard, listener.options.connection_timeout) => Some("unreachable"),
        _ = stop.changed() => None,
    };
    if ended.is_none() || connection.reader.is_at_end {
        let patience = if connection.requests.wait_for_disk() { LAST_ANSWERS_MAX } else { LAST_WAIT_MAX };
        let _late = timeout(patience, connection.finish(&stream)).await;
    }
    farewell::close(&stream).await;
    Ok(ended.unwrap_or("the server stops"))
}

struct Connection {
    requests: Requests,
    reader: Reader,
    writer: Writer,
    idle_timeout: Duration,
}

impl Connection {
    /// Serves requests until one says that the connection ends, or the peer does.
    async fn serve(&mut self, stream: &TcpStream) -> io::Result<&'static str> {
        let mut active = Instant::now();
        loop {
            let Connection { requests, reader, writer, idle_timeout } = self;
            let may_read = requests.have_room();
            let is_idle = requests.are_answered() && writer.outgoing.is_empty() && !idle_timeout.is_zero();
            tokio::select! {
                biased;
                sent = writer.send(stream), if !writer.outgoing.is_empty() => sent?,
                reply = poll_fn(|context| requests.poll_reply(context)), if writer.has_room() => {
                    if let Some(reason) = writer.take(reply, stream)? {
                        return writer.end(stream, reason).await;
                    }
                }
                came = reader.read(stream), if may_read => match came? {
                    Came::Bytes => reader.cut(requests),
                    Came::End => {
                        reader.is_at_end = true;
                        return Ok("closed by the peer");
                    }
                    Came::TooSlowly => return Ok("a large request took long to come while others waited for its memory"),
                },
                () = sleep_until(active + *idle_timeout), if is_idle => return Ok("nothing came for long (kafka.idle_timeout)"),
            }
            active = Instant::now();
            // What came while there was no room.
            self.reader.cut(&mut self.requests);
        }
    }

    /// Answers what is under way, and sends it.
    async fn finish(&mut self, stream: &TcpStream) -> io::Result<()> {
        let Connection { requests, reader, writer, .. } = self;
        while !requests.are_answered() {
            let reply = poll_fn(|context| requests.poll_reply(context)).await;
            if writer.take(reply, stream)?.is_some() {
                break;
            }
            reader.cut(requests);
        }
        writer.send_all(stream).await
    }
}

/// What a read brought.
enum Came {
    Bytes,
    /// The peer has closed its side.
    End,
    /// Nothing for long, while others wait for the memory.
    TooSlowly,
}

/// The incoming side.
struct Reader {
    incoming: Incoming,
    frames: RequestFrames,
    memory: Arc<PeerMemory>,
    large: Large,
    is_at_end: bool,
}

/// The memory for a large request under way.
enum Large {
    None,
    /// It waits in turn; kept, so that it does not lose its place.
    Waiting(Pin<Box<dyn Future<Output = Loan> + Send>>),
    Lent(Loan, Stall),
}

impl Reader {
    fn new(memory: &Arc<PeerMemory>) -> Reader {
        Reader {
            incoming: Incoming::default(),
            frames: RequestFrames::new(REQUEST_BYTES_MAX),
            memory: Arc::clone(memory),
            large: Large::None,
            is_at_end: false,
        }
    }

    /// Reads what has come, or waits for it. A large request is read once there is memory for it. Loses nothing where it
    /// is dropped.
    async fn read(&mut self, stream: &TcpStream) -> io::Result<Came> {
        let of = |bytes: usize| if bytes == 0 { Came::End } else { Came::Bytes };
        let Some(missing) = self.frames.missing() else { return self.incoming.read(stream, None).await.map(of) };
        self.lend(missing).await;
        let Large::Lent(_, stall) = &self.large else { return Ok(Came::TooSlowly) };
        tokio::select! {
            biased;
            read = self.incoming.read(stream, Some(missing)) => read.map(of),
            () = self.memory.wanted_from(stall) => Ok(Came::TooSlowly),
        }
    }

    async fn lend(&mut self, missing: NonZeroUsize) {
        if matches!(self.large, Large::None) {
            let (memory, bytes) = (Arc::clone(&self.memory), self.incoming.bytes.len() + missing.get());
            self.large = Large::Waiting(Box::pin(async move { memory.take(bytes).await }));
        }
        if let Large::Waiting(waiting) = &mut self.large {
            let loan = waiting.await;
            self.large = Large::Lent(loan, self.memory.watch(0));
        }
    }

    /// Enters the requests that have come whole.
    fn cut(&mut self, requests: &mut Requests) {
        while requests.have_room() {
            match self.frames.next(&mut self.incoming.bytes) {
                Ok(Some(request)) => {
                    let loan = match std::mem::replace(&mut self.large, Large::None) {
                        Large::Lent(loan, _) => Some(loan),
                        Large::None | Large::Waiting(_) => None,
                    };
                    self.enter(requests, request, loan);
                }
                Ok(None) => return,
                Err(bad) => {
                    tracing::debug!(%bad, "closing a connection");
                    return requests.close("no request can be found");
                }
            }
        }
    }

    fn enter(&mut self, requests: &mut Requests, request: Bytes, loan: Option<Loan>) {
        match open(request) {
            Ok(Opened::Request(header, body)) => {
                self.frames.understood();
                requests.push(header, body, loan);
            }
            Ok(Opened::UnknownApiVersions { correlation_id }) => requests.push_unknown(correlation_id),
            Ok(Opened::NotServed { key, version }) => {
                tracing::debug!(key, version, "closing a connection: this is not served");
                requests.close("a request in a version that is not served");
            }
            Err(malformed) => {
                tracing::debug!(%malformed, "closing a connection");
                requests.close("a request that cannot be read");
            }
        }
    }
}

/// The outgoing side.
struct Writer {
    number: u64,
    outgoing: Outgoing,
    memory: Arc<PeerMemory>,
    /// What was lent for what waits.
    loan: Loan,
    /// Since when the peer has taken next to nothing of what waits.
    stall: Option<Stall>,
}

impl Writer {
    fn new(number: u64, memory: &Arc<PeerMemory>) -> Writer {
        let (outgoing, loan) = (Outgoing::default(), memory.nothing());
        Writer { number, outgoing, memory: Arc::clone(memory), loan, stall: None }
    }

    /// Whether one more reply may be made.
    fn has_room(&self) -> bool {
        self.outgoing.len() < UNSENT_BYTES_MAX
    }

    /// Takes a reply and tries the socket; why the connection ends where it does.
    fn take(&mut self, reply: Reply, stream: &TcpStream) -> io::Result<Option<&'static str>> {
        match reply {
            Reply::Nothing => {}
            Reply::Bytes(bytes) => self.outgoing.push(&bytes.freeze()),
            Reply::Lent(bytes, loan) => {
                self.outgoing.push(&bytes.freeze());
                self.loan.join(loan);
            }
            Reply::Fetched(fetched) => {
                self.loan.join(fetched.send(&mut self.outgoing));
            }
            Reply::Close(reason) => return Ok(Some(reason)),
        }
        self.send_now(stream)?;
        Ok(None)
    }

    fn send_now(&mut self, stream: &TcpStream) -> io::Result<()> {
        self.outgoing.send(stream)?;
        self.loan.keep_only(self.outgoing.len());
        let taken = self.outgoing.taken();
        if self.outgoing.is_empty() {
            self.stall = None;
        } else {
            self.stall.get_or_insert_with(|| self.memory.watch(taken)).taken(taken);
        }
        Ok(())
    }

    /// Sends more of what waits, once the socket takes some. A peer that takes next to nothing is given up while others
    /// wait for memory.
    async fn send(&mut self, stream: &TcpStream) -> io::Result<()> {
        if let Some(stall) = &self.stall {
            tokio::select! {
                biased;
                writable = stream.writable() => writable?,
                () = self.memory.wanted_from(stall) => return Err(self.is_stalled()),
            }
        }
        self.send_now(stream)
    }

    fn is_stalled(&self) -> io::Error {
        let waiting_bytes = self.outgoing.len();
        tracing::warn!(
            kafka = self.number,
            waiting_bytes,
            "a client that does not read is disconnected: others need the memory of what waits for it"
        );
        io::Error::new(io::ErrorKind::TimedOut, "the peer does not read")
    }

    async fn send_all(&mut self, stream: &TcpStream) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            self.send(stream).await?;
        }
        Ok(())
    }

    /// Sends what waits before the connection ends.
    async fn end(&mut self, stream: &TcpStream, reason: &'static str) -> io::Result<&'static str> {
        match timeout(LAST_ANSWERS_MAX, self.send_all(stream)).await {
            Ok(sent) => sent.map(|()| reason),
            Err(_) => Ok(reason),
        }
    }
}
