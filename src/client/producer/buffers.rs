//! Buffers of batches that are through, for the batches that come: memory that is there already, and warm.

use bytes::{Bytes, BytesMut};

/// Buffers nobody uses now, the last given back first.
#[derive(Debug)]
pub(super) struct Buffers {
    free: Vec<BytesMut>,
    bytes: usize,
    bytes_max: usize,
}

impl Buffers {
    /// Keeps so many bytes at most.
    pub(super) fn new(bytes_max: usize) -> Buffers {
        Buffers { free: Vec::new(), bytes: 0, bytes_max }
    }

    /// An empty buffer: a used one, or a new one without memory.
    pub(super) fn take(&mut self) -> BytesMut {
        let buffer = self.free.pop().unwrap_or_default();
        self.bytes -= buffer.capacity();
        buffer
    }

    /// Takes back what nobody else holds any more.
    pub(super) fn give(&mut self, bytes: Bytes) {
        let Ok(mut buffer) = bytes.try_into_mut() else { return };
        buffer.clear();
        if self.bytes + buffer.capacity() <= self.bytes_max {
            self.bytes += buffer.capacity();
            self.free.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_free_is_used_again_within_the_limit() {
        let mut buffers = Buffers::new(1_000);
        assert_eq!(buffers.take().capacity(), 0);
        let held = Bytes::from(vec![1; 400]);
        buffers.give(held.clone());
        assert_eq!(buffers.bytes, 0, "somebody holds it");
        buffers.give(held);
        buffers.give(Bytes::from(vec![2; 500]));
        buffers.give(Bytes::from(vec![3; 500]));
        assert_eq!(buffers.bytes, 900, "a third would be too much");
        let taken = buffers.take();
        assert_eq!((taken.len(), taken.capacity()), (0, 500));
        assert_eq!((buffers.take().capacity(), buffers.take().capacity()), (400, 0));
        assert_eq!(buffers.bytes, 0);
    }
}
