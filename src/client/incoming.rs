//! The bytes that come, and the room for them.
//!
//! What is handed out of a buffer keeps it in use; one that nobody uses any more takes the next bytes: memory that is
//! there already.

use std::collections::VecDeque;

use bytes::BytesMut;

use crate::protocol::native::FRAME_BYTES_MIN;

/// Room for one read; below the smaller figure it is made anew.
const READ_BYTES: usize = 64 << 10;
const READ_BYTES_MIN: usize = 8 << 10;
/// Room for one read where large frames come.
const LARGE_READ_BYTES: usize = 512 << 10;
/// Room made for a frame because it was announced; for a larger one as its bytes come.
const ANNOUNCED_BYTES_MAX: usize = 4 << 20;
/// Buffers kept until nobody uses them any more: so many, and what their readers may be behind, within limits.
const USED_MIN: usize = 4;
const USED_MAX: usize = 36;

/// The buffer that the socket is read into.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) bytes: BytesMut,
    /// Those before it, the oldest first.
    used: VecDeque<BytesMut>,
    used_max: usize,
}

impl Incoming {
    /// A small buffer, for a connection whose readers may be so many bytes behind.
    pub(super) fn new(behind_bytes: usize) -> Incoming {
        let used_max = (USED_MIN + behind_bytes / LARGE_READ_BYTES).min(USED_MAX);
        Incoming { bytes: BytesMut::with_capacity(16 << 10), used: VecDeque::new(), used_max }
    }

    /// Makes room for the next read: for all of a frame that has begun, so that it moves once at most.
    pub(super) fn make_room(&mut self) {
        let have = self.bytes.len();
        let missing = announced(&self.bytes).min(ANNOUNCED_BYTES_MAX).saturating_sub(have);
        if self.bytes.capacity() - have >= missing.max(READ_BYTES_MIN) {
            return;
        }
        if have + missing <= READ_BYTES {
            self.bytes.reserve(missing.max(READ_BYTES));
            return;
        }
        let mut next = self.free(have + missing.max(LARGE_READ_BYTES));
        next.extend_from_slice(&self.bytes);
        self.bytes.clear();
        let used = std::mem::replace(&mut self.bytes, next);
        if self.used.len() == self.used_max {
            self.used.pop_front();
        }
        self.used.push_back(used);
    }

    /// An empty buffer with room for so many bytes: of those that nobody uses the one used last, which is warm.
    fn free(&mut self, bytes: usize) -> BytesMut {
        let free = self.used.iter_mut().rposition(|used| used.try_reclaim(bytes));
        free.and_then(|at| self.used.remove(at)).unwrap_or_else(|| BytesMut::with_capacity(bytes))
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
        let length = u32::try_from(frame_bytes).expect("small").to_be_bytes();
        incoming.bytes.extend_from_slice(&length);
        incoming.make_room();
    }

    fn room(incoming: &Incoming) -> usize {
        incoming.bytes.capacity() - incoming.bytes.len()
    }

    #[test]
    fn a_frame_that_was_announced_fits() {
        for frame_bytes in [32, READ_BYTES, READ_BYTES + 1, LARGE_READ_BYTES, 3 << 20] {
            let mut incoming = Incoming::new(0);
            begin(&mut incoming, frame_bytes);
            assert!(room(&incoming) >= frame_bytes - 4 && room(&incoming) >= READ_BYTES_MIN, "{frame_bytes}");
            let place = incoming.bytes.as_ptr();
            incoming.bytes.resize(frame_bytes, 7);
            assert_eq!(incoming.bytes.as_ptr(), place, "{frame_bytes}");
        }
        let mut incoming = Incoming::new(0);
        begin(&mut incoming, 1 << 30);
        assert!(room(&incoming) <= ANNOUNCED_BYTES_MAX, "an announcement is no promise");
    }

    #[test]
    fn a_buffer_that_nobody_uses_is_used_again() {
        let mut incoming = Incoming::new(0);
        let mut places = Vec::new();
        let mut _held = BytesMut::new();
        for round in 0..20 {
            begin(&mut incoming, LARGE_READ_BYTES);
            let place = incoming.bytes.as_ptr();
            if round > USED_MIN {
                assert!(places.contains(&place), "{round}");
            }
            places.push(place);
            incoming.bytes.resize(LARGE_READ_BYTES, 7);
            _held = incoming.bytes.split();
        }
    }
}
