//! The settings of a topic that Kafka has, each with what it is here. One table: whoever wants to know what becomes of a
//! setting looks here.

use Effect::{Noted, Only, Setting as Here, Syncs};
use Kind::{Boolean, Double, Int, List, Long, Text};
use Values::{AtLeast, Between, Flag, OneOf, Ratio, Replicas, SomeOf};

use crate::broker::BATCH_BYTES_MAX;

/// Kafka's "without end".
const FOREVER: &str = "9223372036854775807";

/// What type Kafka gives a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Boolean = 1,
    Text = 2,
    Int = 3,
    Long = 5,
    Double = 6,
    List = 7,
}

/// Which values a setting may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Values {
    /// A whole number of this or more.
    AtLeast(i64),
    /// A whole number from here to there.
    Between(i64, i64),
    /// `true` or `false`.
    Flag,
    /// A number from 0 to 1.
    Ratio,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// One or more of these words.
    SomeOf(&'static [&'static str]),
    /// `*`, or a list of `partition:broker`.
    Replicas,
}

/// A setting that Wiber has too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setting {
    CleanupPolicy,
    DeleteRetentionMs,
    BatchBytesMax,
    TimestampType,
    TimestampAfterMaxMs,
    TimestampBeforeMaxMs,
    MinCompactionLagMs,
    RetentionBytes,
    RetentionMs,
    SegmentBytes,
    SegmentMs,
}

/// What becomes of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// It is this one of Wiber's.
    Setting(Setting),
    /// Records are kept and served alike whatever it is: it is remembered and shown.
    Noted,
    /// It asks for a sync, which `storage.sync` decides on: remembered where everything is synced at once.
    Syncs,
    /// Its default is the truth here, and another value would not be, because of this.
    Only(&'static str),
}

/// One setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TopicKey {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// What holds where nothing is set; of a setting that is Wiber's too its own default holds.
    pub(super) default: &'static str,
    pub(super) values: Values,
    pub(super) effect: Effect,
    /// What a broker of Kafka calls its default for all topics.
    pub(super) of_broker: Option<&'static str>,
    pub(super) doc: &'static str,
}

const fn key(
    name: &'static str,
    (kind, values): (Kind, Values),
    default: &'static str,
    effect: Effect,
    of_broker: &'static str,
    doc: &'static str,
) -> TopicKey {
    let of_broker = if of_broker.is_empty() { None } else { Some(of_broker) };
    TopicKey { name, kind, default, values, effect, of_broker, doc }
}

const ONE_COPY: &str = "a partition has one replica";
const NO_REMOTE: &str = "there is no remote storage";

const CODECS: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];

/// The largest batch that any topic can allow.
#[expect(clippy::cast_possible_wrap, reason = "64 MiB")]
const BATCH_MAX: i64 = BATCH_BYTES_MAX as i64;
const INT_MAX: i64 = i32::MAX as i64;

