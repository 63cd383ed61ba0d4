//! What consumers say to each other within a group: the subscription in a JoinGroup, and the assignment in a SyncGroup. The
//! coordinator needs none of it; only tools want to know what a group reads.
//!
//! ```text
//! subscription: version i16, topics [string], user data bytes, and more in later versions
//! assignment:   version i16, [topic string, partitions [i32]], user data bytes
//! ```
//!
//! Both are in the classic encoding in every version, and later ones only append.

use bytes::{BufMut, Bytes, BytesMut};

use super::wire::{Encoding, Malformed, Reader};

/// The protocol type of groups whose members say this.
pub const CONSUMER: &str = "consumer";

/// The topics of a subscription.
///
/// # Errors
/// [`Malformed`].
pub fn subscribed_topics(subscription: &[u8]) -> Result<Vec<&str>, Malformed> {
    let mut reader = begin(subscription)?;
    (0..reader.count()?).map(|_| reader.text()).collect()
}

/// The partitions of an assignment, by topic. Where nothing was assigned it may be empty altogether.
///
/// # Errors
/// [`Malformed`].
pub fn assigned_partitions(assignment: &[u8]) -> Result<Vec<(&str, Vec<i32>)>, Malformed> {
    if assignment.is_empty() {
        return Ok(Vec::new());
    }
    let mut reader = begin(assignment)?;
    let mut topics = Vec::new();
    for _ in 0..reader.count()? {
        let topic = reader.text()?;
        let partitions = (0..reader.count()?).map(|_| reader.i32()).collect::<Result<_, _>>()?;
        topics.push((topic, partitions));
    }
    Ok(topics)
}

fn begin(bytes: &[u8]) -> Result<Reader<'_>, Malformed> {
    let mut reader = Reader::new(bytes, Encoding::Classic);
    if reader.i16()? < 0 { Err(Malformed::Refused("a negative version")) } else { Ok(reader) }
}

/// A subscription to topics.
#[must_use]
pub fn encode_subscription<'a>(topics: impl ExactSizeIterator<Item = &'a str>) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(0);
    put_count(&mut out, topics.len());
    topics.for_each(|topic| put_text(&mut out, topic));
    out.put_i32(-1);
    out.freeze()
}

/// An assignment of partitions, by topic.
#[must_use]
pub fn encode_assignment<'a>(topics: impl ExactSizeIterator<Item = (&'a str, Vec<i32>)>) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(0);
    put_count(&mut out, topics.len());
    for (topic, partitions) in topics {
        put_text(&mut out, topic);
        put_count(&mut out, partitions.len());
        partitions.into_iter().for_each(|partition| out.put_i32(partition));
    }
    out.put_i32(-1);
    out.freeze()
}

fn put_count(out: &mut BytesMut, count: usize) {
    out.put_i32(i32::try_from(count).unwrap_or(i32::MAX));
}

/// Writes a text, or as much of it as its length can say.
fn put_text(out: &mut BytesMut, text: &str) {
    let length = i16::try_from(text.len()).unwrap_or(i16::MAX);
    out.put_i16(length);
    out.put_slice(&text.as_bytes()[..usize::from(length.unsigned_abs())]);
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::consumer_protocol_assignment::TopicPartition;
    use kafka_protocol::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription, TopicName};
    use kafka_protocol::protocol::{Encodable, StrBytes};

    use super::*;

    fn with_version(version: i16, body: &impl Encodable) -> BytesMut {
        let mut out = BytesMut::new();
        out.put_i16(version);
        body.encode(&mut out, version).unwrap();
        out
    }

    #[test]
    fn subscriptions_are_as_the_crate_writes_them() {
        let topics = vec![StrBytes::from_static_str("events"), StrBytes::from_static_str("orders")];
        let body = ConsumerProtocolSubscription::default().with_topics(topics);
        for version in 0..=3 {
            let bytes = with_version(version, &body);
            assert_eq!(subscribed_topics(&bytes), Ok(vec!["events", "orders"]), "{version}");
            let needed = 2 + 4 + 2 * 8;
            for length in 0..needed {
                assert!(subscribed_topics(&bytes[..length]).is_err(), "{version} {length}");
            }
        }
        let written = encode_subscription(["events", "orders"].into_iter());
        assert_eq!(written, with_version(0, &body.with_user_data(None)));
        assert!(subscribed_topics(&[0xFF, 0xFF, 0, 0, 0, 0]).is_err());
        assert!(subscribed_topics(&[0, 0, 0x7F, 0xFF, 0xFF, 0xFF]).is_err());
    }

    #[test]
    fn assignments_are_as_the_crate_writes_them() {
        let of = |topic, partitions: &[i32]| {
            let topic = TopicName(StrBytes::from_static_str(topic));
            TopicPartition::default().with_topic(topic).with_partitions(partitions.to_vec())
        };
        let body = ConsumerProtocolAssignment::default().with_assigned_partitions(vec![of("a", &[0, 2]), of("b", &[])]);
        let expected = vec![("a", vec![0, 2]), ("b", vec![])];
        let bytes = with_version(1, &body);
        assert_eq!(assigned_partitions(&bytes), Ok(expected.clone()));
        let needed = 2 + 4 + (3 + 4 + 8) + (3 + 4);
        for length in 1..needed {
            assert!(assigned_partitions(&bytes[..length]).is_err(), "{length}");
        }
        assert_eq!(assigned_partitions(&[]), Ok(vec![]));
        assert_eq!(encode_assignment(expected.into_iter()), with_version(0, &body.with_user_data(None)));
    }
}
