//! What a consumer shares with its task: the records received, what was handed out, and which partitions are its own.
//!
//! Only what is owned lies here, and only from here are records handed out: taking a partition away is one step, under
//! one short lock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, watch};

use crate::client::connection::PushedBatch;
use crate::client::record::{BatchReader, Record};
use crate::client::{Client, ClientError};
use crate::types::{Offset, TopicPartition};

/// A place in a partition that is owned since some generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) partition: TopicPartition,
    pub(super) since: u64,
    /// The offset of the next record to be read.
    pub(super) next: Offset,
}

/// What lies between the task and the polls.
#[derive(Debug)]
pub(super) struct Shelf {
    state: Mutex<State>,
    /// Wakes a poll that waits.
    pub(super) filled: Notify,
    /// Wakes the task: something that was handed out is dealt with.
    pub(super) settled: Notify,
    /// What is owned.
    pub(super) assignment: watch::Sender<Vec<TopicPartition>>,
}

#[derive(Debug, Default)]
struct State {
    received: VecDeque<Received>,
    owned: BTreeMap<TopicPartition, u64>,
    /// What was handed out and is not committed: at least once.
    handed: BTreeMap<TopicPartition, (u64, Offset)>,
    /// Of which something was taken to be handed out once the position has moved: at most once.
    claimed: BTreeMap<TopicPartition, u64>,
    /// The connection for commits, and the member they are made as.
    control: Option<(Client, String)>,
    /// Why nothing will ever come any more.
    failure: Option<ClientError>,
}

/// Records of one partition, in their order.
#[derive(Debug)]
struct Received {
    partition: TopicPartition,
    since: u64,
    records: Records,
}

#[derive(Debug)]
enum Records {
    Batches(Box<Batches>),
    /// Records that were taken and put back.
    Back(VecDeque<Record>),
}

/// Batches being read, and the room they take until they are.
#[derive(Debug)]
struct Batches {
    reader: BatchReader,
    _pushed: PushedBatch,
}

impl Records {
    fn next(&mut self) -> Option<Result<Record, ClientError>> {
        match self {
            Records::Batches(batches) => batches.reader.next(),
            Records::Back(records) => records.pop_front().map(Ok),
        }
    }
}

/// Records taken to be handed out, in runs of one partition, each owned since some generation.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) runs: Vec<(TopicPartition, u64, VecDeque<Record>)>,
}

impl Taken {
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Where each partition goes on behind them.
    pub(super) fn places(&self) -> Vec<Place> {
        let mut places: BTreeMap<&TopicPartition, (u64, Offset)> = BTreeMap::new();
        for (partition, since, records) in &self.runs {
            if let Some(last) = records.back() {
                places.insert(partition, (*since, last.offset.plus(1)));
            }
        }
        let place =
            |(partition, (since, next)): (&TopicPartition, _)| Place { partition: partition.clone(), since, next };
        places.into_iter().map(place).collect()
    }

    /// Takes out the records of a partition.
    pub(super) fn split_off(&mut self, partition: &TopicPartition) -> Taken {
        let (split, runs) = std::mem::take(&mut self.runs).into_iter().partition(|(other, _, _)| other == partition);
        self.runs = runs;
        Taken { runs: split }
    }

    /// Forgets the records of a partition.
    pub(super) fn forget(&mut self, partition: &TopicPartition) {
        self.runs.retain(|(other, _, _)| other != partition);
    }

    pub(super) fn into_records(self) -> Vec<Record> {
        self.runs.into_iter().flat_map(|(_, _, records)| records).collect()
    }
}

