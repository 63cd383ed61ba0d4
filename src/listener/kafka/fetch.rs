//! Fetch: batches from the log as they lie there, once there are as many bytes as are asked for or time is up.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, sleep_until};

use super::KafkaListener;
use super::asked::Asked;
use super::dispatch::Reply;
use super::fetch_sessions::{Fetching, SessionPartition, Told};
use crate::listener::memory::Loan;
use crate::listener::outgoing::Outgoing;
use crate::listener::reading::{Beside, bytes_of, read, read_in};
use crate::protocol::kafka::{
    Api, FetchPieces, FetchRequest, FetchResponse, Fetched, FetchedPartition, KafkaError, Piece,
};
use crate::replica::{Committed, Partition};
use crate::types::{Offset, PartitionIndex, TopicName};

/// Bytes of batches that a Fetch brings at most, however much it asks for; the first batch always goes.
const FETCH_BYTES_MAX: usize = 16 << 20;
/// A Fetch brings no more than so many times the share of a connection.
const FETCH_SHARES: usize = 4;
/// How long a Fetch waits at most.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// A response around batches, and what was lent for it.
#[derive(Debug)]
pub(super) struct FetchedReply {
    written: BytesMut,
    pieces: FetchPieces,
    loan: Loan,
}

impl FetchedReply {
    /// Adds it to what goes out; what was lent for it has to go along.
    pub(super) fn send(self, outgoing: &mut Outgoing) -> Loan {
        let FetchedReply { written, pieces, loan } = self;
        pieces.send(&written, |piece| match piece {
            Piece::Written(bytes) => outgoing.tail().extend_from_slice(bytes),
            Piece::Batch(batch) => outgoing.push(&batch),
        });
        loan
    }
}

/// A partition that is read.
struct Wanted {
    partition: Result<Arc<Partition>, KafkaError>,
    offset: i64,
    bytes_max: i32,
    /// What of it is committed was read up to here.
    seen: Option<Committed>,
}

/// What was read of a partition.
struct Found {
    high_watermark: Offset,
    log_start: Offset,
    batches: Vec<Bytes>,
    /// There is more than may come at a time: as many bytes as may come, else what came.
    counted_bytes: usize,
}

/// What was read of all.
struct Read {
    found: Vec<Result<Found, KafkaError>>,
    /// What counts towards what is asked for at least.
    counted_bytes: usize,
    loan: Loan,
}

/// What a partition may bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    /// Nothing came yet: the first batch comes however large it is, and memory for it is waited for.
    All(usize),
    /// What is left. Nobody waits for memory while he holds some.
    Left(usize),
    /// Nothing, since something did not fit.
    None,
}

impl KafkaListener {
    pub(super) async fn fetch(self: &Arc<Self>, asked: &Asked, correlation_id: i32, request: FetchRequest) -> Reply {
        let begun = self.fetch_sessions.lock().begin(&request, self.now());
        let fetching = match begun {
            Ok(fetching) => fetching,
            Err(error) => {
                return Reply::written(Api::Fetch, asked.version, |out| {
                    FetchResponse::refuse(out, asked.version, correlation_id, error)
                });
            }
        };
        let mut wanted = self.wanted(&fetching.partitions);
        let read = self.read_in_time(&request, &mut wanted).await;
        let told: Vec<Told> = read.found.iter().map(told).collect();
        let reply = respond((asked.version, correlation_id), request.is_read_committed, &fetching, read, &told);
        self.fetch_sessions.lock().end(&fetching, told);
        reply
    }

    fn wanted(&self, partitions: &[SessionPartition]) -> Vec<Wanted> {
        let mut wanted = Vec::with_capacity(partitions.len());
        for of_topic in partitions.chunk_by(|one, next| one.topic == next.topic) {
            let name = of_topic.first().map_or("", |first| &first.topic);
            let handle = TopicName::new(name).map_err(|_| KafkaError::UnknownTopicOrPartition);
            let handle = handle.and_then(|name| Ok(self.broker.user_topic(&name)?));
            for SessionPartition { asked, .. } in of_topic {
                let partition = handle.as_ref().map_err(|error| *error).and_then(|handle| {
                    let index = u32::try_from(asked.index).map_err(|_| KafkaError::UnknownTopicOrPartition)?;
                    let partition = handle.partition(PartitionIndex(index))?;
                    check_epoch(&partition, asked.current_leader_epoch)?;
                    Ok(partition)
                });
                wanted.push(Wanted { partition, offset: asked.offset, bytes_max: asked.bytes_max, seen: None });
            }
        }
        wanted
    }

