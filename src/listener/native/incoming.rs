//! What was read and not yet cut into frames. An idle connection keeps none of it.

use std::io;

use bytes::BytesMut;
use tokio::net::TcpStream;

/// Bytes read at a time from a connection that was idle.
pub(super) const READ_BYTES: usize = 8 << 10;
/// Bytes read at a time while more keep coming.
pub(super) const READ_BYTES_MAX: usize = 256 << 10;

/// The incoming side of a connection.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) bytes: BytesMut,
    /// Room for the next read.
    room: usize,
}

impl Default for Incoming {
    fn default() -> Incoming {
        Incoming { bytes: BytesMut::new(), room: READ_BYTES }
    }
}

impl Incoming {
    /// Reads what has come, or waits for it; 0 where the peer has closed its side. Loses nothing where it is dropped.
    pub(super) async fn read(&mut self, stream: &TcpStream) -> io::Result<usize> {
        loop {
            stream.readable().await?;
            // Room is made only once there is something to read: most connections are idle most of the time.
            if self.bytes.capacity() - self.bytes.len() < self.room / 2 {
                self.bytes.reserve(self.room);
            }
            match stream.try_read_buf(&mut self.bytes) {
                Ok(read) => {
                    if self.bytes.len() == self.bytes.capacity() {
                        self.room = (self.room * 2).min(READ_BYTES_MAX);
                    }
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.give_back(),
                Err(error) => return Err(error),
            }
        }
    }

    fn give_back(&mut self) {
        self.room = READ_BYTES;
        if self.bytes.is_empty() {
            self.bytes = BytesMut::new();
        }
    }
}
