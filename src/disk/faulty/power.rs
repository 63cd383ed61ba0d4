//! What a power cut leaves: the choices that turn unsynced changes into kept and lost ones. Every choice comes from the
//! cut's seed.

use super::image::{Length, Moment, Version};
use super::random::Random;
use super::tree::Tree;

/// Which unsynced changes of one file or directory are kept. The extremes are drawn as often as the coin: they are what
/// real file systems mostly do.
#[derive(Debug, Clone, Copy)]
pub(super) enum Survival {
    /// Everything, as if synced.
    All,
    /// Nothing.
    None,
    /// What happened up to a moment.
    Until(Moment),
    /// What happened from a moment on.
    Since(Moment),
    /// Of the unsynced sectors this percentage, the first ones.
    First(u64),
    /// Of the unsynced sectors all but this percentage, the last ones.
    Last(u64),
    /// Each change by itself, with this percentage.
    Coin(u64),
}

/// The file system as found after a power cut.
pub(super) fn survivor(tree: &Tree, now: Moment, seed: u64) -> Tree {
    let mut random = Random::new(seed);
    // One choice for the whole disk in a third of the cuts: files then agree with each other as under one journal.
    let whole = match random.below(9) {
        0 => Some(Survival::All),
        1 => Some(Survival::None),
        2 => Some(Survival::Until(Moment(random.below(now.0 + 1)))),
        _ => None,
    };
    tree.survivor(&mut random, |random| whole.unwrap_or_else(|| Survival::draw(now, random)))
}

impl Survival {
    /// A choice for one file or directory.
    pub(super) fn draw(now: Moment, random: &mut Random) -> Self {
        match random.below(10) {
            0 => Self::All,
            1 => Self::None,
            2 => Self::Until(Moment(random.below(now.0 + 1))),
            3 => Self::Since(Moment(random.below(now.0 + 1))),
            4 => Self::First(random.below(101)),
            5 => Self::Last(random.below(101)),
            6 => Self::Coin(10),
            7 => Self::Coin(90),
            _ => Self::Coin(50),
        }
    }

    /// Which of a sector's unsynced versions is kept; none means the durable one. `place` is the percentage of the
    /// file's unsynced sectors that lie before this one.
    pub(super) fn version_kept<'a>(
        self,
        place: u64,
        versions: &'a [Version],
        random: &mut Random,
    ) -> Option<&'a Version> {
        match self {
            Self::All => versions.last(),
            Self::None => None,
            Self::Until(moment) => versions.iter().rfind(|version| version.moment <= moment),
            Self::Since(moment) => versions.last().filter(|version| version.moment >= moment),
            Self::First(percent) => versions.last().filter(|_| place < percent),
            Self::Last(percent) => versions.last().filter(|_| place >= percent),
            Self::Coin(percent) if random.chance(percent) => {
                let chosen = random.below(versions.len() as u64);
                versions.iter().zip(0..).find(|(_, at)| *at == chosen).map(|(version, _)| version)
            }
            Self::Coin(_) => None,
        }
    }

    /// How many of a file's unsynced lengths, the oldest first, took effect.
    pub(super) fn lengths_kept(self, lengths: &[Length], random: &mut Random) -> usize {
        match self {
            Self::All => lengths.len(),
            Self::None => 0,
            Self::Until(moment) => lengths.partition_point(|length| length.moment <= moment),
            Self::Since(_) | Self::First(_) | Self::Last(_) | Self::Coin(_) => {
                if random.chance(50) {
                    return 0;
                }
                let kept = random.below(lengths.len() as u64 + 1);
                usize::try_from(kept).unwrap_or(lengths.len())
            }
        }
    }

    /// Whether a change of a directory is kept, those of the same names before it being so.
    pub(super) fn change_kept(self, moment: Moment, random: &mut Random) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Until(end) => moment <= end,
            Self::Since(start) => moment >= start,
            Self::First(_) | Self::Last(_) => random.chance(50),
            Self::Coin(percent) => random.chance(percent),
        }
    }
}
