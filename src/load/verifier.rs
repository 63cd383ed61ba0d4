//! Whether what was read is what was sent: content, nothing missing, nothing twice, in order for each producer and
//! partition.

use super::filler::Filler;
use super::payload::{HEADER_BYTES, Header, Payload, RunId};

/// What a [`Verifier`] has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verified {
    /// Messages that were as they should be, each counted once.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Messages that had come before.
    pub duplicates: u64,
    /// Messages that came after later ones.
    pub misordered: u64,
    /// Messages whose content is not what was sent.
    pub damaged: u64,
    /// Messages of which nothing is known: somebody else's, or another run's.
    pub foreign: u64,
}

/// Checks the messages that one reader receives.
#[derive(Debug)]
pub struct Verifier {
    /// The run expected, or every run met so far.
    runs: Vec<Run>,
    is_open: bool,
    /// Producers of the run expected; of short messages only one can be told.
    producers: u16,
    size: Option<usize>,
    verified: Verified,
}

#[derive(Debug)]
struct Run {
    id: RunId,
    filler: Filler,
    /// Whether the first message read counts as the beginning of its stream.
    begins_anywhere: bool,
    /// Its streams by partition, then by producer.
    streams: Vec<Vec<Stream>>,
}

/// The messages of one producer in one partition.
#[derive(Debug, Clone)]
struct Stream {
    /// What comes next; `None` where whatever comes is the first.
    next: Option<u64>,
    /// What was left out so far, in order: from, to.
    gaps: Vec<(u64, u64)>,
}

/// How a message stands to those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Next,
    Late,
    Again,
}

impl Verifier {
    /// For a topic that holds nothing but one run's messages, by this many producers.
    #[must_use]
    pub fn of_run(payload: &Payload, producers: u16) -> Verifier {
        let mut verifier = Verifier::of_any();
        verifier.runs.push(Run::new(payload.run(), payload.size()));
        verifier.is_open = false;
        verifier.producers = producers;
        verifier.size = Some(payload.size());
        verifier
    }

    /// For a topic that holds whatever there is: of each run met the first message read counts as its beginning, and
    /// what is no run's is not verified.
    #[must_use]
    pub fn of_any() -> Verifier {
        Verifier { runs: Vec::new(), is_open: true, producers: 0, size: None, verified: Verified::default() }
    }

    /// What was seen so far.
    #[must_use]
    pub fn verified(&self) -> Verified {
        self.verified
    }

    /// Takes the next message of a partition; returns its header where it is new, as it should be, and long enough to
    /// have one.
    pub fn take(&mut self, partition: u32, message: &[u8]) -> Option<Header> {
        if self.size.is_some_and(|size| size != message.len()) {
            self.verified.damaged += 1;
            return None;
        }
        if !self.is_open && message.len() < HEADER_BYTES {
            self.take_short(partition, message);
            return None;
        }
        let Some(header) = Header::read(message) else {
            *(if self.is_open { &mut self.verified.foreign } else { &mut self.verified.damaged }) += 1;
            if self.is_open {
                self.count(message);
            }
            return None;
        };
        let Some(run) = self.run_of(header.run, message.len()) else {
            self.verified.foreign += 1;
            return None;
        };
        let filler = run.filler.slice(header.sequence, message.len() - HEADER_BYTES);
        if filler != Some(&message[HEADER_BYTES..]) {
            self.verified.damaged += 1;
            return None;
        }
        let place = run.stream(partition, header.producer).take(header.sequence);
        self.placed(place, message).then_some(header)
    }

    /// Of a message without room for a header, what there is of its sequence: the nearest one that ends like that.
    fn take_short(&mut self, partition: u32, message: &[u8]) {
        if self.producers != 1 {
            self.count(message);
            return;
        }
        let Some(run) = self.runs.first_mut() else { return };
        let stream = run.stream(partition, 0);
        let next = stream.next.unwrap_or(0);
        let known = message.len().min(8);
        let mut low = [0; 8];
        low[..known].copy_from_slice(&message[..known]);
        let bits = 8 * (8 - known);
        // The distance from the one expected, as a signed number of as many bits as are known.
        let distance = (u64::from_le_bytes(low).wrapping_sub(next) << bits).cast_signed() >> bits;
        let place = match next.checked_add_signed(distance) {
            Some(sequence) => stream.take(sequence),
            None => Place::Again,
        };
        self.placed(place, message);
    }

