//! Giving memory back after many removals.

use std::collections::HashMap;
use std::hash::Hash;

/// Maps no larger than this are left alone.
const SPARE_MIN: usize = 1024;

/// Halves the room of a map that uses less than a quarter of it. As a map grows by doubling, at least a quarter of its
/// entries come or go between two of these, so it costs each removal a constant.
pub(super) fn shrink<K: Eq + Hash, V>(map: &mut HashMap<K, V>) {
    if map.capacity() > SPARE_MIN && map.len() < map.capacity() / 4 {
        map.shrink_to(map.len() * 2);
    }
}
