//! The faulty disk's one state: the tree, the power, the count of points, the faults ordered. Each call begins here,
//! where it is counted, cut off, struck or stalled, and is then carried out under the same lock.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::ops::AddAssign;
use std::path::PathBuf;

use parking_lot::{Mutex, MutexGuard};

use super::faults::{Fault, Op, OpKind, Rule, Stall, fault_error, strike};
use super::image::{Moment, SECTOR_BYTES};
use super::power::Survival;
use super::random::Random;
use super::tree::{NodeId, Tree};

/// The longest file: a position past it is a mistake that would otherwise take all memory.
const FILE_BYTES_MAX: u64 = 1 << 32;

/// How often calls were made, whether or not they succeeded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// `read_at` calls.
    pub reads: u64,
    /// `write_at` calls.
    pub writes: u64,
    /// Bytes that those were to write.
    pub bytes_written: u64,
    /// `sync_data` calls.
    pub syncs: u64,
    /// `sync_dir` calls.
    pub dir_syncs: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.reads += other.reads;
        self.writes += other.writes;
        self.bytes_written += other.bytes_written;
        self.syncs += other.syncs;
        self.dir_syncs += other.dir_syncs;
    }
}

/// Whether calls are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Power {
    On,
    /// The machine has no power.
    Off,
    /// The process that used this disk was killed.
    Killed,
}

/// Where the power goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    pub(super) point: u64,
    /// Carry out a part of the call, chosen by this seed, before the power goes.
    pub(super) within: Option<u64>,
}

/// What the faulty disk is, all of it.
#[derive(Clone)]
pub(super) struct State {
    pub(super) tree: Tree,
    pub(super) power: Power,
    pub(super) now: Moment,
    pub(super) points: u64,
    pub(super) cut: Option<Cut>,
    pub(super) rules: Vec<Rule>,
    pub(super) counts: BTreeMap<PathBuf, Counts>,
    pub(super) capacity: Option<u64>,
    pub(super) stall: Option<Stall>,
    /// The lock files that are locked.
    pub(super) locks: BTreeSet<NodeId>,
}

/// What is to happen to a call that has begun.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) fault: Option<Fault>,
    /// The power goes during the call; what of it is done is drawn from this.
    pub(super) cut: Option<Random>,
    /// A sync covers what happened up to here.
    pub(super) ceiling: Moment,
}

impl Begun {
    /// The error that a plain [`Fault::Fail`] gives.
    pub(super) fn failure(&self) -> io::Result<()> {
        match self.fault {
            Some(Fault::Fail(_, kind)) => Err(fault_error(kind)),
            _ => Ok(()),
        }
    }
}

/// The state as its handles share it.
pub(super) struct Shared {
    state: Mutex<State>,
}

impl fmt::Debug for Shared {
    /// Tells how far the disk came, not every byte on it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.try_lock();
        let progress = state.as_ref().map(|state| (state.power, state.points));
        f.debug_struct("Shared").field("power_and_points", &progress).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) const fn new(state: State) -> Self {
        Self { state: Mutex::new(state) }
    }

    /// The state, for the test's side: neither counted nor refused.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// The state, for a call that only looks.
    pub(super) fn look(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state.lock();
        state.check_power()?;
        Ok(state)
    }

    /// Begins a call; `syncing` is the file that it syncs.
    pub(super) fn begin(&self, op: &Op, syncing: Option<NodeId>) -> io::Result<(MutexGuard<'_, State>, Begun)> {
        let mut state = self.state.lock();
        let begun = state.begin(op)?;
        if let Some(node) = syncing {
            state.tree.file_mut(node)?.begin_sync(begun.ceiling);
        }
        let stalls = matches!(op.kind, OpKind::Write | OpKind::Sync | OpKind::SyncDir);
        if let Some(Stall(stall)) = state.stall.clone().filter(|_| stalls) {
            drop(state);
            stall(op);
            state = self.look()?;
        }
        Ok((state, begun))
    }
}

impl State {
    pub(super) fn new(tree: Tree, now: Moment, capacity: Option<u64>) -> Self {
        Self {
            tree,
            power: Power::On,
            now,
            points: 0,
            cut: None,
            rules: Vec::new(),
            counts: BTreeMap::new(),
            capacity,
            stall: None,
            locks: BTreeSet::new(),
        }
    }

    fn check_power(&self) -> io::Result<()> {
        match self.power {
            Power::On => Ok(()),
            Power::Off => Err(io::Error::other("power is off")),
            Power::Killed => Err(io::Error::other("the process was killed")),
        }
    }

    fn begin(&mut self, op: &Op) -> io::Result<Begun> {
        self.check_power()?;
        let mut cut = None;
        if op.kind != OpKind::Read {
            if let Some(due) = self.cut.filter(|cut| cut.point <= self.points) {
                let Some(seed) = due.within else {
                    return Err(self.lose_power());
                };
                cut = Some(Random::new(seed));
            }
            self.points += 1;
        }
        self.count(op);
        Ok(Begun { fault: strike(&mut self.rules, op), cut, ceiling: self.now })
    }

    fn count(&mut self, op: &Op) {
        let one = match op.kind {
            OpKind::Read => Counts { reads: 1, ..Counts::default() },
            OpKind::Write => Counts { writes: 1, bytes_written: op.bytes, ..Counts::default() },
            OpKind::Sync => Counts { syncs: 1, ..Counts::default() },
            OpKind::SyncDir => Counts { dir_syncs: 1, ..Counts::default() },
            OpKind::Create
            | OpKind::CreateDir
            | OpKind::Remove
            | OpKind::Rename
            | OpKind::SetLen
            | OpKind::Allocate => return,
        };
        *self.counts.entry(op.path.clone()).or_default() += one;
    }

