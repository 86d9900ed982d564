//! A hash map that grows a small part at a time.
//!
//! A hash map that doubles moves all its entries at once; with a million subscriptions that would hold the index, and with
//! it the realm, for a good part of a second. So the entries are spread over [`SHARDS`] maps, each of which doubles alone.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// A power of two. Costs 3 KiB in a map that is not empty.
const SHARDS: usize = 64;

/// A shard with no more room than this keeps it.
const SPARE_MIN: usize = 16;

#[derive(Debug)]
pub(super) struct Shards<K, V> {
    /// None as long as nothing was ever in it.
    maps: Vec<HashMap<K, V>>,
    len: usize,
}

/// Chooses a shard; any number does, as long as most keys have others. (It is the shard's own hash that must be hard to
/// foresee: who overfills one shard makes it no slower, only its growth.)
pub(super) trait Spread {
    fn spread(&self) -> u32;
}

impl Spread for str {
    fn spread(&self) -> u32 {
        // Names that differ mostly do so near their end.
        self.bytes().rev().take(8).fold(0, |sum, byte| mix(sum, u32::from(byte)))
    }
}

impl Spread for (u32, u32) {
    fn spread(&self) -> u32 {
        mix(mix(0, self.0), self.1)
    }
}

/// One step of FNV-1a.
fn mix(sum: u32, part: u32) -> u32 {
    (sum ^ part).wrapping_mul(0x0100_0193)
}

fn shard_of<Q: Spread + ?Sized>(key: &Q) -> usize {
    let spread = key.spread();
    (spread ^ (spread >> 16)) as usize % SHARDS
}

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        Self { maps: Vec::new(), len: 0 }
    }
}

impl<K: Eq + Hash, V> Shards<K, V> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + Spread + ?Sized,
    {
        self.maps.get(shard_of(key))?.get(key)
    }

    pub(super) fn get_key_value<Q>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + Spread + ?Sized,
    {
        self.maps.get(shard_of(key))?.get_key_value(key)
    }

    pub(super) fn get_mut<Q>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + Spread + ?Sized,
    {
        self.maps.get_mut(shard_of(key))?.get_mut(key)
    }

    pub(super) fn get_or_insert_with<Q>(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V
    where
        K: Borrow<Q>,
        Q: Spread + ?Sized,
    {
        if self.maps.is_empty() {
            self.maps.resize_with(SHARDS, HashMap::new);
        }
        let len = &mut self.len;
        self.maps[shard_of(key.borrow())].entry(key).or_insert_with(|| {
            *len += 1;
            make()
        })
    }

    /// Removes the key; a shard that is left with much more room than it needs gives half of it back. As it doubles when it
    /// grows, a quarter of its room comes or goes between two such moves, so each removal pays for a constant part of one.
    pub(super) fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + Spread + ?Sized,
    {
        let map = self.maps.get_mut(shard_of(key))?;
        let value = map.remove(key)?;
        self.len -= 1;
        if map.capacity() > SPARE_MIN && map.len() < map.capacity() / 4 {
            map.shrink_to(map.len() * 2);
        }
        Some(value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.maps.iter().flatten()
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.maps.iter().map(HashMap::capacity).sum()
    }
}
