//! A bounded cache of open sealed segments, shared by all partitions.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::segment::SealedReader;

/// Memory that the indexes of cached segments may take together, in bytes.
const INDEX_BYTES_MAX: usize = 16 << 20;

/// Open sealed segments by path; the least recently used is closed where there are too many, or their indexes too large.
#[derive(Debug)]
pub struct HandleCache {
    segments_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: BTreeMap<PathBuf, Cached>,
    clock: u64,
    index_bytes: usize,
}

#[derive(Debug)]
struct Cached {
    reader: Arc<SealedReader>,
    used: u64,
}

impl HandleCache {
    /// A cache of at most `segments_max` open segments (at least one).
    #[must_use]
    pub fn new(segments_max: usize) -> HandleCache {
        HandleCache { segments_max: segments_max.max(1), state: Mutex::new(State::default()) }
    }

    /// How many segments are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.lock().open.len()
    }

    /// Whether no segment is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The open segment at a path, if it is open.
    pub(crate) fn find(&self, log: &Path) -> Option<Arc<SealedReader>> {
        self.state.lock().touch(log)
    }

    /// The open segment at a path, opened now where it was not, and kept where `may_keep`: a path that will name
    /// another file must not be remembered as this one. Opening happens outside the cache's lock.
    pub(crate) fn get(
        &self,
        log: &Path,
        open: impl FnOnce() -> io::Result<SealedReader>,
        may_keep: impl FnOnce() -> bool,
    ) -> io::Result<Arc<SealedReader>> {
        if let Some(reader) = self.find(log) {
            return Ok(reader);
        }
        let reader = Arc::new(open()?);
        let mut state = self.state.lock();
        // Under the lock: whoever closes below a directory forbids it first.
        if !may_keep() {
            return Ok(reader);
        }
        state.insert(log, Arc::clone(&reader));
        while state.open.len() > self.segments_max || (state.index_bytes > INDEX_BYTES_MAX && state.open.len() > 1) {
            state.close_oldest();
        }
        Ok(reader)
    }

    /// Closes one segment: its file is going, or was replaced.
    pub(crate) fn close(&self, log: &Path) {
        self.state.lock().remove(log);
    }

    /// Closes every segment below a directory.
    pub fn close_below(&self, dir: &Path) {
        let mut state = self.state.lock();
        let below: Vec<_> = state.open.keys().filter(|path| path.starts_with(dir)).cloned().collect();
        for path in below {
            state.remove(&path);
        }
    }
}

impl State {
    fn touch(&mut self, log: &Path) -> Option<Arc<SealedReader>> {
        self.clock += 1;
        let cached = self.open.get_mut(log)?;
        cached.used = self.clock;
        Some(Arc::clone(&cached.reader))
    }

    fn insert(&mut self, log: &Path, reader: Arc<SealedReader>) {
        self.remove(log);
        self.clock += 1;
        self.index_bytes += reader.index.memory_bytes();
        self.open.insert(log.to_path_buf(), Cached { reader, used: self.clock });
    }

    fn remove(&mut self, log: &Path) {
        if let Some(cached) = self.open.remove(log) {
            self.index_bytes -= cached.reader.index.memory_bytes();
        }
    }

    fn close_oldest(&mut self) {
        let oldest = self.open.iter().min_by_key(|(_, cached)| cached.used).map(|(path, _)| path.clone());
        if let Some(oldest) = oldest {
            self.remove(&oldest);
        }
    }
}