    /// The next moment: each change takes one.
    pub(super) fn tick(&mut self) -> Moment {
        self.now.0 += 1;
        self.now
    }

    /// Turns the power off; returns the error of the call it caught.
    pub(super) fn lose_power(&mut self) -> io::Error {
        self.power = Power::Off;
        io::Error::other("power is off")
    }

    /// Carries out a call that is done as a whole or not at all.
    pub(super) fn whole<T>(
        &mut self,
        begun: Begun,
        change: impl FnOnce(&mut Self, Moment) -> io::Result<T>,
    ) -> io::Result<T> {
        begun.failure()?;
        let moment = self.tick();
        let Some(mut random) = begun.cut else {
            return change(self, moment);
        };
        if random.chance(50) {
            // Done, but the caller cannot learn how it ended.
            let _ = change(self, moment);
        }
        Err(self.lose_power())
    }

    /// Refuses growth by `bytes` beyond the capacity.
    pub(super) fn check_room(&self, bytes: u64) -> io::Result<()> {
        if self.room() < bytes { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn room(&self) -> u64 {
        self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.tree.used_bytes()))
    }

    /// Sets or reserves a file's length.
    pub(super) fn resize(&mut self, node: NodeId, len: u64, may_shrink: bool, moment: Moment) -> io::Result<()> {
        let bytes = file_index(len)?;
        let before = self.tree.file(node)?.len();
        if bytes > before {
            self.check_room((bytes - before) as u64)?;
        }
        if bytes > before || may_shrink {
            self.tree.file_mut(node)?.set_len(moment, bytes);
        }
        Ok(())
    }

    /// Writes as far as the faults and the room let it.
    pub(super) fn write(
        &mut self,
        node: NodeId,
        slices: &[IoSlice<'_>],
        position: u64,
        begun: Begun,
    ) -> io::Result<()> {
        begun.failure()?;
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        file_index(position.saturating_add(total as u64))?;
        let start = file_index(position)?;
        let before = self.tree.file(node)?.len();
        if let Some(random) = begun.cut {
            let mut flat = Vec::with_capacity(total);
            for slice in slices {
                flat.extend_from_slice(slice);
            }
            self.write_torn(node, &flat, start, random)?;
            return Err(self.lose_power());
        }
        let (mut limit, mut outcome) = (total, Ok(()));
        if let Some(Fault::TornWrite(bytes, kind)) = begun.fault {
            limit = usize::try_from(bytes).unwrap_or(total).min(total);
            outcome = Err(fault_error(kind));
        }
        if self.capacity.is_some() && start + limit > before {
            let end_max = usize::try_from((before as u64).saturating_add(self.room())).unwrap_or(usize::MAX);
            if start + limit > end_max {
                limit = end_max.saturating_sub(start);
                outcome = Err(ErrorKind::StorageFull.into());
            }
        }
        let moment = self.tick();
        self.tree.file_mut(node)?.write(moment, slices, start, limit);
        outcome
    }

    /// Writes the sectors of `bytes` that reached the cache before the power went.
    fn write_torn(&mut self, node: NodeId, bytes: &[u8], start: usize, mut random: Random) -> io::Result<()> {
        let first_end = (start / SECTOR_BYTES + 1) * SECTOR_BYTES;
        let (head, rest) = bytes.split_at(bytes.len().min(first_end - start));
        let prefix_only = random.chance(50);
        let prefix_sectors = random.below((rest.len().div_ceil(SECTOR_BYTES) + 2) as u64);
        let mut position = start;
        for (piece, at) in std::iter::once(head).chain(rest.chunks(SECTOR_BYTES)).zip(0..) {
            let kept = if prefix_only { at < prefix_sectors } else { random.chance(50) };
            if kept {
                let moment = self.tick();
                self.tree.file_mut(node)?.write(moment, &[IoSlice::new(piece)], position, piece.len());
            }
            position += piece.len();
        }
        Ok(())
    }

    /// Syncs a file, or fails, or lies.
    pub(super) fn sync(&mut self, node: NodeId, begun: Begun) -> io::Result<()> {
        if let Some(mut random) = begun.cut {
            let (now, ceiling) = (self.now, begun.ceiling);
            if matches!(Survival::draw(now, &mut random), Survival::All) {
                self.tree.file_mut(node)?.finish_sync(ceiling);
            }
            return Err(self.lose_power());
        }
        match begun.fault {
            Some(Fault::LyingSync) => return Ok(()),
            Some(Fault::Fail(..)) => self.tree.file_mut(node)?.lose(begun.ceiling),
            _ => self.tree.file_mut(node)?.finish_sync(begun.ceiling),
        }
        begun.failure()
    }

    /// Syncs a directory, or fails, or lies.
    pub(super) fn sync_dir(&mut self, node: NodeId, mut begun: Begun) -> io::Result<()> {
        if begun.cut.as_mut().is_some_and(|random| random.chance(50)) {
            return Err(self.lose_power());
        }
        match begun.fault {
            Some(Fault::LyingSyncDir) => return Ok(()),
            Some(Fault::Fail(..)) => self.tree.lose_dir(node, begun.ceiling)?,
            _ => self.tree.finish_sync_dir(node, begun.ceiling)?,
        }
        if begun.cut.is_some() { Err(self.lose_power()) } else { begun.failure() }
    }
}

/// A position or length as an index.
pub(super) fn file_index(position: u64) -> io::Result<usize> {
    if position > FILE_BYTES_MAX {
        return Err(ErrorKind::FileTooLarge.into());
    }
    usize::try_from(position).map_err(|_| ErrorKind::FileTooLarge.into())
}