    fn placed(&mut self, place: Place, message: &[u8]) -> bool {
        match place {
            Place::Next => self.count(message),
            Place::Late => {
                self.verified.misordered += 1;
                self.count(message);
            }
            Place::Again => {
                self.verified.duplicates += 1;
                return false;
            }
        }
        true
    }

    fn count(&mut self, message: &[u8]) {
        self.verified.messages += 1;
        self.verified.bytes += message.len() as u64;
    }

    fn run_of(&mut self, id: RunId, size: usize) -> Option<&mut Run> {
        match self.runs.iter().position(|run| run.id == id) {
            Some(at) => {
                let run = &mut self.runs[at];
                if self.is_open {
                    run.filler.reserve(size - HEADER_BYTES);
                }
                Some(run)
            }
            None if self.is_open => {
                self.runs.push(Run { begins_anywhere: true, ..Run::new(id, size) });
                self.runs.last_mut()
            }
            None => None,
        }
    }

    /// How many messages of a producer in a partition are missing, of which `end` were sent and the last of those was
    /// acknowledged, but `failed` were not.
    #[must_use]
    pub fn missing(&self, partition: u32, producer: u16, end: u64, failed: u64) -> u64 {
        let streams = self.runs.first().and_then(|run| run.streams.get(partition as usize));
        let missing = match streams.and_then(|streams| streams.get(usize::from(producer))) {
            Some(stream) => stream.missing_below(end),
            None => end,
        };
        missing.saturating_sub(failed)
    }

    /// How many messages were left out between others that came, over all runs.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        let streams = self.runs.iter().flat_map(|run| run.streams.iter().flatten());
        streams.flat_map(|stream| &stream.gaps).map(|(from, to)| to - from).sum()
    }
}

impl Run {
    fn new(id: RunId, size: usize) -> Run {
        let filler = Filler::new(id, size.saturating_sub(HEADER_BYTES));
        Run { id, filler, begins_anywhere: false, streams: Vec::new() }
    }

    fn stream(&mut self, partition: u32, producer: u16) -> &mut Stream {
        let (partition, producer) = (partition as usize, usize::from(producer));
        if self.streams.len() <= partition {
            self.streams.resize_with(partition + 1, Vec::new);
        }
        let streams = &mut self.streams[partition];
        if streams.len() <= producer {
            let next = (!self.begins_anywhere).then_some(0);
            streams.resize_with(producer + 1, || Stream { next, gaps: Vec::new() });
        }
        &mut streams[producer]
    }
}

impl Stream {
    fn take(&mut self, sequence: u64) -> Place {
        let next = self.next.unwrap_or(sequence);
        if sequence >= next {
            if sequence > next {
                self.gaps.push((next, sequence));
            }
            self.next = Some(sequence.saturating_add(1));
            return Place::Next;
        }
        let at = self.gaps.partition_point(|&(_, to)| to <= sequence);
        match self.gaps.get(at).copied() {
            Some((from, to)) if from <= sequence => {
                let rest = [(from, sequence), (sequence + 1, to)].into_iter().filter(|(from, to)| from < to);
                self.gaps.splice(at..=at, rest);
                Place::Late
            }
            _ => Place::Again,
        }
    }