    /// Reads once there is as much as is asked for, something is wrong with a partition, or time is up. Nothing that was
    /// read is kept while it waits.
    async fn read_in_time(&self, request: &FetchRequest, wanted: &mut [Wanted]) -> Read {
        let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(WAIT_MAX);
        let bytes_min = usize::try_from(request.bytes_min).unwrap_or(0);
        let deadline = Instant::now() + wait;
        let mut is_over = wait.is_zero() || wanted.is_empty();
        let mut entered = Entered::default();
        loop {
            let share = self.outgoing_memory.share() * FETCH_SHARES;
            let bytes_max = usize::try_from(request.bytes_max).unwrap_or(0).min(FETCH_BYTES_MAX).min(share);
            let read = self.read_all(wanted, bytes_max).await;
            let is_wrong = read.found.iter().any(Result::is_err);
            let missing = bytes_min.min(bytes_max).saturating_sub(read.counted_bytes);
            if is_over || is_wrong || missing == 0 {
                return read;
            }
            drop(read);
            tokio::select! {
                biased;
                () = sleep_until(deadline) => is_over = true,
                () = poll_fn(|context| {
                    entered.enter(wanted, context.waker());
                    poll_more(wanted, missing, context)
                }) => {}
            }
        }
    }

    /// Reads every partition in turn, as long as there is room.
    async fn read_all(&self, wanted: &mut [Wanted], bytes_max: usize) -> Read {
        let (mut bytes, mut counted_bytes, mut loan) = (0, 0, self.outgoing_memory.nothing());
        let (mut found, mut is_full) = (Vec::with_capacity(wanted.len()), false);
        for wanted in wanted {
            let room = match bytes_max.saturating_sub(bytes) {
                room if bytes == 0 => Room::All(room),
                0 => Room::None,
                _ if is_full => Room::None,
                room => Room::Left(room),
            };
            match self.read_one(wanted, room).await {
                Ok(Some((one, lent))) => {
                    bytes += one.batches.iter().map(Bytes::len).sum::<usize>();
                    counted_bytes += one.counted_bytes;
                    loan.join(lent);
                    found.push(Ok(one));
                }
                Ok(None) => {
                    is_full = true;
                    counted_bytes = bytes_max;
                    found.push(wanted.nothing());
                }
                Err(error) => found.push(Err(error)),
            }
        }
        Read { found, counted_bytes, loan }
    }

    /// Reads a partition; `None` where there is something, and no room for it.
    async fn read_one(&self, wanted: &mut Wanted, room: Room) -> Result<Option<(Found, Loan)>, KafkaError> {
        let partition = wanted.partition.as_ref().map_err(|error| *error)?;
        if let Some(closed) = partition.closed() {
            return Err(KafkaError::from(&closed));
        }
        wanted.seen = Some(partition.committed());
        let from = Offset::from_i64(wanted.offset).ok_or(KafkaError::OffsetOutOfRange)?;
        let offsets = partition.offsets();
        if from == offsets.high_watermark() {
            return Ok(Some((wanted.nothing()?, self.outgoing_memory.nothing())));
        }
        let bytes_max = usize::try_from(wanted.bytes_max).unwrap_or(0);
        let read = match room {
            Room::All(room) => {
                let bytes_max = bytes_max.min(room);
                Some(read(&self.outgoing_memory, partition, from, bytes_max, Beside::Helps(0)).await)
            }
            Room::Left(room) => read_in(&self.outgoing_memory, partition, from, bytes_max.min(room), room).await,
            Room::None if (offsets.log_start()..offsets.high_watermark()).contains(&from) => None,
            // Only to say that it is out of range.
            Room::None => Some(read(&self.outgoing_memory, partition, from, 0, Beside::Helps(0)).await),
        };
        let Some(read) = read else { return Ok(None) };
        let (batches, loan) = read.map_err(|failure| KafkaError::from(&failure))?;
        let mut found = wanted.nothing()?;
        let end = batches.last().map(|batch| batch.header().next_offset());
        found.counted_bytes = bytes_of(&batches);
        if end.is_some_and(|end| end < found.high_watermark) {
            found.counted_bytes = found.counted_bytes.max(bytes_max);
        }
        found.batches = batches.into_iter().map(crate::record::Batch::into_bytes).collect();
        Ok(Some((found, loan)))
    }
}

