//! Which partition a key belongs to, as Kafka's clients choose it.

use super::PartitionIndex;

const SEED: u32 = 0x9747_b28c;
const MULTIPLIER: u32 = 0x5bd1_e995;
const SHIFT: u32 = 24;

/// The 32-bit MurmurHash2 (Austin Appleby) with the seed and byte order of Kafka's default partitioner.
#[must_use]
pub fn murmur2(data: &[u8]) -> u32 {
    // No key is that long: a record has less than 2 GiB.
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut hash = SEED ^ length;
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mut mixed = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        mixed ^= mixed >> SHIFT;
        hash = hash.wrapping_mul(MULTIPLIER) ^ mixed.wrapping_mul(MULTIPLIER);
    }
    if !tail.is_empty() {
        for (i, &byte) in tail.iter().enumerate() {
            hash ^= u32::from(byte) << (8 * i);
        }
        hash = hash.wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ hash >> 15
}

/// The partition of a key in a topic of `partitions` partitions (0 counts as 1): Kafka's `toPositive(murmur2(key)) %
/// partitions`.
#[must_use]
pub fn partition_for_key(key: &[u8], partitions: u32) -> PartitionIndex {
    let positive = murmur2(key) & i32::MAX.cast_unsigned();
    PartitionIndex(positive % partitions.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_kafkas_own_tests() {
        let table: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
        ];
        for (key, hash) in table {
            assert_eq!(murmur2(key).cast_signed(), hash, "{key:?}");
        }
    }

    #[test]
    fn a_partition_is_always_one_of_the_topic() {
        // "21" hashes below zero: the sign bit is masked off, not negated.
        assert_eq!(partition_for_key(b"21", 7), PartitionIndex((-973_932_308_i32 & i32::MAX).cast_unsigned() % 7));
        assert_eq!(partition_for_key(b"", 0), PartitionIndex(0));
    }
}
