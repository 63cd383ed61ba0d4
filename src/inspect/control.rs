//! Telling the caller how far a long inspection has come.

/// Told of progress. Every method does nothing unless implemented.
pub trait Progress {
    /// This many bytes of logs will be read in all.
    fn begin(&mut self, bytes_total: u64) {
        let _ = bytes_total;
    }

    /// A partition is being read now.
    fn partition(&mut self, name: &str) {
        let _ = name;
    }

    /// This many more bytes were read.
    fn advance(&mut self, bytes: u64) {
        let _ = bytes;
    }
}

/// Progress nobody watches.
impl Progress for () {}