/// By name.
#[rustfmt::skip]
pub(super) const TOPIC_KEYS: &[TopicKey] = &[
    key("cleanup.policy", (List, SomeOf(&["compact", "delete"])), "delete", Here(Setting::CleanupPolicy), "log.cleanup.policy",
        "What happens to old records: delete, when their retention is over; compact, when a newer record has their key; or both."),
    key("compression.gzip.level", (Int, Between(-1, 9)), "-1", Noted, "compression.gzip.level",
        "Remembered only: batches stay as their producer compressed them."),
    key("compression.lz4.level", (Int, Between(1, 17)), "9", Noted, "compression.lz4.level",
        "Remembered only: batches stay as their producer compressed them."),
    key("compression.type", (Text, OneOf(CODECS)), "producer", Noted, "compression.type",
        "Remembered only: batches stay as their producer compressed them."),
    key("compression.zstd.level", (Int, Between(-131_072, 22)), "3", Noted, "compression.zstd.level",
        "Remembered only: batches stay as their producer compressed them."),
    key("delete.retention.ms", (Long, AtLeast(0)), "86400000", Here(Setting::DeleteRetentionMs), "log.cleaner.delete.retention.ms",
        "How long a tombstone stays once compaction has found it, in milliseconds."),
    key("file.delete.delay.ms", (Long, AtLeast(0)), "60000", Noted, "log.segment.delete.delay.ms",
        "Remembered only: the file of a segment goes when nobody reads it any more."),
    key("flush.messages", (Long, AtLeast(1)), FOREVER, Syncs, "log.flush.interval.messages",
        "Remembered only: the broker's storage.sync decides when records are synced."),
    key("flush.ms", (Long, AtLeast(0)), FOREVER, Syncs, "log.flush.interval.ms",
        "Remembered only: the broker's storage.sync decides when records are synced."),
    key("follower.replication.throttled.replicas", (List, Replicas), "", Noted, "",
        "Remembered only: a partition has one replica."),
    key("index.interval.bytes", (Int, AtLeast(0)), "4096", Noted, "log.index.interval.bytes",
        "Remembered only: how many bytes an index entry stands for is the broker's."),
    key("leader.replication.throttled.replicas", (List, Replicas), "", Noted, "",
        "Remembered only: a partition has one replica."),
    key("local.retention.bytes", (Long, AtLeast(-2)), "-2", Noted, "log.local.retention.bytes",
        "Remembered only: all that is kept is kept here."),
    key("local.retention.ms", (Long, AtLeast(-2)), "-2", Noted, "log.local.retention.ms",
        "Remembered only: all that is kept is kept here."),
    key("max.compaction.lag.ms", (Long, AtLeast(1)), FOREVER, Noted, "log.cleaner.max.compaction.lag.ms",
        "Remembered only: a segment is compacted soon after it ends, which segment.ms and segment.bytes say."),
    key("max.message.bytes", (Int, Between(1, BATCH_MAX)), "1048588", Here(Setting::BatchBytesMax), "message.max.bytes",
        "The largest batch of records, in bytes as the producer compressed it."),
    key("message.timestamp.after.max.ms", (Long, AtLeast(0)), FOREVER, Here(Setting::TimestampAfterMaxMs), "log.message.timestamp.after.max.ms",
        "How far a record's time may lie ahead of the broker's, in milliseconds, where it is its producer's."),
    key("message.timestamp.before.max.ms", (Long, AtLeast(0)), FOREVER, Here(Setting::TimestampBeforeMaxMs), "log.message.timestamp.before.max.ms",
        "How far a record's time may lie behind the broker's, in milliseconds, where it is its producer's."),
    key("message.timestamp.type", (Text, OneOf(&["CreateTime", "LogAppendTime"])), "CreateTime", Here(Setting::TimestampType), "log.message.timestamp.type",
        "Whose time records bear: their producer's, or the broker's when it appended them."),
    key("min.cleanable.dirty.ratio", (Double, Ratio), "0.5", Noted, "log.cleaner.min.cleanable.ratio",
        "Remembered only: how much must be uncompacted before compaction is worth its while is the broker's."),
    key("min.compaction.lag.ms", (Long, AtLeast(0)), "0", Here(Setting::MinCompactionLagMs), "log.cleaner.min.compaction.lag.ms",
        "How long compaction leaves a record alone at least, in milliseconds."),
    key("min.insync.replicas", (Int, AtLeast(1)), "1", Only(ONE_COPY), "min.insync.replicas",
        "How many replicas must have a record before acks=all is answered: the only one."),
    key("preallocate", (Boolean, Flag), "false", Noted, "log.preallocate",
        "Remembered only: how files get their space is the broker's."),
    key("remote.log.copy.disable", (Boolean, Flag), "false", Only(NO_REMOTE), "",
        "Whether no more is copied to remote storage: there is none."),
    key("remote.log.delete.on.disable", (Boolean, Flag), "false", Only(NO_REMOTE), "",
        "Whether remote storage is emptied when it is no longer used: there is none."),
    key("remote.storage.enable", (Boolean, Flag), "false", Only(NO_REMOTE), "",
        "Whether old segments are kept in remote storage: there is none."),
    key("retention.bytes", (Long, AtLeast(-1)), "-1", Here(Setting::RetentionBytes), "log.retention.bytes",
        "How many bytes of records a partition keeps; -1 all."),
    key("retention.ms", (Long, AtLeast(-1)), "604800000", Here(Setting::RetentionMs), "log.retention.ms",
        "How long records are kept, in milliseconds; -1 for ever."),
    key("segment.bytes", (Int, Between(14, INT_MAX)), "1073741824", Here(Setting::SegmentBytes), "log.segment.bytes",
        "The length a segment of a partition may grow to, in bytes."),
    key("segment.index.bytes", (Int, AtLeast(4)), "10485760", Noted, "log.index.size.max.bytes",
        "Remembered only: an index is as long as its segment needs it."),
    key("segment.jitter.ms", (Long, AtLeast(0)), "0", Noted, "log.roll.jitter.ms",
        "Remembered only: segments end by their age and length."),
    key("segment.ms", (Long, AtLeast(1)), "604800000", Here(Setting::SegmentMs), "log.roll.ms",
        "How long a segment takes records at most, in milliseconds; half of the retention where that is less."),
    key("unclean.leader.election.enable", (Boolean, Flag), "false", Noted, "unclean.leader.election.enable",
        "Remembered only: a partition has one replica."),
];

impl TopicKey {
    /// The setting of a name.
    pub(super) fn of(name: &str) -> Option<&'static TopicKey> {
        let at = TOPIC_KEYS.binary_search_by_key(&name, |key| key.name).ok()?;
        Some(&TOPIC_KEYS[at])
    }

    /// Its type on the wire.
    pub(super) const fn type_to_wire(&self) -> i8 {
        self.kind as i8
    }
}
