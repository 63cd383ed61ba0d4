//! Which offset is the newest of each key, in memory that is bounded.
//!
//! A key is known by 128 bits: two SipHashes of it, each over another first byte. For two different keys to agree in all
//! of them is less likely, among a billion keys, than one in 10^20; and whoever could construct such keys may write the
//! topic, and so could overwrite any key of it anyhow.

use std::hash::{DefaultHasher, Hasher};

use crate::types::Offset;

/// 128 bits that stand for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyHash {
    high: u64,
    low: u64,
}

impl KeyHash {
    pub(super) fn of(key: &[u8]) -> KeyHash {
        let hash = |first: u8| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u8(first);
            hasher.write(key);
            hasher.finish()
        };
        KeyHash { high: hash(1), low: hash(2) }
    }
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    hash: KeyHash,
    /// [`EMPTY`] where the slot is free.
    offset: u64,
}

const EMPTY: u64 = 0;
const FREE: Slot = Slot { hash: KeyHash { high: 0, low: 0 }, offset: EMPTY };
/// Of so many slots one stays free, so that a search comes to its end soon.
const SPARE_PART: usize = 4;

/// An open-addressed table of a fixed size.
pub(super) struct KeyMap {
    slots: Vec<Slot>,
    used: usize,
}

impl std::fmt::Debug for KeyMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyMap({} of {})", self.used, self.capacity())
    }
}

impl KeyMap {
    /// A table for as many keys as `records` can have, in at most `bytes_max` bytes.
    pub(super) fn new(records: u64, bytes_max: usize) -> KeyMap {
        let records = usize::try_from(records).unwrap_or(usize::MAX);
        let wanted = records.saturating_add(records / (SPARE_PART - 1)).saturating_add(SPARE_PART);
        let slots = wanted.min((bytes_max / size_of::<Slot>()).max(SPARE_PART));
        KeyMap { slots: vec![FREE; slots], used: 0 }
    }

    fn capacity(&self) -> usize {
        self.slots.len() - self.slots.len().div_ceil(SPARE_PART)
    }

    /// How many more keys there is room for.
    pub(super) fn room(&self) -> usize {
        self.capacity() - self.used
    }

    pub(super) fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Notes a record of a key; a later one takes the place of an earlier one. There must be room.
    pub(super) fn insert(&mut self, hash: KeyHash, offset: Offset) {
        assert!(self.room() > 0, "the table of keys is full");
        let slot = self.find(hash);
        let slot = &mut self.slots[slot];
        self.used += usize::from(slot.offset == EMPTY);
        // One more than the offset, for 0 says that the slot is free.
        *slot = Slot { hash, offset: slot.offset.max(offset.get() + 1) };
    }

    /// The offset of the newest record of a key.
    pub(super) fn newest(&self, hash: KeyHash) -> Option<Offset> {
        let slot = self.slots[self.find(hash)];
        slot.offset.checked_sub(1).and_then(Offset::new)
    }

    /// The slot of a key, or the one it would get.
    fn find(&self, hash: KeyHash) -> usize {
        let count = self.slots.len() as u128;
        // The upper bits of a product spread evenly over any count.
        let mut at = usize::try_from((u128::from(hash.high) * count) >> 64).unwrap_or(0);
        while self.slots[at].offset != EMPTY && self.slots[at].hash != hash {
            at = if at + 1 == self.slots.len() { 0 } else { at + 1 };
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_newest_of_every_key_in_a_full_table() {
        for bytes_max in [0, 24 * 4, 24 * 100, 24 * 5_000] {
            let mut map = KeyMap::new(1_000_000, bytes_max);
            let capacity = map.room();
            assert!(capacity > 0 && map.slots.len() * size_of::<Slot>() <= bytes_max.max(24 * SPARE_PART));
            let mut model = BTreeMap::new();
            for number in 0..4 * capacity as u64 {
                let key = (number * 7) % capacity as u64;
                map.insert(KeyHash::of(&key.to_be_bytes()), Offset::new(number).unwrap());
                model.insert(key, number);
                if map.room() == 0 {
                    break;
                }
            }
            for key in 0..capacity as u64 + 50 {
                let newest = map.newest(KeyHash::of(&key.to_be_bytes())).map(Offset::get);
                assert_eq!(newest, model.get(&key).copied(), "key {key}");
            }
        }
    }

    #[test]
    fn a_table_is_no_larger_than_its_records_need() {
        for records in [0, 1, 2, 3, 100, 1_001] {
            let map = KeyMap::new(records, 32 << 20);
            assert!(map.room() as u64 >= records && map.slots.len() as u64 <= records * 3 / 2 + 8, "{records}");
        }
    }
}
