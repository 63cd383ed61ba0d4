//! Open files: the limit raised as far as it goes, and weighed against what the configuration may need of it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the program itself takes: standard streams, epoll, sockets that listen, the log, the lock, files opened in passing.
const OWN: u64 = 128;
/// The log and the index of a partition's active segment.
const PER_PARTITION: u64 = 2;
/// With fewer connections than this a server is not worth starting.
const CONNECTIONS_MIN: u64 = 16;

/// What may be open at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Needs {
    pub(super) partitions: u64,
    /// `storage.open_segments_max`.
    pub(super) segments: u64,
    /// `server.max_connections`.
    pub(super) connections: u64,
}

/// The limit of open files is too low to begin with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the limit of open files is {limit}, at least {needed} are needed: {OWN} for the server itself, {for_partitions} for \
     {partitions} partitions, {segments} for sealed segments (storage.open_segments_max), {CONNECTIONS_MIN} for connections; \
     raise it (ulimit -n, LimitNOFILE= of systemd, ulimits of a container) or lower storage.open_segments_max"
)]
pub struct TooFewDescriptors {
    limit: u64,
    needed: u64,
    partitions: u64,
    for_partitions: u64,
    segments: u64,
}

impl Needs {
    fn beside_connections(self) -> u64 {
        OWN + self.partitions * PER_PARTITION + self.segments
    }

    /// Everything together.
    pub(super) fn total(self) -> u64 {
        self.beside_connections() + self.connections
    }

    /// How many connections there is room for, at most those that are wanted.
    pub(super) fn connections_within(self, limit: u64) -> Result<u64, TooFewDescriptors> {
        let connections = limit.saturating_sub(self.beside_connections()).min(self.connections);
        if connections < CONNECTIONS_MIN.min(self.connections) {
            return Err(TooFewDescriptors {
                limit,
                needed: self.beside_connections() + CONNECTIONS_MIN,
                partitions: self.partitions,
                for_partitions: self.partitions * PER_PARTITION,
                segments: self.segments,
            });
        }
        Ok(connections)
    }
}

/// Raises the limit as far as this process may; what it is then.
pub(super) fn raise_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // Where even that is refused the old limit holds, and is what the weighing sees.
    let _refused = setrlimit(Resource::Nofile, raised);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The limit as a start would find it; changes nothing.
pub(super) fn reachable_limit() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(limit: u64, needs: (u64, u64, u64), expected: Option<u64>) {
        let (partitions, segments, connections) = needs;
        let needs = Needs { partitions, segments, connections };
        assert_eq!(needs.connections_within(limit).ok(), expected, "{limit} {needs:?}");
    }

    #[test]
    fn connections_take_what_is_left() {
        check(20_000, (6, 256, 10_000), Some(10_000));
        check(10_396, (6, 256, 10_000), Some(10_000));
        check(10_395, (6, 256, 10_000), Some(9_999));
        check(1_024, (6, 256, 10_000), Some(628));
        check(412, (6, 256, 10_000), Some(16));
        check(411, (6, 256, 10_000), None);
        check(0, (0, 8, 1), None);
        check(137, (0, 8, 1), Some(1));
        check(u64::MAX, (100_000, 100_000, 1_000_000), Some(1_000_000));
    }

    #[test]
    fn too_few_names_the_figures_and_the_way_out() {
        let needs = Needs { partitions: 100, segments: 256, connections: 10_000 };
        let error = needs.connections_within(256).expect_err("too few").to_string();
        for part in ["is 256", "at least 600", "200 for 100 partitions", "storage.open_segments_max", "ulimit -n"] {
            assert!(error.contains(part), "{error:?} lacks {part:?}");
        }
    }

    #[test]
    fn the_limit_is_raised_to_what_can_be_reached() {
        assert_eq!(raise_limit(), reachable_limit());
    }
}
