//! The bytes that come, and the room for them.
//!
//! What is handed out of a buffer keeps it in use; one that nobody uses any more takes the next bytes: memory that is
//! there already.

use std::collections::VecDeque;

use bytes::BytesMut;

use crate::protocol::native::FRAME_BYTES_MIN;

/// Room at first, for one read, and below which it is made anew.
const SMALL_BYTES: usize = 16 << 10;
const READ_BYTES: usize = 64 << 10;
const READ_BYTES_MIN: usize = 8 << 10;
/// Room made for a frame because it was announced; for a larger one as its bytes come.
const ANNOUNCED_BYTES_MAX: usize = 4 << 20;
/// Large buffers hold so many bytes or a multiple, so that one can stand for another: a large read, and before it the
/// begin of a frame.
const LARGE_BYTES: usize = 1 << 20;
/// Bytes of buffers kept until nobody uses them any more: what readers may be behind, and so many, within a limit.
const USED_BYTES_MIN: usize = 4 << 20;
const USED_BYTES_MAX: usize = 36 << 20;

/// The buffer that the socket is read into.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) bytes: BytesMut,
    /// The size it was made with.
    size: usize,
    /// Those before it, the oldest first.
    used: VecDeque<Used>,
    used_bytes: usize,
    used_bytes_max: usize,
}

/// A buffer that was read into, with the size it was made with: it does not tell while parts of it are in use.
#[derive(Debug)]
struct Used {
    buffer: BytesMut,
    size: usize,
}

impl Incoming {
    /// A small buffer, for a connection whose readers may be so many bytes behind.
    pub(super) fn new(behind_bytes: usize) -> Incoming {
        let used_bytes_max = behind_bytes.saturating_add(USED_BYTES_MIN).min(USED_BYTES_MAX);
        let bytes = BytesMut::with_capacity(SMALL_BYTES);
        Incoming { bytes, size: SMALL_BYTES, used: VecDeque::new(), used_bytes: 0, used_bytes_max }
    }

    /// Makes room for the next read: for all of a frame that has begun, so that it moves once at most.
    pub(super) fn make_room(&mut self) {
        let have = self.bytes.len();
        let missing = announced(&self.bytes).min(ANNOUNCED_BYTES_MAX).saturating_sub(have);
        if self.bytes.capacity() - have >= missing.max(READ_BYTES_MIN) {
            return;
        }
        // Where large frames came once, large ones will come.
        if have + missing <= READ_BYTES && self.size < LARGE_BYTES {
            self.bytes.reserve(missing.max(READ_BYTES));
            self.size = self.bytes.capacity();
            return;
        }
        let (mut next, size) = self.free((have + missing.max(READ_BYTES_MIN)).next_multiple_of(LARGE_BYTES));
        next.extend_from_slice(&self.bytes);
        self.bytes.clear();
        let used = Used { buffer: std::mem::replace(&mut self.bytes, next), size: self.size };
        self.size = size;
        self.used_bytes += used.size;
        self.used.push_back(used);
        while self.used_bytes > self.used_bytes_max
            && let Some(oldest) = self.used.pop_front()
        {
            self.used_bytes -= oldest.size;
        }
    }

    /// An empty buffer with room for so many bytes, and its size: of those that nobody uses the one used last, which is
    /// warm.
    fn free(&mut self, bytes: usize) -> (BytesMut, usize) {
        let free = self.used.iter_mut().rposition(|used| used.size >= bytes && used.buffer.try_reclaim(bytes));
        match free.and_then(|at| self.used.remove(at)) {
            Some(used) => {
                self.used_bytes -= used.size;
                (used.buffer, used.size)
            }
            None => (BytesMut::with_capacity(bytes), bytes),
        }
    }
}

/// The length of the frame that has begun.
fn announced(bytes: &[u8]) -> usize {
    bytes.first_chunk().map_or(FRAME_BYTES_MIN, |length| u32::from_be_bytes(*length) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(incoming: &mut Incoming, frame_bytes: usize) {
        incoming.make_room();
        let length = u32::try_from(frame_bytes).expect("small").to_be_bytes();
        incoming.bytes.extend_from_slice(&length);
        incoming.make_room();
    }

    fn room(incoming: &Incoming) -> usize {
        incoming.bytes.capacity() - incoming.bytes.len()
    }

    #[test]
    fn a_frame_that_was_announced_fits() {
        for frame_bytes in [32, READ_BYTES, READ_BYTES + 1, LARGE_BYTES, 3 << 20] {
            let mut incoming = Incoming::new(0);
            begin(&mut incoming, frame_bytes);
            assert!(room(&incoming) >= frame_bytes - 4 && room(&incoming) >= READ_BYTES_MIN, "{frame_bytes}");
            let place = incoming.bytes.as_ptr();
            incoming.bytes.resize(frame_bytes, 7);
            assert_eq!(incoming.bytes.as_ptr(), place, "{frame_bytes}");
        }
        let mut incoming = Incoming::new(0);
        begin(&mut incoming, 1 << 30);
        assert!(room(&incoming) <= ANNOUNCED_BYTES_MAX + LARGE_BYTES, "an announcement is no promise");
    }

    #[test]
    fn a_buffer_that_nobody_uses_is_used_again() {
        for sizes in [[LARGE_BYTES; 3], [700 << 10, 900 << 10, 800 << 10], [1100 << 10, 1900 << 10, 1500 << 10]] {
            let mut incoming = Incoming::new(0);
            let mut places = Vec::new();
            let mut _held = BytesMut::new();
            for (round, frame_bytes) in sizes.into_iter().cycle().take(20).enumerate() {
                begin(&mut incoming, frame_bytes);
                let place = incoming.bytes.as_ptr();
                assert!(round < 4 || places.contains(&place), "{round} {frame_bytes}");
                places.push(place);
                incoming.bytes.resize(frame_bytes, 7);
                _held = incoming.bytes.split();
            }
        }
    }

    #[test]
    fn no_more_is_kept_than_allowed() {
        let mut incoming = Incoming::new(0);
        let mut held = Vec::new();
        for frame_bytes in [LARGE_BYTES, 3 << 20].into_iter().cycle().take(40) {
            begin(&mut incoming, frame_bytes);
            incoming.bytes.resize(frame_bytes, 7);
            held.push(incoming.bytes.split());
            assert!(incoming.used_bytes <= USED_BYTES_MIN);
            assert_eq!(incoming.used_bytes, incoming.used.iter().map(|used| used.size).sum::<usize>());
        }
        drop(held);
        begin(&mut incoming, LARGE_BYTES);
        assert_eq!(incoming.bytes.len(), 4, "what has begun is kept");
    }
}