/// Where a Fetch waits. It leaves when it ends: what stays entered keeps its connection's memory, also when that is gone,
/// until something happens there.
#[derive(Default)]
struct Entered {
    partitions: Vec<Arc<Partition>>,
    waker: Option<Waker>,
}

impl Entered {
    fn enter(&mut self, wanted: &[Wanted], waker: &Waker) {
        if !self.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            self.leave();
            self.partitions = wanted.iter().filter_map(|wanted| wanted.partition.clone().ok()).collect();
            self.waker = Some(waker.clone());
        }
    }

    fn leave(&mut self) {
        if let Some(waker) = self.waker.take() {
            self.partitions.iter().for_each(|partition| partition.forget_reader(&waker));
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Wanted {
    /// Where the partition stands now, without records.
    fn nothing(&self) -> Result<Found, KafkaError> {
        let offsets = self.partition.as_ref().map_err(|error| *error)?.offsets();
        let (high_watermark, log_start) = (offsets.high_watermark(), offsets.log_start());
        Ok(Found { high_watermark, log_start, batches: Vec::new(), counted_bytes: 0 })
    }
}

/// Ready once so many bytes more are committed in all partitions together than were seen, or one of them is no more.
fn poll_more(wanted: &[Wanted], missing: usize, context: &mut Context<'_>) -> Poll<()> {
    let mut more = 0;
    for wanted in wanted {
        let (Ok(partition), Some(seen)) = (&wanted.partition, &wanted.seen) else { return Poll::Ready(()) };
        loop {
            let now = partition.committed();
            match partition.poll_readable(now.next_offset(), context.waker()) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {
                    let Some(bytes) = now.bytes_since(seen) else { return Poll::Ready(()) };
                    more += bytes;
                    break;
                }
            }
        }
    }
    if more >= missing as u64 { Poll::Ready(()) } else { Poll::Pending }
}

/// Refuses a client that knows another leader than there is.
pub(super) fn check_epoch(partition: &Partition, known: i32) -> Result<(), KafkaError> {
    match known {
        -1 => Ok(()),
        older if older < partition.epoch().get() => Err(KafkaError::FencedLeaderEpoch),
        newer if newer > partition.epoch().get() => Err(KafkaError::UnknownLeaderEpoch),
        _ => Ok(()),
    }
}

fn told(found: &Result<Found, KafkaError>) -> Told {
    match found {
        Err(_) => Told::Failure,
        Ok(Found { high_watermark, log_start, batches, .. }) => Told::State {
            high_watermark: *high_watermark,
            last_stable: *high_watermark,
            log_start: *log_start,
            has_records: !batches.is_empty(),
        },
    }
}

/// Writes the response to a request of this version and correlation id.
fn respond(
    (version, correlation_id): (i16, i32),
    is_read_committed: bool,
    fetching: &Fetching,
    read: Read,
    told: &[Told],
) -> Reply {
    let answered = fetching.partitions.iter().zip(&read.found).zip(told);
    let named = answered.filter(|((partition, _), told)| fetching.names(partition, told));
    let named: Vec<(&SessionPartition, &Result<Found, KafkaError>)> = named.map(|(answered, _)| answered).collect();
    let topics: Vec<_> = named.chunk_by(|(one, _), (next, _)| one.topic == next.topic).collect();
    let mut written = BytesMut::new();
    let session_id = fetching.session_id;
    let mut response =
        FetchResponse::begin(&mut written, version, correlation_id, session_id, is_read_committed, topics.len());
    for partitions in topics {
        let Some((first, _)) = partitions.first() else { continue };
        response.topic(&first.topic, partitions.len());
        for (partition, found) in partitions {
            let result = found.as_ref().map_err(|error| *error).map(|found| Fetched {
                high_watermark: found.high_watermark,
                last_stable: found.high_watermark,
                log_start: found.log_start,
                batches: &found.batches,
            });
            response.partition(&FetchedPartition { index: partition.index, result });
        }
    }
    match response.finish() {
        Ok(pieces) => Reply::Fetched(Box::new(FetchedReply { written, pieces, loan: read.loan })),
        Err(error) => Reply::unencodable(Api::Fetch, version, &error),
    }
}
