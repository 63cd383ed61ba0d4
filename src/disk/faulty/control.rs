//! The test's side of the faulty disk: cut the power, order faults, look at what is stored. Nothing here counts as a
//! point or is refused while the power is off.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::faults::{Op, Rule, Stall};
use super::image::Moment;
use super::state::{Counts, Cut, Power, Shared, State, file_index};
use super::tree::{Tree, normal};
use super::{FaultyDisk, power};

impl FaultyDisk {
    /// An empty disk without faults or bounds.
    #[must_use]
    pub fn new() -> Self {
        Self::with(State::new(Tree::new(), Moment(0), None))
    }

    fn with(state: State) -> Self {
        Self { shared: Arc::new(Shared::new(state)) }
    }

    /// Cuts the power, if it is not off already, and returns the disk as found when it comes back; the capacity stays,
    /// faults, counts and locks do not. The old disk refuses every call from then on but keeps what it knows: calling
    /// this again with other seeds shows what else the same cut might have left.
    #[must_use]
    pub fn power_cut(&self, seed: u64) -> Self {
        let mut state = self.shared.state();
        state.power = Power::Off;
        Self::with(State::new(power::survivor(&state.tree, state.now, seed), Moment(0), state.capacity))
    }

    /// Kills the process that uses the disk and returns the disk as its successor finds it: everything written is
    /// there, what was not synced still is not, nothing is locked; the capacity stays, faults and counts do not. The
    /// old disk and its files refuse every call from then on. Where an ordered cut has come, this is what a kill at
    /// that point would have left instead.
    #[must_use]
    pub fn kill(&self) -> Self {
        let mut state = self.shared.state();
        if state.power == Power::On {
            state.power = Power::Killed;
        }
        Self::with(State::new(state.tree.clone(), state.now, state.capacity))
    }

    /// A copy that goes its own way: bytes, faults, counts and all, but no lock and no open file. Cheap: bytes are
    /// shared until one side changes them.
    #[must_use]
    pub fn fork(&self) -> Self {
        let mut state = self.shared.state().clone();
        state.locks.clear();
        Self::with(state)
    }

    /// How many points were passed: calls that change or sync something (every [`super::OpKind`] but `Read`), whether
    /// or not they succeeded. The next such call is the point of this number.
    #[must_use]
    pub fn points(&self) -> u64 {
        self.shared.state().points
    }

    /// Cuts the power just before the point of this number, or at the next one if that is past.
    pub fn cut_at(&self, point: u64) {
        self.shared.state().cut = Some(Cut { point, within: None });
    }

    /// Cuts the power in the middle of the point of this number: of a write, a seeded part of the sectors has reached
    /// the cache; any other call is done or not done. The caller gets an error either way.
    pub fn cut_within(&self, point: u64, seed: u64) {
        self.shared.state().cut = Some(Cut { point, within: Some(seed) });
    }

    /// Whether the power is off: by [`Self::power_cut`], or because a cut ordered has come.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.shared.state().power == Power::Off
    }

    /// Orders a fault. Of several that fit a call the one ordered first strikes.
    pub fn inject(&self, rule: Rule) {
        self.shared.state().rules.push(rule);
    }

    /// Takes back every fault that has not struck yet.
    pub fn clear_faults(&self) {
        self.shared.state().rules.clear();
    }

    /// Bounds the sum of all files' lengths; a write beyond it stores what fits and fails with `StorageFull`, as do
    /// `set_len` and `allocate` beyond it and the creation of a file or directory on a full disk. Removing a file gives
    /// its room back at once. `None` lifts the bound.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.shared.state().capacity = bytes;
    }

    /// The sum of all files' lengths in bytes.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.shared.state().tree.used_bytes()
    }

    /// Calls `stall` before every `write_at`, `sync_data` and `sync_dir`, with nothing locked, so that it can hold the
    /// call. A sync covers what was written before `stall` was called; a write takes place after it returned.
    pub fn set_stall(&self, stall: Box<dyn Fn(&Op) + Send + Sync>) {
        self.shared.state().stall = Some(Stall(Arc::from(stall)));
    }

    /// Takes the stall back.
    pub fn clear_stall(&self) {
        self.shared.state().stall = None;
    }

    /// How often files and directories whose path begins with `prefix` (as text: `/data/a` counts `/data/a_p0/x` too)
    /// were read, written and synced. An open file counts under the name it was opened by.
    #[must_use]
    pub fn counts(&self, prefix: &str) -> Counts {
        let prefix = normal(Path::new(prefix)).to_string_lossy().into_owned();
        let mut sum = Counts::default();
        for (path, counts) in &self.shared.state().counts {
            if path.to_string_lossy().starts_with(&prefix) {
                sum += *counts;
            }
        }
        sum
    }

    /// Every file's path from the root, `/` first, sorted.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        self.shared.state().tree.files().into_keys().collect()
    }

    /// A file's bytes as a reader sees them.
    ///
    /// # Errors
    /// `NotFound`, `IsADirectory`.
    pub fn read_all(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        let state = self.shared.state();
        let node = state.tree.find(path.as_ref())?;
        Ok(state.tree.file(node)?.current().to_vec())
    }

    /// Puts a file there, durable at once, with its directories; in place of the bytes of one that is there.
    ///
    /// # Errors
    /// `NotADirectory`, `IsADirectory` where the path cannot be a file's.
    pub fn write_all(&self, path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
        self.shared.state().tree.place_durably(path.as_ref(), bytes.to_vec())
    }

    /// Flips one bit (modulo 8) of a stored byte, in the cache and on the medium.
    ///
    /// # Errors
    /// `NotFound`, `IsADirectory`, and `UnexpectedEof` where the file is not that long.
    pub fn flip_bit(&self, path: impl AsRef<Path>, position: u64, bit: u32) -> io::Result<()> {
        let mut state = self.shared.state();
        let node = state.tree.find(path.as_ref())?;
        let flipped = state.tree.file_mut(node)?.flip_bit(file_index(position)?, bit);
        if flipped { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

impl Default for FaultyDisk {
    fn default() -> Self {
        Self::new()
    }
}
