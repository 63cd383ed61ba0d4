//! What was read and not yet cut into frames. An idle connection keeps none of it.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::liveness::Heard;

/// Bytes read at a time from a connection that says little.
pub(super) const READ_BYTES: usize = 2 << 10;
/// Bytes read at a time while more keep coming.
pub(super) const READ_BYTES_MAX: usize = 256 << 10;
/// Bytes read at a time between large frames: of the next one only these are copied.
const READ_BYTES_BETWEEN: usize = 8 << 10;
/// Bytes a connection that always has some is served before the others have their turn. Looking at a socket that has
/// bytes never waits by itself, so that one client could keep a thread for as long as it sends.
pub(super) const TURN_BYTES: usize = 64 << 10;
/// So many bytes of a large frame are as little work as one of small ones.
const LARGE_BYTES_PER_SMALL: usize = 8;

/// The incoming side of a connection.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) bytes: BytesMut,
    /// Room for the next read.
    room: usize,
    /// Bytes read since the others had their turn.
    read: usize,
    /// A read has taken all there was.
    is_drained: bool,
    /// Whether what was read last took long to serve: more may have come meanwhile.
    took_long: bool,
    heard: Heard,
}

impl Default for Incoming {
    fn default() -> Incoming {
        Incoming {
            bytes: BytesMut::new(),
            room: READ_BYTES,
            read: 0,
            is_drained: false,
            took_long: false,
            heard: Heard::default(),
        }
    }
}

impl Incoming {
    /// Counts the bytes read, also while the connection is being served.
    pub(super) fn heard(&self) -> Heard {
        Arc::clone(&self.heard)
    }

    /// Says whether what was read was long in being served, as what is synced is: it is then looked once more for what came
    /// meanwhile, before anything is waited for.
    pub(super) fn served(&mut self, took_long: bool) {
        self.took_long = took_long;
    }