impl Shelf {
    pub(super) fn new() -> Shelf {
        Shelf {
            state: Mutex::default(),
            filled: Notify::new(),
            settled: Notify::new(),
            assignment: watch::Sender::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes records of what is owned: no more than so many, and none once there are so many bytes. What is claimed is not
    /// given away before [`Shelf::unclaim`].
    pub(super) fn take(&self, records_max: usize, bytes_max: usize, is_claim: bool) -> Result<Taken, ClientError> {
        let mut state = self.lock();
        let (mut taken, mut count, mut bytes) = (Taken::default(), 0, 0);
        while count < records_max && (bytes < bytes_max || count == 0) {
            let Some(received) = state.received.front_mut() else { break };
            match received.records.next() {
                Some(Ok(record)) => {
                    count += 1;
                    bytes += record.value.as_ref().map_or(0, Bytes::len) + record.key.as_ref().map_or(0, Bytes::len);
                    match taken.runs.last_mut() {
                        Some((partition, since, run))
                            if *partition == received.partition && *since == received.since =>
                        {
                            run.push_back(record);
                        }
                        _ => {
                            let run = VecDeque::from([record]);
                            taken.runs.push((received.partition.clone(), received.since, run));
                        }
                    }
                }
                Some(Err(error)) => {
                    state.received.clear();
                    state.failure.get_or_insert(error);
                }
                None => drop(state.received.pop_front()),
            }
        }
        if is_claim {
            let claims = taken.runs.iter().map(|(partition, since, _)| (partition.clone(), *since));
            state.claimed.extend(claims);
        }
        match &state.failure {
            Some(error) if taken.is_empty() => Err(error.clone()),
            _ => Ok(taken),
        }
    }

    /// A claim has ended. Whether it still counts: where the partition was given away meanwhile, it does not.
    pub(super) fn unclaim(&self, partition: &TopicPartition, since: u64) -> bool {
        let mut state = self.lock();
        let counts = state.claimed.get(partition) == Some(&since);
        if counts {
            state.claimed.remove(partition);
        }
        drop(state);
        self.settled.notify_one();
        counts
    }

    /// Puts back what was not handed out, in front of everything else, as far as it is still owned.
    pub(super) fn put_back(&self, taken: Taken) {
        let mut state = self.lock();
        for (partition, since, records) in taken.runs.into_iter().rev() {
            if state.owned.get(&partition) == Some(&since) {
                state.received.push_front(Received { partition, since, records: Records::Back(records) });
            }
        }
        drop(state);
        self.filled.notify_one();
    }

    /// Notes what is handed out, to be committed later.
    pub(super) fn hand_out(&self, taken: &Taken) {
        let mut state = self.lock();
        for place in taken.places() {
            state.handed.insert(place.partition, (place.since, place.next));
        }
    }

    /// What was handed out and is not committed.
    pub(super) fn handed(&self) -> Vec<Place> {
        let state = self.lock();
        let place = |(partition, (since, next)): (&TopicPartition, &(u64, Offset))| Place {
            partition: partition.clone(),
            since: *since,
            next: *next,
        };
        state.handed.iter().map(place).collect()
    }

    /// What was handed out up to here is dealt with.
    pub(super) fn settle(&self, places: &[Place]) {
        let mut state = self.lock();
        for place in places {
            if state.handed.get(&place.partition) == Some(&(place.since, place.next)) {
                state.handed.remove(&place.partition);
            }
        }
        drop(state);
        self.settled.notify_one();
    }

    /// What is no longer owned is not waited for any more: its reader has come back for more.
    pub(super) fn settle_disowned(&self) {
        let mut state = self.lock();
        let State { handed, owned, .. } = &mut *state;
        handed.retain(|partition, (since, _)| owned.get(partition) == Some(since));
        drop(state);
        self.settled.notify_one();
    }

    /// Whether something of a partition was handed out and is not dealt with, or is about to be handed out.
    pub(super) fn is_in_use(&self, partition: &TopicPartition) -> bool {
        let state = self.lock();
        state.handed.contains_key(partition) || state.claimed.contains_key(partition)
    }

    /// A partition is owned from now on.
    pub(super) fn own(&self, partition: &TopicPartition, since: u64) {
        self.lock().owned.insert(partition.clone(), since);
        self.tell();
    }

    /// A partition is owned no more: nothing of it is handed out from now on.
    pub(super) fn disown(&self, partition: &TopicPartition) {
        let mut state = self.lock();
        state.owned.remove(partition);
        state.received.retain(|received| received.partition != *partition);
        drop(state);
        self.tell();
    }

    /// What was handed out of a partition is nobody's concern any more.
    pub(super) fn forget(&self, partition: &TopicPartition) {
        let mut state = self.lock();
        state.handed.remove(partition);
        state.claimed.remove(partition);
    }

    fn tell(&self) {
        let owned: Vec<_> = self.lock().owned.keys().cloned().collect();
        self.assignment.send_replace(owned);
    }

    /// Lays down batches whose records from an offset on are to be handed out.
    pub(super) fn put(&self, partition: &TopicPartition, since: u64, from: Offset, pushed: PushedBatch) {
        let batches = pushed.frame.body.clone();
        let reader = BatchReader::new(partition.topic.clone(), partition.partition, batches, from);
        let mut state = self.lock();
        if state.owned.get(partition) == Some(&since) {
            let records = Records::Batches(Box::new(Batches { reader, _pushed: pushed }));
            state.received.push_back(Received { partition: partition.clone(), since, records });
        }
        drop(state);
        self.filled.notify_one();
    }

    /// The connection for commits, and the member's id.
    pub(super) fn control(&self) -> Option<(Client, String)> {
        self.lock().control.clone()
    }

    pub(super) fn set_control(&self, control: Option<(Client, String)>) {
        let before = std::mem::replace(&mut self.lock().control, control);
        drop(before);
    }

    /// Nothing will ever come any more.
    pub(super) fn fail(&self, error: ClientError) {
        self.lock().failure.get_or_insert(error);
        self.filled.notify_one();
    }

    /// Why nothing will ever come any more, where that is so.
    pub(super) fn failure(&self) -> Option<ClientError> {
        self.lock().failure.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{PartitionIndex, Timestamp, TopicName};

    fn partition(index: u32) -> TopicPartition {
        TopicPartition { topic: TopicName::new("t").expect("a name"), partition: PartitionIndex(index) }
    }

    fn record(index: u32, offset: u64) -> Record {
        Record {
            topic: partition(index).topic,
            partition: PartitionIndex(index),
            offset: Offset::new(offset).expect("small"),
            timestamp: Timestamp::from_millis(1),
            stamp: None,
            key: None,
            value: Some(Bytes::from_static(b"four")),
            headers: Vec::new(),
        }
    }

    /// A shelf with three records of each of two partitions.
    fn filled() -> Shelf {
        let shelf = Shelf::new();
        for index in 0..2 {
            shelf.own(&partition(index), 7);
            let records = (0..3).map(|offset| record(index, offset)).collect();
            shelf.put_back(Taken { runs: vec![(partition(index), 7, records)] });
        }
        shelf
    }

    fn count(taken: &Taken) -> usize {
        taken.runs.iter().map(|(_, _, records)| records.len()).sum()
    }

    #[test]
    fn no_more_than_asked_for_and_only_what_is_owned() {
        let shelf = filled();
        let taken = shelf.take(4, 1 << 20, false).expect("whole");
        assert_eq!((count(&taken), taken.places().len()), (4, 2));
        shelf.put_back(taken);
        assert_eq!(count(&shelf.take(10, 5, false).expect("whole")), 2, "eight bytes are more than five");
        shelf.disown(&partition(0));
        shelf.disown(&partition(1));
        assert!(shelf.take(10, 1 << 20, false).expect("whole").is_empty());
        assert!(shelf.assignment.borrow().is_empty());
    }

    /// A member released a partition while its position was on its way to the broker: the next owner asked for the position
    /// before it had moved, and both handed out the same records.
    #[test]
    fn what_is_claimed_is_in_use_until_the_position_has_moved() {
        let shelf = filled();
        drop(shelf.take(6, 1 << 20, true).expect("whole"));
        assert!(shelf.is_in_use(&partition(0)) && shelf.is_in_use(&partition(1)));
        assert!(shelf.unclaim(&partition(0), 7) && !shelf.is_in_use(&partition(0)));
        shelf.forget(&partition(1));
        assert!(!shelf.unclaim(&partition(1), 7), "given away meanwhile");
    }

    #[test]
    fn what_was_handed_out_is_in_use_until_it_is_dealt_with() {
        let shelf = filled();
        let taken = shelf.take(2, 1 << 20, false).expect("whole");
        shelf.hand_out(&taken);
        let early = shelf.handed();
        let taken = shelf.take(1, 1 << 20, false).expect("whole");
        shelf.hand_out(&taken);
        let index = taken.runs[0].0.clone();
        shelf.settle(&early);
        assert!(shelf.is_in_use(&index), "more was handed out since");
        shelf.settle(&shelf.handed());
        assert!(!shelf.is_in_use(&index));
    }
}
