//! What fills messages: slices of one block that a run's number determines. To build a message copies memory, to check
//! one compares it. A message compresses about as text does; a batch of many better, since slices overlap: a block too large
//! for the processor's caches would make the load cost more than what is loaded.

use super::payload::RunId;

/// Places in the block where a slice may begin.
const PLACES: usize = 1 << 16;

/// What text is made of here: more of what is frequent.
const LETTERS: &[u8; 64] = b"eeeeeetttttaaaaooooiiinnnssshhhrrrddlluuccmmffywgpbv ,.:0123456-";

/// The block of one run.
#[derive(Debug, Clone)]
pub(super) struct Filler {
    block: Vec<u8>,
    state: u64,
}

impl Filler {
    /// For slices of up to `bytes` bytes.
    pub(super) fn new(run: RunId, bytes: usize) -> Filler {
        let mut filler = Filler { block: Vec::new(), state: (u64::from(run.0) << 1) | 1 };
        filler.reserve(bytes);
        filler
    }

    /// Makes longer slices possible; those there are stay what they are.
    pub(super) fn reserve(&mut self, bytes: usize) {
        while self.block.len() < PLACES + bytes {
            // Xorshift; ten letters of each number.
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            let letters = (0..10).map(|at| LETTERS[(self.state >> (6 * at) & 63) as usize]);
            self.block.extend(letters);
        }
    }

    /// The slice of a message, where `reserve` has made it possible.
    pub(super) fn slice(&self, sequence: u64, bytes: usize) -> Option<&[u8]> {
        let place = (sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as usize;
        self.block.get(place..place + bytes)
    }
}