    /// Reads what has come, or waits for it; 0 where the peer has closed its side. Loses nothing where it is dropped.
    /// No more than `missing` bytes where that is given: they end a frame that is to have its buffer for itself, and that
    /// memory was lent for.
    pub(super) async fn read(&mut self, stream: &TcpStream, missing: Option<NonZeroUsize>) -> io::Result<usize> {
        if self.read >= TURN_BYTES {
            self.read = 0;
            tokio::task::yield_now().await;
        }
        if std::mem::take(&mut self.is_drained) {
            self.give_back();
        }
        loop {
            stream.readable().await?;
            self.make_room(missing);
            match self.try_read(stream, missing) {
                Ok(read) => {
                    self.read += if missing.is_some() { read / LARGE_BYTES_PER_SMALL } else { read };
                    self.heard.fetch_add(read as u64, Ordering::Relaxed);
                    if missing.is_some() {
                        self.room = self.room.min(READ_BYTES_BETWEEN);
                    } else if self.bytes.len() == self.bytes.capacity() {
                        self.room = (self.room * 2).min(READ_BYTES_MAX);
                    }
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.give_back(),
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads without waiting. Of a connection that says little nothing is left where a read finds less than it has room for:
    /// asking once more to learn that would cost as much as the read.
    fn try_read(&mut self, stream: &TcpStream, missing: Option<NonZeroUsize>) -> io::Result<usize> {
        let most = missing.map_or(usize::MAX, NonZeroUsize::get);
        let says_little = missing.is_none() && self.room == READ_BYTES && !self.took_long;
        let free = self.bytes.capacity() - self.bytes.len();
        let mut read = Err(io::ErrorKind::WouldBlock.into());
        let looked = stream.try_io(Interest::READABLE, || {
            read = stream.try_read_buf(&mut (&mut self.bytes).limit(most));
            match read {
                Ok(bytes) if says_little && (1..free).contains(&bytes) => Err(io::ErrorKind::WouldBlock.into()),
                _ => Ok(()),
            }
        });
        self.is_drained = read.is_ok() && looked.is_err();
        read
    }

    /// Makes room only once there is something to read: most connections are idle most of the time.
    fn make_room(&mut self, missing: Option<NonZeroUsize>) {
        match missing {
            Some(missing) => self.bytes.reserve(missing.get()),
            None if self.bytes.capacity() - self.bytes.len() < self.room / 2 => self.bytes.reserve(self.room),
            None => {}
        }
    }

    fn give_back(&mut self) {
        (self.room, self.read) = ((self.room / 2).max(READ_BYTES), 0);
        if self.bytes.is_empty() {
            self.bytes = BytesMut::new();
        }
    }
}

/// A batch that came, in memory of its own, since its numbering is written into it: a large one came in such, and of a small one
/// a copy is made.
pub(super) fn owned(batch: Bytes) -> BytesMut {
    batch.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (peer, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        (peer.unwrap(), accepted.unwrap().0)
    }

    #[tokio::test]
    async fn an_idle_connection_keeps_no_room() {
        let (mut peer, stream) = pair().await;
        let mut incoming = Incoming::default();
        assert_eq!(incoming.bytes.capacity(), 0);
        peer.write_all(b"begun").await.unwrap();
        assert_eq!(incoming.read(&stream, None).await.unwrap(), 5);
        assert!(incoming.bytes.capacity() >= READ_BYTES);
        incoming.bytes.clear();
        assert!(timeout(Duration::from_millis(1), incoming.read(&stream, None)).await.is_err());
        assert_eq!(incoming.bytes.capacity(), 0);
        // Half a frame stays.
        peer.write_all(b"begun").await.unwrap();
        assert_eq!(incoming.read(&stream, None).await.unwrap(), 5);
        assert!(timeout(Duration::from_millis(1), incoming.read(&stream, None)).await.is_err());
        assert_eq!(&incoming.bytes[..], b"begun");
        drop(peer);
        assert_eq!(incoming.read(&stream, None).await.unwrap(), 0);
    }

    /// Whether a read has found the end of what there was or looks once more: what comes later is read all the same.
    #[tokio::test]
    async fn whatever_comes_later_is_read() {
        for took_long in [false, true] {
            let (mut peer, stream) = pair().await;
            let mut incoming = Incoming::default();
            for count in [1, READ_BYTES - 1, READ_BYTES, 3 * READ_BYTES, 1, 1] {
                let (mut came, sent) = (0, vec![7; count]);
                let (written, ()) = tokio::join!(peer.write_all(&sent), async {
                    while came < count {
                        came += incoming.read(&stream, None).await.unwrap();
                        incoming.served(took_long);
                    }
                });
                written.unwrap();
                assert_eq!(incoming.bytes.split().len(), count);
            }
            drop(peer);
            assert_eq!(timeout(Duration::from_secs(20), incoming.read(&stream, None)).await.unwrap().unwrap(), 0);
        }
    }

    /// A client that sent without a pause kept the thread: signals and other connections waited for seconds.
    #[tokio::test]
    async fn who_always_has_something_lets_the_others_have_their_turn() {
        let (mut peer, stream) = pair().await;
        let sending = tokio::spawn(async move {
            let piece = vec![b'x'; 1 << 20];
            while peer.write_all(&piece).await.is_ok() {}
        });
        let mut incoming = Incoming::default();
        let turns = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = std::sync::Arc::clone(&turns);
        let other = tokio::spawn(async move {
            loop {
                counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
        let mut total = 0;
        while total < 8 << 20 {
            let before = turns.load(std::sync::atomic::Ordering::Relaxed);
            let mut in_turn = 0;
            while turns.load(std::sync::atomic::Ordering::Relaxed) == before {
                in_turn += incoming.read(&stream, None).await.unwrap();
                incoming.bytes.clear();
                assert!(in_turn <= TURN_BYTES + 2 * READ_BYTES_MAX, "{in_turn}");
            }
            total += in_turn;
        }
        drop((stream, other.abort()));
        sending.await.unwrap();
    }

    #[tokio::test]
    async fn who_sends_much_is_read_in_large_pieces() {
        let (mut peer, stream) = pair().await;
        let sending = tokio::spawn(async move {
            let piece = vec![b'x'; 1 << 20];
            for _ in 0..8 {
                peer.write_all(&piece).await.unwrap();
            }
        });
        let (mut incoming, mut total, mut largest) = (Incoming::default(), 0, 0);
        loop {
            let read = incoming.read(&stream, None).await.unwrap();
            if read == 0 {
                break;
            }
            (total, largest) = (total + read, largest.max(read));
            incoming.bytes.clear();
            assert!(incoming.bytes.capacity() <= 3 * READ_BYTES_MAX, "{}", incoming.bytes.capacity());
        }
        sending.await.unwrap();
        assert_eq!(total, 8 << 20);
        assert!(largest > READ_BYTES, "{largest}");
    }
}