    fn missing_below(&self, end: u64) -> u64 {
        let in_gaps: u64 = self.gaps.iter().map(|&(from, to)| to.min(end).saturating_sub(from)).sum();
        in_gaps + end.saturating_sub(self.next.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: RunId = RunId(5);

    /// Sequences of one producer in one partition, as they come; what is said of them.
    fn check(size: usize, sequences: &[u64], sent: u64, expected: (u64, u64, u64, u64)) {
        let payload = Payload::new(RUN, size);
        let mut verifier = Verifier::of_run(&payload, 1);
        for &sequence in sequences {
            let mut message = Vec::new();
            payload.write(0, sequence, 1, &mut message);
            verifier.take(2, &message);
        }
        let seen = verifier.verified();
        let missing = verifier.missing(2, 0, sent, 0);
        assert_eq!((seen.messages, missing, seen.duplicates, seen.misordered), expected, "{size} {sequences:?}");
        assert_eq!((seen.damaged, seen.bytes), (0, seen.messages * size as u64));
    }

    #[test]
    fn missing_twice_and_late_are_told_apart() {
        for size in [1, 7, 8, 23, 24, 100] {
            check(size, &[0, 1, 2, 3], 4, (4, 0, 0, 0));
            check(size, &[0, 1, 3], 4, (3, 1, 0, 0));
            check(size, &[0, 1, 2], 5, (3, 2, 0, 0));
            check(size, &[], 3, (0, 3, 0, 0));
            check(size, &[0, 1, 1, 2], 3, (3, 0, 1, 0));
            check(size, &[0, 2, 1, 3], 4, (4, 0, 0, 1));
            check(size, &[0, 5, 3, 3, 1], 6, (4, 2, 1, 2));
        }
        let all: Vec<u64> = (0..1_000).collect();
        check(1, &all, 1_000, (1_000, 0, 0, 0));
    }

    #[test]
    fn what_comes_first_must_be_the_first() {
        check(24, &[1, 2], 3, (2, 1, 0, 0));
        check(1, &[1, 2], 3, (2, 1, 0, 0));
    }

    #[test]
    fn damage_anywhere_is_seen() {
        let payload = Payload::new(RUN, 60);
        let mut message = Vec::new();
        payload.write(0, 0, 1, &mut message);
        for at in (0..60).filter(|at| !(8..16).contains(at)) {
            let mut verifier = Verifier::of_run(&payload, 1);
            let mut damaged = message.clone();
            damaged[at] ^= 0x10;
            verifier.take(0, &damaged);
            let seen = verifier.verified();
            let is_noticed = seen.damaged + seen.foreign > 0 || verifier.missing(0, 0, 1, 0) > 0;
            assert!(is_noticed, "byte {at}: {seen:?}");
        }
        let mut verifier = Verifier::of_run(&payload, 1);
        verifier.take(0, &message[..59]);
        assert_eq!(verifier.verified().damaged, 1);
    }

    #[test]
    fn producers_and_partitions_have_their_own_order() {
        let payload = Payload::new(RUN, 30);
        let mut verifier = Verifier::of_run(&payload, 2);
        for (producer, partition, sequence) in [(0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 0, 1), (0, 0, 1), (0, 0, 3)] {
            let mut message = Vec::new();
            payload.write(producer, sequence, 1, &mut message);
            assert!(verifier.take(partition, &message).is_some());
        }
        assert_eq!(verifier.missing(0, 0, 4, 0), 1);
        // Not acknowledged: no wonder that it is not there.
        assert_eq!(verifier.missing(0, 0, 4, 1), 0);
        assert_eq!(verifier.missing(0, 1, 2, 0), 0);
        assert_eq!(verifier.missing(1, 0, 2, 0), 2);
    }

    #[test]
    fn whatever_a_topic_holds() {
        let mut verifier = Verifier::of_any();
        for (run, size, sequence) in [(1, 40, 7), (2, 90, 0), (1, 80, 8), (1, 40, 10)] {
            let mut message = Vec::new();
            Payload::new(RunId(run), size).write(0, sequence, 1, &mut message);
            assert!(verifier.take(0, &message).is_some());
        }
        verifier.take(0, b"somebody else's");
        let seen = verifier.verified();
        assert_eq!((seen.messages, seen.foreign, seen.damaged, verifier.left_out()), (5, 1, 0, 1));
    }
}
